//! What a node tells about itself: logs, metrics and traces. Each exists once per process.

mod catalogue;
mod logs;
mod samples;
mod scrape;
mod traces;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub(crate) use catalogue::{json as metrics_json, markdown as metrics_markdown};
pub(crate) use logs::LevelSwitch;
pub(crate) use scrape::scrape;
pub(crate) use traces::{Traces, continue_from};

use self::catalogue::Kind;
use crate::config::{ConfigFile, Settings, shared_hash};

/// What [`install`] has set up.
pub(crate) struct Observed {
    pub(crate) metrics: PrometheusHandle,
    pub(crate) level: LevelSwitch,
    pub(crate) traces: Option<Traces>,
}

/// Once per process, on the runtime, before the node starts.
pub(crate) fn install(config: &ConfigFile, settings: &Settings) -> anyhow::Result<Observed> {
    let traces = Traces::start(&settings.name)?;
    let level = logs::install(&settings.log, traces.as_ref())?;
    let metrics = install_metrics()?;
    let hash = shared_hash(config)?;
    metrics::gauge!("cratekeeper_config_info", "hash" => hash).set(1.0);
    Ok(Observed {
        metrics,
        level,
        traces,
    })
}

impl Observed {
    /// When the node has stopped: what is left of the traces is sent.
    pub(crate) async fn stop(self) {
        if let Some(traces) = self.traces {
            // It waits for a thread that needs this runtime.
            let _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        }
    }
}

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let mut builder = PrometheusBuilder::new();
    for metric in catalogue::all() {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets)?;
        }
    }
    let handle = builder
        .install_recorder()
        .context("install the metrics recorder")?;
    for metric in catalogue::all() {
        let (name, unit, help) = (metric.name, metric.unit(), metric.help);
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram(_) => metrics::describe_histogram!(name, unit, help),
        }
    }
    begin_at_zero();
    metrics::gauge!("cratekeeper_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// A rate needs a first value to rise from: what an alert watches is there before it happens.
fn begin_at_zero() {
    for outcome in ["unknown", "fault", "stored"] {
        metrics::counter!("cratekeeper_raft_proposals_total", "outcome" => outcome).increment(0);
    }
    for outcome in ["corrupt", "broken"] {
        metrics::counter!("cratekeeper_tarball_streams_failed_total", "outcome" => outcome)
            .increment(0);
    }
}

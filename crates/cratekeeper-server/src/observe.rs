//! Logs to standard error, and the recorder behind `/metrics`. Both exist once per process.

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Seconds, from a point read in memory to a publish that waits for a new leader.
const SECONDS_BUCKETS: &[f64] = &[
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// How many things were done at once.
const GROUP_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Logs go to standard error: standard output belongs to what a command was asked for.
pub(crate) fn install_logs(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives(&settings.level)).context("log.level")?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let installed = match settings.format {
        LogFormat::Text => logs
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("install the log: {error}"))
}

/// A level alone means our own messages: below `debug`, openraft tells every step and every peer that is away.
fn directives(level: &str) -> String {
    match level {
        "error" | "warn" | "info" => format!("{level},openraft=error"),
        _ => level.to_owned(),
    }
}

pub(crate) fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_group".to_owned()), GROUP_BUCKETS)?
        .install_recorder()
        .context("install the metrics recorder")?;
    metrics::gauge!("cratekeeper_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

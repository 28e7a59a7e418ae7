//! Logs to standard error, as text or JSON. Their level can be changed while the node runs.

use anyhow::Context;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::traces::{self, Traces};
use crate::config::{LogFormat, LogSettings};

/// Spans of whole requests: what a log line says about the request it belongs to.
const REQUEST: &str = "cratekeeper::request";

/// Changes the level.
#[derive(Clone)]
pub(crate) struct LevelSwitch(reload::Handle<EnvFilter, Registry>);

impl LevelSwitch {
    pub(crate) fn set(&self, level: &str) -> anyhow::Result<()> {
        self.0
            .reload(filter(level)?)
            .context("change the level of the log")
    }
}

/// Logs go to standard error: standard output belongs to what a command was asked for.
pub(crate) fn install(
    settings: &LogSettings,
    traces: Option<&Traces>,
) -> anyhow::Result<LevelSwitch> {
    let (levels, switch) = reload::Layer::new(filter(&settings.level)?);
    let events =
        filter_fn(|it: &Metadata<'_>| it.is_event()).with_max_level_hint(LevelFilter::TRACE);
    // Without traces no span has anything to say, and none is made.
    let spans_made = traces.is_some();
    let requests = filter_fn(move |it| spans_made && it.is_span() && it.target() == REQUEST)
        .with_max_level_hint(if spans_made {
            LevelFilter::INFO
        } else {
            LevelFilter::OFF
        });
    let logs = fmt::layer().with_writer(std::io::stderr);
    let logs = match settings.format {
        LogFormat::Text => logs
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .boxed(),
        LogFormat::Json => logs
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    Registry::default()
        .with(logs.with_filter(events.and(levels).or(requests)))
        .with(traces.map(traces::layer))
        .try_init()
        .map_err(|error| anyhow::anyhow!("install the log: {error}"))?;
    Ok(LevelSwitch(switch))
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(directives(level)).context("log.level")
}

/// A level alone means our own messages: below `debug`, openraft tells every step and every peer that is away.
fn directives(level: &str) -> String {
    match level {
        "error" | "warn" | "info" => format!("{level},openraft=error"),
        _ => level.to_owned(),
    }
}

//! OpenTelemetry traces, set up by the standard `OTEL_*` variables and off without an endpoint. A collector that is away costs
//! spans, never a request: they are queued, bounded, and sent by a thread of their own.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use http::HeaderMap;
use opentelemetry::global::{get_text_map_propagator, set_text_map_propagator};
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter as Otlp, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// For what is still queued when the node stops.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The exporter, which runs until [`Traces::stop`].
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// `None` unless the environment names an endpoint. Must be called on the runtime.
    pub(crate) fn start(node: &str) -> anyhow::Result<Option<Traces>> {
        if !wanted() {
            return Ok(None);
        }
        let exporter = exporter().context("set up the export of traces")?;
        let counted = Counted {
            exporter,
            failing: AtomicBool::new(false),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(counted)
            .with_resource(resource(node))
            .build();
        set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Traces(provider)))
    }

    /// Sends what is queued, for a few seconds at most. Blocks.
    pub(crate) fn stop(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Our own spans, and with them what goes wrong in them.
pub(super) fn layer<S>(traces: &Traces) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let ours = filter_fn(|it| {
        it.target().starts_with("cratekeeper") && (it.is_span() || *it.level() <= Level::WARN)
    });
    tracing_opentelemetry::layer()
        .with_tracer(traces.0.tracer("cratekeeper"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(ours.with_max_level_hint(LevelFilter::INFO))
}

/// Continues the trace that the headers name, if the span is recorded at all; gives the trace's id.
pub(crate) fn continue_from(span: &Span, headers: &HeaderMap) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let parent = get_text_map_propagator(|it| it.extract(&Incoming(headers)));
    // Without the layer that keeps traces there is no trace to continue.
    let _continued = span.set_parent(parent);
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

struct Incoming<'h>(&'h HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

fn wanted() -> bool {
    let endpoint = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    endpoint.into_iter().any(|name| variable(name).is_some())
        && !variable("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"))
        && variable("OTEL_TRACES_EXPORTER").is_none_or(|it| it != "none")
}

/// An empty variable counts as none.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn exporter() -> anyhow::Result<Otlp> {
    let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
    let built = match protocol.as_deref() {
        Some("grpc") => Otlp::builder().with_tonic().build(),
        None | Some("http/protobuf") => {
            let http = Otlp::builder().with_http();
            http.with_protocol(Protocol::HttpBinary).build()
        }
        Some(other) => {
            bail!("OTEL_EXPORTER_OTLP_PROTOCOL is `{other}`; it may be `grpc` or `http/protobuf`")
        }
    };
    Ok(built?)
}

/// What the environment says about this process, and where it says nothing, what we know.
fn resource(node: &str) -> Resource {
    let told = Resource::builder().build();
    let missing = |key: &str| match told.get(&key.to_owned().into()) {
        None => true,
        Some(Value::String(name)) => {
            key == "service.name" && name.as_str().starts_with("unknown_service")
        }
        Some(_) => false,
    };
    let known = [
        ("service.name", "cratekeeper"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", node),
    ];
    let added = known.into_iter().filter(|(key, _)| missing(key));
    let added = added.map(|(key, value)| KeyValue::new(key, value.to_owned()));
    Resource::builder().with_attributes(added).build()
}

/// Counts, and says once when a collector goes away and once when it is back.
#[derive(Debug)]
struct Counted {
    exporter: Otlp,
    failing: AtomicBool,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        let outcome = if result.is_ok() { "sent" } else { "failed" };
        metrics::counter!("cratekeeper_trace_spans_total", "outcome" => outcome).increment(spans);
        let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !failed_before => {
                tracing::warn!(%error, "traces cannot be exported; requests go on without them");
            }
            Ok(()) if failed_before => tracing::info!("traces are exported again"),
            Ok(()) | Err(_) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

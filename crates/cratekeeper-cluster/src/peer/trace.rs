//! One trace over two nodes: the context of a forwarded call travels in its metadata, as W3C `traceparent`.
//! Without tracing both directions do nothing.

use opentelemetry::Context;
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt;
use tonic::metadata::{KeyRef, MetadataKey, MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

struct Outgoing<'m>(&'m mut MetadataMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // What the propagator writes is ASCII; anything else is left out rather than failing the call.
        if let (Ok(key), Ok(value)) = (
            MetadataKey::from_bytes(key.as_bytes()),
            MetadataValue::try_from(value),
        ) {
            self.0.insert(key, value);
        }
    }
}

struct Incoming<'m>(&'m MetadataMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        let keys = self.0.keys().filter_map(|key| match key {
            KeyRef::Ascii(key) => Some(key.as_str()),
            KeyRef::Binary(_) => None,
        });
        keys.collect()
    }
}

/// The current span becomes the parent of whatever the other node does.
pub(super) fn put(metadata: &mut MetadataMap) {
    let context = Span::current().context();
    get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut Outgoing(metadata));
    });
}

/// A span for what another node asks, continuing its trace.
pub(super) fn asked(call: &'static str, metadata: &MetadataMap) -> Span {
    let span = tracing::info_span!(
        target: "cratekeeper::request",
        "peer_request",
        otel.name = call,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.method = call,
        trace_id = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let parent: Context = get_text_map_propagator(|it| it.extract(&Incoming(metadata)));
        // Without the layer that keeps traces there is no trace to continue.
        let _continued = span.set_parent(parent);
        record_id(&span);
    }
    span
}

/// So that log lines inside the span name the trace.
fn record_id(span: &Span) {
    let context = span.context();
    let id = context.span().span_context().trace_id();
    span.record("trace_id", tracing::field::display(id));
}

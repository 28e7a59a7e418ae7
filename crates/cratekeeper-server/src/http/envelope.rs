//! What every request gets and every answer carries: an id, a line in the log, a measurement, and errors as JSON.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use cratekeeper_domain::RequestId;
use http::header::{WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::client_address::ClientAddress;
use super::error;
use super::limits::CLIENT_REQUEST_ID_CHARS_MAX;
use super::measure::{Counted, Finished};
use crate::app::App;
use crate::observe;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// One of the few headers that cargo prints when a request failed.
const PRINTED_BY_CARGO: HeaderName = HeaderName::from_static("x-amz-request-id");

/// Where [`super::caller`] leaves the login for the log line.
#[derive(Clone, Default)]
pub(crate) struct AskedBy(Arc<OnceLock<String>>);

impl AskedBy {
    pub(crate) fn set(&self, login: &str) {
        // Only the first extractor of a request sets it, and all would say the same.
        let _already = self.0.set(login.to_owned());
    }
}

/// Wraps a request from its first byte to the last of its answer.
pub(crate) async fn envelope(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = new_request_id();
    let asked_by = AskedBy::default();
    let client = ClientAddress::of(&request, &app.settings.trusted_proxies);
    let mut asked = Asked::new(&request, id, client, asked_by.clone());
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(asked_by);
    let span = asked.span(request.headers());
    if !request.body().is_end_stream() {
        let received = asked.received.clone();
        request = request.map(|body| Counted::body(body, received, ()));
    }

    let answering = async {
        let response = next.run(request).await;
        error::render(response, &asked.id)
    };
    let mut response = answering.instrument(span.clone()).await;
    if error::asks_for_token(&response) {
        let challenge = format!("Cargo login_url=\"{}/me\"", app.settings.public_url);
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&asked.id) {
        headers.insert(REQUEST_ID, value.clone());
        headers.insert(PRINTED_BY_CARGO, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    asked.answered(status);
    let sent = asked.sent.clone();
    response.map(|body| Counted::body(body, sent, asked))
}

/// A request under way, for its log line and its measurements; it ends with the body of its answer.
struct Asked {
    id: String,
    /// The client's own id for it.
    client_id: Option<String>,
    /// Of the trace it belongs to, if it is traced.
    trace_id: Option<String>,
    client: Option<ClientAddress>,
    method: &'static str,
    route: Option<MatchedPath>,
    started: Instant,
    by: AskedBy,
    received: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
    /// The status, once there is one, and how long that took.
    head: Option<(u16, Duration)>,
}

impl Asked {
    fn new(request: &Request, id: RequestId, client: Option<ClientAddress>, by: AskedBy) -> Asked {
        in_flight().increment(1.0);
        Asked {
            id: hex::encode(id.0),
            client_id: client_request_id(request.headers()),
            trace_id: None,
            client,
            method: method_label(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            started: Instant::now(),
            by,
            received: Arc::default(),
            sent: Arc::default(),
            head: None,
        }
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("none", MatchedPath::as_str)
    }

    /// The request as a span of a trace; nothing where traces are off.
    fn span(&mut self, headers: &HeaderMap) -> Span {
        let span = tracing::info_span!(
            target: "cratekeeper::request",
            "request",
            otel.name = format!("{} {}", self.method, self.route()),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = self.method,
            http.route = self.route(),
            http.response.status_code = Empty,
            request = self.id,
            trace_id = Empty,
        );
        self.trace_id = observe::continue_from(&span, headers);
        if let Some(trace_id) = &self.trace_id {
            span.record("trace_id", trace_id);
        }
        span
    }

    fn answered(&mut self, status: u16) {
        self.head = Some((status, self.started.elapsed()));
    }
}

impl Drop for Asked {
    /// Here, because a client that hangs up ends the request without an answer, and that is worth a line too.
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        in_flight().decrement(1.0);
        let finished = Finished {
            method: self.method,
            route: self.route(),
            status: self.head.map(|(status, _)| status),
            duration: self.head.map_or(elapsed, |(_, duration)| duration),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        };
        finished.measure();
        tracing::info!(
            request = self.id,
            client_request = self.client_id,
            trace_id = self.trace_id,
            client = self.client.map(|client| tracing::field::display(client.0)),
            method = self.method,
            route = finished.route,
            status = finished.status,
            login = self.by.0.get(),
            received_bytes = finished.received,
            sent_bytes = finished.sent,
            duration_ms = elapsed.as_secs_f64() * 1000.0,
            "answered"
        );
    }
}

fn in_flight() -> &'static metrics::Gauge {
    static IN_FLIGHT: LazyLock<metrics::Gauge> =
        LazyLock::new(|| metrics::gauge!("cratekeeper_http_requests_in_flight"));
    &IN_FLIGHT
}

/// Random, so that no two nodes need to agree on it.
fn new_request_id() -> RequestId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes once it runs");
    RequestId(bytes)
}

/// A client may send any word as its method; a metric must not keep them all.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// The client's own id for the request, if it is fit for a log line.
fn client_request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fit = !text.is_empty()
        && text.len() <= CLIENT_REQUEST_ID_CHARS_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte));
    fit.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_request_ids_reach_the_log() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(value).expect("a header"));
            client_request_id(&headers)
        };
        assert_eq!(with("build-17/3"), Some("build-17/3".to_owned()));
        assert_eq!(with("a b"), None);
        assert_eq!(with(&"x".repeat(65)), None);
        assert_eq!(client_request_id(&HeaderMap::new()), None);
    }
}

//! What every request gets and every answer carries: an id, a line in the log, a measurement, and errors as JSON.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use cratekeeper_domain::RequestId;
use http::header::{WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::client_address::ClientAddress;
use super::error;
use super::limits::CLIENT_REQUEST_ID_CHARS_MAX;
use crate::app::App;

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

/// Wraps a request from its first byte to the head of its answer.
pub(crate) async fn envelope(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = new_request_id();
    let asked_by = AskedBy::default();
    let client = ClientAddress::of(&request, &app.settings.trusted_proxies);
    let asked = Asked::new(&request, id, client, asked_by.clone());
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(asked_by);

    let mut response = error::render(next.run(request).await, &asked.id);
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
    asked.answered(response.status().as_u16());
    response
}

/// A request under way, for its log line and its measurements.
struct Asked {
    id: String,
    /// The client's own id for it.
    client_id: Option<String>,
    client: Option<ClientAddress>,
    method: &'static str,
    route: String,
    started: Instant,
    by: AskedBy,
    /// The status, once there is one.
    status: Option<u16>,
}

impl Asked {
    fn new(request: &Request, id: RequestId, client: Option<ClientAddress>, by: AskedBy) -> Asked {
        metrics::gauge!("cratekeeper_http_requests_in_flight").increment(1.0);
        let route = request.extensions().get::<MatchedPath>();
        Asked {
            id: hex::encode(id.0),
            client_id: client_request_id(request.headers()),
            client,
            method: method_label(request.method()),
            route: route.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned()),
            started: Instant::now(),
            by,
            status: None,
        }
    }

    fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Asked {
    /// Here, because a client that hangs up ends the request without an answer, and that is worth a line too.
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        metrics::gauge!("cratekeeper_http_requests_in_flight").decrement(1.0);
        let status = self
            .status
            .map_or_else(|| "none".to_owned(), |it| it.to_string());
        measure(self.method, &self.route, &status, elapsed.as_secs_f64());
        tracing::info!(
            request = self.id,
            client_request = self.client_id,
            client = self.client.map(|client| tracing::field::display(client.0)),
            method = self.method,
            route = self.route,
            status,
            login = self.by.0.get(),
            duration_ms = elapsed.as_secs_f64() * 1000.0,
            "answered"
        );
    }
}

fn measure(method: &'static str, route: &str, status: &str, seconds: f64) {
    metrics::counter!(
        "cratekeeper_http_requests_total",
        "method" => method, "route" => route.to_owned(), "status" => status.to_owned()
    )
    .increment(1);
    metrics::histogram!(
        "cratekeeper_http_request_duration_seconds",
        "method" => method, "route" => route.to_owned()
    )
    .record(seconds);
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

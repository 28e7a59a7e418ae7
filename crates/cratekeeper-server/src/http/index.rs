//! `GET /index/…`: the sparse index. One local look-up; bytes and ETag are ready before the request comes.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cratekeeper_domain::index_path;
use cratekeeper_domain::limits::NAME_CHARS_MAX;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, Uri};
use metrics::Counter;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Reader;
use super::error::{ApiError, not_modified};
use super::etag;
use crate::app::{App, ReadAccess};

/// Where cargo finds everything else.
#[derive(Serialize, ToSchema)]
#[schema(as = IndexConfig, example = json!({"dl": "https://crates.example.org/api/v1/crates", "api": "https://crates.example.org"}))]
struct Config {
    /// Downloads are at `{dl}/{crate}/{version}/download`.
    dl: String,
    /// Calls are at `{api}/api/v1/…`.
    api: String,
    /// True where everything needs a token; left out elsewhere.
    #[serde(rename = "auth-required", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    auth_required: Option<bool>,
}

/// Where to find everything else.
///
/// cargo fetches it without condition, once a second while it publishes.
#[utoipa::path(
    get, path = "/index/config.json", operation_id = "get_index_config", tag = "index",
    responses(
        (status = 200, description = "The configuration of the index.", body = Config),
        (status = 403, description = "The token may not read."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn config(State(app): State<Arc<App>>, _reader: Reader) -> Response {
    let url = &app.settings.public_url;
    let config = Config {
        dl: format!("{url}/api/v1/crates"),
        api: url.clone(),
        auth_required: (app.settings.read_access == ReadAccess::Authenticated).then_some(true),
    };
    let mut response = Json(config).into_response();
    freshness(&app, response.headers_mut());
    response
}

/// The index file of one crate.
///
/// One line of JSON for each version, in the order of publication, as the cargo reference describes it ("Index format").
/// Send the `etag` back: no node answers with an older file than the one it names.
#[utoipa::path(
    get, path = "/index/{*path}", operation_id = "get_index_file", tag = "index",
    params(
        ("path" = String, Path, description = "The crate's place: `1/a`, `2/ab`, `3/a/abc`, `ab/cd/abcd…`, in lower case. It contains slashes.", example = "se/rd/serde"),
        ("if-none-match" = Option<String>, Header, description = "`etag`s that the client holds."),
    ),
    responses(
        (status = 200, description = "The file.", body = String, content_type = "text/plain",
            headers(("etag" = String, description = "Changes with the file; the same on every node."))),
        (status = 304, description = "What the client holds is current."),
        (status = 403, description = "The token may not read."),
        (status = 404, description = "There is no such crate, or the path is not where it would be."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn file(
    State(app): State<Arc<App>>,
    _reader: Reader,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let answer = answer(&app, &headers, &uri).await;
    OUTCOMES.count(&answer);
    answer
}

/// Made once: this is the busiest path there is.
static OUTCOMES: LazyLock<Outcomes> = LazyLock::new(|| {
    let counter =
        |outcome| metrics::counter!("cratekeeper_index_requests_total", "outcome" => outcome);
    Outcomes {
        sent: counter("sent"),
        unchanged: counter("unchanged"),
        missing: counter("missing"),
        failed: counter("failed"),
    }
});

struct Outcomes {
    sent: Counter,
    unchanged: Counter,
    missing: Counter,
    failed: Counter,
}

impl Outcomes {
    fn count(&self, answer: &Result<Response, ApiError>) {
        let counter = match answer {
            Ok(response) if response.status().is_success() => &self.sent,
            Ok(_) => &self.unchanged,
            Err(error) if error.outcome() == "missing" => &self.missing,
            Err(_) => &self.failed,
        };
        counter.increment(1);
    }
}

async fn answer(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<Response, ApiError> {
    let name = name_at(uri.path()).ok_or_else(no_crate)?;
    let known_position = etag::known_position(headers);
    let file = app.cluster.index_file(name, known_position).await?;
    let file = file.ok_or_else(no_crate)?;

    let mut response = if etag::matches(headers, &file.etag) {
        not_modified()
    } else {
        let mut response = Response::new(Body::from(file.bytes.clone()));
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        response
    };
    if let Ok(etag) = HeaderValue::from_str(&file.etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    freshness(app, response.headers_mut());
    Ok(response)
}

/// The tag names the file, and a compressed answer is only equivalent to it: a weak tag says so, and we compare weakly.
pub(crate) async fn weaken_compressed(mut response: Response) -> Response {
    if response.headers().contains_key(CONTENT_ENCODING) {
        let weak = response
            .headers()
            .get(ETAG)
            .and_then(|etag| HeaderValue::from_str(&format!("W/{}", etag.to_str().ok()?)).ok());
        if let Some(weak) = weak {
            response.headers_mut().insert(ETAG, weak);
        }
    }
    response
}

/// Caches may keep an answer but must ask before they use it again, and none may show it to somebody else's token.
fn freshness(app: &App, headers: &mut HeaderMap) {
    match app.settings.read_access {
        ReadAccess::Public => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, no-cache"));
        }
        ReadAccess::Authenticated => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
            headers.append(VARY, HeaderValue::from_static("authorization"));
        }
    }
}

fn no_crate() -> ApiError {
    ApiError::missing("there is no such crate in this registry")
}

/// The lower-cased name whose file is at `path`. cargo only ever asks for the canonical path, so every other one leads nowhere.
fn name_at(path: &str) -> Option<&str> {
    let relative = path.strip_prefix("/index/")?;
    let name = relative.rsplit('/').next()?;
    let fit = (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    (fit && index_path(name) == relative).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_path_leads_to_a_name() {
        for (path, name) in [
            ("/index/1/a", Some("a")),
            ("/index/2/ab", Some("ab")),
            ("/index/3/a/abc", Some("abc")),
            ("/index/se/rd/serde", Some("serde")),
            ("/index/se/rd/serde_json", Some("serde_json")),
            ("/index/fo/o-/foo-bar", Some("foo-bar")),
            ("/index/Se/rd/Serde", None),
            ("/index/se/rd/Serde", None),
            ("/index/xx/rd/serde", None),
            ("/index/serde", None),
            ("/index/se/rd/serde/", None),
            ("/index/se/rd/", None),
            ("/index//", None),
            ("/index/se/rd/ser%64e", None),
            ("/index/../se/rd/serde", None),
            ("/elsewhere/se/rd/serde", None),
        ] {
            assert_eq!(name_at(path), name, "{path}");
        }
        let long = format!("/index/aa/aa/{}", "a".repeat(65));
        assert_eq!(name_at(&long), None);
    }
}

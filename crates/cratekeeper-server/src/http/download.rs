//! `GET /api/v1/crates/{name}/{version}/download`: a tarball, for ever the same.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use cratekeeper_tarballs::Download;
use futures::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, Method};

use super::caller::Reader;
use super::crates::{named, no_version};
use super::document::VersionPath;
use super::error::{ApiError, found, not_modified};
use super::etag;
use crate::app::{App, ReadAccess};

/// Download a tarball.
///
/// The same bytes for ever, with their SHA-256 as the `etag`. Yanked versions can be downloaded, removed ones cannot. Never
/// compressed once more.
#[utoipa::path(
    get, path = "/api/v1/crates/{name}/{version}/download", operation_id = "download_version", tag = "crates",
    params(VersionPath, ("if-none-match" = Option<String>, Header, description = "`etag`s that the client holds.")),
    responses(
        (status = 200, description = "The `.crate` file: a gzip-compressed tar archive.", content_type = "application/gzip",
            headers(("etag" = String, description = "The SHA-256 of the bytes, in hex and quotes."), ("content-length" = u64, description = "Bytes."))),
        (status = 302, description = "The bytes are at `location`, without a token, for a limited time (where the operator set `tarballs.redirect_seconds`).",
            headers(("location" = String, description = "A signed URL of the object store."))),
        (status = 304, description = "What the client holds is current."),
        (status = 403, description = "The token may not read."),
        (status = 404, description = "There is no such crate or version."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    _reader: Reader,
    method: Method,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (krate, asked) = named(&name, &version)?;
    let entry = app
        .cluster
        .tarball(&krate.canonical(), &asked)?
        .ok_or_else(|| no_version(&name, &version))?;
    let etag = format!("\"{}\"", entry.checksum);

    let mut response = if etag::matches(&headers, &etag) {
        not_modified()
    } else if method == Method::HEAD {
        // The store is not asked for bytes that nobody wants.
        whole(Body::empty(), entry.tarball_bytes)
    } else {
        match app.tarballs.get(&entry.checksum).await? {
            Download::Redirect(url) => {
                metrics::counter!("cratekeeper_downloads_total", "source" => "redirect")
                    .increment(1);
                return found(&url);
            }
            Download::Stream { bytes, stream } => {
                metrics::counter!("cratekeeper_downloads_total", "source" => "stream").increment(1);
                let sent = metrics::counter!("cratekeeper_download_bytes_total");
                let checksum = entry.checksum;
                let stream = stream.inspect(move |piece| match piece {
                    Ok(piece) => sent.increment(piece.len() as u64),
                    // Too late for a status: the connection breaks before the promised length, and cargo tries again.
                    Err(error) => tracing::error!(%checksum, %error, "a download broke off"),
                });
                whole(Body::from_stream(stream), bytes)
            }
        }
    };
    lasting(&app, response.headers_mut(), &etag);
    Ok(response)
}

/// Never with a `content-encoding`: curl would undo it, and the checksum would fail.
fn whole(body: Body, bytes: u64) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    response
}

fn lasting(app: &App, headers: &mut HeaderMap, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(ETAG, etag);
    }
    match app.settings.read_access {
        ReadAccess::Public => {
            headers.insert(
                CACHE_CONTROL,
                HeaderValue::from_static("public, max-age=31536000, immutable"),
            );
        }
        ReadAccess::Authenticated => {
            headers.insert(
                CACHE_CONTROL,
                HeaderValue::from_static("private, max-age=31536000, immutable"),
            );
            headers.append(VARY, HeaderValue::from_static("authorization"));
        }
    }
}

//! `/api/v1/backup…`: the history byte for byte, for whoever keeps a copy of it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cratekeeper_cluster::Cluster;
use cratekeeper_wire::backup::frame_record;
use futures::{Stream, stream};
use http::Uri;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use super::caller::Admin;
use super::error::ApiError;
use super::limits::{BACKUP_BATCH_BYTES, BACKUP_STREAMS_MAX};
use super::page::number;
use crate::app::App;
use crate::backup::{Checked, check_events};

/// Places for backups that are read.
#[derive(Clone)]
pub(crate) struct BackupPlaces(Arc<Semaphore>);

impl BackupPlaces {
    pub(crate) fn new() -> BackupPlaces {
        BackupPlaces(Arc::new(Semaphore::new(BACKUP_STREAMS_MAX)))
    }
}

/// Whose history this is, and where it stands on this node.
#[derive(Serialize, ToSchema)]
pub(crate) struct Position {
    /// Of this node.
    release: &'static str,
    cluster: String,
    history: String,
    /// Of the newest event here.
    sequence: u64,
    /// Hex, of the chain there.
    chain: String,
    at: PositionAt,
}

/// The chain at the sequence that was asked for.
#[derive(Serialize, ToSchema)]
struct PositionAt {
    sequence: u64,
    /// Hex; null if the history here does not reach it.
    chain: Option<String>,
}

/// See where the history stands.
///
/// Whose history this is, where it stands here, and its chain hash at the sequence `at`.
#[utoipa::path(
    get, path = "/api/v1/backup", operation_id = "get_backup_position", tag = "history",
    params(("at" = Option<u64>, Query, description = "Sequence whose chain hash is asked for. Default 0.")),
    responses(
        (status = 200, description = "Cluster, history, sequence, chain.", body = Position),
        (status = 400, description = "`at` is no number."),
        (status = 403, description = "The token does not have the scope `admin`."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn position(
    State(app): State<Arc<App>>,
    _admin: Admin,
    uri: Uri,
) -> Result<Json<Position>, ApiError> {
    let at = number(uri.query(), "at")?.unwrap_or(0);
    let head = app.cluster.history()?;
    let chain_there = app.cluster.chain_hash_at(at)?;
    Ok(Json(Position {
        release: env!("CARGO_PKG_VERSION"),
        cluster: head.cluster,
        history: head.history,
        sequence: head.sequence,
        chain: hex::encode(head.chain),
        at: PositionAt {
            sequence: at,
            chain: chain_there.map(hex::encode),
        },
    }))
}

/// Read the history byte for byte.
///
/// The records behind `after` up to `until`, as stored: each with its length before it. A body that ends early was cut off.
#[utoipa::path(
    get, path = "/api/v1/backup/records", operation_id = "read_backup_records", tag = "history",
    params(
        ("after" = Option<u64>, Query, description = "Begin behind this sequence. Default 0, the beginning."),
        ("until" = Option<u64>, Query, description = "End with this sequence. Default: the newest."),
    ),
    responses(
        (status = 200, description = "Records, in order.", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, description = "`after` or `until` is no number."),
        (status = 403, description = "The token does not have the scope `admin`."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn records(
    State(app): State<Arc<App>>,
    Extension(places): Extension<BackupPlaces>,
    _admin: Admin,
    uri: Uri,
) -> Result<Response, ApiError> {
    let after = number(uri.query(), "after")?.unwrap_or(0);
    let newest = app.cluster.history()?.sequence;
    let until = number(uri.query(), "until")?.unwrap_or(newest);
    if newest < until {
        return Err(ApiError::unavailable(format!(
            "this node has the events up to {newest}, and not yet {until}; try again in a moment"
        )));
    }
    let place = Arc::clone(&places.0).try_acquire_owned().map_err(|_| {
        ApiError::unavailable(format!(
            "{BACKUP_STREAMS_MAX} backups are being read from this node already; ask another one, or try again later"
        ))
    })?;
    let body = Body::from_stream(stream_of(app.cluster.clone(), after, until, place));
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// Ends early when this node cannot read; whoever reads notices and goes on elsewhere.
fn stream_of(
    cluster: Cluster,
    after: u64,
    until: u64,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(
        (cluster, after, place),
        move |(cluster, after, place)| async move {
            if until <= after {
                return None;
            }
            let reading = cluster.clone();
            let read = tokio::task::spawn_blocking(move || {
                reading.records(after, until, BACKUP_BATCH_BYTES)
            });
            let records = match read.await.ok()? {
                Ok(records) => records,
                Err(error) => {
                    tracing::error!(%error, after, "a backup that was being read broke off");
                    return None;
                }
            };
            let mut frames = Vec::new();
            for record in &records {
                frame_record(&mut frames, record);
            }
            let after = after + records.len() as u64;
            (!records.is_empty()).then(|| (Ok(frames.into()), (cluster, after, place)))
        },
    )
}

/// Look for tarballs.
///
/// Looks for the tarballs that some events behind `after` up to `until` name; `next` is where to go on.
#[utoipa::path(
    get, path = "/api/v1/backup/tarballs", operation_id = "check_backup_tarballs", tag = "history",
    params(
        ("after" = Option<u64>, Query, description = "Begin behind this sequence. Default 0, the beginning."),
        ("until" = Option<u64>, Query, description = "End with this sequence. Default: the newest."),
    ),
    responses(
        (status = 200, description = "What was found, what is missing, and where to go on.", body = Checked),
        (status = 400, description = "`after` or `until` is no number."),
        (status = 403, description = "The token does not have the scope `admin`."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn tarballs(
    State(app): State<Arc<App>>,
    _admin: Admin,
    uri: Uri,
) -> Result<Json<Checked>, ApiError> {
    let after = number(uri.query(), "after")?.unwrap_or(0);
    let until = number(uri.query(), "until")?.unwrap_or(u64::MAX);
    let checked = check_events(&app.cluster, &app.tarballs, after, until).await;
    let checked = checked
        .map_err(|error| ApiError::disturbed("the tarball store cannot be looked into", error))?;
    Ok(Json(checked))
}

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
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// Whose history this is, where it stands here, and its chain hash at the sequence `at`.
pub(crate) async fn position(
    State(app): State<Arc<App>>,
    Admin(_): Admin,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let at = number(uri.query(), "at")?.unwrap_or(0);
    let head = app.cluster.history()?;
    let chain_there = app.cluster.chain_hash_at(at)?;
    Ok(Json(json!({
        "release": env!("CARGO_PKG_VERSION"),
        "cluster": head.cluster,
        "history": head.history,
        "sequence": head.sequence,
        "chain": hex::encode(head.chain),
        "at": { "sequence": at, "chain": chain_there.map(hex::encode) },
    })))
}

/// The records behind `after` up to `until`: each with its length before it. A body that ends early was cut off.
pub(crate) async fn records(
    State(app): State<Arc<App>>,
    Extension(places): Extension<BackupPlaces>,
    Admin(_): Admin,
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

/// Looks for the tarballs that some events behind `after` up to `until` name; `next` is where to go on.
pub(crate) async fn tarballs(
    State(app): State<Arc<App>>,
    Admin(_): Admin,
    uri: Uri,
) -> Result<Json<Checked>, ApiError> {
    let after = number(uri.query(), "after")?.unwrap_or(0);
    let until = number(uri.query(), "until")?.unwrap_or(u64::MAX);
    let checked = check_events(&app.cluster, &app.tarballs, after, until).await;
    let checked = checked
        .map_err(|error| ApiError::disturbed("the tarball store cannot be looked into", error))?;
    Ok(Json(checked))
}

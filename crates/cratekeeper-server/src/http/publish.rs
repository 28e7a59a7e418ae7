//! `PUT /api/v1/crates/new`: publish one version of a crate.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, FromRequestParts, Request, State};
use cratekeeper_domain::{
    Command, CrateName, Judged, Publish, PublishFrame, Rejection, RejectionKind, Scope, judge,
};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};
use utoipa::ToSchema;

use super::body::Incoming;
use super::caller::Caller;
use super::error::ApiError;
use super::limits::PUBLISH_WAIT_MAX;
use super::spool::{Spool, Spooled};
use crate::app::App;

/// Places for publishes being received or judged; they bound disk, memory and processors.
#[derive(Clone)]
pub(crate) struct PublishPlaces(Arc<Semaphore>);

impl PublishPlaces {
    pub(crate) fn new(places: usize) -> PublishPlaces {
        PublishPlaces(Arc::new(Semaphore::new(places.max(1))))
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        match timeout(PUBLISH_WAIT_MAX, Arc::clone(&self.0).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(ApiError::unavailable(
                "this node is busy with other publishes; nothing was published, try again in a moment",
            )),
        }
    }
}

/// What cargo reads after a publish: it prints each of `other`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Published {
    warnings: Warnings,
}

#[derive(Serialize, ToSchema)]
struct Warnings {
    /// Always empty.
    invalid_categories: Vec<String>,
    /// Always empty.
    invalid_badges: Vec<String>,
    /// Sentences.
    other: Vec<String>,
}

/// A body received whole.
struct Upload {
    json: Vec<u8>,
    tarball: Spooled,
    place: OwnedSemaphorePermit,
}

/// Publish a version.
///
/// The body is a frame: the length of a JSON document as an unsigned 32-bit little-endian number, the document as cargo writes it
/// (the cargo reference, "Publish"), the length of the tarball in the same form, the tarball (`.crate`), nothing after it. Name,
/// version, dependencies and features are taken from the tarball's own Cargo.toml, and the document must agree with it. By
/// default a tarball may have 100 MiB and the document 1 MiB. When the answer comes, every node that is ready shows the version.
/// To publish the same bytes again is a success. Needs the scope `publish-new` for a new crate, `publish-update` for a new version.
#[utoipa::path(
    put, path = "/api/v1/crates/new", operation_id = "publish_version", tag = "crates",
    request_body(content_type = "application/octet-stream", description = "The frame; cargo sends it without a content type."),
    responses(
        (status = 200, description = "It is published.", body = Published),
        (status = 400, description = "Frame, document, tarball or manifest break a rule; the detail says which."),
        (status = 403, description = "The token's scopes or patterns do not allow it, or the account does not own the crate."),
        (status = 408, description = "The body stopped arriving."),
        (status = 409, description = "The version exists with other bytes, or the name is too like that of another crate."),
        (status = 413, description = "Document or tarball are larger than this registry takes."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    Extension(places): Extension<PublishPlaces>,
    request: Request,
) -> Result<Json<Published>, ApiError> {
    let mut measured = Measured {
        started: Instant::now(),
        outcome: "abandoned",
    };
    let outcome = publish_one(app, places, request).await;
    measured.outcome = match &outcome {
        Ok((_, true)) => "accepted",
        Ok((_, false)) => "already",
        Err(error) => error.outcome(),
    };
    outcome.map(|(published, _)| Json(published))
}

/// Counted however it ends, also when the client hangs up.
struct Measured {
    started: Instant,
    outcome: &'static str,
}

impl Drop for Measured {
    fn drop(&mut self) {
        metrics::counter!("cratekeeper_publishes_total", "outcome" => self.outcome).increment(1);
        metrics::histogram!("cratekeeper_publish_duration_seconds")
            .record(self.started.elapsed().as_secs_f64());
    }
}

/// True beside the answer if something was stored.
async fn publish_one(
    app: Arc<App>,
    places: PublishPlaces,
    request: Request,
) -> Result<(Published, bool), ApiError> {
    let (mut parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&parts.headers, body, app.settings.body_idle_timeout);
    let caller = match Caller::from_request_parts(&mut parts, &app).await {
        Ok(caller) => caller,
        Err(error) => return Err(refuse(incoming, error).await),
    };
    let upload = match receive(&app, &caller, &places, &mut incoming).await {
        Ok(upload) => upload,
        Err(error) => return Err(refuse(incoming, error).await),
    };

    let deadline = Instant::now() + app.settings.publish_deadline;
    let (judged, tarball) = judged(&app, upload).await?;
    may_publish(&caller, &judged.facts.name)?;

    let command = Command::Publish(Box::new(Publish {
        facts: judged.facts,
        checksum: tarball.checksum,
        tarball_bytes: tarball.bytes,
    }));
    // What would be refused anyway must not leave a tarball behind.
    let request = caller.request(command);
    app.cluster.foresee(&request, deadline).await?;

    // The tarball goes first: one that no event names is only wasted space, an event without its tarball a broken promise.
    let stored = app
        .tarballs
        .put(&tarball.checksum, tarball.path(), tarball.bytes);
    timeout_at(deadline, stored).await.map_err(|_| {
        ApiError::unavailable("the tarball store did not answer in time; nothing was published, try again in a moment")
    })??;
    let executed = app.cluster.execute(request, deadline).await?;
    let warnings = Warnings {
        invalid_categories: Vec::new(),
        invalid_badges: Vec::new(),
        other: judged.warnings,
    };
    Ok((Published { warnings }, !executed.events.is_empty()))
}

async fn refuse(incoming: Incoming, error: ApiError) -> ApiError {
    incoming.drain().await;
    error
}

/// Takes in the whole body, its tarball as a file.
async fn receive(
    app: &App,
    caller: &Caller,
    places: &PublishPlaces,
    incoming: &mut Incoming,
) -> Result<Upload, ApiError> {
    may_publish_something(caller)?;
    let settings = &app.settings;
    let bytes_max = 8 + u64::from(settings.json_bytes_max) + u64::from(settings.tarball_bytes_max);
    if incoming
        .claimed_bytes
        .is_some_and(|claimed| claimed > bytes_max)
    {
        return Err(Rejection::new(
            RejectionKind::TooLarge,
            format!(
                "the upload is too large: a tarball may have {} bytes here; leave files out with `exclude` in Cargo.toml, or ask whoever runs the registry to raise the limit",
                settings.tarball_bytes_max
            ),
        )
        .into());
    }

    let place = places.take().await?;
    let mut frame = PublishFrame::new(settings.json_bytes_max, settings.tarball_bytes_max);
    let mut spool = Spool::create(&settings.spool_dir).await.map_err(no_space)?;
    while let Some(piece) = incoming.next().await? {
        let tarball = frame.feed(&piece)?;
        spool.write(tarball).await.map_err(no_space)?;
    }
    Ok(Upload {
        json: frame.finish()?,
        tarball: spool.finish().await.map_err(no_space)?,
        place,
    })
}

/// Opens the tarball and judges it, away from the threads that answer requests.
async fn judged(app: &Arc<App>, upload: Upload) -> Result<(Judged, Spooled), ApiError> {
    let app = Arc::clone(app);
    let judging = spawn_blocking(move || {
        let Upload {
            json,
            tarball,
            place,
        } = upload;
        let file = File::open(tarball.path()).map_err(no_space)?;
        let reader = BufReader::with_capacity(64 * 1024, file);
        let judged = judge(&json, reader, tarball.bytes, &app.settings.rules)?;
        // Held until here, so that clients who hang up do not leave more work behind than there are places.
        drop(place);
        Ok((judged, tarball))
    });
    judging.await.map_err(|error| {
        ApiError::broken(
            "the registry made a mistake while judging the tarball",
            error,
        )
    })?
}

/// Is the token for publishing at all? Asked before a body is received.
fn may_publish_something(caller: &Caller) -> Result<(), ApiError> {
    let token = caller.authenticate()?;
    if token.has(Scope::PublishUpdate) || token.has(Scope::PublishNew) {
        return Ok(());
    }
    Err(Rejection::new(
        RejectionKind::Forbidden,
        "this token has neither the scope `publish-new` nor `publish-update`; use one that has them",
    )
    .into())
}

/// A look at what this node knows, only to refuse early: whether the crate is new and who owns it is the leader's to say.
fn may_publish(caller: &Caller, krate: &CrateName) -> Result<(), ApiError> {
    caller
        .require(Scope::PublishUpdate, Some(krate))
        .or_else(|_| caller.require(Scope::PublishNew, Some(krate)))
}

fn no_space(error: std::io::Error) -> ApiError {
    ApiError::disturbed(
        "this node cannot take uploads at the moment; nothing was published",
        error,
    )
}

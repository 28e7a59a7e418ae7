//! Yanking, unyanking, and an administrator's removal of a version.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Command, CrateName, Scope, Version};
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{read_json, read_small};
use super::caller::{Admin, Caller};
use super::document::{Done, VersionPath};
use super::error::ApiError;
use crate::app::App;

/// Yank a version.
///
/// No new lock file will name it; those that do can still download it. Needs the scope `yank` and ownership.
#[utoipa::path(
    delete, path = "/api/v1/crates/{name}/{version}/yank", operation_id = "yank_version", tag = "crates",
    params(VersionPath),
    responses(
        (status = 200, description = "It is yanked, now or before.", body = Done),
        (status = 400, description = "That cannot be a name or a version."),
        (status = 403, description = "The token's scopes or patterns do not allow it, or the account does not own the crate."),
        (status = 404, description = "There is no such crate or version."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn yank(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, ApiError> {
    ignore(&app, &headers, body).await?;
    let (krate, version) = asked_for(&caller, &name, &version)?;
    caller
        .execute(&app, Command::Yank { krate, version })
        .await?;
    Ok(Json(Done::DONE))
}

/// Take back a yank.
///
/// Needs the scope `yank` and ownership.
#[utoipa::path(
    put, path = "/api/v1/crates/{name}/{version}/unyank", operation_id = "unyank_version", tag = "crates",
    params(VersionPath),
    responses(
        (status = 200, description = "It is not yanked.", body = Done),
        (status = 400, description = "That cannot be a name or a version."),
        (status = 403, description = "The token's scopes or patterns do not allow it, or the account does not own the crate."),
        (status = 404, description = "There is no such crate or version."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn unyank(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, ApiError> {
    ignore(&app, &headers, body).await?;
    let (krate, version) = asked_for(&caller, &name, &version)?;
    caller
        .execute(&app, Command::Unyank { krate, version })
        .await?;
    Ok(Json(Done::DONE))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "It contained a key."}))]
struct Removal {
    /// Kept in the history for ever.
    #[schema(max_length = 1000)]
    reason: String,
}

/// Remove a version.
///
/// It leaves the index and can no longer be downloaded. Name and version are never free again. Needs the scope `admin`.
#[utoipa::path(
    delete, path = "/api/v1/crates/{name}/{version}", operation_id = "remove_version", tag = "crates",
    params(VersionPath), request_body = Removal,
    responses(
        (status = 200, description = "It is removed, now or before.", body = Done),
        (status = 400, description = "That cannot be a name or a version, or the body is not the JSON expected."),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 404, description = "There is no such crate or version."),
        (status = 408, description = "The body stopped arriving."),
        (status = 413, description = "The body is larger than 64 KiB."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, ApiError> {
    let removal: Removal = read_json(&headers, body, app.settings.body_idle_timeout).await?;
    let command = Command::RemoveVersion {
        krate: CrateName::parse(&name)?,
        version: Version::parse(&version)?,
        reason: removal.reason,
    };
    caller.execute(&app, command).await?;
    Ok(Json(Done::DONE))
}

/// cargo sends nothing, an empty chunked body, or an empty body that claims to be JSON, depending on its age.
async fn ignore(app: &App, headers: &HeaderMap, body: Body) -> Result<(), ApiError> {
    read_small(headers, body, app.settings.body_idle_timeout).await?;
    Ok(())
}

fn asked_for(caller: &Caller, name: &str, version: &str) -> Result<(CrateName, Version), ApiError> {
    let krate = CrateName::parse(name)?;
    let version = Version::parse(version)?;
    caller.require(Scope::Yank, Some(&krate))?;
    Ok((krate, version))
}

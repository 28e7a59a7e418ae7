//! Yanking, unyanking, and an administrator's removal of a version.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Command, CrateName, Scope, Version};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{read_json, read_small};
use super::caller::{Admin, Caller};
use super::error::ApiError;
use crate::app::App;

/// `DELETE …/{name}/{version}/yank`.
pub(crate) async fn yank(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    ignore(&app, &headers, body).await?;
    let (krate, version) = asked_for(&caller, &name, &version)?;
    caller
        .execute(&app, Command::Yank { krate, version })
        .await?;
    Ok(Json(json!({ "ok": true })))
}

/// `PUT …/{name}/{version}/unyank`.
pub(crate) async fn unyank(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    ignore(&app, &headers, body).await?;
    let (krate, version) = asked_for(&caller, &name, &version)?;
    caller
        .execute(&app, Command::Unyank { krate, version })
        .await?;
    Ok(Json(json!({ "ok": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    reason: String,
}

/// `DELETE /api/v1/crates/{name}/{version}`: for an administrator, with the reason that the history keeps.
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let removal: Removal = read_json(&headers, body, app.settings.body_idle_timeout).await?;
    let command = Command::RemoveVersion {
        krate: CrateName::parse(&name)?,
        version: Version::parse(&version)?,
        reason: removal.reason,
    };
    caller.execute(&app, command).await?;
    Ok(Json(json!({ "ok": true })))
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

//! `GET /api/v1/crates/{name}` and `/{version}`: one crate, one version, as JSON for scripts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use cratekeeper_cluster::{CrateSummary, VersionSummary};
use cratekeeper_domain::{CrateName, Version};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Reader;
use super::document::{CratePath, VersionPath};
use super::error::ApiError;
use super::facts::ShownFacts;
use super::time::rfc3339;
use crate::app::App;
use crate::search::max_version;

/// A crate with all of its versions.
#[derive(Serialize, ToSchema)]
#[schema(as = Crate)]
pub(crate) struct ShownCrate {
    /// As it was first published.
    name: String,
    /// Of `max_version`.
    description: Option<String>,
    /// The newest version that is not yanked, and no prerelease if there is any other; null if all are yanked.
    max_version: Option<String>,
    /// Logins.
    owners: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
    /// In the order of publication.
    versions: Vec<ShownVersion>,
}

/// A version as a list shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = VersionSummary)]
struct ShownVersion {
    version: String,
    /// SHA-256 of the tarball, in hex.
    checksum: String,
    tarball_bytes: u64,
    yanked: bool,
    /// An administrator removed it; it cannot be downloaded.
    removed: bool,
    #[schema(format = DateTime)]
    published_at: String,
    /// Login; null where nobody is known.
    published_by: Option<String>,
}

/// A version with all that its manifest said.
#[derive(Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct WholeVersion {
    #[serde(flatten)]
    summary: ShownVersion,
    #[serde(flatten)]
    facts: ShownFacts,
}

/// Look at a crate.
#[utoipa::path(
    get, path = "/api/v1/crates/{name}", operation_id = "get_crate", tag = "crates",
    params(CratePath),
    responses(
        (status = 200, description = "The crate.", body = ShownCrate),
        (status = 403, description = "The token may not read."),
        (status = 404, description = "There is no such crate."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn krate(
    State(app): State<Arc<App>>,
    _reader: Reader,
    Path(name): Path<String>,
) -> Result<Json<ShownCrate>, ApiError> {
    krate_json(&app, &name)
}

/// Look at the crate called `new`.
///
/// A crate may be called so, and publishing stands where its page is.
#[utoipa::path(
    get, path = "/api/v1/crates/new", operation_id = "get_crate_called_new", tag = "crates",
    responses(
        (status = 200, description = "The crate.", body = ShownCrate),
        (status = 403, description = "The token may not read."),
        (status = 404, description = "There is no such crate."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn krate_called_new(
    State(app): State<Arc<App>>,
    _reader: Reader,
) -> Result<Json<ShownCrate>, ApiError> {
    krate_json(&app, "new")
}

/// Look at a version.
#[utoipa::path(
    get, path = "/api/v1/crates/{name}/{version}", operation_id = "get_version", tag = "crates",
    params(VersionPath),
    responses(
        (status = 200, description = "The version.", body = WholeVersion),
        (status = 403, description = "The token may not read."),
        (status = 404, description = "There is no such crate or version."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn version(
    State(app): State<Arc<App>>,
    _reader: Reader,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<WholeVersion>, ApiError> {
    let (krate, asked) = named(&name, &version)?;
    let (summary, facts) = app
        .cluster
        .version(&krate.canonical(), &asked)?
        .ok_or_else(|| no_version(&name, &version))?;
    Ok(Json(WholeVersion {
        summary: shown_version(&summary),
        facts: ShownFacts::new(&facts),
    }))
}

/// The crate of that name in any of its spellings.
pub(crate) fn summary(app: &App, name: &str) -> Result<CrateSummary, ApiError> {
    let parsed = CrateName::parse(name).map_err(|_| no_crate(name))?;
    app.cluster
        .krate(&parsed.canonical())?
        .ok_or_else(|| no_crate(name))
}

/// A name and version to look up; what cannot be either does not exist.
pub(crate) fn named(name: &str, version: &str) -> Result<(CrateName, Version), ApiError> {
    let krate = CrateName::parse(name).map_err(|_| no_crate(name))?;
    let parsed = Version::parse(version).map_err(|_| no_version(name, version))?;
    Ok((krate, parsed))
}

pub(crate) fn no_version(name: &str, version: &str) -> ApiError {
    ApiError::missing(format!(
        "there is no version `{version}` of a crate `{name}` in this registry"
    ))
}

fn no_crate(name: &str) -> ApiError {
    ApiError::missing(format!("there is no crate `{name}` in this registry"))
}

fn krate_json(app: &App, name: &str) -> Result<Json<ShownCrate>, ApiError> {
    let krate = summary(app, name)?;
    let newest = max_version(&krate.versions);
    let facts = match newest {
        Some(newest) => app
            .cluster
            .version(&krate.name.canonical(), &newest.version)?,
        None => None,
    };
    Ok(Json(ShownCrate {
        name: krate.name.as_str().to_owned(),
        description: facts.and_then(|(_, facts)| facts.description),
        max_version: newest.map(|newest| newest.version.to_string()),
        owners: krate
            .owners
            .iter()
            .map(|owner| owner.as_str().to_owned())
            .collect(),
        created_at: rfc3339(krate.created_at_ms),
        updated_at: rfc3339(krate.updated_at_ms),
        versions: krate.versions.iter().map(shown_version).collect(),
    }))
}

fn shown_version(version: &VersionSummary) -> ShownVersion {
    let published_by = version.published_by.as_ref();
    ShownVersion {
        version: version.version.to_string(),
        checksum: version.checksum.to_string(),
        tarball_bytes: version.tarball_bytes,
        yanked: version.yanked,
        removed: version.removed,
        published_at: rfc3339(version.published_at_ms),
        published_by: published_by.map(|login| login.as_str().to_owned()),
    }
}

//! `GET /api/v1/crates/{name}` and `/{version}`: one crate, one version, as JSON for scripts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use cratekeeper_cluster::{CrateSummary, VersionSummary};
use cratekeeper_domain::{CrateName, Dependency, DependencyKind, Login, Version};
use serde_json::{Value, json};

use super::caller::Reader;
use super::error::ApiError;
use super::time::rfc3339;
use crate::app::App;
use crate::search::max_version;

pub(crate) async fn krate(
    State(app): State<Arc<App>>,
    _reader: Reader,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    krate_json(&app, &name)
}

/// A crate may be called `new`, and the publish route stands where its page is.
pub(crate) async fn krate_called_new(
    State(app): State<Arc<App>>,
    _reader: Reader,
) -> Result<Json<Value>, ApiError> {
    krate_json(&app, "new")
}

pub(crate) async fn version(
    State(app): State<Arc<App>>,
    _reader: Reader,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (krate, asked) = named(&name, &version)?;
    let (summary, facts) = app
        .cluster
        .version(&krate.canonical(), &asked)?
        .ok_or_else(|| no_version(&name, &version))?;
    let mut shown = version_json(&summary);
    let more = json!({
        "name": facts.name.as_str(),
        "description": facts.description,
        "homepage": facts.homepage,
        "documentation": facts.documentation,
        "repository": facts.repository,
        "license": facts.license,
        "license_file": facts.license_file,
        "keywords": facts.keywords,
        "categories": facts.categories,
        "features": facts.features,
        "links": facts.links,
        "rust_version": facts.rust_version,
        "dependencies": facts.dependencies.iter().map(dependency_json).collect::<Vec<_>>(),
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    Ok(Json(shown))
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

fn krate_json(app: &App, name: &str) -> Result<Json<Value>, ApiError> {
    let krate = summary(app, name)?;
    let newest = max_version(&krate.versions);
    let facts = match newest {
        Some(newest) => app
            .cluster
            .version(&krate.name.canonical(), &newest.version)?,
        None => None,
    };
    Ok(Json(json!({
        "name": krate.name.as_str(),
        "description": facts.and_then(|(_, facts)| facts.description),
        "max_version": newest.map(|newest| newest.version.to_string()),
        "owners": krate.owners.iter().map(Login::as_str).collect::<Vec<_>>(),
        "created_at": rfc3339(krate.created_at_ms),
        "updated_at": rfc3339(krate.updated_at_ms),
        "versions": krate.versions.iter().map(version_json).collect::<Vec<_>>(),
    })))
}

fn version_json(version: &VersionSummary) -> Value {
    json!({
        "version": version.version.to_string(),
        "checksum": version.checksum.to_string(),
        "tarball_bytes": version.tarball_bytes,
        "yanked": version.yanked,
        "removed": version.removed,
        "published_at": rfc3339(version.published_at_ms),
        "published_by": version.published_by.as_ref().map(Login::as_str),
    })
}

pub(crate) fn dependency_json(dependency: &Dependency) -> Value {
    json!({
        "name": dependency.name,
        "req": dependency.req,
        "features": dependency.features,
        "optional": dependency.optional,
        "default_features": dependency.default_features,
        "target": dependency.target,
        "kind": match dependency.kind {
            DependencyKind::Normal => "normal",
            DependencyKind::Build => "build",
            DependencyKind::Dev => "dev",
        },
        "registry": dependency.registry,
        "package": dependency.package,
        "public": dependency.public,
        "artifact": dependency.artifact,
        "bindep_target": dependency.bindep_target,
        "lib": dependency.lib,
    })
}

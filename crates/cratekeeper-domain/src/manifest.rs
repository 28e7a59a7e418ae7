//! A tarball's own Cargo.toml, judged: the facts of the index come from it, and cargo's JSON must agree in meaning.

mod agreement;
mod dependencies;
mod features;
mod json;
mod metadata;
mod readable;
mod registry;

use std::io::Read;

use cargo_util_schemas::manifest::{TomlManifest, TomlPackage};

use crate::rejection::{invalid, shown};
use crate::tarball::{Bounds, read_manifest};
use crate::{CrateName, Rejection, Version, VersionFacts};
use json::PublishJson;

/// What the operator set; see limits.rs for what is fixed.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Index URLs that mean this registry (the canonical one first), as they appear in `registry-index`: `sparse+https://…/index/`.
    pub own_index_urls: Vec<String>,
    /// Index URLs of other registries that dependencies may name, beside crates.io; `None`: any.
    pub allowed_registries: Option<Vec<String>>,
    pub unpacked_bytes_max: u64,
    pub entries_max: u64,
    pub features_max: usize,
    pub dependencies_max: usize,
    pub require_description: bool,
    pub require_license: bool,
    pub allow_wildcard_requirements: bool,
    /// Canonical names nobody may publish, beside those reserved for the toolchain and for Windows.
    pub reserved_names: Vec<String>,
}

/// What publishing would record, and what cargo should print as warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub facts: VersionFacts,
    pub warnings: Vec<String>,
}

/// Opens the tarball, judges every entry and the manifest, compares with cargo's JSON, and makes sure that cargo can read the index line.
pub fn judge(
    json: &[u8],
    tarball: impl Read,
    tarball_bytes: u64,
    rules: &Rules,
) -> Result<Judged, Rejection> {
    let json = PublishJson::parse(json)?;
    let name = CrateName::parse(&json.name)?;
    let version = Version::parse(&json.vers)?;
    name.refuse_reserved(&rules.reserved_names)?;

    let bounds = Bounds::of(rules.unpacked_bytes_max, rules.entries_max, tarball_bytes);
    let text = read_manifest(tarball, &name, &version, bounds)?;
    let manifest = parse(&text)?;
    let package = package_of(&manifest, &name, &version)?;

    let mut warnings = Vec::new();
    let declared = dependencies::declared(&manifest, rules, &mut warnings)?;
    let features = features::declared(&manifest, rules)?;
    features::validate(&features, &declared.dependencies)?;
    let mut facts = metadata::judge(package, name, version, rules, &mut warnings)?;
    facts.dependencies = declared.dependencies;
    facts.features = features;

    agreement::must_agree(&facts, &declared.unversioned, &json, rules)?;
    readable::by_cargo(&facts, &mut warnings)?;
    Ok(Judged { facts, warnings })
}

fn parse(text: &str) -> Result<TomlManifest, Rejection> {
    let manifest: TomlManifest = match toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            return invalid(format!(
                "the tarball's Cargo.toml cannot be read: {}",
                shown(error.message()),
            ));
        }
    };
    for (table, present) in [
        ("patch", manifest.patch.is_some()),
        ("replace", manifest.replace.is_some()),
    ] {
        if present {
            return invalid(format!(
                "the tarball's Cargo.toml has a `[{table}]` table, which means nothing in a published crate; remove it, or build the tarball with `cargo package`, which does"
            ));
        }
    }
    Ok(manifest)
}

fn package_of<'a>(
    manifest: &'a TomlManifest,
    name: &CrateName,
    version: &Version,
) -> Result<&'a TomlPackage, Rejection> {
    let Some(package) = manifest.package() else {
        return invalid("the tarball's Cargo.toml has no `[package]` table");
    };
    let Some(named) = &package.name else {
        return invalid("the tarball's Cargo.toml has no `name` in `[package]`");
    };
    if named.as_ref() != name.as_str() {
        return invalid(format!(
            "the tarball's Cargo.toml names the package `{}`, the request `{name}`; they must be the same",
            shown(named.as_ref()),
        ));
    }
    let inherited = |_| inheritance("version");
    let Some(versioned) = package.normalized_version().map_err(inherited)? else {
        return invalid("the tarball's Cargo.toml has no `version` in `[package]`");
    };
    if versioned != version.semver() {
        return invalid(format!(
            "the tarball's Cargo.toml has the version {}, the request {version}; they must be the same",
            shown(&versioned.to_string()),
        ));
    }
    Ok(package)
}

/// A value that only the workspace knows, which is not in the tarball.
fn inheritance(what: &str) -> Rejection {
    Rejection::new(
        crate::RejectionKind::Invalid,
        format!(
            "the tarball's Cargo.toml takes `{what}` from a workspace, which is not part of the tarball; build it with `cargo package`, which fills in the values"
        ),
    )
}

//! Cargo drops an index line that it cannot read without a word, so every line is read with cargo's own schema before it is accepted.

use std::str::FromStr;

use cargo_platform::Platform;
use cargo_util_schemas::index::{IndexPackage, RegistryDependency};
use semver::VersionReq;

use crate::rejection::{invalid, shown};
use crate::{Checksum, Rejection, VersionFacts, render_index_line};

pub(super) fn by_cargo(facts: &VersionFacts, warnings: &mut Vec<String>) -> Result<(), Rejection> {
    let line = render_index_line(facts, &Checksum([0; 32]), false, 0);
    let package: IndexPackage<'_> = match serde_json::from_slice(&line) {
        Ok(package) => package,
        Err(error) => {
            return invalid(format!(
                "cargo could not read this version from the index: {}; correct Cargo.toml",
                shown(&error.to_string()),
            ));
        }
    };
    for dependency in &package.deps {
        if let Err(why) = readable(dependency) {
            return invalid(format!(
                "cargo could not read the dependency `{}` from the index: {}; correct Cargo.toml",
                shown(&dependency.name),
                shown(&why),
            ));
        }
    }
    if package.v.is_some_and(|v| v > 2) {
        warnings.push(
            "only a nightly cargo will see this version, because it has artifact dependencies"
                .to_owned(),
        );
    }
    Ok(())
}

/// What cargo parses only after the line as a whole.
fn readable(dependency: &RegistryDependency<'_>) -> Result<(), String> {
    VersionReq::parse(&dependency.req).map_err(|error| error.to_string())?;
    if let Some(target) = &dependency.target {
        Platform::from_str(target).map_err(|error| error.to_string())?;
    }
    if let Some(registry) = &dependency.registry {
        url::Url::parse(registry).map_err(|error| error.to_string())?;
    }
    match dependency.kind.as_deref() {
        Some("dev") if dependency.optional => Err("a dev-dependency cannot be optional".to_owned()),
        _ => Ok(()),
    }
}

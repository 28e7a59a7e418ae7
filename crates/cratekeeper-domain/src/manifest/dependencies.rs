//! The dependencies that a manifest declares, in the terms of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use cargo_platform::Platform;
use cargo_util_schemas::manifest::{
    InheritableDependency, PackageName, TomlDependency, TomlDetailedDependency, TomlManifest,
};
use semver::VersionReq;

use super::{Rules, inheritance, registry};
use crate::limits::{TARGET_BYTES_MAX, TARGET_DEPTH_MAX};
use crate::rejection::{invalid, shown};
use crate::{CrateName, Dependency, DependencyKind, Rejection};

pub(super) struct Declared {
    pub(super) dependencies: Vec<Dependency>,
    /// Dev-dependencies without a version, which cargo leaves out when it publishes.
    pub(super) unversioned: BTreeSet<String>,
}

type Table = BTreeMap<PackageName, InheritableDependency>;

pub(super) fn declared(
    manifest: &TomlManifest,
    rules: &Rules,
    warnings: &mut Vec<String>,
) -> Result<Declared, Rejection> {
    use DependencyKind::{Build, Dev, Normal};
    let mut tables: Vec<(DependencyKind, Option<&str>, Option<&Table>)> = vec![
        (Normal, None, manifest.dependencies.as_ref()),
        (Build, None, manifest.build_dependencies()),
        (Dev, None, manifest.dev_dependencies()),
    ];
    for (target, platform) in manifest.target.iter().flatten() {
        must_be_platform(target)?;
        let target = Some(target.as_str());
        tables.push((Normal, target, platform.dependencies.as_ref()));
        tables.push((Build, target, platform.build_dependencies()));
        tables.push((Dev, target, platform.dev_dependencies()));
    }
    let mut declared = Declared {
        dependencies: Vec::new(),
        unversioned: BTreeSet::new(),
    };
    for (kind, target, table) in tables {
        for (name, dependency) in table.into_iter().flatten() {
            let Ok(dependency) = dependency.normalized() else {
                return Err(inheritance(name.as_ref()));
            };
            let details = details_of(dependency);
            if kind == Dev && details.version.is_none() {
                declared.unversioned.insert(name.to_string());
                continue;
            }
            let dependency = dependency_of(name, &details, kind, target, rules)?;
            judge_requirement(&dependency, rules, warnings)?;
            declared.dependencies.push(dependency);
        }
    }
    if declared.dependencies.len() > rules.dependencies_max {
        return invalid(format!(
            "Cargo.toml has {} dependencies, this registry takes at most {}; split the crate, or ask its operators for a higher limit",
            declared.dependencies.len(),
            rules.dependencies_max,
        ));
    }
    Ok(declared)
}

fn details_of(dependency: &TomlDependency) -> TomlDetailedDependency {
    match dependency {
        TomlDependency::Detailed(details) => details.clone(),
        TomlDependency::Simple(version) => TomlDetailedDependency {
            version: Some(version.clone()),
            ..TomlDetailedDependency::default()
        },
    }
}

fn dependency_of(
    name: &PackageName,
    details: &TomlDetailedDependency,
    kind: DependencyKind,
    target: Option<&str>,
    rules: &Rules,
) -> Result<Dependency, Rejection> {
    let name = name.as_ref();
    must_be_identifier(name)?;
    let package = details.package.as_ref().map(ToString::to_string);
    CrateName::parse(package.as_deref().unwrap_or(name))?;
    let registry = registry_of(name, details, rules)?;
    if let Some(registry) = &registry {
        registry::must_be_allowed(registry, name, rules)?;
    }
    Ok(Dependency {
        name: name.to_owned(),
        req: requirement(name, details)?,
        features: details.features.clone().unwrap_or_default(),
        optional: details.optional.unwrap_or(false),
        default_features: details.default_features().unwrap_or(true),
        target: target.map(ToOwned::to_owned),
        kind,
        registry,
        package,
        public: details.public,
        artifact: details.artifact.as_ref().map(|kinds| kinds.0.clone()),
        bindep_target: details.target.clone(),
        lib: details.artifact.is_some() && details.lib.unwrap_or(false),
    })
}

/// What the manifest calls a dependency becomes part of `--extern` and of feature names.
fn must_be_identifier(name: &str) -> Result<(), Rejection> {
    CrateName::parse(name.trim_start_matches('_')).map_or_else(
        |_| {
            invalid(format!(
                "`{}` is not a name for a dependency: use only ASCII letters, digits, `-` and `_`, starting with a letter or `_`",
                shown(name),
            ))
        },
        |_| Ok(()),
    )
}

fn requirement(name: &str, details: &TomlDetailedDependency) -> Result<String, Rejection> {
    let text = match &details.version {
        Some(version) => version.as_str(),
        None if details.path.is_none() && details.git.is_none() => "*",
        None => {
            return invalid(format!(
                "the dependency `{name}` has no version, only a path or a Git repository, which users of the crate do not have; add `version`"
            ));
        }
    };
    match VersionReq::parse(text) {
        Ok(req) => Ok(req.to_string()),
        Err(error) => invalid(format!(
            "the dependency `{name}` requires the version `{}`, which cannot be read: {error}",
            shown(text),
        )),
    }
}

fn registry_of(
    name: &str,
    details: &TomlDetailedDependency,
    rules: &Rules,
) -> Result<Option<String>, Rejection> {
    match (&details.registry_index, &details.registry) {
        (Some(url), _) => Ok(registry::in_index_terms(url, rules)),
        (None, Some(local)) if local.as_ref() != "crates-io" => invalid(format!(
            "the dependency `{name}` names its registry `{local}`, which means something only with the author's configuration; build the tarball with `cargo package`, which writes the URL"
        )),
        (None, _) => Ok(Some(registry::CRATES_IO.to_owned())),
    }
}

/// Short and flat enough for cargo's parser, which recurses.
pub(super) fn is_bounded(target: &str) -> bool {
    let depths = target.chars().scan(0_usize, |depth, c| {
        match c {
            '(' => *depth += 1,
            ')' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    target.len() <= TARGET_BYTES_MAX && depths.max().unwrap_or(0) <= TARGET_DEPTH_MAX
}

fn must_be_platform(target: &str) -> Result<(), Rejection> {
    if !is_bounded(target) {
        return invalid(format!(
            "the target `{}` in Cargo.toml is longer than {TARGET_BYTES_MAX} bytes or nested deeper than {TARGET_DEPTH_MAX}; simplify it",
            shown(target),
        ));
    }
    match Platform::from_str(target) {
        Ok(_) if !target.is_empty() => Ok(()),
        Ok(_) => invalid("a target in Cargo.toml is empty; name a platform or a `cfg(…)`"),
        Err(error) => invalid(format!(
            "the target `{}` in Cargo.toml cannot be read: {}",
            shown(target),
            shown(&error.to_string()),
        )),
    }
}

fn judge_requirement(
    dependency: &Dependency,
    rules: &Rules,
    warnings: &mut Vec<String>,
) -> Result<(), Rejection> {
    let name = &dependency.name;
    if dependency.optional && dependency.kind == DependencyKind::Dev {
        return invalid(format!(
            "the dev-dependency `{name}` is optional, which cargo does not allow; remove `optional`"
        ));
    }
    if dependency.req != "*" {
        return Ok(());
    }
    if !rules.allow_wildcard_requirements {
        return invalid(format!(
            "the dependency `{name}` takes any version (`*`), which breaks with its next incompatible release; require a version"
        ));
    }
    warnings.push(format!(
        "the dependency `{name}` takes any version (`*`) and will break with its next incompatible release"
    ));
    Ok(())
}

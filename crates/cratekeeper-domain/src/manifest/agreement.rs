//! Cargo's JSON must say what the tarball's manifest says: whoever reviews one must not get the other.
//! Only meaning counts: `1` and `^1` are one requirement, and cargo spells `cfg(…)` its own way.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use cargo_platform::Platform;
use semver::VersionReq;

use super::json::{JsonDependency, PublishJson};
use super::{Rules, dependencies, registry};
use crate::rejection::{invalid, shown};
use crate::{Dependency, DependencyKind, Rejection, VersionFacts};

pub(super) fn must_agree(
    facts: &VersionFacts,
    unversioned: &BTreeSet<String>,
    json: &PublishJson,
    rules: &Rules,
) -> Result<(), Rejection> {
    same_dependencies(facts, unversioned, json, rules)?;
    same_features(facts, json)?;
    same_text("links", facts.links.as_deref(), json.links.as_deref())?;
    same_text(
        "rust-version",
        facts.rust_version.as_deref(),
        json.rust_version.as_deref(),
    )
}

fn same_dependencies(
    facts: &VersionFacts,
    unversioned: &BTreeSet<String>,
    json: &PublishJson,
    rules: &Rules,
) -> Result<(), Rejection> {
    let mut in_tarball: Vec<Meaning> = facts.dependencies.iter().map(Meaning::of).collect();
    let mut in_request = Vec::new();
    for dependency in json.deps.iter().flatten() {
        let dependency = in_index_terms(dependency, rules)?;
        // Old cargos send what newer ones leave out.
        let left_out = dependency.kind == DependencyKind::Dev
            && dependency.req == "*"
            && unversioned.contains(&dependency.name);
        if !left_out {
            in_request.push(Meaning::of(&dependency));
        }
    }
    in_tarball.sort();
    in_request.sort();
    if in_tarball == in_request {
        return Ok(());
    }
    let only = |these: &[Meaning], others: &[Meaning]| {
        let missing = these.iter().find(|meaning| !others.contains(meaning));
        missing.map_or_else(|| "nothing else".to_owned(), Meaning::in_words)
    };
    invalid(format!(
        "the dependencies in the request differ from those in the tarball's Cargo.toml: the tarball has {}, the request {}; publish with `cargo publish`",
        only(&in_tarball, &in_request),
        only(&in_request, &in_tarball),
    ))
}

/// A dependency of the request: there `name` is the crate's, and no registry means this one.
fn in_index_terms(dependency: &JsonDependency, rules: &Rules) -> Result<Dependency, Rejection> {
    let name = &dependency.name;
    let kind = match dependency.kind.as_deref() {
        None | Some("normal") => DependencyKind::Normal,
        Some("build") => DependencyKind::Build,
        Some("dev") => DependencyKind::Dev,
        Some(other) => {
            return invalid(format!(
                "the dependency `{}` in the request has the kind `{}`; use normal, build or dev",
                shown(name),
                shown(other),
            ));
        }
    };
    let explicit = dependency.explicit_name_in_toml.as_ref();
    let url = dependency.registry.as_deref();
    Ok(Dependency {
        name: explicit.unwrap_or(name).clone(),
        req: dependency.version_req.clone(),
        features: dependency.features.clone().unwrap_or_default(),
        optional: dependency.optional.unwrap_or(false),
        default_features: dependency.default_features.unwrap_or(true),
        target: dependency.target.clone(),
        kind,
        registry: url.and_then(|url| registry::in_index_terms(url, rules)),
        package: explicit.map(|_| name.clone()),
        public: None,
        artifact: dependency.artifact.clone(),
        bindep_target: dependency.bindep_target.clone(),
        lib: dependency.lib.unwrap_or(false),
    })
}

/// A dependency in one spelling.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Meaning {
    name: String,
    kind: DependencyKind,
    target: Option<String>,
    krate: String,
    req: String,
    registry: Option<String>,
    features: BTreeSet<String>,
    optional: bool,
    default_features: bool,
    artifact: BTreeSet<String>,
    bindep_target: Option<String>,
    lib: bool,
}

impl Meaning {
    fn of(dependency: &Dependency) -> Meaning {
        Meaning {
            name: dependency.name.clone(),
            kind: dependency.kind,
            target: dependency.target.as_deref().map(platform),
            krate: dependency.crate_name().to_owned(),
            req: requirement(&dependency.req),
            registry: dependency.registry.clone(),
            features: dependency.features.iter().cloned().collect(),
            optional: dependency.optional,
            default_features: dependency.default_features,
            artifact: dependency.artifact.iter().flatten().cloned().collect(),
            bindep_target: dependency.bindep_target.clone(),
            lib: dependency.lib,
        }
    }

    fn in_words(&self) -> String {
        use std::fmt::Write;
        let mut words = format!("`{} {}`", shown(&self.name), shown(&self.req));
        let mut add = |word: String| {
            write!(words, ", {word}").expect("writing to a string does not fail");
        };
        if self.krate != self.name {
            add(format!("crate `{}`", shown(&self.krate)));
        }
        add(self.kind.as_str().to_owned());
        if let Some(target) = &self.target {
            add(format!("for `{}`", shown(target)));
        }
        match &self.registry {
            None => add("from this registry".to_owned()),
            Some(url) if url == registry::CRATES_IO => add("from crates.io".to_owned()),
            Some(url) => add(format!("from `{}`", shown(url))),
        }
        if !self.features.is_empty() {
            let features: Vec<&str> = self.features.iter().map(String::as_str).collect();
            add(format!("with {}", shown(&features.join(" "))));
        }
        if !self.default_features {
            add("without default features".to_owned());
        }
        if self.optional {
            add("optional".to_owned());
        }
        words
    }
}

fn requirement(text: &str) -> String {
    VersionReq::parse(text).map_or_else(|_| text.to_owned(), |req| req.to_string())
}

fn platform(text: &str) -> String {
    if !dependencies::is_bounded(text) {
        return text.to_owned();
    }
    Platform::from_str(text).map_or_else(|_| text.to_owned(), |platform| platform.to_string())
}

fn same_features(facts: &VersionFacts, json: &PublishJson) -> Result<(), Rejection> {
    let sets = |features: &BTreeMap<String, Vec<String>>| -> BTreeMap<String, BTreeSet<String>> {
        let set = |values: &Vec<String>| values.iter().cloned().collect();
        features
            .iter()
            .map(|(name, values)| (name.clone(), set(values)))
            .collect()
    };
    let in_tarball = sets(&facts.features);
    let in_request = json.features.as_ref().map(sets).unwrap_or_default();
    let names = in_tarball.keys().chain(in_request.keys());
    let differing = |name: &&String| in_tarball.get(*name) != in_request.get(*name);
    match names.into_iter().find(differing) {
        None => Ok(()),
        Some(name) => invalid(format!(
            "the feature `{}` in the request is not the one in the tarball's Cargo.toml; publish with `cargo publish`",
            shown(name),
        )),
    }
}

/// Cargos that do not know a field do not send it.
fn same_text(
    field: &str,
    in_tarball: Option<&str>,
    in_request: Option<&str>,
) -> Result<(), Rejection> {
    match in_request {
        Some(request) if in_tarball != Some(request) => invalid(format!(
            "`{field}` is `{}` in the request and `{}` in the tarball's Cargo.toml; publish with `cargo publish`",
            shown(request),
            shown(in_tarball.unwrap_or("absent")),
        )),
        _ => Ok(()),
    }
}

//! What a version's manifest said, as answers and events show it.

use std::collections::BTreeMap;

use cratekeeper_domain::{Dependency, DependencyKind, VersionFacts};
use serde::Serialize;
use utoipa::ToSchema;

/// What a manifest said about a version.
#[derive(Serialize, ToSchema)]
#[schema(as = Facts)]
pub(crate) struct ShownFacts {
    name: String,
    description: Option<String>,
    homepage: Option<String>,
    documentation: Option<String>,
    repository: Option<String>,
    /// An SPDX expression, as it was written.
    license: Option<String>,
    license_file: Option<String>,
    keywords: Vec<String>,
    categories: Vec<String>,
    /// What each feature turns on.
    features: BTreeMap<String, Vec<String>>,
    /// The native library it links to.
    links: Option<String>,
    /// The oldest Rust it builds with.
    rust_version: Option<String>,
    dependencies: Vec<ShownDependency>,
}

/// A dependency, as a line of the index has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Dependency)]
struct ShownDependency {
    /// As the manifest calls it.
    name: String,
    /// The versions that will do.
    req: String,
    features: Vec<String>,
    optional: bool,
    default_features: bool,
    /// Only for this target, or `cfg(…)`.
    target: Option<String>,
    kind: Kind,
    /// Index URL of another registry; null for this one.
    registry: Option<String>,
    /// The crate's real name, where the manifest gave it another.
    package: Option<String>,
    public: Option<bool>,
    artifact: Option<Vec<String>>,
    bindep_target: Option<String>,
    lib: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DependencyKind)]
enum Kind {
    Normal,
    Build,
    Dev,
}

impl ShownFacts {
    pub(crate) fn new(facts: &VersionFacts) -> ShownFacts {
        ShownFacts {
            name: facts.name.as_str().to_owned(),
            description: facts.description.clone(),
            homepage: facts.homepage.clone(),
            documentation: facts.documentation.clone(),
            repository: facts.repository.clone(),
            license: facts.license.clone(),
            license_file: facts.license_file.clone(),
            keywords: facts.keywords.clone(),
            categories: facts.categories.clone(),
            features: facts.features.clone(),
            links: facts.links.clone(),
            rust_version: facts.rust_version.clone(),
            dependencies: facts.dependencies.iter().map(dependency).collect(),
        }
    }
}

fn dependency(dependency: &Dependency) -> ShownDependency {
    ShownDependency {
        name: dependency.name.clone(),
        req: dependency.req.clone(),
        features: dependency.features.clone(),
        optional: dependency.optional,
        default_features: dependency.default_features,
        target: dependency.target.clone(),
        kind: match dependency.kind {
            DependencyKind::Normal => Kind::Normal,
            DependencyKind::Build => Kind::Build,
            DependencyKind::Dev => Kind::Dev,
        },
        registry: dependency.registry.clone(),
        package: dependency.package.clone(),
        public: dependency.public,
        artifact: dependency.artifact.clone(),
        bindep_target: dependency.bindep_target.clone(),
        lib: dependency.lib,
    }
}

//! `VersionFacts` ⇄ protobuf.

use std::collections::BTreeMap;

use cratekeeper_domain::{CrateName, Dependency, Version, VersionFacts};

use crate::scalar::{decode_dependency_kind, encode_dependency_kind};
use crate::{DecodeError, pb};

pub(crate) fn encode_facts(facts: &VersionFacts) -> pb::event::VersionFacts {
    pb::event::VersionFacts {
        name: facts.name.to_string(),
        version: facts.version.to_string(),
        dependencies: facts.dependencies.iter().map(encode_dependency).collect(),
        features: facts
            .features
            .iter()
            .map(|(name, values)| pb::event::Feature {
                name: name.clone(),
                values: values.clone(),
            })
            .collect(),
        links: facts.links.clone(),
        rust_version: facts.rust_version.clone(),
        description: facts.description.clone(),
        homepage: facts.homepage.clone(),
        documentation: facts.documentation.clone(),
        repository: facts.repository.clone(),
        license: facts.license.clone(),
        license_file: facts.license_file.clone(),
        keywords: facts.keywords.clone(),
        categories: facts.categories.clone(),
    }
}

pub(crate) fn decode_facts(
    facts: Option<pb::event::VersionFacts>,
) -> Result<VersionFacts, DecodeError> {
    let facts = facts.ok_or(DecodeError::Field("facts"))?;
    let features: BTreeMap<String, Vec<String>> = facts
        .features
        .into_iter()
        .map(|feature| (feature.name, feature.values))
        .collect();
    let dependencies: Result<Vec<Dependency>, DecodeError> = facts
        .dependencies
        .into_iter()
        .map(decode_dependency)
        .collect();
    Ok(VersionFacts {
        name: CrateName::parse(&facts.name)?,
        version: Version::parse(&facts.version)?,
        dependencies: dependencies?,
        features,
        links: facts.links,
        rust_version: facts.rust_version,
        description: facts.description,
        homepage: facts.homepage,
        documentation: facts.documentation,
        repository: facts.repository,
        license: facts.license,
        license_file: facts.license_file,
        keywords: facts.keywords,
        categories: facts.categories,
    })
}

fn encode_dependency(dependency: &Dependency) -> pb::event::Dependency {
    pb::event::Dependency {
        name: dependency.name.clone(),
        req: dependency.req.clone(),
        features: dependency.features.clone(),
        optional: dependency.optional,
        default_features: dependency.default_features,
        target: dependency.target.clone(),
        kind: encode_dependency_kind(dependency.kind),
        registry: dependency.registry.clone(),
        package: dependency.package.clone(),
        public: dependency.public,
        artifact: dependency
            .artifact
            .clone()
            .map(|kinds| pb::event::Artifact { kinds }),
        bindep_target: dependency.bindep_target.clone(),
        lib: dependency.lib,
    }
}

fn decode_dependency(dependency: pb::event::Dependency) -> Result<Dependency, DecodeError> {
    Ok(Dependency {
        name: dependency.name,
        req: dependency.req,
        features: dependency.features,
        optional: dependency.optional,
        default_features: dependency.default_features,
        target: dependency.target,
        kind: decode_dependency_kind(dependency.kind)?,
        registry: dependency.registry,
        package: dependency.package,
        public: dependency.public,
        artifact: dependency.artifact.map(|artifact| artifact.kinds),
        bindep_target: dependency.bindep_target,
        lib: dependency.lib,
    })
}

//! What is known of one version: everything the index says, and what search and pages show. Derived from the tarball's manifest.

use std::collections::BTreeMap;

use crate::{CrateName, Version};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFacts {
    pub name: CrateName,
    pub version: Version,
    pub dependencies: Vec<Dependency>,
    pub features: BTreeMap<String, Vec<String>>,
    pub links: Option<String>,
    pub rust_version: Option<String>,
    pub description: Option<String>,
    pub homepage: Option<String>,
    pub documentation: Option<String>,
    pub repository: Option<String>,
    pub license: Option<String>,
    pub license_file: Option<String>,
    pub keywords: Vec<String>,
    pub categories: Vec<String>,
}

/// As an index line has it (cargo reference, "Index format"): `name` is the key in Cargo.toml, `package` the real name if renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    pub name: String,
    pub req: String,
    pub features: Vec<String>,
    pub optional: bool,
    pub default_features: bool,
    pub target: Option<String>,
    pub kind: DependencyKind,
    /// Index URL of another registry; `None` is this one.
    pub registry: Option<String>,
    pub package: Option<String>,
    pub public: Option<bool>,
    pub artifact: Option<Vec<String>>,
    pub bindep_target: Option<String>,
    pub lib: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyKind {
    Normal,
    Build,
    Dev,
}

impl DependencyKind {
    /// `normal`, `build`, `dev`.
    pub fn as_str(self) -> &'static str {
        match self {
            DependencyKind::Normal => "normal",
            DependencyKind::Build => "build",
            DependencyKind::Dev => "dev",
        }
    }
}

impl Dependency {
    /// The name of the crate it means, whatever the manifest calls it.
    pub fn crate_name(&self) -> &str {
        self.package.as_deref().unwrap_or(&self.name)
    }

    /// Is it a crate of this registry that users of the version will need?
    pub(crate) fn must_exist_here(&self) -> bool {
        self.registry.is_none() && self.kind != DependencyKind::Dev
    }
}

//! A tarball's own Cargo.toml, judged: the facts of the index come from it, and cargo's JSON must agree in meaning.

use std::io::Read;

use crate::{Rejection, VersionFacts};

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
    let _ = tarball;
    todo!("{json:?} {tarball_bytes} {rules:?}")
}

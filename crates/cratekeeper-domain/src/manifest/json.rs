//! The JSON part of a publish request, as far as it is compared. What is not known is ignored; null is as good as absent.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Rejection;
use crate::rejection::{invalid, shown};

#[derive(Debug, Deserialize)]
pub(super) struct PublishJson {
    pub(super) name: String,
    pub(super) vers: String,
    pub(super) deps: Option<Vec<JsonDependency>>,
    pub(super) features: Option<BTreeMap<String, Vec<String>>>,
    pub(super) links: Option<String>,
    pub(super) rust_version: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JsonDependency {
    /// Of the crate; `explicit_name_in_toml` is what the manifest calls it, if it renames it.
    pub(super) name: String,
    pub(super) version_req: String,
    pub(super) features: Option<Vec<String>>,
    pub(super) optional: Option<bool>,
    pub(super) default_features: Option<bool>,
    pub(super) target: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) registry: Option<String>,
    pub(super) explicit_name_in_toml: Option<String>,
    pub(super) artifact: Option<Vec<String>>,
    pub(super) bindep_target: Option<String>,
    pub(super) lib: Option<bool>,
}

impl PublishJson {
    pub(super) fn parse(json: &[u8]) -> Result<PublishJson, Rejection> {
        match serde_json::from_slice(json) {
            Ok(json) => Ok(json),
            Err(error) => invalid(format!(
                "the JSON of the request cannot be read: {}; publish with `cargo publish`",
                shown(&error.to_string()),
            )),
        }
    }
}

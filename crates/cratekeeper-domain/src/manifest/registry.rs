//! Which registry a dependency comes from: no name means crates.io in a manifest, and this registry in the index.

use super::Rules;
use crate::Rejection;
use crate::rejection::{invalid, shown};

/// How cargo identifies crates.io, even where it reads its sparse index.
pub(super) const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";

/// As the index says it: `None` for this registry, one spelling for crates.io, else the URL as given.
pub(super) fn in_index_terms(url: &str, rules: &Rules) -> Option<String> {
    let same = |other: &str| other.trim_end_matches('/') == url.trim_end_matches('/');
    if rules.own_index_urls.iter().any(|own| same(own)) {
        return None;
    }
    if same(CRATES_IO) {
        return Some(CRATES_IO.to_owned());
    }
    Some(url.to_owned())
}

/// Refuses a registry that the operator does not allow, or a URL that cargo cannot read.
pub(super) fn must_be_allowed(
    registry: &str,
    dependency: &str,
    rules: &Rules,
) -> Result<(), Rejection> {
    if let Err(error) = url::Url::parse(registry) {
        return invalid(format!(
            "the dependency `{dependency}` names the registry `{}`, which is not a URL: {error}",
            shown(registry),
        ));
    }
    let same = |other: &String| other.trim_end_matches('/') == registry.trim_end_matches('/');
    let allowed = match &rules.allowed_registries {
        None => true,
        Some(allowed) => registry == CRATES_IO || allowed.iter().any(same),
    };
    if allowed {
        return Ok(());
    }
    invalid(format!(
        "the dependency `{dependency}` comes from the registry `{}`: only this registry, crates.io and those its operators list are allowed; publish it here, or ask them",
        shown(registry),
    ))
}

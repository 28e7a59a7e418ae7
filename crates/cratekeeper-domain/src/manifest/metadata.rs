//! What a manifest says about the package itself.

use std::collections::BTreeMap;

use cargo_util_schemas::manifest::{TomlPackage, UnresolvedError};

use super::{Rules, inheritance};
use crate::limits::{
    CATEGORIES_MAX, DESCRIPTION_CHARS_MAX, KEYWORD_CHARS_MAX, KEYWORDS_MAX, LICENSE_CHARS_MAX,
};
use crate::rejection::{invalid, shown};
use crate::{CrateName, Rejection, Version, VersionFacts};

/// The facts of `[package]`; dependencies and features are left empty.
pub(super) fn judge(
    package: &TomlPackage,
    name: CrateName,
    version: Version,
    rules: &Rules,
    warnings: &mut Vec<String>,
) -> Result<VersionFacts, Rejection> {
    let facts = VersionFacts {
        name,
        version,
        dependencies: Vec::new(),
        features: BTreeMap::new(),
        links: package.links.clone(),
        rust_version: field("rust-version", package.normalized_rust_version())?
            .map(ToString::to_string),
        description: text("description", package.normalized_description())?,
        homepage: link("homepage", package.normalized_homepage())?,
        documentation: link("documentation", package.normalized_documentation())?,
        repository: link("repository", package.normalized_repository())?,
        license: text("license", package.normalized_license())?,
        license_file: text("license-file", package.normalized_license_file())?,
        keywords: list("keywords", package.normalized_keywords())?,
        categories: list("categories", package.normalized_categories())?,
    };
    judge_description(&facts, rules, warnings)?;
    judge_license(&facts, rules, warnings)?;
    judge_tags(&facts, warnings);
    Ok(facts)
}

fn field<T>(name: &str, value: Result<T, UnresolvedError>) -> Result<T, Rejection> {
    value.map_err(|_| inheritance(name))
}

fn text(
    name: &str,
    value: Result<Option<&String>, UnresolvedError>,
) -> Result<Option<String>, Rejection> {
    let value = field(name, value)?;
    Ok(value.filter(|text| !text.trim().is_empty()).cloned())
}

fn list(
    name: &str,
    value: Result<Option<&Vec<String>>, UnresolvedError>,
) -> Result<Vec<String>, Rejection> {
    Ok(field(name, value)?.cloned().unwrap_or_default())
}

/// A link ends up in a page, so it must not be able to run anything there.
fn link(
    name: &str,
    value: Result<Option<&String>, UnresolvedError>,
) -> Result<Option<String>, Rejection> {
    let Some(value) = text(name, value)? else {
        return Ok(None);
    };
    match url::Url::parse(&value) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(value)),
        _ => invalid(format!(
            "`{name}` in Cargo.toml is `{}`, which is not an http or https URL; correct or remove it",
            shown(&value),
        )),
    }
}

fn judge_description(
    facts: &VersionFacts,
    rules: &Rules,
    warnings: &mut Vec<String>,
) -> Result<(), Rejection> {
    match &facts.description {
        None if rules.require_description => {
            invalid("Cargo.toml has no `description`, which this registry requires; add one")
        }
        None => {
            warnings.push("Cargo.toml has no `description`".to_owned());
            Ok(())
        }
        Some(description) => {
            if description.chars().count() > DESCRIPTION_CHARS_MAX {
                warnings.push(format!(
                    "`description` in Cargo.toml has more than {DESCRIPTION_CHARS_MAX} characters"
                ));
            }
            Ok(())
        }
    }
}

fn judge_license(
    facts: &VersionFacts,
    rules: &Rules,
    warnings: &mut Vec<String>,
) -> Result<(), Rejection> {
    let Some(license) = &facts.license else {
        if facts.license_file.is_some() {
            return Ok(());
        }
        if rules.require_license {
            return invalid(
                "Cargo.toml has neither `license` nor `license-file`, which this registry requires; add one",
            );
        }
        warnings.push("Cargo.toml has neither `license` nor `license-file`".to_owned());
        return Ok(());
    };
    let mode = spdx::ParseMode {
        allow_slash_as_or_operator: true,
        allow_imprecise_license_names: false,
        allow_postfix_plus_on_gpl: true,
        allow_deprecated: true,
        allow_unknown: false,
    };
    let known = license.chars().count() <= LICENSE_CHARS_MAX
        && spdx::Expression::parse_mode(license, mode).is_ok();
    if !known {
        warnings.push(format!(
            "`license` in Cargo.toml is `{}`, which is not an SPDX expression",
            shown(license),
        ));
    }
    Ok(())
}

fn judge_tags(facts: &VersionFacts, warnings: &mut Vec<String>) {
    if facts.keywords.len() > KEYWORDS_MAX {
        warnings.push(format!(
            "Cargo.toml has {} keywords, crates.io takes at most {KEYWORDS_MAX}",
            facts.keywords.len(),
        ));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-');
    let odd = |keyword: &&String| {
        keyword.len() > KEYWORD_CHARS_MAX
            || !keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !keyword.chars().all(plain)
    };
    if let Some(keyword) = facts.keywords.iter().find(odd) {
        warnings.push(format!(
            "the keyword `{}` in Cargo.toml is not one that crates.io takes: at most {KEYWORD_CHARS_MAX} ASCII letters, digits, `_`, `-` and `+`",
            shown(keyword),
        ));
    }
    if facts.categories.len() > CATEGORIES_MAX {
        warnings.push(format!(
            "Cargo.toml has {} categories, crates.io takes at most {CATEGORIES_MAX}",
            facts.categories.len(),
        ));
    }
}

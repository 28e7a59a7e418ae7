//! Features: their names, what they may enable, and the rules by which cargo drops a version whose features do not add up.

use std::collections::{BTreeMap, BTreeSet};

use cargo_util_schemas::manifest::TomlManifest;

use super::Rules;
use crate::rejection::{invalid, shown};
use crate::{Dependency, Rejection};

type Features = BTreeMap<String, Vec<String>>;

pub(super) fn declared(manifest: &TomlManifest, rules: &Rules) -> Result<Features, Rejection> {
    let mut features = Features::new();
    for (name, values) in manifest.features().into_iter().flatten() {
        must_be_name(name.as_ref())?;
        if values.len() > rules.features_max {
            return invalid(format!(
                "the feature `{}` enables {} others, this registry takes at most {}",
                shown(name.as_ref()),
                values.len(),
                rules.features_max,
            ));
        }
        features.insert(name.to_string(), values.clone());
    }
    if features.len() > rules.features_max {
        return invalid(format!(
            "Cargo.toml has {} features, this registry takes at most {}; ask its operators for a higher limit",
            features.len(),
            rules.features_max,
        ));
    }
    Ok(features)
}

fn must_be_name(name: &str) -> Result<(), Rejection> {
    let starts = |c: char| unicode_ident::is_xid_start(c) || c == '_' || c.is_ascii_digit();
    let goes_on = |c: char| unicode_ident::is_xid_continue(c) || matches!(c, '+' | '-' | '.');
    if name.starts_with(starts) && name.chars().all(goes_on) {
        return Ok(());
    }
    invalid(format!(
        "`{}` is not a feature name: use letters, digits, `_`, `-`, `+` and `.`, not starting with a sign",
        shown(name),
    ))
}

/// What one value of a feature enables.
enum Enables<'a> {
    Feature(&'a str),
    /// `dep:name`.
    Dependency(&'a str),
    /// `name/feature`, or `name?/feature` if `weak`.
    FeatureOf {
        dependency: &'a str,
        feature: &'a str,
        weak: bool,
    },
}

impl<'a> Enables<'a> {
    fn parse(value: &'a str) -> Enables<'a> {
        if let Some((dependency, feature)) = value.split_once('/') {
            let (dependency, weak) = match dependency.strip_suffix('?') {
                Some(dependency) => (dependency, true),
                None => (dependency, false),
            };
            return Enables::FeatureOf {
                dependency,
                feature,
                weak,
            };
        }
        match value.strip_prefix("dep:") {
            Some(dependency) => Enables::Dependency(dependency),
            None => Enables::Feature(value),
        }
    }
}

/// Whatever cargo would find wrong when it reads the version's index line, after which it would act as if the version did not exist.
pub(super) fn validate(features: &Features, dependencies: &[Dependency]) -> Result<(), Rejection> {
    // Whether any dependency of that name is optional.
    let mut optional: BTreeMap<&str, bool> = BTreeMap::new();
    for dependency in dependencies {
        *optional.entry(&dependency.name).or_default() |= dependency.optional;
    }
    let all = || features.values().flatten().map(|v| Enables::parse(v));
    let explicit: BTreeSet<&str> = all()
        .filter_map(|enables| match enables {
            Enables::Dependency(name) => Some(name),
            Enables::Feature(_) | Enables::FeatureOf { .. } => None,
        })
        .collect();
    let known = Known {
        features,
        optional: &optional,
        explicit: &explicit,
    };
    for (feature, values) in features {
        for value in values {
            if let Err(why) = known.judge(&Enables::parse(value)) {
                return invalid(format!(
                    "the feature `{feature}` enables `{}`, but {why}",
                    shown(value)
                ));
            }
        }
    }
    let enabled: BTreeSet<&str> = all()
        .filter_map(|enables| match enables {
            Enables::Dependency(name) => Some(name),
            Enables::FeatureOf { dependency, .. } => Some(dependency),
            Enables::Feature(_) => None,
        })
        .collect();
    for (name, _) in optional.iter().filter(|(_, optional)| **optional) {
        if !enabled.contains(name) && !known.is_implicit(name) {
            return invalid(format!(
                "no feature enables the optional dependency `{name}`; add `dep:{name}` to one"
            ));
        }
    }
    Ok(())
}

struct Known<'a> {
    features: &'a Features,
    optional: &'a BTreeMap<&'a str, bool>,
    explicit: &'a BTreeSet<&'a str>,
}

impl Known<'_> {
    /// An optional dependency is a feature of the same name, unless that is declared or some feature says `dep:`.
    fn is_implicit(&self, name: &str) -> bool {
        self.optional.get(name) == Some(&true)
            && !self.explicit.contains(name)
            && !self.features.contains_key(name)
    }

    fn judge(&self, enables: &Enables<'_>) -> Result<(), String> {
        let unknown = |name| Err(format!("`{}` is not a dependency", shown(name)));
        match *enables {
            Enables::Feature(name) => {
                if self.features.contains_key(name) || self.is_implicit(name) {
                    return Ok(());
                }
                match self.optional.get(name) {
                    Some(true) => Err(format!(
                        "the dependency `{name}` has no feature of its own; write `dep:{name}`"
                    )),
                    Some(false) => Err(format!("the dependency `{name}` is not optional")),
                    None => Err(
                        "there is neither a feature nor an optional dependency of that name"
                            .to_owned(),
                    ),
                }
            }
            Enables::Dependency(name) => match self.optional.get(name) {
                Some(true) => Ok(()),
                Some(false) => Err(format!("the dependency `{name}` is not optional")),
                None => unknown(name),
            },
            Enables::FeatureOf {
                dependency,
                feature,
                weak,
            } => {
                if dependency.starts_with("dep:") {
                    return Err("`dep:` and `/` do not go together".to_owned());
                }
                if feature.is_empty() || feature.contains('/') {
                    return Err("after the `/` there must be one feature".to_owned());
                }
                match self.optional.get(dependency) {
                    None => unknown(dependency),
                    Some(false) if weak => Err(format!(
                        "the dependency `{dependency}` is not optional, so `?` means nothing"
                    )),
                    Some(_) => Ok(()),
                }
            }
        }
    }
}

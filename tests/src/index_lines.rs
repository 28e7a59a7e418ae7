//! Is our index line the public registry's, field by field? Differences that must be there have a name each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cargo_json::{CRATES_IO, requirement, respell};

/// A difference with a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// To us crates.io is another registry, so each dependency names it.
    RegistryNamed,
    /// It was published here now, and there long ago.
    Pubtime,
    /// Only cargo older than 1.19 needs the features split in two.
    FeaturesMerged,
    /// Follows from the split.
    SchemaVersion,
    /// Yanked there after it was published.
    YankedThere,
    /// The cargo that published it printed requirements in another way (`= 1.0` for `=1.0`).
    RequirementSpelled,
    /// The cargo that published it printed `cfg(…)` in another way.
    TargetSpelled,
}

/// The explained differences, or else the unexplained ones in words.
pub fn compare(ours: &Value, public: &Value) -> Result<Vec<Difference>, Vec<String>> {
    let mut explained = Vec::new();
    let mut wrong = Vec::new();
    for field in ["name", "vers", "cksum", "links", "rust_version"] {
        if ours[field] != public[field] {
            wrong.push(format!(
                "{field}: ours {}, public {}",
                ours[field], public[field]
            ));
        }
    }
    let known = [
        "name",
        "vers",
        "deps",
        "cksum",
        "features",
        "features2",
        "yanked",
        "links",
        "rust_version",
        "pubtime",
        "v",
    ];
    for field in ours.as_object().into_iter().flat_map(|line| line.keys()) {
        if !known.contains(&field.as_str()) {
            wrong.push(format!("{field}: no such field in the public index"));
        }
    }
    if features(ours) != features(public) {
        wrong.push(format!(
            "features: ours {:?}, public {:?}",
            features(ours),
            features(public)
        ));
    }
    compare_dependencies(ours, public, &mut explained, &mut wrong);
    let differences = [
        (ours["pubtime"] != public["pubtime"], Difference::Pubtime),
        (
            ours.get("features2") != public.get("features2"),
            Difference::FeaturesMerged,
        ),
        (schema(ours) != schema(public), Difference::SchemaVersion),
        (ours["yanked"] != public["yanked"], Difference::YankedThere),
    ];
    explained.extend(
        differences
            .iter()
            .filter(|(there, _)| *there)
            .map(|(_, kind)| *kind),
    );
    if wrong.is_empty() {
        Ok(explained)
    } else {
        Err(wrong)
    }
}

fn schema(line: &Value) -> u64 {
    line["v"].as_u64().unwrap_or(1)
}

/// Both halves of the split together, as cargo reads them.
fn features(line: &Value) -> BTreeMap<String, Value> {
    let halves = [&line["features"], &line["features2"]];
    let maps = halves.iter().filter_map(|half| half.as_object());
    maps.flatten()
        .map(|(name, values)| (name.clone(), values.clone()))
        .collect()
}

fn compare_dependencies(
    ours: &Value,
    public: &Value,
    explained: &mut Vec<Difference>,
    wrong: &mut Vec<String>,
) {
    let exact = |line: &Value| sorted(line, |dependency| full(dependency, false));
    let meant = |line: &Value| sorted(line, |dependency| full(dependency, true));
    let named = |line: &Value| dependencies(line).any(|one| one["registry"] == CRATES_IO);
    if named(ours) && !named(public) {
        explained.push(Difference::RegistryNamed);
    }
    if meant(ours) != meant(public) {
        wrong.push(format!(
            "deps: ours {:#?}, public {:#?}",
            meant(ours),
            meant(public)
        ));
    } else if exact(ours) != exact(public) {
        let spelled = |field: &str| {
            let all = |line| sorted(line, |one| json!([one["name"], one["kind"], one[field]]));
            all(ours) != all(public)
        };
        let kinds = [
            ("req", Difference::RequirementSpelled),
            ("target", Difference::TargetSpelled),
        ];
        explained.extend(
            kinds
                .iter()
                .filter(|(field, _)| spelled(field))
                .map(|(_, kind)| *kind),
        );
    }
}

fn dependencies(line: &Value) -> impl Iterator<Item = &Value> {
    line["deps"].as_array().into_iter().flatten()
}

/// Order among dependencies has no meaning.
fn sorted(line: &Value, of: impl Fn(&Value) -> Value) -> Vec<String> {
    let mut all: Vec<String> = dependencies(line).map(|one| of(one).to_string()).collect();
    all.sort();
    all
}

/// A dependency with every default written out; `normal`: and one spelling of requirement and target.
fn full(dependency: &Value, normal: bool) -> Value {
    let mut known = json!({
        "name": null, "req": null, "features": [], "optional": false, "default_features": true,
        "target": null, "kind": "normal", "registry": null, "package": null, "public": null,
        "artifact": null, "bindep_target": null, "lib": false,
    });
    for (name, value) in dependency.as_object().into_iter().flatten() {
        if !value.is_null() {
            known[name] = value.clone();
        }
    }
    if known["registry"] == CRATES_IO {
        known["registry"] = Value::Null;
    }
    if let (true, Some(text)) = (normal, known["req"].as_str()) {
        known["req"] = requirement(text).into();
    }
    if let (true, Some(text)) = (normal, known["target"].as_str()) {
        known["target"] = respell(text).into();
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_explained_or_told() {
        let public = json!({"name": "a", "vers": "1.0.0", "cksum": "c", "yanked": false,
            "features": {}, "features2": {"f": ["dep:b"]}, "v": 2,
            "deps": [{"name": "b", "req": "= 1.0", "kind": "normal"}]});
        let mut ours = json!({"name": "a", "vers": "1.0.0", "cksum": "c", "yanked": false,
            "features": {"f": ["dep:b"]}, "pubtime": "2026-01-01T00:00:00Z",
            "deps": [{"name": "b", "req": "=1.0", "kind": "normal", "registry": CRATES_IO}]});
        use Difference::*;
        let explained = [
            RegistryNamed,
            RequirementSpelled,
            Pubtime,
            FeaturesMerged,
            SchemaVersion,
        ];
        assert_eq!(compare(&ours, &public), Ok(explained.to_vec()));
        ours["cksum"] = "d".into();
        let told = vec!["cksum: ours \"d\", public \"c\"".to_owned()];
        assert_eq!(compare(&ours, &public), Err(told));
    }
}

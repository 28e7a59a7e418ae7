//! The JSON that cargo sends beside a tarball, derived from the tarball's manifest as cargo derives it.

use semver::VersionReq;
use serde_json::{Map, Value, json};
use toml::Table;

/// How cargo names the public registry to another one.
pub const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";

/// `own_index`: dependencies with this index URL are of the registry published to. `readme`: its file name and text.
pub fn metadata(manifest: &Table, own_index: &str, readme: Option<(&str, &str)>) -> Value {
    let package = table(manifest, "package").unwrap_or_default();
    let field = |name: &str| package.get(name).and_then(as_json);
    let list = |name: &str| field(name).unwrap_or_else(|| json!([]));
    json!({
        "name": field("name"),
        "vers": field("version"),
        "deps": dependencies(manifest, own_index),
        "features": manifest.get("features").and_then(as_json).unwrap_or_else(|| json!({})),
        "authors": list("authors"),
        "description": field("description"),
        "documentation": field("documentation"),
        "homepage": field("homepage"),
        "readme": readme.map(|(_, text)| text),
        "readme_file": readme.map(|(file, _)| file),
        "keywords": list("keywords"),
        "categories": list("categories"),
        "license": field("license"),
        "license_file": field("license-file"),
        "repository": field("repository"),
        "badges": manifest.get("badges").and_then(as_json).unwrap_or_else(|| json!({})),
        "links": field("links"),
        "rust_version": field("rust-version"),
    })
}

fn dependencies(manifest: &Table, own_index: &str) -> Vec<Value> {
    let mut all = Vec::new();
    collect(manifest, None, own_index, &mut all);
    for (target, tables) in table(manifest, "target").unwrap_or_default() {
        let tables = tables.as_table().cloned().unwrap_or_default();
        collect(&tables, Some(&respell(&target)), own_index, &mut all);
    }
    all
}

fn collect(tables: &Table, target: Option<&str>, own_index: &str, all: &mut Vec<Value>) {
    let kinds = [
        ("normal", ["dependencies", "dependencies"]),
        ("dev", ["dev-dependencies", "dev_dependencies"]),
        ("build", ["build-dependencies", "build_dependencies"]),
    ];
    for (kind, spellings) in kinds {
        let found = spellings.iter().find_map(|name| table(tables, name));
        for (name, wanted) in found.unwrap_or_default() {
            all.push(dependency(&name, &wanted, kind, target, own_index));
        }
    }
}

fn dependency(
    key: &str,
    wanted: &toml::Value,
    kind: &str,
    target: Option<&str>,
    own_index: &str,
) -> Value {
    let wanted = match wanted {
        toml::Value::String(version) => {
            Table::from_iter([("version".to_owned(), version.clone().into())])
        }
        other => other.as_table().cloned().unwrap_or_default(),
    };
    let text = |name: &str| wanted.get(name).and_then(toml::Value::as_str);
    let flag = |name: &str| wanted.get(name).and_then(toml::Value::as_bool);
    let renamed = text("package");
    let registry = match text("registry-index") {
        None => Some(CRATES_IO),
        Some(index) if index == own_index => None,
        Some(index) => Some(index),
    };
    let default_features = flag("default-features").or_else(|| flag("default_features"));
    let mut dependency = json!({
        "name": renamed.unwrap_or(key),
        "version_req": requirement(text("version").unwrap_or("*")),
        "features": wanted.get("features").and_then(as_json).unwrap_or_else(|| json!([])),
        "optional": flag("optional").unwrap_or(false),
        "default_features": default_features.unwrap_or(true),
        "target": target,
        "kind": kind,
    });
    let fields = dependency.as_object_mut().expect("made as an object");
    add(fields, "registry", registry);
    add(fields, "explicit_name_in_toml", renamed.map(|_| key));
    dependency
}

fn add(fields: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value.into());
    }
}

/// A version requirement as cargo prints it: `1` becomes `^1`.
pub(crate) fn requirement(text: &str) -> String {
    VersionReq::parse(text).map_or_else(|_| text.to_owned(), |parsed| parsed.to_string())
}

/// A target as cargo prints it: one space around `=` and after a comma, none elsewhere.
pub(crate) fn respell(target: &str) -> String {
    if !target.trim_start().starts_with("cfg(") {
        return target.to_owned();
    }
    let mut spelled = String::new();
    let mut quoted = false;
    for letter in target.chars() {
        match letter {
            '"' => {
                quoted = !quoted;
                spelled.push(letter);
            }
            _ if quoted => spelled.push(letter),
            '=' => spelled.push_str(" = "),
            ',' => spelled.push_str(", "),
            _ if letter.is_whitespace() => {}
            _ => spelled.push(letter),
        }
    }
    // A comma after the last element is allowed in a manifest and never printed.
    spelled.replace(", )", ")")
}

fn table(of: &Table, name: &str) -> Option<Table> {
    of.get(name)?.as_table().cloned()
}

fn as_json(value: &toml::Value) -> Option<Value> {
    serde_json::to_value(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_spelled_as_cargo_prints_it() {
        let target = "cfg(any(target_os=\"wasi, =\" , not( unix ),))";
        let spelled = "cfg(any(target_os = \"wasi, =\", not(unix)))";
        assert_eq!(respell(target), spelled);
        assert_eq!(respell("x86_64-pc-windows-gnu"), "x86_64-pc-windows-gnu");
    }

    #[test]
    fn a_renamed_dependency_keeps_both_names() {
        let manifest = "[package]\nname = \"a\"\nversion = \"1.0.0\"\n[dependencies.b]\npackage = \"c\"\nversion = \"1\"";
        let json = metadata(&toml::from_str(manifest).expect("TOML"), "", None);
        assert_eq!(json["deps"][0]["name"], "c");
        assert_eq!(json["deps"][0]["explicit_name_in_toml"], "b");
        assert_eq!(json["deps"][0]["version_req"], "^1");
        assert_eq!(json["deps"][0]["registry"], CRATES_IO);
    }
}

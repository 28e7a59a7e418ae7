//! The values of the chart: the files in `ci/`, the table in the README, and whether the schema knows them all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chart_directory;

/// One file of `ci/`.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    pub file: PathBuf,
    /// What it expects to exist already, as `Kind/name`: its lines `# external: …`.
    pub external: BTreeSet<String>,
}

pub fn scenarios() -> Vec<Scenario> {
    let directory = chart_directory().join("ci");
    let entries = fs::read_dir(directory).expect("the chart has a directory ci");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().map(Scenario::of).collect()
}

impl Scenario {
    fn of(file: PathBuf) -> Scenario {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.and_then(|name| name.strip_suffix("-values.yaml"));
        let text = read(&file);
        let external = text
            .lines()
            .filter_map(|line| line.strip_prefix("# external: "));
        Scenario {
            name: name
                .expect("a file in ci/ is called …-values.yaml")
                .to_owned(),
            external: external.map(str::to_owned).collect(),
            file,
        }
    }
}

const BEGIN: &str = "<!-- values: begin -->\n";
const END: &str = "<!-- values: end -->";

/// The table in the chart's README, if it is not what `values.yaml` says. With `bless` it is written anew.
pub fn stale_table(bless: bool) -> Option<String> {
    let file = chart_directory().join("README.md");
    let page = read(&file);
    let (before, rest) = page.split_once(BEGIN).expect("the README has a table");
    let (there, after) = rest.split_once(END).expect("the table ends");
    let wanted = table(&read(&chart_directory().join("values.yaml")));
    if there == wanted {
        return None;
    }
    if bless {
        let page = format!("{before}{BEGIN}{wanted}{END}{after}");
        fs::write(&file, page).expect("the README can be written");
        return None;
    }
    let stale = wanted.lines().find(|line| !there.contains(line));
    Some(stale.unwrap_or("a line too many").to_owned())
}

/// A row for each key above which `# -- …` stands.
fn table(text: &str) -> String {
    let values: Value = serde_saphyr::from_str(text).expect("values.yaml is YAML");
    let mut rows = String::from("| Value | Default | What it is |\n|---|---|---|\n");
    for (path, description) in documented(text) {
        let pointer = format!("/{}", path.replace('.', "/"));
        let value = values.pointer(&pointer).expect("a key of values.yaml");
        let row = format!("| `{path}` | `{value}` | {} |\n", escaped(&description));
        rows.push_str(&row);
    }
    rows
}

fn escaped(description: &str) -> String {
    description.replace('|', "\\|").replace('<', "&lt;")
}

/// `(path, description)` in the order of the file.
fn documented(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut description: Option<String> = None;
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(begin) = line.strip_prefix("# -- ") {
            description = Some(begin.to_owned());
        } else if let (Some(more), Some(begun)) = (line.strip_prefix("# "), &mut description) {
            begun.push(' ');
            begun.push_str(more);
        } else if let Some((key, _)) = line
            .split_once(':')
            .filter(|_| !line.starts_with(['#', '-']))
        {
            parents.retain(|(other, _)| *other < depth);
            parents.push((depth, key.to_owned()));
            if let Some(description) = description.take() {
                let path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
                found.push((path.join("."), description));
            }
        }
    }
    found
}

/// Values that the schema or the table does not know, keys of the schema that are no values, and objects of the chart's own that
/// would take any key.
pub fn schema_gaps() -> Vec<String> {
    let schema = read(&chart_directory().join("values.schema.json"));
    let schema: Value = serde_json::from_str(&schema).expect("the schema is JSON");
    let text = read(&chart_directory().join("values.yaml"));
    let values: Value = serde_saphyr::from_str(&text).expect("values.yaml is YAML");
    let documented: BTreeSet<String> = documented(&text)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    let mut gaps = Vec::new();
    compare(&schema, &schema, &values, "", &documented, &mut gaps);
    open_objects(&schema, "", &mut gaps);
    gaps
}

fn compare(
    root: &Value,
    schema: &Value,
    values: &Value,
    path: &str,
    documented: &BTreeSet<String>,
    gaps: &mut Vec<String>,
) {
    let schema = resolved(root, schema);
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let empty = serde_json::Map::new();
    let values = values.as_object().unwrap_or(&empty);
    for (key, value) in values {
        let path = format!("{path}{key}");
        match properties.get(key) {
            Some(property) if documented.contains(&path) || value.is_object() => {
                let path = format!("{path}.");
                // What has a description as a whole needs none for its parts.
                if !documented.contains(path.trim_end_matches('.')) {
                    compare(root, property, value, &path, documented, gaps);
                }
            }
            Some(_) => gaps.push(format!("{path} has no `# --` above it")),
            None => gaps.push(format!("{path} is not in the schema")),
        }
    }
    for key in properties.keys() {
        if !values.contains_key(key) && key != "global" {
            gaps.push(format!(
                "{path}{key} is in the schema, but not in values.yaml"
            ));
        }
    }
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference} is not in the schema")),
        None => schema,
    }
}

/// Only what is handed to Kubernetes as it is may have keys that the schema does not name.
fn open_objects(schema: &Value, path: &str, gaps: &mut Vec<String>) {
    const AS_KUBERNETES_HAS_IT: [&str; 3] = [
        "/definitions/kubernetesObject",
        "/definitions/named",
        "/properties/global",
    ];
    if let Value::Object(fields) = schema {
        let object = fields.get("type").is_some_and(|kind| kind == "object");
        if object
            && !fields.contains_key("additionalProperties")
            && !AS_KUBERNETES_HAS_IT.contains(&path)
        {
            gaps.push(format!("{path} in the schema would take any key"));
        }
        for (key, value) in fields {
            open_objects(value, &format!("{path}/{key}"), gaps);
        }
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

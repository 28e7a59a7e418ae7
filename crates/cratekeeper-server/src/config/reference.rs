//! Every key with its meaning, as `file.rs` documents it: for a new configuration file, and for the documentation. A key needs
//! its doc comment there and nothing here.

use std::fmt::Write;

use serde_json::Value;

use super::file::ConfigFile;

const SOURCE: &str = include_str!("file.rs");

/// A section of the configuration, in the order of the source.
struct Section {
    name: String,
    about: Vec<String>,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    kind: &'static str,
    /// Lines, as the source breaks them.
    about: Vec<String>,
    /// As TOML; `None` where there is none.
    default: Option<String>,
}

/// The beginning of a configuration file: every key, commented out, with its default.
pub(crate) fn commented() -> String {
    let sections = sections();
    let required: Vec<String> = sections
        .iter()
        .flat_map(|section| section.keys.iter().map(move |key| (section, key)))
        .filter(|(_, key)| key.about.join(" ").contains("Required"))
        .map(|(section, key)| format!("{}.{}", section.name, key.name))
        .collect();
    let mut text = format!(
        "# Configuration of a Cratekeeper node. Every key is here, commented out, with its default if it has one.\n\
         # Needed: {}, and where tarballs are kept; for more than one node, the certificates under [peer], too.\n\
         # A variable of the environment goes over a key of this file: http.listen is CRATEKEEPER_HTTP__LISTEN.\n\
         # `cratekeeper config check` says whether a node could start with it.\n",
        required.join(", ")
    );
    for section in sections {
        text.push('\n');
        for line in &section.about {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "[{}]", section.name);
        for key in &section.keys {
            text.push('\n');
            for line in &key.about {
                let _ = writeln!(text, "# {line}");
            }
            let example = key.default.as_deref().unwrap_or_else(|| key.placeholder());
            let _ = writeln!(text, "#{} = {example}", key.name);
        }
    }
    text
}

impl Key {
    fn placeholder(&self) -> &'static str {
        match self.kind {
            "text" | "secret" => "\"\"",
            "list of text" => "[]",
            _ => "0",
        }
    }
}

/// The sections with their keys, in the order of the source; what the source does not document has no place here, and a test
/// compares with what there is.
fn sections() -> Vec<Section> {
    let structs = documented_structs();
    let defaults = serde_json::to_value(ConfigFile::default())
        .expect("the configuration is plain data, which always serialises");
    let whole = structs.iter().find(|found| found.name == "ConfigFile");
    let sections = whole.into_iter().flat_map(|whole| &whole.fields);
    sections
        .filter_map(|section| {
            let found = structs.iter().find(|found| found.name == section.kind)?;
            let keys = found.fields.iter().map(|field| Key {
                name: field.name.clone(),
                kind: kind(&field.kind),
                about: field.about.clone(),
                default: toml_value(&defaults[&section.name][&field.name]),
            });
            Some(Section {
                name: section.name.clone(),
                about: found.about.clone(),
                keys: keys.collect(),
            })
        })
        .collect()
}

fn kind(rust: &str) -> &'static str {
    let inner = rust
        .strip_prefix("Option<")
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(rust);
    match inner {
        "bool" => "true or false",
        "Vec<String>" => "list of text",
        "Secret" => "secret",
        "String" => "text",
        "f32" | "f64" => "number",
        _ => "whole number",
    }
}

fn toml_value(default: &Value) -> Option<String> {
    match default {
        Value::Null => None,
        // JSON and TOML write these in the same way.
        default => Some(default.to_string()),
    }
}

struct Documented {
    name: String,
    about: Vec<String>,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    kind: String,
    about: Vec<String>,
}

/// Structs and fields with their doc comments. The source is what rustfmt makes of it, so a line is one thing.
fn documented_structs() -> Vec<Documented> {
    let mut structs: Vec<Documented> = Vec::new();
    let mut about = Vec::new();
    for line in SOURCE.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            about.push(doc.trim().to_owned());
        } else if let Some(name) = struct_named(line) {
            structs.push(Documented {
                name: name.to_owned(),
                about: std::mem::take(&mut about),
                fields: Vec::new(),
            });
        } else if let (Some((name, kind)), Some(current)) = (field_in(line), structs.last_mut()) {
            current.fields.push(Field {
                name: name.to_owned(),
                kind: kind.to_owned(),
                about: std::mem::take(&mut about),
            });
        } else if !line.starts_with("#[") {
            about.clear();
        }
    }
    structs
}

fn struct_named(line: &str) -> Option<&str> {
    let (visibility, name) = line.split_once("struct ")?;
    visibility.starts_with("pub").then_some(())?;
    name.strip_suffix(" {")
}

fn field_in(line: &str) -> Option<(&str, &str)> {
    let field = line.strip_prefix("pub(super) ")?.strip_suffix(',')?;
    field.split_once(": ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The page of the documentation about the configuration.
    fn page() -> String {
        let mut text = String::from(
            "# Configuration\n\n\
             <!-- Made from crates/cratekeeper-server/src/config/file.rs; a test compares. Write it anew with\n\
             BLESS=1 cargo test --workspace --bins -- the_page_about_the_configuration -->\n\n\
             A node reads `/etc/cratekeeper/cratekeeper.toml`, or the file that `--config` or `CRATEKEEPER_CONFIG` names. Over it go\n\
             variables of the environment, and over them `--set section.key=value`. A key that nobody knows is an error, so is a value\n\
             that does not fit. `cratekeeper config init` prints a file to begin with, `cratekeeper config check` judges one,\n\
             `cratekeeper config show` prints what a node would run with. Secrets may also stand in files of their own (`…_file`).\n\
             In a variable of the environment, a list is written with commas.\n",
        );
        for section in sections() {
            let name = &section.name;
            let _ = write!(text, "\n## `[{name}]`\n\n{}\n", section.about.join(" "));
            text.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
            for key in &section.keys {
                let _ = writeln!(
                    text,
                    "| `{}`<br>`CRATEKEEPER_{}__{}` | {}{} | {} | {} |",
                    key.name,
                    name.to_uppercase(),
                    key.name.to_uppercase(),
                    key.kind,
                    unit(&key.name),
                    key.default
                        .as_ref()
                        .map_or_else(|| "–".to_owned(), |value| format!("`{value}`")),
                    key.about.join(" ").replace('|', "\\|"),
                );
            }
        }
        text
    }

    fn unit(key: &str) -> &'static str {
        match key {
            key if key.ends_with("_seconds") => ", seconds",
            key if key.ends_with("_ms") => ", milliseconds",
            key if key.contains("bytes") => ", bytes",
            _ => "",
        }
    }

    #[test]
    fn every_key_is_documented_and_nothing_else() {
        let documented: BTreeSet<String> = sections()
            .iter()
            .flat_map(|section| {
                let keys = section.keys.iter();
                keys.map(move |key| {
                    assert!(
                        !section.about.is_empty() && !key.about.is_empty(),
                        "{}.{} has no doc comment",
                        section.name,
                        key.name
                    );
                    format!("{}.{}", section.name, key.name)
                })
            })
            .collect();
        let there: BTreeSet<String> = crate::config::layers::known_keys().into_iter().collect();
        assert_eq!(documented, there);
    }

    #[test]
    fn a_new_file_says_what_holds_without_it() {
        let text = commented();
        text.parse::<toml::Table>().expect("it is TOML");
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let all = uncommented.parse::<toml::Table>().expect("it is TOML");
        let defaults = toml::Table::try_from(ConfigFile::default()).expect("plain data");
        for (section, keys) in &defaults {
            for (key, value) in keys.as_table().expect("a section") {
                assert_eq!(all[section].get(key), Some(value), "{section}.{key}");
            }
        }
        assert!(
            text.contains("# Needed: http.public_url, cluster.id"),
            "{text}"
        );
    }

    #[test]
    fn the_page_about_the_configuration_is_what_the_source_says() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let page = page();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &page).expect("docs/ can be written");
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            there == page,
            "docs/configuration.md is not what config/file.rs says; run this test with BLESS=1"
        );
    }
}

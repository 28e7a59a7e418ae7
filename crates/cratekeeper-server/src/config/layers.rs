//! Puts the layers together, and names every key that nobody knows.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use config::{Config, Environment, File, FileFormat, Value, ValueKind};

use super::file::ConfigFile;

/// Read when no file is named, if it is there.
const DEFAULT_FILE: &str = "/etc/cratekeeper/cratekeeper.toml";
const PREFIX: &str = "CRATEKEEPER_";

/// Where a configuration comes from, the weakest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    pub(crate) file: Option<PathBuf>,
    /// `CRATEKEEPER_SECTION__KEY` and their values; others are not ours and ignored.
    pub(crate) environment: HashMap<String, String>,
    /// `section.key=value`, the value in TOML or as a bare string.
    pub(crate) set: Vec<String>,
}

impl Sources {
    /// The named file, or the one in the usual place if it is there; this process's environment; and `set`.
    pub(crate) fn new(file: Option<PathBuf>, set: Vec<String>) -> Sources {
        let usual = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file());
        Sources {
            file: file.or_else(usual),
            environment: std::env::vars_os()
                .filter_map(|(key, value)| {
                    Some((key.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            set,
        }
    }
}

/// The layers, merged and complete, but not yet judged.
pub(crate) fn load(sources: &Sources) -> anyhow::Result<ConfigFile> {
    let mut builder = Config::builder();
    if let Some(file) = &sources.file {
        builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml));
    }
    // Only names with a double underscore are settings: `CRATEKEEPER_TOKEN` and what Kubernetes adds for services are not.
    let environment = sources.environment.iter().filter(|(key, _)| {
        key.strip_prefix(PREFIX)
            .is_some_and(|key| key.contains("__"))
    });
    builder = builder.add_source(
        Environment::with_prefix("CRATEKEEPER")
            .prefix_separator("_")
            .separator("__")
            .ignore_empty(true)
            .source(Some(
                environment.map(|(k, v)| (k.clone(), v.clone())).collect(),
            )),
    );
    for assignment in &sources.set {
        builder = builder.add_source(File::from_str(&snippet(assignment)?, FileFormat::Toml));
    }
    let merged = builder.build().context("read the configuration")?;
    refuse_unknown_keys(&merged.cache)?;
    merged.try_deserialize().context("read the configuration")
}

/// `section.key=value` as a line of TOML; a value that is no TOML is taken as a string.
pub(crate) fn snippet(assignment: &str) -> anyhow::Result<String> {
    let Some((key, value)) = assignment.split_once('=') else {
        bail!("`{assignment}` does not set anything; write it as section.key=value");
    };
    let (key, value) = (key.trim(), value.trim());
    if key.split('.').count() != 2 {
        bail!("`{key}` is not a key of the configuration; write it as section.key=value");
    }
    let line = format!("{key} = {value}\n");
    if line.parse::<toml::Table>().is_ok() {
        return Ok(line);
    }
    let quoted = toml::Value::String(value.to_owned());
    Ok(format!("{key} = {quoted}\n"))
}

fn refuse_unknown_keys(merged: &Value) -> anyhow::Result<()> {
    let known = known_keys();
    let mut complaints = Vec::new();
    for (key, origin) in present_keys(merged) {
        if known.contains(&key) {
            continue;
        }
        let origin = origin
            .map(|origin| format!(" in {origin}"))
            .unwrap_or_default();
        let nearest = nearest(&key, &known)
            .map(|nearest| format!("; did you mean `{nearest}`?"))
            .unwrap_or_default();
        complaints.push(format!(
            "`{key}`{origin} is not a key of the configuration{nearest}"
        ));
    }
    complaints.sort();
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// `section.key` for each key there is: what the defaults serialise to, so that this list cannot be forgotten.
pub(super) fn known_keys() -> Vec<String> {
    let defaults = serde_json::to_value(ConfigFile::default())
        .expect("the configuration is plain data, which always serialises");
    let sections = defaults.as_object().into_iter().flatten();
    sections
        .flat_map(|(section, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.map(move |(key, _)| format!("{section}.{key}"))
        })
        .collect()
}

/// Each key with the place it comes from.
fn present_keys(merged: &Value) -> Vec<(String, Option<&str>)> {
    let ValueKind::Table(sections) = &merged.kind else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    for (section, value) in sections {
        // A bare key outside of any section is as unknown as any other.
        let ValueKind::Table(table) = &value.kind else {
            keys.push((section.clone(), value.origin()));
            continue;
        };
        for (key, value) in table {
            keys.push((format!("{section}.{key}"), value.origin()));
        }
    }
    keys
}

/// The known key that differs least, if it is near enough to be what was meant.
fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let bare = |key: &'a str| key.split_once('.').map_or(key, |(_, bare)| bare);
    let wanted = key.split_once('.').map_or(key, |(_, bare)| bare);
    // The right key in the wrong section is near, too.
    let distance = |known: &'a str| edits(key, known).min(edits(wanted, bare(known)) + 1);
    let distances = known.iter().map(|known| (distance(known), known.as_str()));
    let (distance, nearest) = distances.min()?;
    (distance <= 2.max(wanted.len() / 3)).then_some(nearest)
}

/// How many letters have to be put in, taken out or replaced to come from one to the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..to.len() {
            let replaced = diagonal + usize::from(letter != to[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{toml_text, validate};

    /// A configuration from the text of a file, `(name, value)` of the environment, and `--set`.
    fn sources(
        file: &str,
        environment: &[(&str, &str)],
        set: &[&str],
    ) -> (tempfile::TempDir, Sources) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("cratekeeper.toml");
        std::fs::write(&path, file).expect("a temporary file");
        let environment = environment
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let set = set.iter().map(|&set| set.to_owned()).collect();
        let sources = Sources {
            file: Some(path),
            environment,
            set,
        };
        (directory, sources)
    }

    fn shown(file: &str, environment: &[(&str, &str)], set: &[&str]) -> String {
        let (_directory, sources) = sources(file, environment, set);
        let config = load(&sources).expect("a good configuration");
        toml_text(&config).expect("a configuration can be shown")
    }

    fn refused(file: &str, environment: &[(&str, &str)], set: &[&str]) -> String {
        let (_directory, sources) = sources(file, environment, set);
        let error = load(&sources).expect_err("a wrong configuration");
        let text = format!("{error:#}");
        // The path is shown relative to where the test runs.
        let words = text.split_inclusive(char::is_whitespace).map(|word| {
            if word.trim().ends_with("/cratekeeper.toml") {
                word.replace(word.trim(), "FILE")
            } else {
                word.to_owned()
            }
        });
        words.collect()
    }

    #[test]
    fn defaults_give_way_to_the_file_the_file_to_the_environment_and_that_to_set() {
        let file = "[http]\nlisten = \"1.1.1.1:1\"\njson_bytes_max = 1\n[node]\nname = \"file\"";
        let environment = [
            ("CRATEKEEPER_HTTP__JSON_BYTES_MAX", "2"),
            ("CRATEKEEPER_NODE__NAME", "environment"),
        ];
        let shown = shown(file, &environment, &["node.name=set"]);
        for line in [
            "listen = \"1.1.1.1:1\"",
            "json_bytes_max = 2",
            "name = \"set\"",
            "publish_in_flight_max = 32",
        ] {
            assert!(
                shown.lines().any(|shown| shown == line),
                "{line} in {shown}"
            );
        }
    }

    #[test]
    fn the_environment_gives_lists_with_commas_and_booleans_as_words() {
        let environment = [
            ("CRATEKEEPER_CLUSTER__PEERS", "a:1, b:2"),
            ("CRATEKEEPER_PEER__INSECURE", "true"),
            (
                "CRATEKEEPER_REGISTRY__ALLOWED_REGISTRIES",
                "sparse+https://a/",
            ),
            ("CRATEKEEPER_TARBALLS__REDIRECT_SECONDS", "60"),
        ];
        let shown = shown("", &environment, &["registry.reserved_names=[\"x\"]"]);
        let shown: toml::Table = shown.parse().expect("TOML is shown");
        assert_eq!(shown["cluster"]["peers"].to_string(), "[\"a:1\", \"b:2\"]");
        assert_eq!(shown["peer"]["insecure"].as_bool(), Some(true));
        assert_eq!(
            shown["registry"]["allowed_registries"].to_string(),
            "[\"sparse+https://a/\"]"
        );
        assert_eq!(shown["registry"]["reserved_names"].to_string(), "[\"x\"]");
        assert_eq!(shown["tarballs"]["redirect_seconds"].as_integer(), Some(60));
    }

    #[test]
    fn what_the_command_line_and_kubernetes_put_into_the_environment_is_no_setting() {
        let environment = [
            ("CRATEKEEPER_TOKEN", "ck_x"),
            ("CRATEKEEPER_SERVER", "http://x"),
            ("CRATEKEEPER_SERVICE_PORT_HTTP", "8080"),
            ("CRATEKEEPER_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ];
        assert_eq!(shown("", &environment, &[]), shown("", &[], &[]));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_origin_and_the_one_that_was_meant() {
        let file = "stray = 1\n[http]\nlissten = \"1.1.1.1:1\"\n[whatever]\nx = 1";
        let environment = [("CRATEKEEPER_TARBALLS__BUKET", "b")];
        insta::assert_snapshot!(refused(file, &environment, &["peer.public_url=x"]), @r"
        `http.lissten` in FILE is not a key of the configuration; did you mean `http.listen`?
        `peer.public_url` is not a key of the configuration; did you mean `http.public_url`?
        `stray` in FILE is not a key of the configuration
        `tarballs.buket` in the environment is not a key of the configuration; did you mean `tarballs.bucket`?
        `whatever.x` in FILE is not a key of the configuration
        ");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_key() {
        insta::assert_snapshot!(refused("[http]\njson_bytes_max = \"many\"", &[], &[]), @r#"read the configuration: invalid type: string "many", expected an integer for key `http.json_bytes_max` in FILE"#);
        insta::assert_snapshot!(refused("[cluster]\npeers = 3", &[], &[]), @"read the configuration: invalid type: integer `3`, expected a list of strings, or one string with commas for key `cluster.peers`");
        insta::assert_snapshot!(refused("", &[], &["listen=1"]), @"`listen` is not a key of the configuration; write it as section.key=value");
        insta::assert_snapshot!(refused("", &[], &["http.listen"]), @"`http.listen` does not set anything; write it as section.key=value");
    }

    #[test]
    fn a_secret_is_not_shown_but_is_used() {
        let file = "[tarballs]\nbucket = \"b\"\naccess_key_id = \"id\"\nsecret_access_key = \"SESAME\"\n[http]\npublic_url = \"https://crates.example.org\"\n[cluster]\nid = \"c\"\n[peer]\ninsecure = true";
        let (_directory, sources) = sources(file, &[], &[]);
        let config = load(&sources).expect("a good configuration");
        let texts = [
            toml_text(&config).expect("a configuration can be shown"),
            crate::config::one_line(&config).expect("a configuration can be shown"),
            format!("{config:?}"),
        ];
        for text in texts {
            assert!(
                !text.contains("SESAME") && text.contains("(hidden)"),
                "{text}"
            );
        }
        let settings = validate(&config).expect("a valid configuration");
        let crate::config::TarballSettings::S3(options) = settings.tarballs else {
            panic!("tarballs are in S3 by default");
        };
        assert_eq!(
            options.credentials,
            Some(("id".to_owned(), "SESAME".to_owned()))
        );
    }
}

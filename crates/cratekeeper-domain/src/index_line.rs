//! The lines of an index file, as cargo reads them, and the path a crate's file has.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Checksum, Dependency, DependencyKind, VersionFacts};

/// Field by field what the public registry writes, in its order; only features are never split in two.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    vers: String,
    deps: Vec<DependencyLine<'a>>,
    cksum: String,
    features: &'a BTreeMap<String, Vec<String>>,
    yanked: bool,
    links: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rust_version: Option<&'a str>,
    pubtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<u32>,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct DependencyLine<'a> {
    name: &'a str,
    // Sorting puts a normal dependency before others of its name: old cargos misread `optional` otherwise.
    #[serde(skip)]
    rank: DependencyKind,
    req: &'a str,
    features: &'a [String],
    optional: bool,
    default_features: bool,
    target: Option<&'a str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bindep_target: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lib: bool,
}

impl<'a> DependencyLine<'a> {
    fn of(dependency: &'a Dependency) -> DependencyLine<'a> {
        DependencyLine {
            name: &dependency.name,
            rank: dependency.kind,
            req: &dependency.req,
            features: &dependency.features,
            optional: dependency.optional,
            default_features: dependency.default_features,
            target: dependency.target.as_deref(),
            kind: dependency.kind.as_str(),
            registry: dependency.registry.as_deref(),
            package: dependency.package.as_deref(),
            public: dependency.public,
            artifact: dependency.artifact.as_deref(),
            bindep_target: dependency.bindep_target.as_deref(),
            lib: dependency.lib,
        }
    }
}

/// One line, with its `\n`. A function of its arguments only, so equal on every node.
pub fn render_index_line(
    facts: &VersionFacts,
    checksum: &Checksum,
    yanked: bool,
    time_ms: u64,
) -> Vec<u8> {
    let mut deps: Vec<DependencyLine<'_>> =
        facts.dependencies.iter().map(DependencyLine::of).collect();
    deps.sort();
    let line = Line {
        name: facts.name.as_str(),
        vers: facts.version.to_string(),
        deps,
        cksum: checksum.to_string(),
        features: &facts.features,
        yanked,
        links: facts.links.as_deref(),
        rust_version: facts.rust_version.as_deref(),
        pubtime: utc_seconds(time_ms),
        v: schema_version(facts),
    };
    let mut bytes = serde_json::to_vec(&line).expect("strings, numbers and lists always serialise");
    bytes.push(b'\n');
    bytes
}

/// The `v` of a line, where it is not 1: a cargo too old for what the line says skips the line instead of misreading it.
fn schema_version(facts: &VersionFacts) -> Option<u32> {
    let newer_syntax = |value: &String| value.starts_with("dep:") || value.contains("?/");
    if facts.dependencies.iter().any(|d| d.artifact.is_some()) {
        Some(3)
    } else if facts.features.values().flatten().any(newer_syntax) {
        Some(2)
    } else {
        None
    }
}

/// `2026-11-21T12:00:00Z`: the only spelling of a time that cargo takes. Times after the year 9999 are shown as its end.
pub(crate) fn utc_seconds(time_ms: u64) -> String {
    const LAST_SECOND: i64 = 253_402_300_799;
    let seconds = i64::try_from(time_ms / 1000)
        .unwrap_or(LAST_SECOND)
        .min(LAST_SECOND);
    let time = time::OffsetDateTime::from_unix_timestamp(seconds)
        .expect("seconds from 1970 to 9999 are a date");
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
    )
}

/// `3/f/foo`, `se/rd/serde`: where cargo looks for the file of the (lower-cased) name.
pub fn index_path(lower_name: &str) -> String {
    let part =
        |skip: usize, take: usize| -> String { lower_name.chars().skip(skip).take(take).collect() };
    match lower_name.chars().count() {
        chars @ (1 | 2) => format!("{chars}/{lower_name}"),
        3 => format!("3/{}/{lower_name}", part(0, 1)),
        _ => format!("{}/{}/{lower_name}", part(0, 2), part(2, 2)),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::story::{NOW_MS, dependency, facts};

    fn line(facts: &VersionFacts) -> String {
        let line = render_index_line(facts, &Checksum([0xab; 32]), false, NOW_MS);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn every_field_is_written_out() {
        assert_snapshot!(line(&facts("Foo-Bar", "1.0.0+meta")), @r#"{"name":"Foo-Bar","vers":"1.0.0+meta","deps":[],"cksum":"abababababababababababababababababababababababababababababababab","features":{},"yanked":false,"links":null,"pubtime":"2025-11-21T04:40:00Z"}"#);
    }

    #[test]
    fn normal_dependencies_come_first_among_those_of_one_name() {
        let mut facts = facts("foo", "1.0.0");
        let mut renamed = dependency("json");
        renamed.package = Some("serde_json".to_owned());
        renamed.registry = Some("https://example.com/index".to_owned());
        renamed.target = Some("cfg(unix)".to_owned());
        facts.dependencies = vec![renamed, dependency("bar"), dependency("bar")];
        facts.dependencies[1].kind = DependencyKind::Dev;
        facts.rust_version = Some("1.70".to_owned());
        facts.links = Some("z".to_owned());
        assert_snapshot!(line(&facts), @r#"{"name":"foo","vers":"1.0.0","deps":[{"name":"bar","req":"^1","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"},{"name":"bar","req":"^1","features":[],"optional":false,"default_features":true,"target":null,"kind":"dev"},{"name":"json","req":"^1","features":[],"optional":false,"default_features":true,"target":"cfg(unix)","kind":"normal","registry":"https://example.com/index","package":"serde_json"}],"cksum":"abababababababababababababababababababababababababababababababab","features":{},"yanked":false,"links":"z","rust_version":"1.70","pubtime":"2025-11-21T04:40:00Z"}"#);
    }

    #[test]
    fn the_schema_follows_what_is_used() {
        let mut facts = facts("foo", "1.0.0");
        facts
            .features
            .insert("std".to_owned(), vec!["bar?/std".to_owned()]);
        assert!(line(&facts).ends_with("\"v\":2}\n"));
        facts.dependencies.push(dependency("bar"));
        facts.dependencies[0].artifact = Some(vec!["bin".to_owned()]);
        assert!(line(&facts).ends_with("\"v\":3}\n"));
    }

    #[test]
    fn times_are_truncated_to_seconds() {
        assert_eq!(utc_seconds(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_seconds(1_709_210_096_999), "2024-02-29T12:34:56Z");
        assert_eq!(utc_seconds(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn files_lie_where_cargo_looks() {
        let paths = ["a", "ab", "foo", "serde", "serde_json"].map(index_path);
        assert_eq!(
            paths,
            ["1/a", "2/ab", "3/f/foo", "se/rd/serde", "se/rd/serde_json"]
        );
    }
}

//! The shape of the repository itself: which crate may use which, what files are called and how they begin.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};
use cratekeeper_tests::workspace;

/// Who may depend on whom (design, section 2); the tests may use anything.
const MAY_USE: [(&str, &[&str]); 5] = [
    ("cratekeeper-domain", &[]),
    ("cratekeeper-wire", &["cratekeeper-domain"]),
    ("cratekeeper-tarballs", &["cratekeeper-domain"]),
    (
        "cratekeeper-cluster",
        &["cratekeeper-domain", "cratekeeper-wire"],
    ),
    (
        "cratekeeper-server",
        &[
            "cratekeeper-domain",
            "cratekeeper-wire",
            "cratekeeper-cluster",
            "cratekeeper-tarballs",
        ],
    ),
];

/// Crates that only some of ours may name.
const ONLY_IN: [(&str, &[&str]); 9] = [
    ("openraft", &["cratekeeper-cluster"]),
    ("rocksdb", &["cratekeeper-cluster"]),
    // The generated client and server are part of what is said between nodes.
    ("tonic", &["cratekeeper-wire", "cratekeeper-cluster"]),
    ("prost", &["cratekeeper-wire", "cratekeeper-cluster"]),
    ("aws-sdk-s3", &["cratekeeper-tarballs"]),
    ("aws-config", &["cratekeeper-tarballs"]),
    ("axum", &["cratekeeper-server"]),
    ("clap", &["cratekeeper-server"]),
    ("config", &["cratekeeper-server"]),
];

const NOT_IN_THE_DOMAIN: [&str; 9] = [
    "tokio",
    "prost",
    "rocksdb",
    "axum",
    "reqwest",
    "getrandom",
    "rand",
    "openraft",
    "tonic",
];

const FORBIDDEN_NAMES: [&str; 9] = [
    "common", "util", "utils", "helpers", "core", "manager", "provider", "handler", "wrapper",
];

#[test]
fn crates_use_only_what_lies_below_them() {
    let metadata = MetadataCommand::new()
        .current_dir(workspace())
        .no_deps()
        .exec();
    let metadata = metadata.expect("cargo metadata works");
    for package in metadata.packages {
        let name = package.name.as_str();
        if name == "cratekeeper-tests" {
            continue;
        }
        let allowed = MAY_USE.iter().find(|(user, _)| *user == name);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("{name}: a crate without a place in the layout"));
        for dependency in &package.dependencies {
            let used = dependency.name.as_str();
            if used.starts_with("cratekeeper-") {
                assert!(allowed.contains(&used), "{name} must not use {used}");
            }
            let only = ONLY_IN.iter().find(|(one, _)| *one == used);
            if let (Some((_, owners)), DependencyKind::Normal) = (only, dependency.kind) {
                assert!(
                    owners.contains(&name),
                    "only {owners:?} may use {used}, not {name}"
                );
            }
            let normal = dependency.kind == DependencyKind::Normal;
            let outside = name == "cratekeeper-domain" && NOT_IN_THE_DOMAIN.contains(&used);
            assert!(!(normal && outside), "the domain must not use {used}");
        }
    }
}

#[test]
fn every_source_file_says_what_it_is_for() {
    for path in sources() {
        let text = read(&path);
        assert!(
            text.starts_with("//!"),
            "{} does not open with //!",
            path.display()
        );
    }
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for path in sources() {
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a source has a name");
        assert!(!FORBIDDEN_NAMES.contains(&name), "{}", path.display());
        assert!(
            name != "types" || path.ends_with("raft/types.rs"),
            "{}",
            path.display()
        );
        let vague = name.ends_with("_data") || name.ends_with("_info");
        assert!(!vague, "{}", path.display());
    }
}

#[test]
fn nothing_is_left_to_do_in_a_comment() {
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
    ];
    for path in sources() {
        let text = read(&path);
        for mark in &marks {
            assert!(
                !text.contains(mark.as_str()),
                "{} says {mark}",
                path.display()
            );
        }
    }
}

#[test]
fn the_architecture_page_names_what_exists() {
    let page = read(&workspace().join("ARCHITECTURE.md"));
    for (name, _) in MAY_USE {
        assert!(
            page.contains(name),
            "ARCHITECTURE.md does not mention {name}"
        );
    }
    // Every second piece lies between backticks.
    let quoted = page.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|text| is_path(text));
    for path in paths {
        assert!(
            exists(path),
            "ARCHITECTURE.md names {path}, which does not exist"
        );
    }
}

/// Does this read as a path in the repository: a place in one of its directories, or a source file?
fn is_path(text: &str) -> bool {
    let plain = text
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter));
    let roots = ["crates/", "proto/", "scripts/", "tests/", "deploy/", ".ci/"];
    plain && (roots.iter().any(|root| text.starts_with(root)) || text.ends_with(".rs"))
}

/// From the root, or (for source files) below any crate.
fn exists(path: &str) -> bool {
    let anywhere = || sources().iter().any(|source| source.ends_with(path));
    workspace().join(path).exists() || anywhere()
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in ["crates", "tests"] {
        collect(&workspace().join(directory), &mut found);
    }
    assert!(found.len() > 20, "where are the sources? {found:?}");
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory)
        .expect("a directory of the repository")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

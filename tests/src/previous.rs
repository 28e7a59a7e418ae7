//! The previous release, built from this repository's history, for tests in which releases meet.
//!
//! Its sources are taken as they were and its manifests are joined with today's, so that every library has the same version and
//! features as in the build of the tests and is not compiled a second time; RocksDB alone would take a quarter of an hour.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use toml::{Table, Value};

use crate::binary::{target_profile_dir, workspace};
use crate::scratch::figure;

/// Beside `cratekeeper`, under a name of its own.
const BINARY: &str = "cratekeeper-previous";
const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// The binary of the commit that `tests/previous-release` names; nothing, and a line that says so, where the history is not at hand.
pub fn previous_release() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| match build() {
        Ok(binary) => Some(binary),
        Err(why) => {
            figure("previous release", format!("skipped: {why}"));
            None
        }
    });
    built.as_deref()
}

fn build() -> Result<PathBuf, String> {
    let began = Instant::now();
    let named = fs::read_to_string(workspace().join("tests/previous-release"));
    let named = named.expect("the file names a release and a commit");
    let (release, commit) = named
        .trim()
        .split_once(' ')
        .expect("a release and a commit");
    let sources = target_profile_dir().join("previous").join(commit);
    if !sources.join("Cargo.lock").exists() {
        extract(commit, &sources)?;
        join_manifests(&sources);
        // Last: without it everything is done again.
        fs::copy(workspace().join("Cargo.lock"), sources.join("Cargo.lock"))
            .expect("the sources can be completed");
    }
    compile(&sources);
    figure(
        &format!("building release {release}, s"),
        began.elapsed().as_secs(),
    );
    Ok(target_profile_dir().join(BINARY))
}

fn extract(commit: &str, to: &Path) -> Result<(), String> {
    let known = Command::new("git")
        .current_dir(workspace())
        .args(["cat-file", "-e", &format!("{commit}^{{commit}}")])
        .stderr(Stdio::null())
        .status();
    if !known.is_ok_and(|status| status.success()) {
        return Err(format!(
            "this is no git repository with the commit {commit}"
        ));
    }
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("the build directory is writable");
    let archive = to.join("sources.tar");
    let archived = Command::new("git")
        .current_dir(workspace())
        .args(["archive", "--output"])
        .arg(&archive)
        .args([commit, "Cargo.toml", "crates", "proto", "tests/Cargo.toml"])
        .status();
    assert!(archived.is_ok_and(|status| status.success()), "git archive");
    let file = fs::File::open(&archive).expect("git wrote the archive");
    tar::Archive::new(file).unpack(to).expect("git wrote a tar");
    fs::remove_file(archive).expect("the build directory is writable");
    // Its tests are not run; their manifest only asks for the features that the tests of today ask for.
    for stub in ["tests/src/lib.rs", "tests/it/main.rs"] {
        let stub = to.join(stub);
        fs::create_dir_all(stub.parent().expect("it is in a directory")).expect("writable");
        fs::write(stub, "//! Nothing.\n").expect("the build directory is writable");
    }
    Ok(())
}

fn compile(sources: &Path) {
    let target = target_profile_dir();
    let target = target.parent().expect("a profile is in a target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // From the workspace, because cargo looks there for its configuration. The empty test makes cargo choose features as for
    // tests.
    let output = Command::new(cargo)
        .current_dir(workspace())
        .args([
            "build",
            "--offline",
            "--workspace",
            "--test",
            "it",
            "--bin",
            BINARY,
        ])
        .arg("--manifest-path")
        .arg(sources.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the previous release:\n{said}");
    let compiled = said.lines().filter(|line| line.contains("Compiling"));
    figure(
        "packages compiled for the previous release",
        compiled.count(),
    );
}

fn join_manifests(sources: &Path) {
    let root = Path::new("Cargo.toml");
    let (mut old, new) = (read(&sources.join(root)), read(&workspace().join(root)));
    let dependencies = |manifest: &Table| -> Table {
        let tables = manifest["workspace"]["dependencies"].as_table();
        tables.cloned().expect("a table of dependencies")
    };
    let joined = join(dependencies(&old), &dependencies(&new));
    old["workspace"]["dependencies"] = joined.into();
    old.extend(
        new.get("profile")
            .map(|profile| ("profile".to_owned(), profile.clone())),
    );
    write(&sources.join(root), &old);
    let crates = fs::read_dir(sources.join("crates")).expect("the sources have crates");
    let crates = crates.map(|entry| Path::new("crates").join(entry.expect("readable").file_name()));
    for package in crates.chain([PathBuf::from("tests")]) {
        let manifest = package.join("Cargo.toml");
        let mut old = read(&sources.join(&manifest));
        let today = workspace().join(&manifest);
        if today.exists() {
            let new = read(&today);
            for kind in DEPENDENCIES {
                let of = |manifest: &Table| manifest.get(kind).and_then(Value::as_table).cloned();
                let joined = join(of(&old).unwrap_or_default(), &of(&new).unwrap_or_default());
                old.insert(kind.to_owned(), joined.into());
            }
        }
        for binary in old
            .get_mut("bin")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            binary["name"] = BINARY.into();
        }
        write(&sources.join(manifest), &old);
    }
}

/// Every dependency of both, today's where both have it, with the features of both.
fn join(mut old: Table, new: &Table) -> Table {
    for (name, today) in new {
        let mut today = detailed(today);
        let features = |dependency: &Table| -> Vec<Value> {
            let features = dependency.get("features").and_then(Value::as_array);
            features.cloned().unwrap_or_default()
        };
        if let Some(before) = old.get(name).map(detailed) {
            let mut all = features(&today);
            all.extend(features(&before));
            all.dedup();
            today.insert("features".to_owned(), all.into());
            if before.get("default-features").is_none() {
                today.remove("default-features");
            }
        }
        old.insert(name.clone(), today.into());
    }
    old
}

fn detailed(dependency: &Value) -> Table {
    match dependency {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    }
}

fn read(manifest: &Path) -> Table {
    let text = fs::read_to_string(manifest).expect("a manifest can be read");
    text.parse().expect("a manifest is TOML")
}

fn write(manifest: &Path, content: &Table) {
    let text = toml::to_string(content).expect("a manifest is TOML");
    fs::write(manifest, text).expect("the build directory is writable");
}

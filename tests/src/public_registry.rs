//! What the public registry says, as far as this machine's own cargo has it: tarballs and index lines of locked crates.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;
use toml::Table;

use crate::binary::workspace;
use crate::client::index_path;

/// A package of this workspace's Cargo.lock that comes from the public registry.
#[derive(Debug, Clone)]
pub struct LockedCrate {
    pub name: String,
    pub version: String,
    pub checksum: String,
    pub tarball: PathBuf,
}

/// Lets cargo fill the machine's own cache with everything the lock file names, for every platform.
pub fn fetch_locked() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["fetch", "--locked"])
        .current_dir(workspace())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "cargo fetch --locked of this workspace");
}

/// All of them that lie in the local cargo cache.
pub fn locked_crates() -> Vec<LockedCrate> {
    let lock = fs::read_to_string(workspace().join("Cargo.lock")).expect("the lock file is there");
    let lock: Table = toml::from_str(&lock).expect("the lock file is TOML");
    let packages = lock["package"].as_array().expect("a list of packages");
    packages.iter().filter_map(locked_crate).collect()
}

fn locked_crate(package: &toml::Value) -> Option<LockedCrate> {
    let text = |name: &str| package.get(name)?.as_str().map(str::to_owned);
    text("source")?;
    let (name, version) = (text("name")?, text("version")?);
    let file = format!("{name}-{version}.crate");
    let tarball = directories("cache")
        .map(|cache| cache.join(&file))
        .find(|path| path.exists())?;
    let checksum = text("checksum")?;
    Some(LockedCrate {
        name,
        version,
        checksum,
        tarball,
    })
}

/// The public registry's own line for the version, from cargo's index cache.
pub fn public_index_line(krate: &LockedCrate) -> Option<Value> {
    let path = index_path(&krate.name);
    let path = path.strip_prefix("/index/")?;
    directories("index").find_map(|index| {
        let cached = fs::read(index.join(".cache").join(path)).ok()?;
        cached_line(&cached, &krate.version)
    })
}

/// Cargo's cache file: one byte and four of format, then the validator and pairs of version and line, all ended by NUL.
fn cached_line(cached: &[u8], version: &str) -> Option<Value> {
    let mut parts = cached.get(5..)?.split(|byte| *byte == 0).skip(1);
    while let (Some(found), Some(line)) = (parts.next(), parts.next()) {
        if found == version.as_bytes() {
            return serde_json::from_slice(line).ok();
        }
    }
    None
}

/// The manifest in the tarball, and its readme (file name, text) where it has one.
pub fn manifest_of(krate: &LockedCrate) -> (Table, Option<(String, String)>) {
    let root = format!("{}-{}", krate.name, krate.version);
    let manifest = text_in(&krate.tarball, &format!("{root}/Cargo.toml")).expect("a manifest");
    let manifest: Table = toml::from_str(&manifest).expect("a published manifest is TOML");
    let file = manifest["package"]
        .get("readme")
        .and_then(toml::Value::as_str);
    let readme = file.and_then(|file| {
        let text = text_in(&krate.tarball, &format!("{root}/{file}"))?;
        Some((file.to_owned(), text))
    });
    (manifest, readme)
}

fn text_in(tarball: &Path, path: &str) -> Option<String> {
    let file = File::open(tarball).expect("a cached tarball can be read");
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    for entry in archive.entries().expect("a cached tarball is a tarball") {
        let mut entry = entry.expect("a cached tarball is whole");
        if entry.path().is_ok_and(|found| found == Path::new(path)) {
            let mut text = String::new();
            return entry.read_to_string(&mut text).ok().map(|_| text);
        }
    }
    None
}

fn directories(kind: &str) -> impl Iterator<Item = PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registry = home
        .expect("CARGO_HOME or HOME is set")
        .join("registry")
        .join(kind);
    let entries = fs::read_dir(registry).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

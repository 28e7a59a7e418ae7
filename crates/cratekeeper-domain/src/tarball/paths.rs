//! Which paths a tarball may hold: all under one directory, each once, and meaning the same on every file system.

use std::collections::BTreeMap;

use crate::limits::{PATH_BYTES_MAX, PATHS_BYTES_MAX};
use crate::name::WINDOWS_DEVICES;
use crate::rejection::{invalid, shown};
use crate::{CrateName, Rejection, RejectionKind, Version};

/// The paths seen so far.
pub(super) struct Paths {
    /// `{name}-{version}`.
    root: String,
    /// By lower-cased path below the root.
    seen: BTreeMap<String, Seen>,
    seen_bytes: usize,
}

enum Seen {
    File,
    /// `spelling` is below the root; `listed` if it has an entry of its own.
    Directory {
        spelling: String,
        listed: bool,
    },
}

impl Paths {
    pub(super) fn of(name: &CrateName, version: &Version) -> Paths {
        Paths {
            root: format!("{name}-{version}"),
            seen: BTreeMap::new(),
            seen_bytes: 0,
        }
    }

    /// Whether the file is the manifest.
    pub(super) fn add_file(&mut self, path: &[u8]) -> Result<bool, Rejection> {
        let path = as_text(path)?;
        let below = self.below_root(path)?;
        if below.is_empty() {
            return invalid(format!(
                "the tarball has a file where its directory `{}` must be; build it with `cargo package`",
                self.root,
            ));
        }
        check_components(path, below)?;
        self.add_parents(path, below)?;
        let lower = below.to_lowercase();
        if lower == ".cargo-ok" {
            return invalid(
                "the tarball contains `.cargo-ok`, with which cargo marks what it has unpacked; remove it from the package",
            );
        }
        if lower == "cargo.toml" && below != "Cargo.toml" {
            return invalid(format!(
                "the tarball's manifest is called `{below}`; rename it to `Cargo.toml`"
            ));
        }
        if self.seen.contains_key(&lower) {
            return collision(path);
        }
        self.remember(lower, Seen::File)?;
        Ok(below == "Cargo.toml")
    }

    pub(super) fn add_directory(&mut self, path: &[u8]) -> Result<(), Rejection> {
        let path = as_text(path)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        let below = self.below_root(path)?;
        if !below.is_empty() {
            check_components(path, below)?;
            self.add_parents(path, below)?;
        }
        self.add_one_directory(path, below, true)
    }

    fn add_parents(&mut self, path: &str, below: &str) -> Result<(), Rejection> {
        for (end, _) in below.match_indices('/') {
            self.add_one_directory(path, &below[..end], false)?;
        }
        Ok(())
    }

    fn add_one_directory(&mut self, path: &str, below: &str, entry: bool) -> Result<(), Rejection> {
        let lower = below.to_lowercase();
        match self.seen.get_mut(&lower) {
            None => {
                let spelling = below.to_owned();
                let listed = entry;
                self.remember(lower, Seen::Directory { spelling, listed })
            }
            Some(Seen::Directory { spelling, listed })
                if spelling == below && !(*listed && entry) =>
            {
                *listed |= entry;
                Ok(())
            }
            Some(_) => collision(path),
        }
    }

    fn remember(&mut self, lower: String, seen: Seen) -> Result<(), Rejection> {
        // A rough cost of an entry in the map, beside its text.
        const ENTRY_BYTES: usize = 64;
        self.seen_bytes += 2 * lower.len() + ENTRY_BYTES;
        if self.seen_bytes > PATHS_BYTES_MAX {
            return Err(Rejection::new(
                RejectionKind::TooLarge,
                "the tarball has too many long paths; leave out what users do not need (`exclude` in Cargo.toml)",
            ));
        }
        self.seen.insert(lower, seen);
        Ok(())
    }

    /// The path below the root directory; empty for that directory itself.
    fn below_root<'a>(&self, path: &'a str) -> Result<&'a str, Rejection> {
        let rest = path.strip_prefix(self.root.as_str());
        match rest.and_then(|rest| rest.strip_prefix('/')) {
            Some(below) => Ok(below),
            None if rest == Some("") => Ok(""),
            None => invalid(format!(
                "the tarball contains `{}`, which is not under `{}/`; build it with `cargo package`",
                shown(path),
                self.root,
            )),
        }
    }
}

fn as_text(path: &[u8]) -> Result<&str, Rejection> {
    if path.len() > PATH_BYTES_MAX {
        return invalid(format!(
            "the tarball contains the path `{}` of {} bytes, at most {PATH_BYTES_MAX} are allowed",
            shown(&String::from_utf8_lossy(path)),
            path.len(),
        ));
    }
    match std::str::from_utf8(path) {
        Ok(path) => Ok(path),
        Err(_) => invalid(format!(
            "the tarball contains the path `{}`, which is not UTF-8; rename the file",
            shown(&String::from_utf8_lossy(path)),
        )),
    }
}

fn collision<T>(path: &str) -> Result<T, Rejection> {
    invalid(format!(
        "the tarball contains `{}` twice, or another path that differs from it only in case: it would unpack differently on different systems; rename one",
        shown(path),
    ))
}

fn check_components(path: &str, below: &str) -> Result<(), Rejection> {
    for component in below.split('/') {
        let why = match component {
            "" => "it has an empty component",
            "." | ".." => "it has the component `.` or `..`, which can lead out of the package",
            _ if component.contains('\\') => "it has a backslash, which separates paths on Windows",
            _ if component.contains(':') => {
                "it has a colon, which names a drive or a stream on Windows"
            }
            _ if component.contains(char::is_control) => "it has a control character",
            _ if component.ends_with(['.', ' ']) => {
                "a component ends with a dot or a space, which Windows ignores"
            }
            _ if is_windows_device(component) => "Windows keeps that name for a device",
            _ => continue,
        };
        return invalid(format!(
            "the tarball contains the path `{}`, which is not allowed: {why}; rename the file",
            shown(path),
        ));
    }
    Ok(())
}

/// With any extension, too: `nul.txt` is the device.
fn is_windows_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or(component);
    let stem = stem.trim_end().to_ascii_lowercase();
    WINDOWS_DEVICES.contains(&stem.as_str())
}

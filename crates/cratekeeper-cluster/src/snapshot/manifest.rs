//! What a snapshot consists of: a flat directory of files, and a manifest beside them that names each with its size and hash.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

pub(crate) use cratekeeper_wire::pb::peer::{SnapshotFile, SnapshotManifest};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::raft::convert::{Malformed, log_id_from_pb, stored_membership_from_pb};
use crate::raft::types::SnapshotMeta;

/// The manifest's own file; it is written last, so a directory without it is not a snapshot.
pub(crate) const MANIFEST_FILE: &str = "MANIFEST.pb";

/// Keeps a snapshot's directory from being deleted while somebody reads it.
#[derive(Debug)]
pub(crate) struct InUse;

/// A complete snapshot on disk. Clones share it; whoever deletes old ones asks `in_use` first.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotDirectory {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Arc<SnapshotManifest>,
    in_use: Arc<InUse>,
}

impl SnapshotDirectory {
    pub(crate) fn new(path: PathBuf, manifest: SnapshotManifest) -> SnapshotDirectory {
        SnapshotDirectory {
            path,
            manifest: Arc::new(manifest),
            in_use: Arc::new(InUse),
        }
    }

    /// Reads the manifest in `path`; the files themselves are not looked at. `NotFound`: there is no complete snapshot.
    pub(crate) fn open(path: PathBuf) -> io::Result<SnapshotDirectory> {
        let bytes = std::fs::read(path.join(MANIFEST_FILE))?;
        let manifest = SnapshotManifest::decode(bytes.as_slice())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        check_names(&manifest)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(SnapshotDirectory::new(path, manifest))
    }

    /// The same snapshot after its directory was renamed.
    pub(crate) fn moved(&self, path: PathBuf) -> SnapshotDirectory {
        SnapshotDirectory {
            path,
            ..self.clone()
        }
    }

    /// Upgrades as long as any clone lives.
    pub(crate) fn in_use(&self) -> Weak<InUse> {
        Arc::downgrade(&self.in_use)
    }

    pub(crate) fn meta(&self) -> Result<SnapshotMeta, Malformed> {
        meta(&self.manifest)
    }
}

/// Writes and syncs the manifest; the caller syncs the directory.
pub(crate) fn write_manifest(directory: &Path, manifest: &SnapshotManifest) -> io::Result<()> {
    let mut file = File::create(directory.join(MANIFEST_FILE))?;
    file.write_all(&manifest.encode_to_vec())?;
    file.sync_all()
}

/// What Raft calls the snapshot.
pub(crate) fn meta(manifest: &SnapshotManifest) -> Result<SnapshotMeta, Malformed> {
    let membership = manifest.membership.as_ref();
    let membership = membership.ok_or(Malformed("snapshot manifest without a membership"))?;
    Ok(SnapshotMeta {
        last_log_id: manifest.last_log_id.as_ref().map(log_id_from_pb),
        last_membership: stored_membership_from_pb(membership)?,
    })
}

/// Hex SHA-256 of the manifest: the same snapshot has the same one on every attempt to send it.
pub(crate) fn manifest_hash(manifest: &SnapshotManifest) -> String {
    hex::encode(Sha256::digest(manifest.encode_to_vec()))
}

/// Bytes of all its files.
pub(crate) fn total_bytes(manifest: &SnapshotManifest) -> u64 {
    manifest.files.iter().map(|file| file.size).sum()
}

/// Reads the whole file; blocks.
pub(crate) fn describe_file(directory: &Path, name: &str) -> io::Result<SnapshotFile> {
    let mut hash = Sha256::new();
    let size = hash_into(&mut hash, &directory.join(name), u64::MAX)?;
    Ok(SnapshotFile {
        name: name.to_owned(),
        size,
        sha256: hash.finalize().to_vec().into(),
    })
}

/// Feeds at most `limit` bytes from the start of the file; the number of bytes fed.
pub(crate) fn hash_into(hash: &mut Sha256, path: &Path, limit: u64) -> io::Result<u64> {
    let mut file = File::open(path)?.take(limit);
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(total);
        }
        hash.update(&buffer[..read]);
        total += read as u64;
    }
}

/// Names come from another machine and become paths here: each is one plain file name, and none is there twice.
pub(crate) fn check_names(manifest: &SnapshotManifest) -> Result<(), Malformed> {
    let mut seen = std::collections::BTreeSet::new();
    for file in &manifest.files {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = file.name.as_str();
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Malformed("a file name in the snapshot manifest"));
        }
        if name == MANIFEST_FILE || !seen.insert(name) {
            return Err(Malformed("the list of files in the snapshot manifest"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> SnapshotManifest {
        let file = |name: &&str| SnapshotFile {
            name: (*name).to_owned(),
            ..SnapshotFile::default()
        };
        SnapshotManifest {
            files: names.iter().map(file).collect(),
            ..SnapshotManifest::default()
        }
    }

    #[test]
    fn only_plain_names_once_each() {
        assert!(check_names(&named(&["000012.sst", "CURRENT", "OPTIONS-000007"])).is_ok());
        for bad in [
            "",
            ".",
            "..",
            "../NODE",
            "a/b",
            "a\\b",
            ".tmp",
            "MANIFEST.pb",
        ] {
            assert!(check_names(&named(&[bad])).is_err(), "{bad}");
        }
        assert!(check_names(&named(&["a", "a"])).is_err());
    }

    #[test]
    fn a_written_manifest_is_read_back_and_keeps_its_hash() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("CURRENT"), b"x\n").unwrap();
        let mut manifest = named(&[]);
        manifest
            .files
            .push(describe_file(directory.path(), "CURRENT").unwrap());
        write_manifest(directory.path(), &manifest).unwrap();
        let snapshot = SnapshotDirectory::open(directory.path().to_owned()).unwrap();
        assert_eq!(*snapshot.manifest, manifest);
        assert_eq!(manifest_hash(&snapshot.manifest), manifest_hash(&manifest));
        assert_eq!(total_bytes(&manifest), 2);
        let in_use = snapshot.in_use();
        drop(snapshot);
        assert!(in_use.upgrade().is_none());
    }
}

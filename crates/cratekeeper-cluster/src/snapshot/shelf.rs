//! The snapshots on this node's disk: `snapshots/<term>-<leader>-<index>`, newest kept, older ones removed when nobody streams them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use parking_lot::Mutex;

use super::manifest::{InUse, SnapshotDirectory};
use crate::raft::convert;
use crate::raft::types::{Snapshot, SnapshotMeta};
use crate::store::{StorageError, sync_directory};

/// What is being built starts with this and is removed at start.
pub(super) const UNFINISHED: &str = ".tmp-";

pub(crate) struct Snapshots {
    pub(super) directory: PathBuf,
    pub(super) cluster: String,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    newest: Option<SnapshotDirectory>,
    /// Replaced, but maybe still being streamed.
    older: Vec<(PathBuf, Weak<InUse>)>,
}

impl Snapshots {
    /// Looks at what is there: keeps the newest whole snapshot, removes left-overs of a crash and all others.
    pub(crate) fn open(directory: &Path, cluster: &str) -> Result<Snapshots, StorageError> {
        fs::create_dir_all(directory)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let unfinished = path
                .file_name()
                .is_none_or(|name| name.to_string_lossy().starts_with(UNFINISHED));
            match SnapshotDirectory::open(path.clone()) {
                Ok(snapshot) if !unfinished && snapshot.manifest.cluster == cluster => {
                    found.push(snapshot)
                }
                Ok(_) | Err(_) => fs::remove_dir_all(&path)?,
            }
        }
        found.sort_by_key(order);
        let newest = found.pop();
        newest.iter().for_each(measure);
        for older in found {
            fs::remove_dir_all(&older.path)?;
        }
        Ok(Snapshots {
            directory: directory.to_owned(),
            cluster: cluster.to_owned(),
            shelf: Mutex::new(Shelf {
                newest,
                older: Vec::new(),
            }),
        })
    }

    pub(crate) fn newest(&self) -> Option<Snapshot> {
        let snapshot = self.shelf.lock().newest.clone()?;
        let meta = meta_of(&snapshot).ok()?;
        Some(Snapshot { meta, snapshot })
    }

    pub(super) fn newest_directory(&self) -> Option<SnapshotDirectory> {
        self.shelf.lock().newest.clone()
    }

    /// Takes a finished snapshot directory (named, whole, synced) onto the shelf.
    pub(super) fn put(&self, snapshot: SnapshotDirectory) -> Result<(), StorageError> {
        sync_directory(&self.directory)?;
        measure(&snapshot);
        let mut shelf = self.shelf.lock();
        if let Some(replaced) = shelf.newest.replace(snapshot.clone())
            && replaced.path != snapshot.path
        {
            shelf.older.push((replaced.path.clone(), replaced.in_use()));
        }
        // Whoever streams an older one holds a clone; it goes when a later snapshot finds it unused, or at the next start.
        let mut used = Vec::new();
        for (path, in_use) in std::mem::take(&mut shelf.older) {
            if in_use.upgrade().is_some() {
                used.push((path, in_use));
            } else {
                fs::remove_dir_all(&path)?;
            }
        }
        shelf.older = used;
        Ok(())
    }

    /// The directory a snapshot up to `meta` has.
    pub(super) fn path_of(&self, meta: &SnapshotMeta) -> PathBuf {
        let name = match &meta.last_log_id {
            None => "empty".to_owned(),
            Some(id) => format!(
                "{:010}-{:010}-{:020}",
                id.leader_id.term, id.leader_id.node_id, id.index
            ),
        };
        self.directory.join(name)
    }
}

pub(super) fn meta_of(snapshot: &SnapshotDirectory) -> Result<SnapshotMeta, StorageError> {
    snapshot
        .meta()
        .map_err(|error| StorageError::Damaged(error.to_string()))
}

fn measure(newest: &SnapshotDirectory) {
    let bytes: u64 = newest.manifest.files.iter().map(|file| file.size).sum();
    metrics::gauge!("cratekeeper_snapshot_bytes").set(bytes as f64);
}

fn order(snapshot: &SnapshotDirectory) -> Option<crate::raft::types::LogId> {
    snapshot
        .manifest
        .last_log_id
        .as_ref()
        .map(convert::log_id_from_pb)
}

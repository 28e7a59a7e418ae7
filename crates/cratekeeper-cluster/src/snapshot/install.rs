//! Installing a snapshot: shelf, next generation by hard links, checks, switch. After a crash the old or the new generation is live,
//! and openraft installs the one on the shelf again if it is newer (`restore_from_snapshot`).

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::build::is_diary;
use super::manifest::SnapshotDirectory;
use super::shelf::{Snapshots, meta_of};
use crate::raft::types::SnapshotMeta;
use crate::store::{Database, State, StorageError};

impl Snapshots {
    /// Every file was verified when it was received or hashed. Refuses to go back behind what is applied.
    pub(crate) fn install(
        self: &Arc<Snapshots>,
        state: &State,
        meta: &SnapshotMeta,
        snapshot: SnapshotDirectory,
    ) -> Result<(), StorageError> {
        let started = Instant::now();
        if meta.last_log_id < state.live().applied()? {
            tracing::warn!("a snapshot older than what is applied was not installed");
            return Ok(());
        }
        let snapshot = self.shelve(meta, snapshot)?;
        let (number, path) = state.generations.next_path()?;
        link_files(&snapshot, &path)?;
        let database = Database::open(&path)?;
        check(&database, meta, &snapshot)?;
        state.generations.switch(number, database)?;
        state.switched()?;
        metrics::histogram!("cratekeeper_snapshot_install_duration_seconds")
            .record(started.elapsed().as_secs_f64());
        tracing::info!(
            sequence = snapshot.manifest.sequence,
            ms = started.elapsed().as_millis(),
            "a snapshot was installed"
        );
        Ok(())
    }

    /// One that was received moves from `incoming/` to the shelf; one that is there already stays.
    fn shelve(
        &self,
        meta: &SnapshotMeta,
        snapshot: SnapshotDirectory,
    ) -> Result<SnapshotDirectory, StorageError> {
        let path = self.path_of(meta);
        if snapshot.path == path {
            return Ok(snapshot);
        }
        if path.exists() {
            fs::remove_dir_all(&path).map_err(at("remove", &path))?;
        }
        crate::store::sync_tree(&snapshot.path).map_err(at("sync", &snapshot.path))?;
        fs::rename(&snapshot.path, &path).map_err(at("shelve", &snapshot.path))?;
        let shelved = snapshot.moved(path);
        self.put(shelved.clone())?;
        Ok(shelved)
    }
}

/// Tables are shared by hard link, everything RocksDB writes to again is copied.
fn link_files(snapshot: &SnapshotDirectory, target: &Path) -> Result<(), StorageError> {
    fs::create_dir_all(target).map_err(at("create", target))?;
    for file in &snapshot.manifest.files {
        let (from, to) = (snapshot.path.join(&file.name), target.join(&file.name));
        if is_diary(&file.name) {
            continue;
        }
        if file.name.ends_with(".sst") {
            fs::hard_link(&from, &to).map_err(at("link", &from))?;
        } else {
            fs::copy(&from, &to).map_err(at("copy", &from))?;
        }
    }
    Ok(())
}

/// Adds to an error what was being done, and where.
fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{what} {path}: {error}"))
}

fn check(
    database: &Database,
    meta: &SnapshotMeta,
    snapshot: &SnapshotDirectory,
) -> Result<(), StorageError> {
    let head = database.head()?;
    let same = database.applied()? == meta.last_log_id
        && database.membership()? == meta.last_membership
        && head.sequence == snapshot.manifest.sequence
        && head.chain == snapshot.manifest.chain
        && meta_of(snapshot)? == *meta;
    if same {
        Ok(())
    } else {
        Err(StorageError::Damaged(
            "a snapshot whose content is not what its manifest says".to_owned(),
        ))
    }
}

//! Building a snapshot: a checkpoint by hard links, taken serially with apply; then hashed and published beside it.
//! Its meta is read from the checkpoint itself, so that meta and content are of one moment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cratekeeper_wire::pb::peer as pb;
use openraft::storage::RaftSnapshotBuilder;
use rocksdb::checkpoint::Checkpoint;

use super::manifest::{self, SnapshotDirectory};
use super::shelf::{Snapshots, UNFINISHED, meta_of};
use crate::raft::convert;
use crate::raft::types::{Snapshot, TypeConfig};
use crate::store::{Database, StorageError, sync_tree};

/// A checkpoint that was taken and waits to be hashed.
pub(crate) struct SnapshotBuilder {
    snapshots: Arc<Snapshots>,
    /// Taking it may have failed; that is told when it is built.
    checkpoint: Option<Result<PathBuf, StorageError>>,
}

/// The storage engine whose files a snapshot consists of; only told, for whoever investigates.
const ROCKSDB: &str = "11";

impl Snapshots {
    /// Takes the checkpoint now; must not run beside apply.
    pub(crate) fn begin(self: &Arc<Snapshots>, live: &Database) -> SnapshotBuilder {
        let path = self
            .directory
            .join(format!("{UNFINISHED}{}", uuid::Uuid::new_v4().simple()));
        let taken =
            Checkpoint::new(live.raw()).and_then(|checkpoint| checkpoint.create_checkpoint(&path));
        SnapshotBuilder {
            snapshots: self.clone(),
            checkpoint: Some(taken.map(|()| path).map_err(StorageError::from)),
        }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotDirectory;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let checkpoint = self
            .checkpoint
            .take()
            .ok_or_else(|| io::Error::other("the snapshot was built already"))??;
        let snapshots = self.snapshots.clone();
        let built = tokio::task::spawn_blocking(move || publish(&snapshots, &checkpoint));
        Ok(built.await.map_err(io::Error::other)??)
    }
}

fn publish(snapshots: &Arc<Snapshots>, checkpoint: &Path) -> Result<Snapshot, StorageError> {
    let started = Instant::now();
    let mut described = describe(snapshots, checkpoint)?;
    described.files = hash_files(checkpoint, snapshots.newest_directory().as_ref())?;
    let bytes: u64 = described.files.iter().map(|file| file.size).sum();
    manifest::write_manifest(checkpoint, &described)?;
    sync_tree(checkpoint)?;
    let meta =
        manifest::meta(&described).map_err(|error| StorageError::Damaged(error.to_string()))?;
    let path = snapshots.path_of(&meta);
    if path.exists() {
        // The same moment was snapshotted before; the one on the shelf may be in use.
        fs::remove_dir_all(checkpoint)?;
    } else {
        fs::rename(checkpoint, &path)?;
    }
    let directory = SnapshotDirectory::open(path)?;
    snapshots.put(directory.clone())?;
    metrics::histogram!("cratekeeper_snapshot_build_duration_seconds")
        .record(started.elapsed().as_secs_f64());
    tracing::info!(
        sequence = described.sequence,
        bytes,
        ms = started.elapsed().as_millis(),
        "a snapshot was made"
    );
    Ok(Snapshot {
        meta: meta_of(&directory)?,
        snapshot: directory,
    })
}

/// Everything but the files, read from the checkpoint.
fn describe(
    snapshots: &Snapshots,
    checkpoint: &Path,
) -> Result<pb::SnapshotManifest, StorageError> {
    let database = Database::open_read_only(checkpoint)?;
    let (head, format) = (database.head()?, database.format()?);
    Ok(pb::SnapshotManifest {
        cluster: snapshots.cluster.clone(),
        last_log_id: database.applied()?.as_ref().map(convert::log_id_to_pb),
        membership: Some(convert::stored_membership_to_pb(&database.membership()?)),
        sequence: head.sequence,
        chain: head.chain,
        state_format: format,
        min_reader_format: format,
        rocksdb: ROCKSDB.to_owned(),
        files: Vec::new(),
    })
}

/// Tables never change once written: one that the previous snapshot has under the same name and inode keeps its hash.
fn hash_files(
    checkpoint: &Path,
    previous: Option<&SnapshotDirectory>,
) -> Result<Vec<pb::SnapshotFile>, StorageError> {
    let known: BTreeMap<(&str, u64), (&Path, &Bytes)> = previous
        .map(|previous| {
            previous
                .manifest
                .files
                .iter()
                .map(|file| {
                    (
                        (file.name.as_str(), file.size),
                        (previous.path.as_path(), &file.sha256),
                    )
                })
                .collect()
        })
        .unwrap_or_default();
    let mut files = Vec::new();
    for entry in fs::read_dir(checkpoint)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_file() || is_diary(&name) {
            continue;
        }
        let size = entry.metadata()?.len();
        let kept = known.get(&(name.as_str(), size)).filter(|(directory, _)| {
            name.ends_with(".sst") && same_inode(&entry.path(), &directory.join(&name))
        });
        let file = match kept.map(|(_, sha256)| (*sha256).clone()) {
            Some(sha256) => pb::SnapshotFile { name, size, sha256 },
            None => manifest::describe_file(checkpoint, &name)?,
        };
        files.push(file);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// RocksDB's own log and lock, which opening the checkpoint leaves behind.
pub(super) fn is_diary(name: &str) -> bool {
    name == "LOCK"
        || name == "LOG"
        || name.starts_with("LOG.old")
        || name == manifest::MANIFEST_FILE
}

fn same_inode(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.ino() == b.ino() && a.dev() == b.dev(),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

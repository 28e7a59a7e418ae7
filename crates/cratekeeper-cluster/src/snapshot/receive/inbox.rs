//! The directory a snapshot comes into. What is there survives a broken transfer and a restart, and is believed only after
//! its SHA-256 agrees with the manifest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cratekeeper_wire::pb::peer::SnapshotChunk;
use sha2::{Digest, Sha256};

use crate::snapshot::manifest::{
    SnapshotDirectory, SnapshotManifest, check_names, hash_into, manifest_hash, total_bytes,
    write_manifest,
};
use crate::snapshot::send::CHUNK_BYTES;

/// Why an incoming snapshot is not taken.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Refusal {
    pub(super) reason: String,
    /// The sender may go on from what `have` says at once.
    pub(super) resumable: bool,
}

impl Refusal {
    pub(super) fn new(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            resumable: false,
        }
    }

    fn resumable(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            resumable: true,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::new(format!("the snapshot cannot be stored: {error}"))
    }
}

/// Everything here blocks.
pub(super) struct Inbox {
    directory: PathBuf,
    manifest: SnapshotManifest,
    /// Contiguous bytes there of each file.
    have: Vec<u64>,
    open: Option<OpenFile>,
}

struct OpenFile {
    place: usize,
    file: File,
    /// Of what is in the file so far.
    hash: Sha256,
}

impl Inbox {
    /// Finds or makes the directory for this snapshot under `incoming`, takes over from others there the files that are the
    /// same, and deletes those others: only one snapshot comes in at a time.
    pub(super) fn open(incoming: &Path, manifest: SnapshotManifest) -> Result<Inbox, Refusal> {
        check_names(&manifest).map_err(|error| Refusal::new(error.to_string()))?;
        let directory = incoming.join(manifest_hash(&manifest));
        fs::create_dir_all(&directory)?;
        adopt(incoming, &directory, &manifest)?;
        let have = (0..manifest.files.len())
            .map(|place| verified_bytes(&directory, &manifest, place))
            .collect::<io::Result<Vec<u64>>>()?;
        let missing = total_bytes(&manifest) - have.iter().sum::<u64>();
        let available = fs4::available_space(&directory)?;
        // Opening a database writes a little of its own.
        if available < missing + missing / 5 {
            return Err(Refusal::new(format!(
                "{missing} bytes of the snapshot are missing and only {available} are free on the disk"
            )));
        }
        Ok(Inbox {
            directory,
            manifest,
            have,
            open: None,
        })
    }

    pub(super) fn have(&self) -> Vec<u64> {
        self.have.clone()
    }

    /// Appends a chunk to its file. A file that is complete is synced and checked; if it is not what the manifest says, it is
    /// deleted.
    pub(super) fn store(&mut self, chunk: &SnapshotChunk) -> Result<(), Refusal> {
        let place = chunk.file as usize;
        let Some(file) = self.manifest.files.get(place).cloned() else {
            return Err(Refusal::new(format!("the snapshot has no file {place}")));
        };
        let end = chunk.offset + chunk.data.len() as u64;
        if chunk.offset != self.have[place] || end > file.size || chunk.data.len() > CHUNK_BYTES {
            return Err(Refusal::resumable(format!(
                "`{}` is at {} of {} bytes, and does not go on with {}..{end}",
                file.name, self.have[place], file.size, chunk.offset
            )));
        }
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(Refusal::resumable(format!(
                "`{}` was damaged on the way at {}",
                file.name, chunk.offset
            )));
        }
        let mut open = self.take_open(place)?;
        open.file.write_all(&chunk.data)?;
        open.hash.update(&chunk.data);
        self.have[place] = end;
        if end < file.size {
            self.open = Some(open);
            return Ok(());
        }
        open.file.sync_all()?;
        if open.hash.finalize()[..] != file.sha256[..] {
            fs::remove_file(self.directory.join(&file.name))?;
            return Err(Refusal::resumable(format!(
                "`{}` is not what was announced",
                file.name
            )));
        }
        Ok(())
    }

    fn take_open(&mut self, place: usize) -> io::Result<OpenFile> {
        if let Some(open) = self.open.take()
            && open.place == place
        {
            return Ok(open);
        }
        let path = self.directory.join(&self.manifest.files[place].name);
        let mut hash = Sha256::new();
        if self.have[place] > 0 {
            hash_into(&mut hash, &path, self.have[place])?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(OpenFile { place, file, hash })
    }

    /// All files are there and verified; makes the directory a snapshot that a crash does not undo.
    pub(super) fn finish(self) -> Result<SnapshotDirectory, Refusal> {
        for (file, have) in self.manifest.files.iter().zip(&self.have) {
            if *have < file.size {
                return Err(Refusal::resumable(format!(
                    "`{}` has {have} of {} bytes",
                    file.name, file.size
                )));
            }
            if file.size == 0 {
                File::create(self.directory.join(&file.name))?.sync_all()?;
            }
        }
        write_manifest(&self.directory, &self.manifest)?;
        File::open(&self.directory)?.sync_all()?;
        if let Some(incoming) = self.directory.parent() {
            File::open(incoming)?.sync_all()?;
        }
        Ok(SnapshotDirectory::new(self.directory, self.manifest))
    }
}

/// Bytes of a file to go on from. A complete file is hashed, and deleted if it is not the right one; so is one that is too long.
fn verified_bytes(directory: &Path, manifest: &SnapshotManifest, place: usize) -> io::Result<u64> {
    let file = &manifest.files[place];
    let path = directory.join(&file.name);
    let bytes = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    if bytes < file.size {
        return Ok(bytes);
    }
    let mut hash = Sha256::new();
    if bytes == file.size {
        hash_into(&mut hash, &path, bytes)?;
        if hash.finalize()[..] == file.sha256[..] {
            // It may have been written just before a crash, or adopted.
            File::open(&path)?.sync_all()?;
            return Ok(bytes);
        }
    }
    fs::remove_file(&path)?;
    Ok(0)
}

fn adopt(incoming: &Path, directory: &Path, manifest: &SnapshotManifest) -> io::Result<()> {
    for other in fs::read_dir(incoming)? {
        let other = other?.path();
        if other == directory {
            continue;
        }
        if !other.is_dir() {
            fs::remove_file(&other)?;
            continue;
        }
        for file in &manifest.files {
            let (from, to) = (other.join(&file.name), directory.join(&file.name));
            let same_size = fs::metadata(&from).is_ok_and(|metadata| metadata.len() == file.size);
            if same_size && !to.exists() {
                fs::rename(from, to)?;
            }
        }
        fs::remove_dir_all(&other)?;
    }
    Ok(())
}

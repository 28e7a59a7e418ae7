//! Tarballs in a directory, content-addressed, fsynced. Several nodes may share the directory.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use cratekeeper_domain::Checksum;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use crate::verified::verified;
use crate::{Download, TarballError, unavailable};

const PIECE_BYTES: usize = 128 * 1024;
/// Holds the id of the cluster that keeps its tarballs here.
const CLAIM: &str = "cluster";

#[derive(Debug, Clone)]
pub struct Disk {
    directory: PathBuf,
}

impl Disk {
    pub(crate) async fn open(directory: PathBuf) -> Result<Disk, TarballError> {
        let disk = Disk { directory };
        let made = disk.clone();
        blocking(move || fs::create_dir_all(made.unfinished()).map_err(unavailable)).await?;
        Ok(disk)
    }

    pub(crate) async fn put(&self, checksum: &Checksum, file: &Path) -> Result<(), TarballError> {
        let (disk, checksum, file) = (self.clone(), *checksum, file.to_owned());
        blocking(move || disk.copy(&checksum, &file)).await
    }

    /// Written beside and renamed, so that whatever has a checksum for a name is whole; and written even if it is there, so that
    /// publishing again repairs what was damaged.
    fn copy(&self, checksum: &Checksum, file: &Path) -> Result<(), TarballError> {
        let unfinished = self.unfinished().join(Uuid::new_v4().to_string());
        let found = copy_hashing(file, &unfinished);
        let placed = match found {
            Ok(found) if found != *checksum => Err(TarballError::Corrupt(*checksum)),
            Ok(_) => self
                .place(&unfinished, &self.path(checksum))
                .map_err(unavailable),
            Err(error) => Err(unavailable(error)),
        };
        if placed.is_err() {
            // What is left behind has no name that anybody looks for.
            let _ = fs::remove_file(&unfinished);
        }
        placed
    }

    fn place(&self, unfinished: &Path, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.directory);
        if !parent.exists() {
            fs::create_dir_all(parent)?;
            sync(&self.directory)?;
        }
        fs::rename(unfinished, path)?;
        sync(parent)
    }

    pub(crate) async fn get(&self, checksum: &Checksum) -> Result<Download, TarballError> {
        let opened = tokio::fs::File::open(self.path(checksum)).await;
        let file = opened.map_err(|error| absent_or_unavailable(error, checksum))?;
        let bytes = file.metadata().await.map_err(unavailable)?.len();
        let pieces = ReaderStream::with_capacity(file, PIECE_BYTES).map_err(unavailable);
        let stream = verified(pieces, *checksum, bytes);
        Ok(Download::Stream { bytes, stream })
    }

    pub(crate) async fn contains(&self, checksum: &Checksum) -> Result<bool, TarballError> {
        tokio::fs::try_exists(self.path(checksum))
            .await
            .map_err(unavailable)
    }

    pub(crate) async fn check(&self) -> Result<(), TarballError> {
        tokio::fs::metadata(self.unfinished())
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    pub(crate) async fn claim(&self, cluster: &str) -> Result<String, TarballError> {
        let (disk, cluster) = (self.clone(), cluster.to_owned());
        blocking(move || disk.claim_now(&cluster).map_err(unavailable)).await
    }

    /// A hard link cannot replace what is there, so of two that try at once one wins, with its whole text.
    fn claim_now(&self, cluster: &str) -> io::Result<String> {
        let claim = self.directory.join(CLAIM);
        let unfinished = self.unfinished().join(Uuid::new_v4().to_string());
        let mut file = File::create(&unfinished)?;
        file.write_all(cluster.as_bytes())?;
        file.sync_all()?;
        let linked = fs::hard_link(&unfinished, &claim);
        fs::remove_file(&unfinished)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => sync(&self.directory)?,
        }
        fs::read_to_string(&claim)
    }

    pub(crate) async fn claimed_by(&self) -> Result<Option<String>, TarballError> {
        match tokio::fs::read_to_string(self.directory.join(CLAIM)).await {
            Ok(cluster) => Ok(Some(cluster)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    pub(crate) fn describe(&self) -> String {
        format!("disk {}", self.directory.display())
    }

    fn path(&self, checksum: &Checksum) -> PathBuf {
        let name = checksum.to_string();
        self.directory
            .join(&name[..2])
            .join(format!("{name}.crate"))
    }

    fn unfinished(&self) -> PathBuf {
        self.directory.join("unfinished")
    }
}

fn copy_hashing(from: &Path, to: &Path) -> io::Result<Checksum> {
    let mut source = File::open(from)?;
    let mut target = File::create(to)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = source.read(&mut piece)?;
        if length == 0 {
            break;
        }
        hasher.update(&piece[..length]);
        target.write_all(&piece[..length])?;
    }
    target.sync_all()?;
    Ok(Checksum(hasher.finalize().into()))
}

/// A new name in a directory lasts only once the directory is synced.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn absent_or_unavailable(error: io::Error, checksum: &Checksum) -> TarballError {
    if error.kind() == ErrorKind::NotFound {
        TarballError::Absent(*checksum)
    } else {
        unavailable(error)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TarballError> + Send + 'static,
) -> Result<T, TarballError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(unavailable)?
}

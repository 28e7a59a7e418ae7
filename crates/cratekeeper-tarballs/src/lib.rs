//! Tarballs by checksum: the one thing too big for the log. An enum of two stores, both ours: S3 or a directory.

mod calls;
mod disk;
mod s3;
mod shelf;
mod verified;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_domain::Checksum;
use futures::Stream;

use crate::disk::Disk;
use crate::s3::S3;

pub use shelf::{Object, Shelf, ShelfError, Stamp};

/// Where tarballs live.
#[derive(Debug, Clone)]
pub enum Tarballs {
    Disk(Disk),
    S3(S3),
}

#[derive(Debug, Clone)]
pub struct S3Options {
    pub bucket: String,
    /// Key prefix, without a leading slash, may be empty.
    pub prefix: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub path_style: bool,
    /// Static credentials; `None` leaves it to the SDK's own chain.
    pub credentials: Option<(String, String)>,
    /// Bound on one call with all its retries; an upload has a second more for every MiB.
    pub timeout: Duration,
    /// Answer downloads by a presigned URL valid this long instead of streaming.
    pub redirect: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum TarballError {
    /// The store has no such tarball although the caller expected one.
    #[error("the tarball {0} is not in the store")]
    Absent(Checksum),
    /// What the store holds, or what it was given to store, is not what the checksum says.
    #[error("the bytes of the tarball {0} do not match its checksum")]
    Corrupt(Checksum),
    /// The store cannot be reached or refused; worth trying again.
    #[error("the tarball store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl TarballError {
    fn unavailable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TarballError {
        TarballError::Unavailable(cause.into())
    }
}

pub type TarballStream = Pin<Box<dyn Stream<Item = Result<Bytes, TarballError>> + Send>>;

/// How a download is answered.
pub enum Download {
    /// Bytes as they come, `bytes` in all; the stream ends with `Corrupt` before its last chunk if they do not match the checksum.
    Stream { bytes: u64, stream: TarballStream },
    /// Send the client there; nobody has looked whether the tarball exists, and cargo verifies what it gets.
    Redirect(String),
}

impl Tarballs {
    /// Opens (and creates) the directory.
    pub async fn disk(directory: PathBuf) -> Result<Tarballs, TarballError> {
        Ok(Tarballs::Disk(Disk::open(directory).await?))
    }

    /// Talks to nobody yet, except where the SDK looks for a region that the options do not name.
    pub async fn s3(options: S3Options) -> Result<Tarballs, TarballError> {
        Ok(Tarballs::S3(S3::connect(options).await?))
    }

    /// Stores the file's bytes under `checksum`, verified; durable when it returns. The same bytes twice are one object.
    /// `Corrupt` when the file is not `tarball_bytes` long or not what `checksum` says; then nothing is stored.
    pub async fn put(
        &self,
        checksum: &Checksum,
        file: &Path,
        tarball_bytes: u64,
    ) -> Result<(), TarballError> {
        let put = async {
            match self {
                Tarballs::Disk(disk) => disk.put(checksum, file, tarball_bytes).await,
                Tarballs::S3(s3) => s3.put(checksum, file, tarball_bytes).await,
            }
        };
        self.call("put", Box::pin(put)).await?;
        calls::stored(tarball_bytes);
        Ok(())
    }

    pub async fn get(&self, checksum: &Checksum) -> Result<Download, TarballError> {
        let get = async {
            match self {
                Tarballs::Disk(disk) => disk.get(checksum).await,
                Tarballs::S3(s3) => s3.get(checksum).await,
            }
        };
        Ok(calls::counted(self.call("get", Box::pin(get)).await?))
    }

    /// Is it there? Its bytes are not read: who needs to know that they are right reads them with `get`.
    pub async fn contains(&self, checksum: &Checksum) -> Result<bool, TarballError> {
        Ok(self.size(checksum).await?.is_some())
    }

    /// How many bytes are there under this checksum, if any. They are not read.
    pub async fn size(&self, checksum: &Checksum) -> Result<Option<u64>, TarballError> {
        let size = async {
            match self {
                Tarballs::Disk(disk) => disk.size(checksum).await,
                Tarballs::S3(s3) => s3.size(checksum).await,
            }
        };
        self.call("size", Box::pin(size)).await
    }

    /// Can the store be reached now?
    pub async fn check(&self) -> Result<(), TarballError> {
        let check = async {
            match self {
                Tarballs::Disk(disk) => disk.check().await,
                Tarballs::S3(s3) => s3.check().await,
            }
        };
        self.call("check", Box::pin(check)).await
    }

    /// Founding: claims this store for `cluster` unless another cluster has claimed it: look, conditional put, read back.
    /// Returns the cluster that holds the claim afterwards (ours, or the one that came first). On an S3 server that ignores
    /// `If-None-Match`, two that claim in the same moment may both be told that it is theirs; the last one stays.
    pub async fn claim(&self, cluster: &str) -> Result<String, TarballError> {
        let claim = async {
            match self {
                Tarballs::Disk(disk) => disk.claim(cluster).await,
                Tarballs::S3(s3) => s3.claim(cluster).await,
            }
        };
        self.call("claim", Box::pin(claim)).await
    }

    /// Hands the claim on from the holder `from` to `to`, if `from` holds it; returns who holds it afterwards. Only for a restore,
    /// which an operator asked for: two at once may both be told that it is theirs; the last one stays.
    pub async fn reclaim(&self, from: &str, to: &str) -> Result<String, TarballError> {
        let reclaim = async {
            match self {
                Tarballs::Disk(disk) => disk.reclaim(from, to).await,
                Tarballs::S3(s3) => s3.reclaim(from, to).await,
            }
        };
        self.call("reclaim", Box::pin(reclaim)).await
    }

    /// Who claimed this store, if anybody: a joining node refuses a store that its cluster has not claimed.
    pub async fn claimed_by(&self) -> Result<Option<String>, TarballError> {
        let claimed_by = async {
            match self {
                Tarballs::Disk(disk) => disk.claimed_by().await,
                Tarballs::S3(s3) => s3.claimed_by().await,
            }
        };
        self.call("claimed_by", Box::pin(claimed_by)).await
    }

    /// `s3` or `disk`, and where, for logs and status.
    pub fn describe(&self) -> String {
        match self {
            Tarballs::Disk(disk) => disk.describe(),
            Tarballs::S3(s3) => s3.describe(),
        }
    }
}

//! Named objects in a directory or an S3 bucket: where backups lie. Everything is whole or not there, and durable when a call
//! returns; replacing one is conditional, so that two writers cannot both believe that they were the one.

mod directory;
mod s3;

use std::path::PathBuf;

use bytes::Bytes;

use crate::S3Options;
use directory::Directory;
use s3::Bucket;

/// A place with objects. Names are relative paths with `/`.
#[derive(Debug, Clone)]
pub struct Shelf(Place);

#[derive(Debug, Clone)]
enum Place {
    Directory(Directory),
    S3(Bucket),
}

/// Which content an object had when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub bytes: Bytes,
    pub stamp: Stamp,
}

#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// Somebody else replaced it since it was read.
    #[error("somebody else has written {0} in the meantime")]
    Changed(String),
    #[error("{place} is not available")]
    Unavailable {
        place: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Shelf {
    /// Not touched before something is read or put.
    pub fn directory(root: PathBuf) -> Shelf {
        Shelf(Place::Directory(Directory::new(root)))
    }

    /// Talks to nobody yet, except where the SDK looks for a region that the options do not name.
    pub async fn s3(options: S3Options) -> Shelf {
        Shelf(Place::S3(Bucket::connect(options).await))
    }

    /// The whole object, or nothing if there is none.
    pub async fn get(&self, name: &str) -> Result<Option<Object>, ShelfError> {
        match &self.0 {
            Place::Directory(directory) => directory.get(name).await,
            Place::S3(bucket) => bucket.get(name).await,
        }
        .map_err(|cause| self.unavailable(cause))
    }

    /// For names that are never used for other bytes: what is there already is replaced by the same.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ShelfError> {
        match &self.0 {
            Place::Directory(directory) => directory.put(name, bytes).await,
            Place::S3(bucket) => bucket.put(name, bytes).await,
        }
        .map_err(|cause| self.unavailable(cause))
    }

    /// Replaces the object that was read with `expected`, or makes it where there was none; gives its new stamp.
    /// `Changed` if it is another one now.
    /// On an S3 server that ignores conditions, two that replace in the same moment may both succeed; the last one stays.
    pub async fn replace(
        &self,
        name: &str,
        bytes: Bytes,
        expected: Option<&Stamp>,
    ) -> Result<Stamp, ShelfError> {
        let replaced = match &self.0 {
            Place::Directory(directory) => directory.replace(name, bytes, expected).await,
            Place::S3(bucket) => bucket.replace(name, bytes, expected).await,
        }
        .map_err(|cause| self.unavailable(cause))?;
        match replaced {
            Replaced::Done(stamp) => Ok(stamp),
            Replaced::Changed => Err(ShelfError::Changed(name.to_owned())),
        }
    }

    /// Nothing happens if there is none.
    pub async fn remove(&self, name: &str) -> Result<(), ShelfError> {
        match &self.0 {
            Place::Directory(directory) => directory.remove(name).await,
            Place::S3(bucket) => bucket.remove(name).await,
        }
        .map_err(|cause| self.unavailable(cause))
    }

    /// Where it is, for people.
    pub fn describe(&self) -> String {
        match &self.0 {
            Place::Directory(directory) => directory.describe(),
            Place::S3(bucket) => bucket.describe(),
        }
    }

    fn unavailable(&self, cause: Cause) -> ShelfError {
        ShelfError::Unavailable {
            place: self.describe(),
            cause,
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, PartialEq, Eq)]
enum Replaced {
    Done(Stamp),
    Changed,
}

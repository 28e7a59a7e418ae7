//! A shelf in a directory: written beside, synced, renamed, and the directory synced too. A lock file keeps two replacements apart.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cratekeeper_domain::Checksum;

use super::{Cause, Object, Replaced, Stamp};

/// Held while an object is replaced. It stays, empty.
const LOCK: &str = ".lock";

#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: Arc<Path>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct At(PathBuf, #[source] io::Error);

impl Directory {
    pub(super) fn new(root: PathBuf) -> Directory {
        Directory {
            root: Arc::from(root),
        }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Object>, Cause> {
        let path = self.root.join(name);
        off_thread(move || read(&path)).await
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Cause> {
        let path = self.root.join(name);
        off_thread(move || write(&path, &bytes)).await
    }

    pub(super) async fn replace(
        &self,
        name: &str,
        bytes: Bytes,
        expected: Option<&Stamp>,
    ) -> Result<Replaced, Cause> {
        let (root, path) = (self.root.clone(), self.root.join(name));
        let expected = expected.cloned();
        off_thread(move || {
            let _lock = lock(&root)?;
            if read(&path)?.map(|object| object.stamp) != expected {
                return Ok(Replaced::Changed);
            }
            write(&path, &bytes)?;
            Ok(Replaced::Done(stamp(&bytes)))
        })
        .await
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), Cause> {
        let path = self.root.join(name);
        off_thread(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(At(path, error).into()),
            _ => Ok(()),
        })
        .await
    }

    pub(super) fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Cause> + Send + 'static,
) -> Result<T, Cause> {
    tokio::task::spawn_blocking(work).await?
}

fn read(path: &Path) -> Result<Option<Object>, Cause> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Object {
            stamp: stamp(&bytes),
            bytes: bytes.into(),
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(At(path.to_owned(), error).into()),
    }
}

fn stamp(bytes: &[u8]) -> Stamp {
    Stamp(Checksum::of(bytes).to_string())
}

/// Waits for whoever replaces something now; released when the file is dropped, also by a crash.
fn lock(root: &Path) -> Result<File, Cause> {
    let path = root.join(LOCK);
    let locked = || {
        fs::create_dir_all(root)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        file.lock()?;
        Ok(file)
    };
    locked().map_err(|error| At(path.clone(), error).into())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Cause> {
    write_durably(path, bytes).map_err(|error| At(path.to_owned(), error).into())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory)?;
    let incoming = directory.join(format!(".incoming-{}", uuid::Uuid::new_v4()));
    let written = (|| {
        let mut file = File::create_new(&incoming)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&incoming, path)?;
        sync(directory)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&incoming);
    }
    written
}

/// And its place in the directory above, to disk.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    for made in directory.ancestors().take(3) {
        if made.is_dir() {
            sync(made)?;
        }
    }
    Ok(())
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use crate::{Shelf, ShelfError};

    #[tokio::test]
    async fn what_is_put_is_got_and_what_is_not_there_is_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let shelf = Shelf::directory(directory.path().join("backup"));
        assert_eq!(shelf.get("segments/1").await.expect("reads"), None);
        for _ in 0..2 {
            shelf.put("segments/1", "one".into()).await.expect("puts");
        }
        let object = shelf.get("segments/1").await.expect("reads");
        assert_eq!(object.expect("is there").bytes, "one");
        for _ in 0..2 {
            shelf.remove("segments/1").await.expect("removes");
        }
        assert_eq!(shelf.get("segments/1").await.expect("reads"), None);
    }

    #[tokio::test]
    async fn only_one_of_two_that_replace_the_same_thing_succeeds() {
        let directory = tempfile::tempdir().expect("a directory");
        let shelf = Shelf::directory(directory.path().to_owned());
        shelf.replace("m", "1".into(), None).await.expect("new");
        let seen = shelf.get("m").await.expect("reads").expect("is there");
        let both = futures::future::join_all(
            ["2", "3"].map(|text| shelf.replace("m", text.into(), Some(&seen.stamp))),
        );
        let won = both.await.iter().filter(|it| it.is_ok()).count();
        assert_eq!(won, 1);
        let again = shelf.replace("m", "4".into(), None).await;
        assert!(matches!(again, Err(ShelfError::Changed(_))));
    }
}

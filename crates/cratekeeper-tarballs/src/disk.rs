//! Tarballs in a directory: `ab/cd/<checksum>.crate`, written beside and renamed, so that a name always means whole, fsynced
//! bytes. Several nodes may share the directory; what a crash leaves lies in `incoming` only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cratekeeper_domain::Checksum;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use crate::verified::{self, CHUNK_BYTES};
use crate::{Download, TarballError};

/// Files being written; the directory also tells a store from an empty mount point.
const INCOMING: &str = "incoming";
/// Holds the id of the cluster whose store this is.
const CLAIM: &str = "CLUSTER";
/// Nobody is still writing a file this old.
const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone)]
pub struct Disk {
    root: Arc<Path>,
    /// After a failed fsync the kernel may forget what it could not write and call the next fsync a success: so there is none.
    fsync_failed: Arc<AtomicBool>,
}

#[derive(Debug, thiserror::Error)]
enum DiskError {
    #[error("{0}")]
    Io(PathBuf, #[source] io::Error),
    #[error(
        "writing to {0} durably failed earlier; nothing more is stored until this node restarts"
    )]
    FsyncFailed(PathBuf),
    #[error(
        "{0} is not a tarball store (any more): it has no directory `incoming`; is the volume mounted?"
    )]
    NoStore(PathBuf),
    #[error(
        "{0} names no cluster: claiming this store was interrupted; if this stays so, remove the file"
    )]
    TornClaim(PathBuf),
}

type Stored<T> = Result<T, TarballError>;

impl Disk {
    pub(crate) async fn open(root: PathBuf) -> Stored<Disk> {
        let disk = Disk {
            root: Arc::from(root),
            fsync_failed: Arc::new(AtomicBool::new(false)),
        };
        disk.off_thread(Disk::prepare).await?;
        Ok(disk)
    }

    pub(crate) async fn put(&self, checksum: &Checksum, file: &Path, bytes: u64) -> Stored<()> {
        let (checksum, file) = (*checksum, file.to_owned());
        self.off_thread(move |disk| disk.store(&checksum, &file, bytes))
            .await
    }

    pub(crate) async fn get(&self, checksum: &Checksum) -> Stored<Download> {
        let (checksum, place) = (*checksum, self.place(checksum));
        let opened = self.off_thread(move |disk| {
            let file = match File::open(&place) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    disk.is_there()?;
                    return Err(TarballError::Absent(checksum));
                }
                opened => opened.map_err(at(&place))?,
            };
            let bytes = file.metadata().map_err(at(&place))?.len();
            Ok((file, bytes))
        });
        let (file, bytes) = opened.await?;
        if bytes == 0 && checksum != Checksum::of(b"") {
            return Err(TarballError::Corrupt(checksum));
        }
        let chunks = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK_BYTES);
        let stream = verified::stream(checksum, chunks);
        Ok(Download::Stream { bytes, stream })
    }

    pub(crate) async fn size(&self, checksum: &Checksum) -> Stored<Option<u64>> {
        let place = self.place(checksum);
        self.off_thread(move |disk| match fs::metadata(&place) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                disk.is_there()?;
                Ok(None)
            }
            Err(error) => Err(at(&place)(error)),
        })
        .await
    }

    pub(crate) async fn check(&self) -> Stored<()> {
        self.off_thread(|disk| {
            disk.is_there()?;
            disk.may_write()
        })
        .await
    }

    pub(crate) async fn claim(&self, cluster: &str) -> Stored<String> {
        let cluster = cluster.to_owned();
        self.off_thread(move |disk| disk.claim_now(&cluster)).await
    }

    pub(crate) async fn reclaim(&self, from: &str, to: &str) -> Stored<String> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.off_thread(move |disk| disk.reclaim_now(&from, &to))
            .await
    }

    pub(crate) async fn claimed_by(&self) -> Stored<Option<String>> {
        self.off_thread(Disk::read_claim).await
    }

    pub(crate) fn describe(&self) -> String {
        format!("disk {}", self.root.display())
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Stored<T> + Send + 'static,
    ) -> Stored<T> {
        let disk = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&disk)).await;
        done.map_err(TarballError::unavailable)?
    }

    fn place(&self, checksum: &Checksum) -> PathBuf {
        let name = checksum.to_string();
        let directory = self.root.join(&name[..2]).join(&name[2..4]);
        directory.join(name + ".crate")
    }

    fn prepare(&self) -> Stored<()> {
        let incoming = self.root.join(INCOMING);
        fs::create_dir_all(&incoming).map_err(at(&incoming))?;
        self.fsync_dir(&self.root)?;
        for entry in fs::read_dir(&incoming).map_err(at(&incoming))? {
            let path = entry.map_err(at(&incoming))?.path();
            // Another node may finish and rename its file while this one looks, so what cannot be read is not left over.
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > LEFT_OVER) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    fn store(&self, checksum: &Checksum, source: &Path, bytes: u64) -> Stored<()> {
        self.is_there()?;
        self.may_write()?;
        let place = self.place(checksum);
        match File::open(&place) {
            Ok(mut found) => {
                let (found_checksum, _) =
                    verified::copy(&mut found, &mut io::sink()).map_err(at(&place))?;
                if found_checksum == *checksum {
                    // Whoever renamed it may have died, or be about to, before its directory was on the disk.
                    self.fsync(&found, &place)?;
                    return self.settle(&place);
                }
                tracing::warn!(%checksum, "replacing a tarball that was damaged on the disk");
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(at(&place)(error)),
        }
        let incoming = Incoming(self.root.join(INCOMING).join(Uuid::new_v4().to_string()));
        self.write_verified(&incoming.0, checksum, source, bytes)?;
        let directory = parent(&place);
        fs::create_dir_all(directory).map_err(at(directory))?;
        fs::rename(&incoming.0, &place).map_err(at(&place))?;
        self.settle(&place)
    }

    fn write_verified(
        &self,
        path: &Path,
        checksum: &Checksum,
        source: &Path,
        bytes: u64,
    ) -> Stored<()> {
        let mut from = File::open(source).map_err(at(source))?;
        let mut to = create_new(path).map_err(at(path))?;
        let (copied_checksum, copied) = verified::copy(&mut from, &mut to).map_err(at(path))?;
        if copied_checksum != *checksum || copied != bytes {
            return Err(TarballError::Corrupt(*checksum));
        }
        self.fsync(&to, path)
    }

    /// The tarball's name, and the directories on the way to it, are on the disk when this returns, whoever made them.
    fn settle(&self, place: &Path) -> Stored<()> {
        let inner = parent(place);
        self.fsync_dir(inner)?;
        self.fsync_dir(parent(inner))?;
        self.fsync_dir(&self.root)
    }

    fn claim_now(&self, cluster: &str) -> Stored<String> {
        if let Some(holder) = self.read_claim()? {
            return Ok(holder);
        }
        self.may_write()?;
        let path = self.root.join(CLAIM);
        let incoming = Incoming(self.root.join(INCOMING).join(Uuid::new_v4().to_string()));
        self.write_claim(&incoming.0, cluster).map_err(at(&path))?;
        // A link appears whole and never replaces anything; where there are no links, creating at least never replaces.
        let claimed = match fs::hard_link(&incoming.0, &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                self.write_claim(&path, cluster)
            }
            linked => linked,
        };
        match claimed {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(at(&path)(error)),
            _ => self.fsync_dir(&self.root)?,
        }
        let holder = self.read_claim()?;
        holder.ok_or_else(|| TarballError::unavailable(DiskError::TornClaim(path)))
    }

    fn reclaim_now(&self, from: &str, to: &str) -> Stored<String> {
        let path = self.root.join(CLAIM);
        if self.read_claim()?.as_deref() == Some(from) {
            self.may_write()?;
            let incoming = Incoming(self.root.join(INCOMING).join(Uuid::new_v4().to_string()));
            self.write_claim(&incoming.0, to).map_err(at(&path))?;
            fs::rename(&incoming.0, &path).map_err(at(&path))?;
            self.fsync_dir(&self.root)?;
        }
        let holder = self.read_claim()?;
        holder.ok_or_else(|| TarballError::unavailable(DiskError::TornClaim(path)))
    }

    fn write_claim(&self, path: &Path, cluster: &str) -> io::Result<()> {
        let mut file = create_new(path)?;
        writeln!(file, "{cluster}")?;
        file.sync_all()
            .inspect_err(|_| self.remember_failed_fsync())
    }

    fn read_claim(&self) -> Stored<Option<String>> {
        let path = self.root.join(CLAIM);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.is_there()?;
                return Ok(None);
            }
            read => read.map_err(at(&path))?,
        };
        match text.strip_suffix('\n') {
            Some(cluster) => Ok(Some(cluster.to_owned())),
            None => Err(TarballError::unavailable(DiskError::TornClaim(path))),
        }
    }

    fn is_there(&self) -> Stored<()> {
        let incoming = self.root.join(INCOMING);
        if incoming.try_exists().map_err(at(&incoming))? {
            return Ok(());
        }
        let root = self.root.to_path_buf();
        Err(TarballError::unavailable(DiskError::NoStore(root)))
    }

    fn may_write(&self) -> Stored<()> {
        if self.fsync_failed.load(Ordering::SeqCst) {
            let root = self.root.to_path_buf();
            return Err(TarballError::unavailable(DiskError::FsyncFailed(root)));
        }
        Ok(())
    }

    fn fsync_dir(&self, path: &Path) -> Stored<()> {
        self.fsync(&File::open(path).map_err(at(path))?, path)
    }

    fn fsync(&self, file: &File, path: &Path) -> Stored<()> {
        let synced = file.sync_all();
        let synced = synced.inspect_err(|_| self.remember_failed_fsync());
        synced.map_err(at(path))
    }

    fn remember_failed_fsync(&self) {
        self.fsync_failed.store(true, Ordering::SeqCst);
    }
}

/// A file being written; gone when dropped, unless it was renamed.
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .expect("a tarball lies two directories below the root")
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> TarballError {
    |error| TarballError::unavailable(DiskError::Io(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use tempfile::TempDir;

    use super::*;
    use crate::Tarballs;

    async fn store() -> (TempDir, Tarballs) {
        let directory = TempDir::new().unwrap();
        let tarballs = Tarballs::disk(directory.path().join("tarballs")).await;
        (directory, tarballs.unwrap())
    }

    /// A file with these bytes outside of the store.
    fn upload(directory: &TempDir, bytes: &[u8]) -> PathBuf {
        let path = directory.path().join(Uuid::new_v4().to_string());
        fs::write(&path, bytes).unwrap();
        path
    }

    async fn put(directory: &TempDir, tarballs: &Tarballs, bytes: &[u8]) -> Checksum {
        let checksum = Checksum::of(bytes);
        let file = upload(directory, bytes);
        let put = tarballs.put(&checksum, &file, bytes.len() as u64).await;
        put.unwrap();
        checksum
    }

    async fn read(tarballs: &Tarballs, checksum: &Checksum) -> Result<Vec<u8>, TarballError> {
        let Download::Stream { bytes, stream } = tarballs.get(checksum).await? else {
            panic!("a directory never redirects");
        };
        let chunks: Vec<_> = stream.try_collect().await?;
        let read = chunks.concat();
        assert_eq!(read.len() as u64, bytes);
        Ok(read)
    }

    fn path_of(directory: &TempDir, checksum: &Checksum) -> PathBuf {
        let name = checksum.to_string();
        let inner = directory
            .path()
            .join("tarballs")
            .join(&name[..2])
            .join(&name[2..4]);
        inner.join(format!("{name}.crate"))
    }

    fn incoming(directory: &TempDir) -> usize {
        let incoming = directory.path().join("tarballs").join(INCOMING);
        fs::read_dir(incoming).unwrap().count()
    }

    #[tokio::test]
    async fn what_was_put_is_got_again_and_twice_is_once() {
        let (directory, tarballs) = store().await;
        for bytes in [vec![], b"small".to_vec(), vec![3; 5 * CHUNK_BYTES + 17]] {
            for _ in 0..2 {
                let checksum = put(&directory, &tarballs, &bytes).await;
                assert_eq!(read(&tarballs, &checksum).await.unwrap(), bytes);
                assert!(tarballs.contains(&checksum).await.unwrap());
            }
        }
        assert_eq!(incoming(&directory), 0);
        tarballs.check().await.unwrap();
    }

    #[tokio::test]
    async fn many_at_once_with_the_same_bytes_all_succeed() {
        let (directory, tarballs) = store().await;
        let bytes = vec![9; 2 * CHUNK_BYTES];
        let puts = (0..8).map(|_| put(&directory, &tarballs, &bytes));
        let checksums = futures::future::join_all(puts).await;
        assert_eq!(read(&tarballs, &checksums[0]).await.unwrap(), bytes);
        assert_eq!(incoming(&directory), 0);
    }

    #[tokio::test]
    async fn what_is_not_there_is_absent_and_what_is_not_mounted_is_unavailable() {
        let (directory, tarballs) = store().await;
        let checksum = Checksum::of(b"never");
        let absent = read(&tarballs, &checksum).await;
        assert!(matches!(absent, Err(TarballError::Absent(_))));
        assert!(!tarballs.contains(&checksum).await.unwrap());

        fs::remove_dir(directory.path().join("tarballs").join(INCOMING)).unwrap();
        let away = read(&tarballs, &checksum).await;
        assert!(matches!(away, Err(TarballError::Unavailable(_))));
        assert!(tarballs.contains(&checksum).await.is_err());
        assert!(tarballs.claimed_by().await.is_err());
        assert!(tarballs.check().await.is_err());
        let file = upload(&directory, b"never");
        assert!(tarballs.put(&checksum, &file, 5).await.is_err());
    }

    #[tokio::test]
    async fn other_bytes_than_announced_are_refused_and_leave_nothing() {
        let (directory, tarballs) = store().await;
        let file = upload(&directory, b"honest");
        let honest = Checksum::of(b"honest");
        for (checksum, bytes) in [(Checksum::of(b"other"), 6), (honest, 5), (honest, 7)] {
            let refused = tarballs.put(&checksum, &file, bytes).await;
            assert!(matches!(refused, Err(TarballError::Corrupt(_))));
            assert!(!path_of(&directory, &checksum).exists());
        }
        assert_eq!(incoming(&directory), 0);
    }

    #[tokio::test]
    async fn damage_is_noticed_by_reading_and_mended_by_putting() {
        let (directory, tarballs) = store().await;
        let bytes = vec![5; 3 * CHUNK_BYTES];
        let checksum = put(&directory, &tarballs, &bytes).await;
        let path = path_of(&directory, &checksum);
        let mut flipped = bytes.clone();
        flipped[CHUNK_BYTES] = 6;
        let longer = [&bytes[..], b"more"].concat();
        for damaged in [&flipped[..], &bytes[..100], &[], &longer] {
            fs::write(&path, damaged).unwrap();
            let noticed = read(&tarballs, &checksum).await;
            assert!(matches!(noticed, Err(TarballError::Corrupt(_))));
            put(&directory, &tarballs, &bytes).await;
            assert_eq!(read(&tarballs, &checksum).await.unwrap(), bytes);
        }
    }

    #[tokio::test]
    async fn after_a_failed_fsync_nothing_is_stored_but_reading_goes_on() {
        let (directory, tarballs) = store().await;
        let checksum = put(&directory, &tarballs, b"before").await;
        let Tarballs::Disk(disk) = &tarballs else {
            panic!("a disk was opened");
        };
        disk.fsync_failed.store(true, Ordering::SeqCst);
        assert_eq!(read(&tarballs, &checksum).await.unwrap(), b"before");
        assert!(tarballs.check().await.is_err());
        let file = upload(&directory, b"before");
        let refused = tarballs.put(&checksum, &file, 6).await;
        assert!(matches!(refused, Err(TarballError::Unavailable(_))));
    }

    #[tokio::test]
    async fn what_a_crash_left_is_removed_when_it_is_old() {
        let (directory, tarballs) = store().await;
        drop(tarballs);
        let root = directory.path().join("tarballs");
        let old = root.join(INCOMING).join("old");
        let young = root.join(INCOMING).join("young");
        fs::write(&young, b"another node is writing this").unwrap();
        let file = File::create(&old).unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * LEFT_OVER;
        file.set_modified(long_ago).unwrap();
        Tarballs::disk(root).await.unwrap();
        assert!(young.exists() && !old.exists());
    }

    #[tokio::test]
    async fn the_first_cluster_keeps_the_store() {
        let (directory, tarballs) = store().await;
        assert_eq!(tarballs.claimed_by().await.unwrap(), None);
        assert_eq!(tarballs.claim("first").await.unwrap(), "first");
        assert_eq!(tarballs.claim("first").await.unwrap(), "first");
        let root = directory.path().join("tarballs");
        let shared = Tarballs::disk(root.clone()).await.unwrap();
        assert_eq!(shared.claim("second").await.unwrap(), "first");
        assert_eq!(shared.claimed_by().await.unwrap().as_deref(), Some("first"));

        fs::write(root.join(CLAIM), b"fir").unwrap();
        assert!(shared.claimed_by().await.is_err());
        assert!(shared.claim("second").await.is_err());
    }
}

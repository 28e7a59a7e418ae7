//! A tarball being received: a temporary file, hashed on the way, gone when it is dropped.

use std::fs;
use std::io;
use std::path::Path;

use cratekeeper_domain::Checksum;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

/// Makes the directory ready, and empty: what is in it was being received when the process ended.
pub(crate) fn prepare(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(directory)
}

/// Being written.
pub(crate) struct Spool {
    file: NamedTempFile,
    writer: tokio::fs::File,
    hasher: Sha256,
    bytes: u64,
}

/// Complete, though not yet durable: the store it goes to makes it so.
pub(crate) struct Spooled {
    file: NamedTempFile,
    pub(crate) checksum: Checksum,
    pub(crate) bytes: u64,
}

impl Spool {
    pub(crate) async fn create(directory: &Path) -> io::Result<Spool> {
        let directory = directory.to_owned();
        let created = spawn_blocking(move || {
            let file = NamedTempFile::with_prefix_in("upload-", directory)?;
            let writer = file.reopen()?;
            Ok::<_, io::Error>((file, writer))
        });
        let (file, writer) = created.await.map_err(io::Error::other)??;
        Ok(Spool {
            file,
            writer: tokio::fs::File::from_std(writer),
            hasher: Sha256::new(),
            bytes: 0,
        })
    }

    pub(crate) async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.hasher.update(piece);
        self.bytes += piece.len() as u64;
        self.writer.write_all(piece).await
    }

    pub(crate) async fn finish(mut self) -> io::Result<Spooled> {
        self.writer.flush().await?;
        Ok(Spooled {
            file: self.file,
            checksum: Checksum(self.hasher.finalize().into()),
            bytes: self.bytes,
        })
    }
}

impl Spooled {
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_was_receiving_is_cleared_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = directory.path().join("uploads");
        prepare(&spool).expect("created");
        fs::write(spool.join("upload-left"), "x").expect("written");
        prepare(&spool).expect("cleared");
        assert_eq!(fs::read_dir(&spool).expect("a directory").count(), 0);
    }

    #[tokio::test]
    async fn a_spooled_file_has_the_bytes_and_their_checksum_and_disappears() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spool = Spool::create(directory.path()).await.expect("a spool");
        spool.write(b"abc").await.expect("written");
        spool.write(b"def").await.expect("written");
        let spooled = spool.finish().await.expect("finished");

        assert_eq!(spooled.bytes, 6);
        assert_eq!(fs::read(spooled.path()).expect("readable"), b"abcdef");
        assert_eq!(
            spooled.checksum.to_string(),
            "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721"
        );
        drop(spooled);
        assert_eq!(
            fs::read_dir(directory.path()).expect("a directory").count(),
            0
        );
    }
}

//! Bytes on their way, hashed as they pass: copying a file, and a stream that never completes with wrong bytes.

use std::io::{Read, Write};
use std::pin::Pin;

use bytes::Bytes;
use cratekeeper_domain::Checksum;
use futures::stream::try_unfold;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use crate::{TarballError, TarballStream};

/// The most that one chunk of a stream carries, and the buffer of a copy: what one transfer costs in memory, times two.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Copies all of `from` into `to`; gives the checksum and number of the bytes.
pub(crate) fn copy(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<(Checksum, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((Checksum(hasher.finalize().into()), copied)),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        copied += read as u64;
    }
}

/// Hands `chunks` on and keeps the last bytes back until the checksum of all of them is right; otherwise ends with `Corrupt`.
pub(crate) fn stream<E>(
    checksum: Checksum,
    chunks: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> TarballStream
where
    E: std::error::Error + Send + Sync + 'static,
{
    let passing = Passing {
        checksum,
        chunks: Box::pin(chunks.map(|chunk| chunk.map_err(TarballError::unavailable))),
        hasher: Sha256::new(),
        held: Bytes::new(),
        ended: false,
    };
    Box::pin(try_unfold(passing, async |mut passing| {
        Ok(passing.next().await?.map(|chunk| (chunk, passing)))
    }))
}

struct Passing {
    checksum: Checksum,
    chunks: Pin<Box<dyn Stream<Item = Result<Bytes, TarballError>> + Send>>,
    hasher: Sha256,
    /// Hashed, not yet handed on.
    held: Bytes,
    ended: bool,
}

impl Passing {
    async fn next(&mut self) -> Result<Option<Bytes>, TarballError> {
        loop {
            if self.held.len() > CHUNK_BYTES {
                return Ok(Some(self.held.split_to(CHUNK_BYTES)));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(chunk) = self.chunks.next().await.transpose()? else {
                self.ended = true;
                let found = Checksum(std::mem::take(&mut self.hasher).finalize().into());
                if found != self.checksum {
                    return Err(TarballError::Corrupt(self.checksum));
                }
                let last = std::mem::take(&mut self.held);
                return Ok((!last.is_empty()).then_some(last));
            };
            if chunk.is_empty() {
                continue;
            }
            self.hasher.update(&chunk);
            let earlier = std::mem::replace(&mut self.held, chunk);
            if !earlier.is_empty() {
                return Ok(Some(earlier));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn through(checksum: Checksum, chunks: &[&[u8]]) -> (Vec<Bytes>, Option<TarballError>) {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| Bytes::copy_from_slice(chunk))
            .collect();
        let chunks = futures::stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>));
        let mut stream = stream(checksum, chunks);
        let mut passed = Vec::new();
        loop {
            match stream.try_next().await {
                Ok(Some(chunk)) => passed.push(chunk),
                Ok(None) => return (passed, None),
                Err(error) => return (passed, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn right_bytes_pass_however_they_are_cut() {
        let large = vec![7; 3 * CHUNK_BYTES + 1];
        for chunks in [
            vec![],
            vec![&b""[..]],
            vec![b"one"],
            vec![b"one", b"", b"two"],
            vec![&large],
            vec![b"one", &large, b"two"],
        ] {
            let whole = chunks.concat();
            let (passed, error) = through(Checksum::of(&whole), &chunks).await;
            assert!(error.is_none(), "{error:?}");
            assert!(passed.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
            assert_eq!(passed.concat(), whole);
        }
    }

    #[tokio::test]
    async fn wrong_bytes_never_pass_completely() {
        let large = vec![7; 2 * CHUNK_BYTES];
        for chunks in [
            vec![],
            vec![&b"one"[..]],
            vec![b"one", b"two"],
            vec![&large],
        ] {
            let whole = chunks.concat();
            let (passed, error) = through(Checksum::of(b"other"), &chunks).await;
            assert!(matches!(error, Some(TarballError::Corrupt(_))), "{error:?}");
            assert!(passed.concat().len() < whole.len() || whole.is_empty());
        }
    }
}

//! A stream of bytes that proves itself: whoever reads to the end has what the checksum says.

use bytes::Bytes;
use cratekeeper_domain::Checksum;
use futures::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::{TarballError, TarballStream};

struct Verified<S> {
    inner: S,
    checksum: Checksum,
    bytes_left: u64,
    hasher: Sha256,
    /// The newest piece is kept back until it is known whether it is the last one, and then whether all was right.
    held: Option<Bytes>,
    ended: bool,
}

/// `inner`, ended by `Corrupt` before its last piece if it is not `bytes` long or does not have the checksum.
pub(crate) fn verified<S>(inner: S, checksum: Checksum, bytes: u64) -> TarballStream
where
    S: Stream<Item = Result<Bytes, TarballError>> + Send + Unpin + 'static,
{
    let state = Verified {
        inner,
        checksum,
        bytes_left: bytes,
        hasher: Sha256::new(),
        held: None,
        ended: false,
    };
    Box::pin(stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        state.ended |= item.is_err();
        Some((item, state))
    }))
}

impl<S: Stream<Item = Result<Bytes, TarballError>> + Unpin> Verified<S> {
    async fn next(&mut self) -> Option<Result<Bytes, TarballError>> {
        while !self.ended {
            let piece = match self.inner.next().await {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Some(Err(error)),
                None => return self.last(),
            };
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            let Some(left) = self.bytes_left.checked_sub(length) else {
                return Some(Err(TarballError::Corrupt(self.checksum)));
            };
            self.bytes_left = left;
            self.hasher.update(&piece);
            if let Some(held) = self.held.replace(piece) {
                return Some(Ok(held));
            }
        }
        None
    }

    fn last(&mut self) -> Option<Result<Bytes, TarballError>> {
        self.ended = true;
        let found: [u8; 32] = self.hasher.clone().finalize().into();
        if self.bytes_left != 0 || found != self.checksum.0 {
            return Some(Err(TarballError::Corrupt(self.checksum)));
        }
        self.held.take().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(pieces: &[&'static str], bytes: u64) -> (String, bool) {
        let checksum = Checksum::of(b"one two three");
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from(*piece))).collect();
        let mut stream = verified(stream::iter(pieces), checksum, bytes);
        let mut text = String::new();
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => text.push_str(&String::from_utf8_lossy(&piece)),
                Err(_) => return (text, false),
            }
        }
        (text, true)
    }

    #[tokio::test]
    async fn only_the_right_bytes_arrive_whole() {
        let right = read(&["one ", "two ", "three"], 13).await;
        assert_eq!(right, ("one two three".to_owned(), true));
        let wrong = read(&["one ", "two ", "threw"], 13).await;
        assert_eq!(wrong, ("one two ".to_owned(), false));
        let short = read(&["one ", "two "], 13).await;
        assert_eq!(short, ("one ".to_owned(), false));
        let long = read(&["one ", "two ", "three", "!"], 13).await;
        assert_eq!(long, ("one two ".to_owned(), false));
    }
}

//! One connection between nodes, at either end: who is there, and for how long it is believed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::Connected;

use crate::certificates::CertificateFacts;

/// For what runs on a connection when the authorities behind it are no longer trusted; then it is cut.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(20);

/// What the calls of a connection know about it.
#[derive(Debug, Clone)]
pub(super) struct PeerConnection {
    /// That the other node showed; `None` in plain text.
    pub(super) certificate: Option<Arc<CertificateFacts>>,
    /// Cancelled when it has to be made again: what goes on for long ends itself.
    pub(super) trust: CancellationToken,
}

/// The bytes of a connection, until it is cut.
pub(super) struct Bounded<S> {
    io: S,
    connection: PeerConnection,
    cut: Option<BoxFuture<'static, ()>>,
    _over: DropGuard,
}

impl<S> Bounded<S> {
    /// `over` is cancelled when the connection is.
    pub(super) fn new(io: S, connection: PeerConnection, over: CancellationToken) -> Bounded<S> {
        let trust = connection.trust.clone();
        let cut = async move {
            trust.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        Bounded {
            io,
            connection,
            cut: Some(cut.boxed()),
            _over: over.drop_guard(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever holds a connection always waits to read from it, so this is also polled when nothing comes.
        if self
            .cut
            .as_mut()
            .is_none_or(|cut| cut.poll_unpin(cx).is_ready())
        {
            self.cut = None;
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the authority behind this connection is not trusted any more",
            )));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<S> Connected for Bounded<S> {
    type ConnectInfo = PeerConnection;

    fn connect_info(&self) -> PeerConnection {
        self.connection.clone()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_lost_its_trust_is_cut_after_its_last_words() {
        let (here, mut there) = tokio::io::duplex(64);
        let (trust, over) = (CancellationToken::new(), CancellationToken::new());
        let connection = PeerConnection {
            certificate: None,
            trust: trust.clone(),
        };
        let mut bounded = Bounded::new(here, connection, over.clone());
        trust.cancel();
        there.write_all(b"last").await.unwrap();
        let mut buffer = [0; 4];
        bounded.read_exact(&mut buffer).await.unwrap();
        let begun = Instant::now();
        let error = bounded.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(begun.elapsed(), LAST_WORDS);
        drop(bounded);
        assert!(over.is_cancelled());
    }
}

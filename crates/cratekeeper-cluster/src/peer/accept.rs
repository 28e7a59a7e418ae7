//! The peer port: takes connections, demands of each what this node is configured for, and hands it to the peer service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;

use super::connection::{Bounded, PeerConnection};
use super::refusals::Refusals;
use super::tls::PeerCertificates;
use super::tls_faults::predicate_of_io;
use crate::certificates::CertificateFacts;

/// For its first byte and, with TLS, the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// For calls under way when the node stops.
const LAST_CALLS: Duration = Duration::from_secs(3);
/// Before accepting again after an error such as "too many open files".
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// For a refused node to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// First byte of a TLS handshake; HTTP/2 begins with a `P`.
const TLS_HANDSHAKE: u8 = 0x16;

/// Every connection is served by a clone of it.
#[derive(Clone)]
struct Port {
    service: Router,
    tls: Option<Arc<PeerCertificates>>,
    stopping: CancellationToken,
    refusals: Arc<Refusals>,
}

/// Until `stopping`, and then for the few seconds that calls under way may take.
pub(super) async fn serve(
    listener: TcpListener,
    service: Router,
    tls: Option<Arc<PeerCertificates>>,
    stopping: CancellationToken,
) {
    let port = Port {
        service,
        tls,
        stopping: stopping.clone(),
        refusals: Arc::default(),
    };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        // Finished tasks are collected here, so that the set stays as large as what is open.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) => {
                connections.spawn(port.clone().take(stream, from));
            }
            Err(error) => {
                tracing::warn!(%error, "a peer's connection could not be accepted");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(LAST_CALLS, finished).await;
    connections.shutdown().await;
}

impl Port {
    async fn take(self, stream: TcpStream, from: SocketAddr) {
        // Answers are small and written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        let Ok(Ok(1)) = timeout(HANDSHAKE, stream.peek(&mut first)).await else {
            return;
        };
        match (self.tls.clone(), first[0] == TLS_HANDSHAKE) {
            (None, false) => {
                let connection = PeerConnection {
                    certificate: None,
                    trust: CancellationToken::new(),
                };
                self.serve(stream, connection).await;
            }
            (Some(tls), true) => self.secure(stream, from, &tls).await,
            (None, true) => {
                let why =
                    "speaks TLS, while this one has no peer.tls_certificate: configure both alike";
                self.refuse(stream, from, why).await;
            }
            (Some(_), false) => {
                let why = "speaks plain text, while this one demands TLS (peer.tls_certificate): configure both alike";
                self.refuse(stream, from, why).await;
            }
        }
    }

    async fn secure(self, stream: TcpStream, from: SocketAddr, tls: &PeerCertificates) {
        let current = tls.current();
        let acceptor = TlsAcceptor::from(current.server.clone());
        let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let why = predicate_of_io(&error, tls.authorities_file());
                return self.refusals.tell(&from.ip().to_string(), &why);
            }
            Err(_) => return,
        };
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .ok_or_else(|| "shows no certificate".to_owned());
        let judged = shown.and_then(|shown| {
            let facts = CertificateFacts::read(shown)
                .map_err(|why| format!("shows a certificate that is none: {why}"))?;
            tls.check_cluster(&facts)
                .map_err(|why| format!("shows a certificate that {why}"))?;
            Ok(facts)
        });
        match judged {
            Ok(facts) => {
                let connection = PeerConnection {
                    certificate: Some(Arc::new(facts)),
                    trust: current.trust.clone(),
                };
                self.serve(stream, connection).await;
            }
            Err(why) => self.refuse(stream, from, &why).await,
        }
    }

    /// Until the connection is over, its trust ends, or the node stops; for the last two, calls under way are finished.
    async fn serve<S>(self, stream: S, connection: PeerConnection)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (trust, over) = (connection.trust.clone(), CancellationToken::new());
        let stream = Bounded::new(stream, connection, over.clone());
        let only = futures::stream::iter([Ok::<_, io::Error>(stream)]);
        let end = async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = trust.cancelled() => {}
                () = self.stopping.cancelled() => {}
            }
        };
        // The end of what comes in would be taken for the wish to stop.
        let incoming = only.chain(futures::stream::pending());
        let served = self.service.serve_with_incoming_shutdown(incoming, end);
        if let Err(error) = served.await {
            tracing::debug!(%error, "a peer's connection ended with an error");
        }
    }

    /// Says why in the log here and, as far as the protocol has room for it, over there.
    async fn refuse<S>(&self, mut stream: S, from: SocketAddr, why: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.refusals.tell(&from.ip().to_string(), why);
        let farewell = async {
            stream.write_all(&go_away(why)).await?;
            stream.shutdown().await?;
            // Closing with bytes unread would take back what was just written.
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

/// HTTP/2: an empty SETTINGS frame, then GOAWAY with INADEQUATE_SECURITY and a sentence (RFC 9113, 6.5 and 6.8).
fn go_away(why: &str) -> Vec<u8> {
    let sentence = format!("this node {why}");
    let length = u32::try_from(8 + sentence.len()).unwrap_or(8);
    let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.extend_from_slice(&[7, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x0c]);
    bytes.extend_from_slice(sentence.as_bytes());
    bytes
}

//! Accepts connections and hands their requests to a router: HTTP/1.1 and HTTP/2, with or without TLS, bounded in number and
//! in patience, each closed gracefully when the node stops.

mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

use self::tls::PublicCertificate;

const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that answers no ping within this time is gone, whatever TCP thinks.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Before accepting again after an error such as "too many open files".
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(crate) struct ListenSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) connections_max: usize,
    pub(crate) header_timeout: Duration,
}

/// PEM files: the chain, and the key of its first certificate.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A bound port; the kernel queues connections until [`Listener::serve`].
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: Option<Secured>,
    connections_max: usize,
    header_timeout: Duration,
}

struct Secured {
    acceptor: TlsAcceptor,
    certificate: Arc<PublicCertificate>,
}

impl Secured {
    fn load(files: &TlsFiles) -> anyhow::Result<Secured> {
        let certificate = PublicCertificate::load(files)?;
        Ok(Secured {
            acceptor: certificate.acceptor()?,
            certificate,
        })
    }

    /// The certificate is followed for as long as the second value lives.
    fn keep_up(self) -> (TlsAcceptor, AbortOnDropHandle<()>) {
        let following = tokio::spawn(self.certificate.reload());
        (self.acceptor, AbortOnDropHandle::new(following))
    }
}

impl Listener {
    /// Binds the port and reads the certificate.
    pub(crate) async fn bind(settings: &ListenSettings) -> anyhow::Result<Listener> {
        let tls = settings.tls.as_ref().map(Secured::load).transpose()?;
        let tcp = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("listen on {}", settings.listen))?;
        Ok(Listener {
            tcp,
            tls,
            connections_max: settings.connections_max,
            header_timeout: settings.header_timeout,
        })
    }

    /// Until `stop`: then accepts no more, lets running requests finish for at most `grace`, and returns.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) {
        let permits = Arc::new(Semaphore::new(self.connections_max));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let (acceptor, _reloading) = self.tls.map(Secured::keep_up).unzip();
        loop {
            let permit = tokio::select! {
                permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
                () = stop.cancelled() => break,
            };
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = stop.cancelled() => break,
            };
            // Finished tasks are collected here, so that the set stays as large as what is open.
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        peer,
                        router: router.clone(),
                        header_timeout: self.header_timeout,
                        watcher: graceful.watcher(),
                    };
                    let tls = acceptor.clone();
                    connections.spawn(async move {
                        connection.accept(stream, tls).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
        drop(self.tcp);
        if tokio::time::timeout(grace, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "connections were still busy and are cut"
            );
        }
        connections.shutdown().await;
    }
}

/// What one connection needs, from the handshake to its end.
struct Connection {
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
    watcher: Watcher,
}

impl Connection {
    async fn accept(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Answers are small and written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.drive(stream).await;
        };
        match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.drive(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "a TLS handshake failed");
            }
            Err(_) => tracing::debug!(peer = %self.peer, "a TLS handshake took too long"),
        }
    }

    /// Serves requests until the client is done, the node stops, or no first request came in time.
    async fn drive<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let Connection {
            peer,
            router,
            header_timeout,
            watcher,
        } = self;
        let seen = asked.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let builder = builder(header_timeout);
        // Without upgrades: cargo offers `Upgrade: h2c` on plain text, and may be ignored.
        let connection = watcher.watch(
            builder
                .serve_connection(TokioIo::new(stream), service)
                .into_owned(),
        );
        let result = tokio::select! {
            result = Box::pin(connection) => result,
            () = never_asked(&asked, header_timeout) => return,
        };
        if let Err(error) = result {
            tracing::debug!(%peer, error, "a connection ended with an error");
        }
    }
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .max_concurrent_streams(256)
        .adaptive_window(true);
    builder
}

/// Resolves if nothing was asked within `timeout`. The HTTP/1 header timeout only starts once the protocol is known, which a
/// client that sends half a preface would put off for ever.
async fn never_asked(asked: &AtomicBool, timeout: Duration) {
    tokio::time::sleep(timeout).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use rustls_pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(30);
    const HURRIED: Duration = Duration::from_millis(20);

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        done: JoinHandle<()>,
    }

    async fn serve(router: Router, header_timeout: Duration, tls: Option<TlsFiles>) -> Served {
        let settings = ListenSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls,
            connections_max: 2,
            header_timeout,
        };
        let listener = Listener::bind(&settings).await.expect("any port is free");
        let address = listener.tcp.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let done = tokio::spawn(listener.serve(router, stop.clone(), PATIENT));
        Served {
            address,
            stop,
            done,
        }
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }))
    }

    async fn ask(address: SocketAddr, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        stream
    }

    async fn answer(mut stream: impl AsyncRead + Unpin) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn an_offer_to_upgrade_is_ignored_as_cargo_expects() {
        let served = serve(hello(), PATIENT, None).await;
        let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
        let answer = answer(ask(served.address, head).await).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_a_head_is_cut() {
        let served = serve(hello(), HURRIED, None).await;
        for beginning in ["", "PRI * HT", "GET / HTTP/1.1\r\nHost: x\r\n"] {
            let answer = answer(ask(served.address, beginning).await).await;
            assert!(!answer.contains("200 OK"), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_runs_is_finished_and_nothing_new_begins() {
        let (begun, has_begun) = oneshot::channel();
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let slots = Arc::new(parking_lot::Mutex::new(Some((begun, may_go_on))));
        let slow = get(move || async move {
            let taken = slots.lock().take();
            let (begun, may_go_on) = taken.expect("it is asked once");
            let _ = begun.send(());
            let _ = may_go_on.await;
            "finished"
        });
        let served = serve(Router::new().route("/", slow), PATIENT, None).await;
        let asking = ask(served.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        has_begun.await.expect("the request arrives");
        served.stop.cancel();
        while TcpStream::connect(served.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!served.done.is_finished());
        let _ = go_on.send(());
        served.done.await.expect("it ends well");
        assert!(answer(asking).await.ends_with("finished"));
    }

    #[tokio::test]
    async fn connections_over_the_limit_wait_for_their_turn() {
        let served = serve(hello(), PATIENT, None).await;
        let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let first = ask(served.address, "").await;
        let second = ask(served.address, "").await;
        let third = ask(served.address, head).await;
        drop((first, second));
        assert!(answer(third).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn tls_offers_http_2() {
        let files = tempfile::tempdir().expect("a temporary directory");
        let pair =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let tls = TlsFiles {
            certificate: files.path().join("certificate.pem"),
            key: files.path().join("key.pem"),
        };
        std::fs::write(&tls.certificate, pair.cert.pem()).expect("a temporary file");
        std::fs::write(&tls.key, pair.signing_key.serialize_pem()).expect("a temporary file");
        let served = serve(hello(), PATIENT, Some(tls)).await;

        let mut roots = rustls::RootCertStore::empty();
        roots.add(pair.cert.der().clone()).expect("a certificate");
        let mut client = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(served.address)
            .await
            .expect("it listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = tokio_rustls::TlsConnector::from(Arc::new(client))
            .connect(name, stream)
            .await
            .expect("the certificate is trusted");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
}

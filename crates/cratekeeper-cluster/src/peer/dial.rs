//! Connections to other nodes: opened when first used, opened again when lost, and apart from each other by purpose, so that
//! a heartbeat never waits behind a snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::admission_client::AdmissionClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Request, Response, Status};
use tower::{Service, ServiceExt};

use super::connection::{Bounded, PeerConnection};
use super::refusals::Refusals;
use super::tls::{PeerCertificates, host_of};
use super::tls_faults::predicate_of_io;
use crate::causes::with_causes;
use crate::certificates::CertificateFacts;

/// Larger than anything that is sent: an append request of one entry.
pub(super) const MESSAGE_MAX: usize = 16 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(4);

/// What a connection is for; each has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Heartbeats, votes, transfers of leadership.
    Control,
    Append,
    Snapshot,
    /// Forwarded commands, reads, status, admission.
    Commands,
}

/// Opens connections by address; cheap to clone. Its connections live on the runtime it was made on, whoever uses them.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tls: Option<Arc<PeerCertificates>>,
    refusals: Arc<Refusals>,
    runtime: tokio::runtime::Handle,
    channels: Mutex<HashMap<(String, Purpose), Open>>,
}

/// A channel that may be used until its trust ends.
#[derive(Debug)]
struct Open {
    channel: Channel,
    trust: CancellationToken,
}

impl Dialer {
    /// Call it on the runtime that is to do the network's work.
    pub(crate) fn new(tls: Option<Arc<PeerCertificates>>) -> Dialer {
        Dialer {
            shared: Arc::new(Shared {
                tls,
                refusals: Arc::default(),
                runtime: tokio::runtime::Handle::current(),
                channels: Mutex::default(),
            }),
        }
    }

    /// Does not connect; errors only if `address` is not `host:port`.
    pub(super) fn channel(&self, address: &str, purpose: Purpose) -> Result<Channel, Status> {
        let key = (address.to_owned(), purpose);
        let mut channels = self.shared.channels.lock();
        if let Some(open) = channels.get(&key)
            && !open.trust.is_cancelled()
        {
            return Ok(open.channel.clone());
        }
        let endpoint = endpoint(address).map_err(|error| {
            Status::invalid_argument(format!(
                "`{address}` cannot be dialled: {}",
                with_causes(&error)
            ))
        })?;
        let _runtime = self.shared.runtime.enter();
        let trust = self.trust();
        let channel = match &self.shared.tls {
            None => endpoint.connect_lazy(),
            Some(tls) => {
                let connector = secured(address, tls, &self.shared.refusals);
                endpoint.connect_with_connector_lazy(connector)
            }
        };
        let open = Open {
            channel: channel.clone(),
            trust,
        };
        channels.insert(key, open);
        Ok(channel)
    }

    /// Ends when the connections that are opened now have to be made again.
    pub(super) fn trust(&self) -> CancellationToken {
        match &self.shared.tls {
            None => CancellationToken::new(),
            Some(tls) => tls.current().trust.clone(),
        }
    }

    /// See `PeerCertificates::belong_to`.
    pub(crate) fn belong_to(&self, cluster: &str) -> Result<(), String> {
        match &self.shared.tls {
            None => Ok(()),
            Some(tls) => tls.belong_to(cluster),
        }
    }

    fn admission(&self, address: &str) -> Result<AdmissionClient<Channel>, Status> {
        Ok(AdmissionClient::new(
            self.channel(address, Purpose::Commands)?,
        ))
    }

    /// Who listens at `address`, and is it in a cluster? The error says what happened instead of an answer.
    pub(crate) async fn hello(
        &self,
        address: &str,
        hello: pb::HelloRequest,
        deadline: Instant,
    ) -> Result<pb::HelloReply, String> {
        let mut client = self.admission(address).map_err(said)?;
        within(deadline, client.hello(Request::new(hello)))
            .await
            .map_err(said)
    }

    pub(crate) async fn join(
        &self,
        address: &str,
        join: pb::JoinRequest,
        deadline: Instant,
    ) -> Result<pb::JoinReply, String> {
        let mut client = self.admission(address).map_err(said)?;
        within(deadline, client.join(Request::new(join)))
            .await
            .map_err(said)
    }

    pub(crate) async fn invite(
        &self,
        address: &str,
        invite: pb::InviteRequest,
        deadline: Instant,
    ) -> Result<pb::InviteReply, String> {
        let mut client = self.admission(address).map_err(said)?;
        within(deadline, client.invite(Request::new(invite)))
            .await
            .map_err(said)
    }
}

/// The scheme only says how the port is found: `secured` adds TLS below HTTP/2.
fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_PATIENCE)
        .keep_alive_while_idle(true))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Secured = TokioIo<Bounded<TlsStream<TcpStream>>>;

/// Connects as the certificates of that moment say; whatever the other node shows is checked before a byte of a call is sent.
fn secured(
    address: &str,
    tls: &Arc<PeerCertificates>,
    refusals: &Arc<Refusals>,
) -> impl Service<Uri, Response = Secured, Error = BoxError, Future: Send> + Clone + Send + 'static
{
    let mut plain = HttpConnector::new();
    plain.set_nodelay(true);
    plain.set_connect_timeout(Some(CONNECT));
    let (address, tls, refusals) = (address.to_owned(), tls.clone(), refusals.clone());
    tower::service_fn(move |uri: Uri| {
        let plain = plain.clone();
        let (address, tls, refusals) = (address.clone(), tls.clone(), refusals.clone());
        async move {
            let stream = plain.oneshot(uri).await?.into_inner();
            let secured = secure(stream, &address, &tls).await;
            let stream = secured.map_err(|why| {
                refusals.tell(&address, &why);
                format!("the node at `{address}` {why}")
            })?;
            Ok(TokioIo::new(stream))
        }
    })
}

/// The error continues "the other node …".
async fn secure(
    stream: TcpStream,
    address: &str,
    tls: &PeerCertificates,
) -> Result<Bounded<TlsStream<TcpStream>>, String> {
    let current = tls.current();
    let host = host_of(address);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("has the host name `{host}`, which no certificate can be for"))?;
    let stream = TlsConnector::from(current.client.clone())
        .connect(name, stream)
        .await
        .map_err(|error| predicate_of_io(&error, tls.authorities_file()))?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let shown = shown.first().ok_or("shows no certificate")?;
    let facts = CertificateFacts::read(shown)
        .map_err(|why| format!("shows a certificate that is none: {why}"))?;
    tls.check_cluster(&facts)
        .map_err(|why| format!("shows a certificate that {why}"))?;
    let connection = PeerConnection {
        certificate: Some(Arc::new(facts)),
        trust: current.trust.clone(),
    };
    Ok(Bounded::new(stream, connection, CancellationToken::new()))
}

/// The reply, or DEADLINE_EXCEEDED.
pub(super) async fn within<T>(
    deadline: Instant,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout_at(deadline, call).await {
        Ok(reply) => reply.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

/// True if the call cannot have reached the other node: nobody was there to connect to.
pub(super) fn never_sent(status: &Status) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn said(status: Status) -> String {
    describe(&status)
}

/// What went wrong, with its causes: tonic's own message is often only "transport error".
pub(super) fn describe(status: &Status) -> String {
    match std::error::Error::source(status).and_then(std::error::Error::source) {
        Some(cause) => format!("{}: {}", status.message(), with_causes(cause)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_listening_is_told_from_no_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dialer = Dialer::new(None);
        let hello = || async {
            let mut client = dialer.admission(&address).unwrap();
            let call = client.hello(Request::new(pb::HelloRequest::default()));
            within(Instant::now() + Duration::from_millis(300), call)
                .await
                .unwrap_err()
        };
        // It listens but never speaks HTTP/2.
        let silent = hello().await;
        assert!(!never_sent(&silent), "{silent:?}");
        drop(listener);
        let gone = loop {
            // The first connection may have been accepted by the listener's queue; it is lost now.
            let status = hello().await;
            if never_sent(&status) {
                break status;
            }
        };
        assert!(describe(&gone).contains("refused"), "{}", describe(&gone));
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_said_at_once() {
        let error = Dialer::new(None)
            .channel("not an address", Purpose::Control)
            .unwrap_err();
        assert!(
            error
                .message()
                .contains("`not an address` cannot be dialled"),
            "{error:?}"
        );
    }
}

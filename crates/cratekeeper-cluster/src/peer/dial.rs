//! Connections to other nodes: opened when first used, opened again when lost, and apart from each other by purpose, so that
//! a heartbeat never waits behind a snapshot.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::admission_client::AdmissionClient;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig,
};
use tonic::{ConnectError, Request, Response, Status};

use crate::PeerTls;
use crate::causes::with_causes;

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

/// The certificate, key and authority that this node shows and demands, as PEM.
#[derive(Clone)]
pub(crate) struct TlsFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl TlsFiles {
    /// Reads all three files; the error names the file.
    pub(crate) fn read(tls: &PeerTls) -> Result<TlsFiles, String> {
        let read = |path: &std::path::Path| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        Ok(TlsFiles {
            certificate: read(&tls.certificate)?,
            key: read(&tls.key)?,
            ca: read(&tls.ca)?,
        })
    }

    pub(super) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.ca))
    }

    fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .ca_certificate(Certificate::from_pem(&self.ca))
    }
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsFiles")
    }
}

/// Opens connections by address; cheap to clone. Its connections live on the runtime it was made on, whoever uses them.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tls: Option<TlsFiles>,
    runtime: tokio::runtime::Handle,
    channels: Mutex<HashMap<(String, Purpose), Channel>>,
}

impl Dialer {
    /// Call it on the runtime that is to do the network's work.
    pub(crate) fn new(tls: Option<TlsFiles>) -> Dialer {
        Dialer {
            shared: Arc::new(Shared {
                tls,
                runtime: tokio::runtime::Handle::current(),
                channels: Mutex::default(),
            }),
        }
    }

    /// Does not connect; errors only if `address` is not `host:port` or the TLS files are not usable.
    pub(super) fn channel(&self, address: &str, purpose: Purpose) -> Result<Channel, Status> {
        let mut channels = self.shared.channels.lock();
        if let Some(channel) = channels.get(&(address.to_owned(), purpose)) {
            return Ok(channel.clone());
        }
        let endpoint = self.endpoint(address).map_err(|error| {
            Status::invalid_argument(format!(
                "`{address}` cannot be dialled: {}",
                with_causes(&error)
            ))
        })?;
        let _runtime = self.shared.runtime.enter();
        let channel = endpoint.connect_lazy();
        channels.insert((address.to_owned(), purpose), channel.clone());
        Ok(channel)
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_PATIENCE)
            .keep_alive_while_idle(true);
        match &self.shared.tls {
            Some(tls) => endpoint.tls_config(tls.client()),
            None => Ok(endpoint),
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

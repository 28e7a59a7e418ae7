//! Mutual TLS between nodes: what this node shows and what it demands, both directions from the same three files, which may
//! change while it runs. A certificate is good if the authority signed it, it is in date and for the right use, it names the
//! host that was dialled or that the caller claims, and, if it names clusters, this one.

use std::path::Path;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{ServerName, UnixTime};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::tls_faults::fault_of_certificate;
use crate::PeerTls;
use crate::certificates::{
    CertificateFacts, Contents, Pair, Port, algorithms, authorities, follow, in_words,
    note_certificate,
};

const ALPN: &[u8] = b"h2";

/// The certificates of this node's side of every connection; one per node.
pub(crate) struct PeerCertificates {
    files: PeerTls,
    /// At which others dial this node.
    host: String,
    current: ArcSwap<Current>,
    /// Which cluster the others must belong to; `None` until this node knows its own.
    cluster: ArcSwapOption<String>,
}

/// What the files came to.
pub(super) struct Current {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    own: Pair,
    roots: Arc<RootCertStore>,
    ca: Vec<u8>,
    /// Cancelled when connections that were checked against these authorities have to be made again.
    pub(super) trust: CancellationToken,
}

impl PeerCertificates {
    /// `address` is this node's `host:port`; `cluster` the one it belongs to or is to found. The error names the file.
    pub(crate) fn load(
        files: &PeerTls,
        address: &str,
        cluster: Option<String>,
    ) -> Result<Arc<PeerCertificates>, String> {
        let first = Current::read(files, &read(files))?;
        let certificates = PeerCertificates {
            files: files.clone(),
            host: host_of(address).to_owned(),
            current: ArcSwap::from_pointee(first),
            cluster: ArcSwapOption::from_pointee(cluster),
        };
        certificates.check_own(&certificates.current())?;
        Ok(Arc::new(certificates))
    }

    /// Uses changed files as they come, for ever. Spawned once.
    pub(crate) async fn reload(self: Arc<PeerCertificates>) {
        self.note(&self.current());
        let first = read(&self.files);
        follow(Port::Peer, first, |contents| self.take(contents)).await;
    }

    pub(super) fn take(&self, contents: &Contents) -> Result<(), String> {
        let mut next = Current::read(&self.files, contents)?;
        self.check_own(&next)?;
        let before = self.current();
        let same_authorities = next.ca == before.ca;
        if same_authorities {
            next.trust = before.trust.clone();
        }
        self.note(&next);
        self.current.store(Arc::new(next));
        if !same_authorities {
            tracing::info!("the peers' authorities changed: every connection is made again");
            before.trust.cancel();
        }
        Ok(())
    }

    /// From now on only that cluster's certificates will do, also on connections that exist. The error says that this node's own
    /// certificate is for another one.
    pub(crate) fn belong_to(&self, cluster: &str) -> Result<(), String> {
        let known = self.cluster.swap(Some(Arc::new(cluster.to_owned())));
        if known.is_some_and(|known| *known == cluster) {
            return Ok(());
        }
        let before = self.current();
        self.check_own(&before)?;
        let next = Current {
            trust: CancellationToken::new(),
            server: before.server.clone(),
            client: before.client.clone(),
            own: before.own.clone(),
            roots: before.roots.clone(),
            ca: before.ca.clone(),
        };
        self.current.store(Arc::new(next));
        before.trust.cancel();
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// What is wrong with a certificate that another node showed, as in "the certificate … is for the cluster `x`".
    pub(super) fn check_cluster(&self, shown: &CertificateFacts) -> Result<(), String> {
        let current = self.current();
        let expected = match self.cluster.load_full() {
            Some(cluster) => vec![(*cluster).clone()],
            None => current.own.facts.clusters.clone(),
        };
        self.names_one_of(shown, &expected)
    }

    fn names_one_of(&self, shown: &CertificateFacts, expected: &[String]) -> Result<(), String> {
        if shown.clusters.is_empty() {
            if !self.files.require_cluster {
                return Ok(());
            }
            return Err(
                "names no cluster (a URI `cratekeeper://<cluster id>` among its alternative names), which peer.require_cluster_in_certificate demands"
                    .to_owned(),
            );
        }
        if expected.is_empty() || expected.iter().any(|one| shown.clusters.contains(one)) {
            return Ok(());
        }
        Err(format!(
            "is for the cluster {}, not for {}",
            shown.clusters_in_words(),
            in_words(expected, "no cluster")
        ))
    }

    /// Without this the node could speak to nobody, whatever others do.
    fn check_own(&self, current: &Current) -> Result<(), String> {
        let expected: Vec<String> = self
            .cluster
            .load()
            .iter()
            .map(|cluster| String::clone(cluster))
            .collect();
        self.names_one_of(&current.own.facts, &expected)
            .map_err(|why| {
                format!(
                    "the peer certificate `{}` {why}",
                    self.files.certificate.display()
                )
            })
    }

    fn note(&self, current: &Current) {
        note_certificate(Port::Peer, &current.own.facts);
        for problem in self.problems_of(current) {
            tracing::warn!(problem, "other nodes will refuse this one");
        }
    }

    #[cfg(test)]
    pub(super) fn facts(&self) -> Arc<CertificateFacts> {
        self.current().own.facts.clone()
    }

    #[cfg(test)]
    pub(super) fn without_own_certificate(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(algorithms())
            .with_protocol_versions(&[&TLS13])
            .expect("it is built in")
            .with_root_certificates(self.current().roots.clone())
            .with_no_client_auth()
    }

    /// What other nodes with the same authorities will not accept, each a sentence.
    fn problems_of(&self, current: &Current) -> Vec<String> {
        let file = self.files.certificate.display();
        let facts = &current.own.facts;
        let mut problems = Vec::new();
        let untimely = facts.untimely(OffsetDateTime::now_utc());
        if let Some(untimely) = &untimely {
            problems.push(format!("the peer certificate `{file}` {untimely}"));
        }
        if !facts.is_for_host(&self.host) {
            problems.push(format!(
                "the peer certificate `{file}` is for {}, but other nodes reach this one at `{}` (peer.advertise)",
                facts.hosts_in_words(),
                self.host
            ));
        }
        if untimely.is_none()
            && let Err(why) = chain_fits(current, &self.files.ca)
        {
            problems.push(format!("the peer certificate `{file}` {why}"));
        }
        problems
    }

    /// For sentences.
    pub(super) fn authorities_file(&self) -> &Path {
        &self.files.ca
    }
}

/// What a peer certificate says, and what is wrong with it, each a sentence, for a node at `address` (`host:port`) of `cluster`,
/// if that is known. The error is what would keep the node from starting.
pub fn check_peer_certificate(
    files: &PeerTls,
    address: &str,
    cluster: Option<String>,
) -> Result<(Arc<CertificateFacts>, Vec<String>), String> {
    let certificates = PeerCertificates::load(files, address, cluster)?;
    let current = certificates.current();
    Ok((
        current.own.facts.clone(),
        certificates.problems_of(&current),
    ))
}

impl std::fmt::Debug for PeerCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerCertificates")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Current {
    fn read(files: &PeerTls, contents: &Contents) -> Result<Current, String> {
        let own = Pair::parse(contents.file(0)?, contents.file(1)?)?;
        let bundle = contents.file(2)?;
        let roots = authorities(bundle)?;
        let unusable = |error: &dyn std::error::Error| {
            format!("`{}` cannot be used: {error}", files.certificate.display())
        };
        let resolver = Arc::new(SingleCertAndKey::from(own.key.clone()));
        let demand = WebPkiClientVerifier::builder_with_provider(roots.clone(), algorithms())
            .build()
            .map_err(|error| unusable(&error))?;
        let mut server = ServerConfig::builder_with_provider(algorithms())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(demand)
            .with_cert_resolver(resolver.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would not be checked again.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(algorithms())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(&error))?
            .with_root_certificates(roots.clone())
            .with_client_cert_resolver(resolver);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Current {
            server: Arc::new(server),
            client: Arc::new(client),
            own,
            roots,
            ca: bundle.1.to_vec(),
            trust: CancellationToken::new(),
        })
    }
}

pub(super) fn read(files: &PeerTls) -> Contents {
    Contents::read([
        files.certificate.as_path(),
        files.key.as_path(),
        files.ca.as_path(),
    ])
}

/// Would the authorities accept the own chain, for both uses?
fn chain_fits(current: &Current, ca: &Path) -> Result<(), String> {
    let [leaf, rest @ ..] = current.own.key.cert.as_slice() else {
        return Ok(());
    };
    let now = UnixTime::now();
    let provider = algorithms();
    let judged = |error: rustls::Error| fault_of_certificate(&error, ca);
    let clients =
        WebPkiClientVerifier::builder_with_provider(current.roots.clone(), provider.clone())
            .build()
            .map_err(|error| error.to_string())?;
    clients
        .verify_client_cert(leaf, rest, now)
        .map_err(judged)?;
    let servers = WebPkiServerVerifier::builder_with_provider(current.roots.clone(), provider)
        .build()
        .map_err(|error| error.to_string())?;
    // Whichever host it names: hosts are checked elsewhere, here it is about the use.
    let Some(host) = current
        .own
        .facts
        .hosts
        .iter()
        .find_map(|host| ServerName::try_from(host.replace('*', "any")).ok())
    else {
        return Ok(());
    };
    servers
        .verify_server_cert(leaf, rest, &host, &[], now)
        .map(drop)
        .map_err(judged)
}

/// Of `host:port`, without the brackets of an IPv6 address.
pub(super) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

//! The public port's certificate and key, from PEM files that may change while it serves.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use cratekeeper_cluster::certificates::{Contents, Pair, Port, follow, note_certificate};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::TlsFiles;

/// Shown to whoever connects; connections that are open keep what they were shown.
#[derive(Debug)]
pub(super) struct PublicCertificate {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for PublicCertificate {
    fn resolve(&self, _client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl PublicCertificate {
    /// The error names the file.
    pub(super) fn load(files: &TlsFiles) -> anyhow::Result<Arc<PublicCertificate>> {
        let pair = files.pair()?;
        note_certificate(Port::Http, &pair.facts);
        Ok(Arc::new(PublicCertificate {
            files: files.clone(),
            current: ArcSwap::new(pair.key),
        }))
    }

    /// TLS 1.2 and 1.3; HTTP/2 for clients that offer it.
    pub(super) fn acceptor(self: &Arc<PublicCertificate>) -> anyhow::Result<TlsAcceptor> {
        let algorithms = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(algorithms)
            .with_safe_default_protocol_versions()
            .context("set up TLS")?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Shows changed files to new connections as they come, for ever.
    pub(super) async fn reload(self: Arc<PublicCertificate>) {
        let first = self.files.contents();
        follow(Port::Http, first, |contents| {
            let pair = parse(contents)?;
            note_certificate(Port::Http, &pair.facts);
            self.current.store(pair.key);
            Ok(())
        })
        .await;
    }
}

impl TlsFiles {
    fn contents(&self) -> Contents {
        Contents::read([self.certificate.as_path(), self.key.as_path()])
    }

    /// Reads both files; the error names the one that is wrong.
    pub(crate) fn pair(&self) -> anyhow::Result<Pair> {
        parse(&self.contents()).map_err(|why| anyhow!("http.tls_certificate: {why}"))
    }
}

fn parse(contents: &Contents) -> Result<Pair, String> {
    Pair::parse(contents.file(0)?, contents.file(1)?)
}

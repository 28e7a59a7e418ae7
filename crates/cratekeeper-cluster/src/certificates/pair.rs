//! A certificate chain with its key, and the authorities that others are checked against, from PEM.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::facts::CertificateFacts;

/// A chain and the key of its first certificate, which fit together.
#[derive(Debug, Clone)]
pub struct Pair {
    pub key: Arc<CertifiedKey>,
    /// Of the first certificate.
    pub facts: Arc<CertificateFacts>,
}

impl Pair {
    /// From the contents of two files; the paths are for sentences only.
    pub fn parse(certificate: (&Path, &[u8]), key: (&Path, &[u8])) -> Result<Pair, String> {
        let chain = certificates(certificate)?;
        let first = chain
            .first()
            .ok_or_else(|| format!("`{}` holds no PEM certificate", certificate.0.display()))?;
        let facts = CertificateFacts::read(first)
            .map_err(|why| format!("the certificate `{}`: {why}", certificate.0.display()))?;
        let private = PrivateKeyDer::from_pem_slice(key.1)
            .map_err(|error| format!("`{}` holds no PEM private key: {error}", key.0.display()))?;
        let key = CertifiedKey::from_der(chain, private, &algorithms()).map_err(|error| {
            format!(
                "the certificate `{}` and the key `{}` do not fit together: {error}",
                certificate.0.display(),
                key.0.display()
            )
        })?;
        Ok(Pair {
            key: Arc::new(key),
            facts: Arc::new(facts),
        })
    }
}

/// The one implementation of TLS that is built in.
pub(crate) fn algorithms() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// All certificates of a bundle, as authorities.
pub(crate) fn authorities(bundle: (&Path, &[u8])) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle)? {
        roots.add(authority).map_err(|error| {
            format!(
                "`{}` holds an unusable authority: {error}",
                bundle.0.display()
            )
        })?;
    }
    if roots.is_empty() {
        return Err(format!("`{}` holds no PEM certificate", bundle.0.display()));
    }
    Ok(Arc::new(roots))
}

fn certificates(file: (&Path, &[u8])) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(file.1)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`{}` is not PEM: {error}", file.0.display()))
}

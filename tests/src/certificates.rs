//! Certificates as an installation has them, and as it must not: an authority of the test's own, and leaves of every kind.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};
use time::{Duration, OffsetDateTime};

/// Signs leaves.
#[derive(Debug)]
pub struct Authority {
    /// Its own certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, name);
        params.distinguished_name = subject;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }
}

/// What a certificate is to say; by default good for a day, for both uses.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub hosts: Vec<String>,
    pub cluster: Option<String>,
    /// Days from now.
    pub valid: (i64, i64),
    pub uses: Vec<ExtendedKeyUsagePurpose>,
}

impl Leaf {
    pub fn of(host: &str) -> Leaf {
        Leaf {
            hosts: vec![host.to_owned()],
            cluster: None,
            valid: (-1, 1),
            uses: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        }
    }

    pub fn cluster(mut self, id: &str) -> Leaf {
        self.cluster = Some(id.to_owned());
        self
    }

    pub fn valid(mut self, from_days: i64, to_days: i64) -> Leaf {
        self.valid = (from_days, to_days);
        self
    }

    pub fn only_for_servers(mut self) -> Leaf {
        self.uses = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self
    }
}

/// The certificate, key and authorities of one port, as files that are replaced whole.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

impl CertificateFiles {
    pub fn in_directory(directory: &Path) -> CertificateFiles {
        fs::create_dir_all(directory).expect("the test's directory is writable");
        CertificateFiles {
            certificate: directory.join("tls.crt"),
            key: directory.join("tls.key"),
            ca: directory.join("ca.crt"),
        }
    }

    /// A new key and certificate.
    pub fn issue(&self, leaf: &Leaf, authority: &Authority) {
        let mut params = CertificateParams::new(leaf.hosts.clone()).expect("hosts");
        if let Some(cluster) = &leaf.cluster {
            let uri = format!("cratekeeper://{cluster}");
            let uri = uri.try_into().expect("a cluster id is ASCII");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let now = OffsetDateTime::now_utc();
        params.not_before = now + Duration::days(leaf.valid.0);
        params.not_after = now + Duration::days(leaf.valid.1);
        params.extended_key_usages.clone_from(&leaf.uses);
        let key = KeyPair::generate().expect("a key");
        let certificate = params
            .signed_by(&key, &authority.issuer)
            .expect("a certificate");
        replace(&self.key, &key.serialize_pem());
        replace(&self.certificate, &certificate.pem());
    }

    pub fn trust(&self, authorities: &[&Authority]) {
        let bundle: Vec<&str> = authorities.iter().map(|one| one.pem.as_str()).collect();
        replace(&self.ca, &bundle.concat());
    }
}

fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("the test's directory is writable");
    fs::rename(&next, path).expect("the test's directory is writable");
}

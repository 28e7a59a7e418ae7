//! What one certificate says: until when it holds, for which hosts and clusters it is, and what it may be used for.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, ServerName};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Before a cluster id, in a URI among the alternative names.
const CLUSTER_SCHEME: &str = "cratekeeper://";

/// One certificate, read.
#[derive(Debug, Clone)]
pub struct CertificateFacts {
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
    /// DNS names (a wildcard of one label allowed) and IP addresses.
    pub hosts: Vec<String>,
    /// Ids of the clusters whose nodes may show it; empty if it names none.
    pub clusters: Vec<String>,
    der: CertificateDer<'static>,
}

impl CertificateFacts {
    /// The error says why the bytes are no certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<CertificateFacts, String> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| format!("it cannot be read: {error}"))?;
        let validity = certificate.validity();
        let mut facts = CertificateFacts {
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
            hosts: Vec::new(),
            clusters: Vec::new(),
            der: der.clone().into_owned(),
        };
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| format!("its alternative names cannot be read: {error}"))?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => facts.hosts.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => facts.hosts.extend(ip(bytes)),
                GeneralName::URI(uri) => {
                    let cluster = uri.strip_prefix(CLUSTER_SCHEME);
                    facts.clusters.extend(cluster.map(str::to_owned));
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    /// Would a client that dialled `host` (a DNS name or an IP address) accept it?
    pub fn is_for_host(&self, host: &str) -> bool {
        let (Ok(name), Ok(parsed)) = (
            ServerName::try_from(host),
            ParsedCertificate::try_from(&self.der),
        ) else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }

    /// `expired on …` or `is not valid before …`.
    pub fn untimely(&self, now: OffsetDateTime) -> Option<String> {
        if self.not_after < now {
            return Some(format!("expired on {}", date(self.not_after)));
        }
        (now < self.not_before).then(|| format!("is not valid before {}", date(self.not_before)))
    }

    /// For sentences: `` `a`, `b` `` or `no host`.
    pub fn hosts_in_words(&self) -> String {
        in_words(&self.hosts, "no host")
    }

    pub fn clusters_in_words(&self) -> String {
        in_words(&self.clusters, "no cluster")
    }

    pub fn expires(&self) -> String {
        date(self.not_after)
    }
}

pub(crate) fn in_words(names: &[String], none: &str) -> String {
    if names.is_empty() {
        return none.to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

pub(crate) fn date(time: OffsetDateTime) -> String {
    time.format(&Rfc3339)
        .unwrap_or_else(|_| time.unix_timestamp().to_string())
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};
    use time::Duration;

    use super::*;

    fn facts(hosts: &[&str], uris: &[&str]) -> CertificateFacts {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        for uri in uris {
            let uri = (*uri).try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let key = KeyPair::generate().unwrap();
        CertificateFacts::read(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn names_are_told_apart_by_what_they_name() {
        let facts = facts(
            &["a.example.org", "*.nodes.example.org", "127.0.0.2", "::1"],
            &["cratekeeper://c1", "spiffe://elsewhere/x"],
        );
        assert_eq!(
            facts.hosts,
            ["a.example.org", "*.nodes.example.org", "127.0.0.2", "::1"]
        );
        assert_eq!(facts.clusters, ["c1"]);
        for host in ["a.example.org", "x.nodes.example.org", "127.0.0.2", "::1"] {
            assert!(facts.is_for_host(host), "{host}");
        }
        for host in [
            "b.example.org",
            "x.y.nodes.example.org",
            "nodes.example.org",
            "127.0.0.3",
            "",
        ] {
            assert!(!facts.is_for_host(host), "{host}");
        }
    }

    #[test]
    fn time_is_told_in_words() {
        let facts = facts(&["a"], &[]);
        let day = Duration::days(1);
        assert_eq!(facts.untimely(OffsetDateTime::now_utc()), None);
        assert_eq!(
            facts.untimely(facts.not_after + day).unwrap(),
            "expired on 4096-01-01T00:00:00Z"
        );
        assert_eq!(
            facts.untimely(facts.not_before - day).unwrap(),
            "is not valid before 1975-01-01T00:00:00Z"
        );
    }
}

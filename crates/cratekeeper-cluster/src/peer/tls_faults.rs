//! What went wrong in a handshake, said as an operator needs it: about the other node, in words.

use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, Error, ExtendedKeyPurpose};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

use crate::certificates::{date, in_words};

/// Continues "the other node …".
pub(super) fn predicate(error: &Error, ca: &Path) -> String {
    match error {
        Error::InvalidCertificate(_) => {
            format!("shows a certificate that {}", fault_of_certificate(error, ca))
        }
        Error::NoCertificatesPresented => {
            "shows no certificate: set peer.tls_certificate and peer.tls_key there".to_owned()
        }
        Error::InvalidMessage(_) => {
            "answers in plain text, while this one speaks TLS (peer.tls_certificate): configure both alike".to_owned()
        }
        Error::AlertReceived(alert) => format!("refuses {}", refused(*alert)),
        other => format!("cannot agree on TLS with this one: {other}"),
    }
}

/// Of an error of the connection, which mostly carries one of TLS.
pub(super) fn predicate_of_io(error: &io::Error, ca: &Path) -> String {
    if let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        return predicate(tls, ca);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "closes the connection in the TLS handshake: does it have peer.tls_certificate set, as this one has?".to_owned()
        }
        _ => format!("is lost in the TLS handshake: {error}"),
    }
}

/// Continues "the certificate …".
pub(super) fn fault_of_certificate(error: &Error, ca: &Path) -> String {
    let Error::InvalidCertificate(fault) = error else {
        return format!("cannot be used: {error}");
    };
    match fault {
        CertificateError::Expired => "expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}", in_date(*not_after))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", in_date(*not_before))
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("is signed by no authority in `{}`", ca.display())
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "is for {}, not for `{}`",
            in_words(&hosts(presented), "no host"),
            expected.to_str()
        ),
        CertificateError::InvalidPurposeContext { required, .. } => {
            let (use_, name) = match required {
                ExtendedKeyPurpose::ClientAuth => ("call others", "clientAuth"),
                ExtendedKeyPurpose::ServerAuth => ("serve", "serverAuth"),
                ExtendedKeyPurpose::Other(_) => ("do this", "another one"),
            };
            format!("may not be used to {use_}: its extended key usage lacks {name}")
        }
        other => format!("cannot be used: {other:?}"),
    }
}

/// rustls gives names as `DnsName("a")` and `IpAddress(::1)`, and others that are no hosts.
fn hosts(presented: &[String]) -> Vec<String> {
    let bare = |name: &String| {
        let dns = name
            .strip_prefix("DnsName(\"")
            .and_then(|rest| rest.strip_suffix("\")"));
        let ip = || name.strip_prefix("IpAddress(")?.strip_suffix(')');
        dns.or_else(ip).map(str::to_owned)
    };
    presented.iter().filter_map(bare).collect()
}

fn refused(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => "this node's certificate: it is not in date",
        AlertDescription::UnknownCA => {
            "this node's certificate: no authority in its peer.tls_ca has signed it"
        }
        AlertDescription::CertificateRequired => "a connection without a certificate",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            "this node's certificate; its own log says why"
        }
        _ => "this connection; its own log says why",
    }
}

fn in_date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(|_| seconds.to_string(), date)
}

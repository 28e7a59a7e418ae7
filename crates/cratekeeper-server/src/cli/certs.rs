//! `cratekeeper certs …`: an authority and node certificates in a directory, for installations without cert-manager or a
//! company's own authority.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::print;

/// Clocks of other machines may be behind this one's.
const BACKDATED: Duration = Duration::minutes(5);
const AUTHORITY: &str = "ca";
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, Subcommand)]
pub(super) enum CertsCommand {
    /// Issue a certificate, from the authority in the same directory; the first one makes that authority.
    New(NewArguments),
}

#[derive(Debug, Args)]
pub(super) struct NewArguments {
    /// Where the authority (`ca.pem`, `ca-key.pem`) and the certificates lie. Give nodes `ca.pem` and their own two files, never
    /// `ca-key.pem`.
    #[arg(long, value_name = "DIRECTORY")]
    dir: PathBuf,
    /// A DNS name or IP address that the certificate is for; may be repeated, a first label may be `*`.
    #[arg(long, required = true, value_name = "HOST")]
    host: Vec<String>,
    /// For the peer port of this cluster's nodes. Without it the certificate is for the public port.
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
    /// The name of its files. Default: the first host.
    #[arg(long)]
    name: Option<String>,
    /// How long it is valid.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
    /// How long a new authority is valid.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u16).range(1..))]
    ca_days: u16,
    /// Issue it anew over one that is there; running nodes notice within seconds.
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(command: CertsCommand) -> anyhow::Result<()> {
    match command {
        CertsCommand::New(arguments) => new(&arguments),
    }
}

fn new(arguments: &NewArguments) -> anyhow::Result<()> {
    let files = Files::of(arguments)?;
    if !arguments.replace && files.certificate.exists() {
        bail!(
            "`{}` is there already; --replace issues it anew, --name gives another one a name",
            files.certificate.display()
        );
    }
    let params = params(arguments)?;
    fs::create_dir_all(&arguments.dir)
        .with_context(|| format!("create `{}`", arguments.dir.display()))?;
    let (authority, made) = authority(&files, arguments.ca_days)?;
    let key = KeyPair::generate().context("make a key")?;
    let certificate = params.signed_by(&key, &authority).context("sign")?;
    // The key first: whoever looks in between finds a pair that does not fit, and looks again.
    write(&files.key, &key.serialize_pem(), PRIVATE)?;
    write(&files.certificate, &certificate.pem(), PUBLIC)?;

    if made {
        print::note(format!(
            "made the authority `{}`; keep `{}` secret and away from the nodes",
            files.authority.display(),
            files.authority_key.display()
        ));
    }
    print::line(files.configuration(arguments.cluster.is_some()));
    Ok(())
}

/// Absolute, because that is what a configuration needs.
struct Files {
    authority: PathBuf,
    authority_key: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(arguments: &NewArguments) -> anyhow::Result<Files> {
        let directory = std::path::absolute(&arguments.dir)
            .with_context(|| format!("the directory `{}`", arguments.dir.display()))?;
        let name = match &arguments.name {
            Some(name) => name.clone(),
            None => arguments.host[0].replace('*', "any").replace(':', "-"),
        };
        ensure!(
            !name.is_empty() && !name.contains(['/', '\0']) && name != AUTHORITY,
            "--name is `{name}`; write a file name without directory and ending, other than `{AUTHORITY}`"
        );
        let pem = |name: &str| directory.join(format!("{name}.pem"));
        Ok(Files {
            authority: pem(AUTHORITY),
            authority_key: pem(&format!("{AUTHORITY}-key")),
            certificate: pem(&name),
            key: pem(&format!("{name}-key")),
        })
    }

    /// To paste into `cratekeeper.toml`.
    fn configuration(&self, peer: bool) -> String {
        let line = |key: &str, path: &Path| {
            let path = toml::Value::from(path.display().to_string());
            format!("{key} = {path}")
        };
        let mut lines = vec![
            if peer { "[peer]" } else { "[http]" }.to_owned(),
            line("tls_certificate", &self.certificate),
            line("tls_key", &self.key),
        ];
        if peer {
            lines.push(line("tls_ca", &self.authority));
        }
        lines.join("\n")
    }
}

fn params(arguments: &NewArguments) -> anyhow::Result<CertificateParams> {
    for host in &arguments.host {
        let bare = host.strip_prefix("*.").unwrap_or(host);
        let letters = bare
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter));
        ensure!(
            bare.parse::<std::net::IpAddr>().is_ok() || (letters && !bare.is_empty()),
            "--host is `{host}`; write a DNS name or an IP address, without port"
        );
    }
    let mut params = CertificateParams::new(arguments.host.clone()).context("the hosts")?;
    params.distinguished_name = called(&arguments.host[0]);
    valid(&mut params, arguments.days);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    if let Some(cluster) = &arguments.cluster {
        let cluster = crate::config::cluster_id(Some(cluster)).map_err(|error| {
            anyhow!("{error}").context("--cluster must be the cluster.id of the nodes")
        })?;
        let uri = format!("cratekeeper://{cluster}");
        let uri = uri.try_into().context("--cluster")?;
        params.subject_alt_names.push(SanType::URI(uri));
        // Each node also calls the others.
        let calls = ExtendedKeyUsagePurpose::ClientAuth;
        params.extended_key_usages.push(calls);
    }
    Ok(params)
}

/// The one in the directory, or a new one; true if it is new.
fn authority(files: &Files, days: u16) -> anyhow::Result<(Issuer<'static, KeyPair>, bool)> {
    match (files.authority.exists(), files.authority_key.exists()) {
        (true, true) => {
            let named = || {
                let (one, two) = (files.authority.display(), files.authority_key.display());
                format!("read the authority `{one}` and its key `{two}`")
            };
            let key = fs::read_to_string(&files.authority_key).with_context(named)?;
            let key = KeyPair::from_pem(&key).with_context(named)?;
            let certificate = fs::read_to_string(&files.authority).with_context(named)?;
            let issuer = Issuer::from_ca_cert_pem(&certificate, key).with_context(named)?;
            Ok((issuer, false))
        }
        (false, false) => make_authority(files, days).map(|issuer| (issuer, true)),
        (here, _) => {
            let (there, missing) = if here {
                (&files.authority, &files.authority_key)
            } else {
                (&files.authority_key, &files.authority)
            };
            bail!(
                "`{}` is there, but `{}` is not; an authority needs both, so put it back or use another directory",
                there.display(),
                missing.display()
            )
        }
    }
}

fn make_authority(files: &Files, days: u16) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    // Two authorities of one cluster must not look alike in a bundle.
    let number = uuid::Uuid::new_v4().simple().to_string();
    params.distinguished_name = called(&format!("Cratekeeper authority {}", &number[..8]));
    valid(&mut params, days);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("make a key")?;
    let certificate = params.self_signed(&key).context("sign the authority")?;
    write(&files.authority_key, &key.serialize_pem(), PRIVATE)?;
    write(&files.authority, &certificate.pem(), PUBLIC)?;
    Ok(Issuer::new(params, key))
}

fn called(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn valid(params: &mut CertificateParams, days: u16) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(i64::from(days));
}

/// The whole file or none, never readable by more than `mode` says.
fn write(path: &Path, pem: &str, mode: u32) -> anyhow::Result<()> {
    let named = || format!("write `{}`", path.display());
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(named)?;
    file.write_all(pem.as_bytes()).with_context(named)?;
    let permissions = Permissions::from_mode(mode);
    file.as_file()
        .set_permissions(permissions)
        .with_context(named)?;
    file.as_file().sync_all().with_context(named)?;
    file.persist(path).with_context(named)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use cratekeeper_cluster::{PeerTls, check_peer_certificate};

    use super::*;

    fn arguments(dir: &Path, hosts: &[&str], cluster: Option<&str>) -> NewArguments {
        NewArguments {
            dir: dir.to_owned(),
            host: hosts.iter().map(|host| (*host).to_owned()).collect(),
            cluster: cluster.map(str::to_owned),
            name: None,
            days: 30,
            ca_days: 60,
            replace: false,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nodes_get_certificates_of_one_authority_that_name_them_and_the_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        for host in ["node-1.example.org", "127.0.0.2"] {
            new(&arguments(dir, &[host], Some("c1"))).unwrap();
            let tls = PeerTls {
                certificate: dir.join(format!("{host}.pem")),
                key: dir.join(format!("{host}-key.pem")),
                ca: dir.join("ca.pem"),
                require_cluster: true,
            };
            let address = format!("{host}:8081");
            let (facts, problems) =
                check_peer_certificate(&tls, &address, Some("c1".to_owned())).unwrap();
            assert_eq!(problems, Vec::<String>::new());
            assert_eq!(
                (facts.hosts.as_slice(), facts.clusters.as_slice()),
                (&[host.to_owned()][..], &["c1".to_owned()][..])
            );
            assert_eq!((mode(&tls.certificate), mode(&tls.key)), (PUBLIC, PRIVATE));
        }
        assert_eq!(mode(&dir.join("ca-key.pem")), PRIVATE);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        new(&arguments(dir, &["a"], None)).unwrap();
        let refused = |arguments: &NewArguments| {
            let error = format!("{:#}", new(arguments).unwrap_err());
            error.replace(&dir.display().to_string(), "D")
        };
        let replaced = NewArguments {
            replace: true,
            ..arguments(dir, &["a"], None)
        };
        new(&replaced).unwrap();
        let mut refusals = vec![
            refused(&arguments(dir, &["a"], None)),
            refused(&arguments(dir, &["b:8081"], None)),
            refused(&arguments(dir, &["b"], Some("No Id"))),
            refused(&arguments(dir, &["ca"], None)),
        ];
        fs::remove_file(dir.join("ca-key.pem")).unwrap();
        refusals.push(refused(&arguments(dir, &["b"], None)));
        insta::assert_snapshot!(refusals.join("\n"), @r"
        `D/a.pem` is there already; --replace issues it anew, --name gives another one a name
        --host is `b:8081`; write a DNS name or an IP address, without port
        --cluster must be the cluster.id of the nodes: cluster.id is `No Id`; write 1 to 64 of `a-z 0-9 - _ .`
        --name is `ca`; write a file name without directory and ending, other than `ca`
        `D/ca.pem` is there, but `D/ca-key.pem` is not; an authority needs both, so put it back or use another directory
        ");
    }
}

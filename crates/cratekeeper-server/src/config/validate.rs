//! Judges a configuration once. Every complaint names the key, the value and what would be right.

pub(crate) mod cluster;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cratekeeper_cluster::PeerTls;
use cratekeeper_domain::{CrateName, Policy, Rules};
use cratekeeper_tarballs::S3Options;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::backup::{backup, restore};
use super::clients;
use super::file::{ConfigFile, Http, Log, Peer, Registry, Tarballs};
use super::secret::Secret;
use super::settings::{LogFormat, LogSettings, Settings, TarballSettings};
use crate::app::{HttpSettings, ReadAccess};
use crate::listen::{ListenSettings, TlsFiles};

/// Reads the files that hold secrets; touches nothing else outside.
pub(crate) fn validate(config: &ConfigFile) -> anyhow::Result<Settings> {
    let data_dir = PathBuf::from(&config.node.data_dir);
    ensure!(
        data_dir.is_absolute(),
        "node.data_dir is `{}`; write an absolute path",
        data_dir.display()
    );
    let host = host_name();
    let peer_listen = address("peer.listen", &config.peer.listen)?;
    let name = config.node.name.clone().unwrap_or_else(|| host.clone());
    let role = cluster::role(&config.node)?;
    let tarballs = tarballs(&config.tarballs)?;
    Ok(Settings {
        start: cluster::start(&config.cluster, &name, role)?,
        name,
        role,
        drain: cluster::drain(&config.node)?,
        feature_level_max: cluster::feature_level_max(&config.cluster)?,
        snapshot_bytes_per_second: cluster::snapshot_rate(&config.peer)?,
        folded_crates_max: config.node.folded_crates_max,
        index_cache_bytes: config.node.index_cache_bytes,
        listen: listen(&config.http)?,
        http: http(config, &data_dir)?,
        peer_listen,
        peer_address: peer_address(&config.peer, &host, peer_listen)?,
        peer_tls: peer_tls(&config.peer, peer_listen)?,
        ops_listen: address("ops.listen", &config.ops.listen)?,
        raft: cluster::raft(&config.cluster)?,
        backup: backup(config, &tarballs)?,
        restore: restore(config, &tarballs)?,
        tarballs,
        policy: Policy {
            require_known_dependencies: config.registry.require_known_dependencies,
        },
        log: log(&config.log)?,
        data_dir,
    })
}

fn host_name() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

fn address(key: &str, text: &str) -> anyhow::Result<SocketAddr> {
    text.parse().ok().with_context(|| {
        format!("{key} is `{text}`; write an IP address and a port, such as `0.0.0.0:8080`")
    })
}

fn listen(http: &Http) -> anyhow::Result<ListenSettings> {
    let tls = match (&http.tls_certificate, &http.tls_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate: certificate.into(),
            key: key.into(),
        }),
        (None, None) => None,
        _ => bail!("http.tls_certificate and http.tls_key go together; set both or neither"),
    };
    ensure!(
        http.connections_max > 0,
        "http.connections_max is 0; allow at least one"
    );
    Ok(ListenSettings {
        listen: address("http.listen", &http.listen)?,
        tls,
        connections_max: http.connections_max,
        header_timeout: seconds("http.header_timeout_seconds", http.header_timeout_seconds)?,
    })
}

fn http(config: &ConfigFile, data_dir: &std::path::Path) -> anyhow::Result<HttpSettings> {
    let http = &config.http;
    let public_url = public_url(http.public_url.as_deref())?;
    ensure!(
        http.publish_in_flight_max > 0,
        "http.publish_in_flight_max is 0; allow at least one"
    );
    let rules = rules(&config.registry, &public_url)?;
    Ok(HttpSettings {
        public_url,
        read_access: match config.registry.read_access.as_str() {
            "public" => ReadAccess::Public,
            "authenticated" => ReadAccess::Authenticated,
            other => bail!("registry.read_access is `{other}`; write `public` or `authenticated`"),
        },
        rules,
        json_bytes_max: http.json_bytes_max,
        tarball_bytes_max: http.tarball_bytes_max,
        publish_in_flight_max: http.publish_in_flight_max,
        publish_deadline: seconds(
            "http.publish_deadline_seconds",
            http.publish_deadline_seconds,
        )?,
        rate_limit: clients::rate_limit(http)?,
        trusted_proxies: clients::trusted_proxies(http)?,
        spool_dir: data_dir.join("uploads"),
        request_timeout: seconds("http.request_timeout_seconds", http.request_timeout_seconds)?,
        body_idle_timeout: seconds(
            "http.body_idle_timeout_seconds",
            http.body_idle_timeout_seconds,
        )?,
    })
}

fn public_url(text: Option<&str>) -> anyhow::Result<String> {
    let Some(text) = text else {
        bail!(
            "http.public_url is not set; write where clients reach the registry, such as `https://crates.example.org`"
        );
    };
    let wrong = || {
        format!(
            "http.public_url is `{text}`; write an http or https URL without query, such as `https://crates.example.org`"
        )
    };
    let url = Url::parse(text).ok().with_context(wrong)?;
    ensure!(
        matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty(),
        wrong()
    );
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn rules(registry: &Registry, public_url: &str) -> anyhow::Result<Rules> {
    let mut own_index_urls = vec![format!("sparse+{public_url}/index/")];
    own_index_urls.extend(registry.own_index_aliases.iter().cloned());
    for url in own_index_urls
        .iter()
        .chain(registry.allowed_registries.iter().flatten())
    {
        let bare = url.strip_prefix("sparse+").unwrap_or(url);
        ensure!(
            Url::parse(bare).is_ok(),
            "`{url}` under registry is not an index URL; write it as cargo's configuration has it, such as `sparse+https://crates.example.org/index/`"
        );
    }
    let canonical = |name: &String| {
        let parsed = CrateName::parse(name)
            .with_context(|| format!("registry.reserved_names contains `{name}`"))?;
        Ok(parsed.canonical().as_str().to_owned())
    };
    Ok(Rules {
        own_index_urls,
        allowed_registries: registry.allowed_registries.clone(),
        unpacked_bytes_max: registry.unpacked_bytes_max,
        entries_max: registry.entries_max,
        features_max: registry.features_max,
        dependencies_max: registry.dependencies_max,
        require_description: registry.require_description,
        require_license: registry.require_license,
        allow_wildcard_requirements: registry.allow_wildcard_requirements,
        reserved_names: registry
            .reserved_names
            .iter()
            .map(canonical)
            .collect::<anyhow::Result<_>>()?,
    })
}

fn peer_address(peer: &Peer, host: &str, listen: SocketAddr) -> anyhow::Result<String> {
    let Some(advertise) = &peer.advertise else {
        return Ok(format!("{host}:{}", listen.port()));
    };
    host_and_port("peer.advertise", advertise)?;
    Ok(advertise.clone())
}

fn host_and_port(key: &str, text: &str) -> anyhow::Result<()> {
    let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    });
    ensure!(
        fits,
        "{key} has `{text}`; write a host and a port, such as `cratekeeper-0.example.org:8081`"
    );
    Ok(())
}

fn peer_tls(peer: &Peer, listen: SocketAddr) -> anyhow::Result<Option<PeerTls>> {
    match (&peer.tls_certificate, &peer.tls_key, &peer.tls_ca) {
        (Some(certificate), Some(key), Some(ca)) => Ok(Some(PeerTls {
            certificate: certificate.into(),
            key: key.into(),
            ca: ca.into(),
            require_cluster: peer.require_cluster_in_certificate,
        })),
        (None, None, None) => {
            ensure!(
                !peer.require_cluster_in_certificate,
                "peer.require_cluster_in_certificate is true, but nodes would talk in plain text: set peer.tls_certificate, peer.tls_key and peer.tls_ca"
            );
            ensure!(
                peer.insecure || listen.ip().is_loopback(),
                "nodes would talk in plain text on {listen}: set peer.tls_certificate, peer.tls_key and peer.tls_ca, or peer.insecure = true if only the nodes can reach that network"
            );
            Ok(None)
        }
        _ => {
            bail!("peer.tls_certificate, peer.tls_key and peer.tls_ca go together; set all or none")
        }
    }
}

/// A secret given directly or as the name of a file; white space around it does not count.
pub(super) fn secret(
    key: &str,
    value: Option<&Secret>,
    file: Option<&str>,
) -> anyhow::Result<Option<String>> {
    match (value, file) {
        (Some(_), Some(_)) => bail!("{key} and {key}_file are both set; keep one"),
        (Some(value), None) => Ok(Some(value.reveal().trim().to_owned())),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("read `{file}`, which {key}_file names"))?;
            Ok(Some(text.trim().to_owned()))
        }
        (None, None) => Ok(None),
    }
}

fn tarballs(tarballs: &Tarballs) -> anyhow::Result<TarballSettings> {
    match tarballs.kind.as_str() {
        "disk" => {
            let directory = tarballs.directory.as_ref().context(
                "tarballs.directory is not set; name the directory that all nodes share, or use tarballs.kind = \"s3\"",
            )?;
            Ok(TarballSettings::Disk(directory.into()))
        }
        "s3" => Ok(TarballSettings::S3(s3(tarballs)?)),
        other => bail!("tarballs.kind is `{other}`; write `s3` or `disk`"),
    }
}

fn s3(tarballs: &Tarballs) -> anyhow::Result<S3Options> {
    let bucket = tarballs.bucket.clone().context(
        "tarballs.bucket is not set; name the bucket, or use tarballs.kind = \"disk\" with a directory",
    )?;
    let secret_access_key = secret(
        "tarballs.secret_access_key",
        tarballs.secret_access_key.as_ref(),
        tarballs.secret_access_key_file.as_deref(),
    )?;
    let credentials = match (&tarballs.access_key_id, secret_access_key) {
        (Some(id), Some(key)) => Some((id.clone(), key)),
        (None, None) => None,
        _ => bail!(
            "tarballs.access_key_id and tarballs.secret_access_key go together; set both, or neither to use the environment's credentials"
        ),
    };
    let redirect = tarballs
        .redirect_seconds
        .map(|redirect| seconds("tarballs.redirect_seconds", redirect));
    Ok(S3Options {
        bucket,
        prefix: tarballs.prefix.trim_matches('/').to_owned(),
        region: tarballs.region.clone(),
        endpoint: tarballs.endpoint.clone(),
        path_style: tarballs.path_style,
        credentials,
        timeout: seconds("tarballs.timeout_seconds", tarballs.timeout_seconds)?,
        redirect: redirect.transpose()?,
    })
}

fn log(log: &Log) -> anyhow::Result<LogSettings> {
    let format = match log.format.as_str() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => bail!("log.format is `{other}`; write `text` or `json`"),
    };
    ensure!(
        EnvFilter::try_new(&log.level).is_ok(),
        "log.level is `{}`; write `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,cratekeeper_cluster=debug`",
        log.level
    );
    Ok(LogSettings {
        format,
        level: log.level.clone(),
    })
}

fn seconds(key: &str, value: u64) -> anyhow::Result<Duration> {
    ensure!(
        (1..=604_800).contains(&value),
        "{key} is {value}; write 1 to 604800 seconds"
    );
    Ok(Duration::from_secs(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    const GOOD: [&str; 5] = [
        "http.public_url=https://crates.example.org/",
        "cluster.id=example",
        "peer.insecure=true",
        "tarballs.kind=disk",
        "tarballs.directory=/srv/tarballs",
    ];

    fn judged(set: &[&str]) -> anyhow::Result<Settings> {
        let set = GOOD.iter().chain(set).map(|&set| set.to_owned()).collect();
        let sources = Sources {
            set,
            ..Sources::default()
        };
        validate(&load(&sources)?)
    }

    fn refused(set: &[&str]) -> String {
        match judged(set) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_good_configuration_becomes_what_each_part_uses() {
        let settings = judged(&["peer.advertise=node-1.example.org:8081"]).expect("it is good");
        assert_eq!(settings.http.public_url, "https://crates.example.org");
        assert_eq!(
            settings.http.rules.own_index_urls,
            ["sparse+https://crates.example.org/index/"]
        );
        assert_eq!(settings.peer_address, "node-1.example.org:8081");
        assert_eq!(settings.http.publish_deadline, Duration::from_secs(25));
        assert_eq!(settings.raft.election_min, Duration::from_millis(450));
    }

    #[test]
    fn without_an_advertised_address_it_is_the_host_name_with_the_port() {
        let settings = judged(&["peer.listen=0.0.0.0:7000"]).expect("it is good");
        assert_eq!(settings.peer_address, format!("{}:7000", host_name()));
    }

    #[test]
    fn plain_text_between_nodes_needs_a_word_or_the_loopback() {
        assert!(
            refused(&["peer.insecure=false"])
                .starts_with("nodes would talk in plain text on 0.0.0.0:8081")
        );
        let loopback = ["peer.insecure=false", "peer.listen=127.0.0.1:0"];
        assert_eq!(refused(&loopback), "accepted");
    }

    #[test]
    fn a_refusal_names_the_key_the_value_and_what_would_be_right() {
        let refusals = [
            refused(&["node.data_dir=here"]),
            refused(&["http.listen=8080"]),
            refused(&["http.public_url=crates.example.org"]),
            refused(&["http.tls_key=/k"]),
            refused(&["http.publish_deadline_seconds=0"]),
            refused(&["peer.require_cluster_in_certificate=true"]),
            refused(&["peer.tls_certificate=/c", "peer.tls_key=/k"]),
            refused(&["cluster.id=Example!"]),
            refused(&["cluster.start=begin"]),
            refused(&["cluster.start=ordinal", "node.name=north"]),
            refused(&["node.role=watcher"]),
            refused(&["node.role=reader"]),
            refused(&["node.drain_wait_seconds=9999"]),
            refused(&["cluster.feature_level_max=99"]),
            refused(&["peer.snapshot_bytes_per_second=100"]),
            refused(&["cluster.peers=node-2"]),
            refused(&["cluster.admin_token=ck_wrong"]),
            refused(&["cluster.admin_login=An Admin"]),
            refused(&["cluster.election_min_ms=200"]),
            refused(&["tarballs.kind=s3"]),
            refused(&["registry.read_access=nobody"]),
            refused(&["registry.own_index_aliases=nowhere"]),
            refused(&["log.level=loud=very"]),
        ];
        insta::assert_snapshot!(refusals.join("\n"), @r#"
        node.data_dir is `here`; write an absolute path
        http.listen is `8080`; write an IP address and a port, such as `0.0.0.0:8080`
        http.public_url is `crates.example.org`; write an http or https URL without query, such as `https://crates.example.org`
        http.tls_certificate and http.tls_key go together; set both or neither
        http.publish_deadline_seconds is 0; write 1 to 604800 seconds
        peer.require_cluster_in_certificate is true, but nodes would talk in plain text: set peer.tls_certificate, peer.tls_key and peer.tls_ca
        peer.tls_certificate, peer.tls_key and peer.tls_ca go together; set all or none
        cluster.id is `Example!`; write 1 to 64 of `a-z 0-9 - _ .`
        cluster.start is `begin`; write `found`, `join` or `ordinal`
        cluster.start is `ordinal`, but the name of this node, `north`, does not end in a number such as `-0`; set node.name, or use `found` and `join`
        node.role is `watcher`; write `voter` or `reader`
        node.role is `reader`, and a reader cannot found a cluster: set cluster.start to `join` or `ordinal`
        node.drain_wait_seconds is 9999; write 0 to 3600 seconds
        cluster.feature_level_max is 99; write 1 to 2, or leave it out
        peer.snapshot_bytes_per_second is 100; write at least 65536, or leave it out
        cluster.peers has `node-2`; write a host and a port, such as `cratekeeper-0.example.org:8081`
        cluster.admin_token: that is not a token of this registry: one starts with `ck_` and has 52 characters; copy it again or ask an administrator for a new one
        cluster.admin_login: `An Admin` is not a login: use 1 to 64 of the characters a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit
        cluster.heartbeat_ms, election_min_ms and election_max_ms are 150, 200 and 900; at least two heartbeats must fit into the shortest election timeout, and the longest must be longer
        tarballs.bucket is not set; name the bucket, or use tarballs.kind = "disk" with a directory
        registry.read_access is `nobody`; write `public` or `authenticated`
        `nowhere` under registry is not an index URL; write it as cargo's configuration has it, such as `sparse+https://crates.example.org/index/`
        log.level is `loud=very`; write `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,cratekeeper_cluster=debug`
        "#);
    }

    #[test]
    fn a_secret_may_be_in_a_file_and_then_nowhere_else() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("secret");
        std::fs::write(&file, "  SESAME\n").expect("a temporary file");
        let name = file.to_str().expect("a temporary path is UTF-8");
        let value = Secret::from("other".to_owned());
        assert_eq!(
            secret("key", None, Some(name))
                .expect("it can be read")
                .as_deref(),
            Some("SESAME")
        );
        let both = secret("key", Some(&value), Some(name)).expect_err("one is enough");
        assert_eq!(both.to_string(), "key and key_file are both set; keep one");
        let absent = secret("key", None, Some("/nowhere")).expect_err("there is no such file");
        assert!(
            absent
                .to_string()
                .contains("`/nowhere`, which key_file names")
        );
    }
}

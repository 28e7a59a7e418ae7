//! Every key of `cratekeeper.toml`, with its default and unit, as it stands in the file and before it is judged.

use serde::{Deserialize, Serialize};

use super::secret::{Secret, list};

const MIB: u64 = 1024 * 1024;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConfigFile {
    pub(super) node: Node,
    pub(super) http: Http,
    pub(super) peer: Peer,
    pub(super) ops: Ops,
    pub(super) cluster: Cluster,
    pub(super) tarballs: Tarballs,
    pub(super) backup: Backup,
    pub(super) registry: Registry,
    pub(super) log: Log,
}

/// This machine's part.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Node {
    /// Where everything of this node lives. Default `/var/lib/cratekeeper`.
    pub(super) data_dir: String,
    /// The name in status and logs. Default: the host name.
    pub(super) name: Option<String>,
    /// `voter`, or `reader`: a replica that serves everything and never votes. Fixed when the node joins. Default `voter`.
    pub(super) role: String,
    /// A node that stops waits this long, in seconds, until the others can agree without it. Default 20.
    pub(super) drain_wait_seconds: u64,
    /// How long a node that stops goes on serving after it stopped being ready, in seconds, so that load balancers notice;
    /// only where there are other nodes. Default 5.
    pub(super) drain_linger_seconds: u64,
    /// Folded crates the leader keeps in memory to decide quickly. Default 1000.
    pub(super) folded_crates_max: usize,
    /// Memory for joined index files, in bytes. Default 128 MiB.
    pub(super) index_cache_bytes: usize,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            data_dir: "/var/lib/cratekeeper".to_owned(),
            name: None,
            role: "voter".to_owned(),
            drain_wait_seconds: 20,
            drain_linger_seconds: 5,
            folded_crates_max: 1000,
            index_cache_bytes: 128 * 1024 * 1024,
        }
    }
}

/// What cargo and browsers talk to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    /// Address and port. Default `0.0.0.0:8080`.
    pub(super) listen: String,
    /// Where clients reach the registry (`https://crates.example.org`); the same on every node, because it ends up in
    /// `Cargo.lock` files and in published manifests. Required.
    pub(super) public_url: Option<String>,
    /// PEM file with the certificate chain; with `tls_key` it turns TLS (and HTTP/2) on. Both are read again when they change.
    /// Default: none.
    pub(super) tls_certificate: Option<String>,
    /// PEM file with the private key. Default: none.
    pub(super) tls_key: Option<String>,
    /// The largest tarball, in bytes. Default 100 MiB.
    pub(super) tarball_bytes_max: u32,
    /// The largest JSON document, in bytes. Default 1 MiB.
    pub(super) json_bytes_max: u32,
    /// Publishes received or judged at once; others wait. Default 32.
    pub(super) publish_in_flight_max: usize,
    /// From the end of an upload to its answer, in seconds; below cargo's own 30. Default 25.
    pub(super) publish_deadline_seconds: u64,
    /// Any other call, in seconds; downloads and open event streams excepted. Default 30.
    pub(super) request_timeout_seconds: u64,
    /// How long a client may pause in the middle of a body, in seconds. Default 30.
    pub(super) body_idle_timeout_seconds: u64,
    /// How long a connection may wait for the whole head of a request, its first and any later one, in seconds: keep it
    /// above the load balancer's idle timeout. Default 75.
    pub(super) header_timeout_seconds: u64,
    /// Open connections; others wait to be accepted. Default 10000.
    pub(super) connections_max: usize,
    /// Requests a second that one token, or one address without a token (an IPv6 network of 64 bits counts as one), may make
    /// of this node, whatever it asks for; more are answered with 429. Default: no limit.
    pub(super) rate_limit_per_second: Option<u32>,
    /// Requests that it may make at once after a pause. A build makes two for each dependency it does not have yet.
    /// Default: ten times `rate_limit_per_second`, but at least 1000.
    pub(super) rate_limit_burst: Option<u32>,
    /// Load balancers and proxies, as addresses or networks (`10.0.0.0/8`), whose `X-Forwarded-For` (or, where that is
    /// missing, `Forwarded`) is believed, for the limit above and for the log. Default none: the peer of the connection counts.
    #[serde(deserialize_with = "list")]
    pub(super) trusted_proxies: Vec<String>,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: "0.0.0.0:8080".to_owned(),
            public_url: None,
            tls_certificate: None,
            tls_key: None,
            tarball_bytes_max: 100 * 1024 * 1024,
            json_bytes_max: 1024 * 1024,
            publish_in_flight_max: 32,
            publish_deadline_seconds: 25,
            request_timeout_seconds: 30,
            body_idle_timeout_seconds: 30,
            header_timeout_seconds: 75,
            connections_max: 10_000,
            rate_limit_per_second: None,
            rate_limit_burst: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// What the other nodes talk to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Peer {
    /// Address and port. Default `0.0.0.0:8081`.
    pub(super) listen: String,
    /// `host:port` at which the other nodes reach this one; a stable name, not an address that changes. Default: the host
    /// name with the port of `listen`.
    pub(super) advertise: Option<String>,
    /// PEM file with this node's certificate chain, for both directions (serverAuth and clientAuth), for the host of
    /// `advertise`. Like the other two it is read again when it changes. Default: none.
    pub(super) tls_certificate: Option<String>,
    /// PEM file with its private key. Default: none.
    pub(super) tls_key: Option<String>,
    /// PEM file with the authority that signed every node's certificate, or several while one takes the place of another.
    /// Default: none.
    pub(super) tls_ca: Option<String>,
    /// Whether a node's certificate must name the cluster, as a URI `cratekeeper://<cluster.id>` among its alternative names.
    /// One that names clusters must name this one in any case. Default false.
    pub(super) require_cluster_in_certificate: bool,
    /// Allows plain text between nodes on an address others can reach. Default false.
    pub(super) insecure: bool,
    /// What sending a snapshot to another node may take of the network, in bytes a second. Default: none, as fast as it goes.
    pub(super) snapshot_bytes_per_second: Option<u64>,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer {
            listen: "0.0.0.0:8081".to_owned(),
            advertise: None,
            tls_certificate: None,
            tls_key: None,
            tls_ca: None,
            require_cluster_in_certificate: false,
            insecure: false,
            snapshot_bytes_per_second: None,
        }
    }
}

/// What probes and metrics talk to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ops {
    /// Address and port. Default `0.0.0.0:9090`.
    pub(super) listen: String,
}

impl Default for Ops {
    fn default() -> Ops {
        Ops {
            listen: "0.0.0.0:9090".to_owned(),
        }
    }
}

/// How nodes find together and agree.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cluster {
    /// What an empty data directory does: `found` a cluster (one node only, once) or `join` one. With `ordinal` all nodes share
    /// one configuration: the one whose name ends in `-0` founds, any other joins. Default `found`.
    pub(super) start: String,
    /// Identity of the cluster, chosen once: 1 to 64 of `a-z 0-9 - _ .`. Required to found and with `ordinal`; a node
    /// that joins is kept from any other cluster by it.
    pub(super) id: Option<String>,
    /// `host:port` of the other nodes' peer addresses. Default none.
    #[serde(deserialize_with = "list")]
    pub(super) peers: Vec<String>,
    /// Login of the first administrator. Default `admin`.
    pub(super) admin_login: String,
    /// That administrator's first token. Default: generated, and written to `<data_dir>/admin-token`.
    pub(super) admin_token: Option<Secret>,
    /// File that holds it. Default: none.
    pub(super) admin_token_file: Option<String>,
    /// A backup (a directory, or `s3://bucket/prefix`) with whose history an empty node founds the cluster. Default: none.
    pub(super) restore_from: Option<String>,
    /// How far: the sequence of the last event to restore, or a time (RFC 3339). Default: everything.
    pub(super) restore_until: Option<String>,
    /// The leader's sign of life, in milliseconds. Default 150.
    pub(super) heartbeat_ms: u64,
    /// Silence after which a node may stand for election, at least, in milliseconds. Default 450.
    pub(super) election_min_ms: u64,
    /// The same, at most; a new leader is elected within twice this. Default 900.
    pub(super) election_max_ms: u64,
    /// Log entries between snapshots. Default 20000.
    pub(super) snapshot_entries: u64,
    /// Log entries kept behind a snapshot, for nodes that were away briefly. Default 10000.
    pub(super) keep_entries: u64,
    /// Keeps the cluster from features that the previous release does not know, as long as one node has it, so that one can
    /// still go back. Default: none, the cluster takes what all its nodes know.
    pub(super) feature_level_max: Option<u32>,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            start: "found".to_owned(),
            id: None,
            peers: Vec::new(),
            admin_login: "admin".to_owned(),
            admin_token: None,
            admin_token_file: None,
            restore_from: None,
            restore_until: None,
            heartbeat_ms: 150,
            election_min_ms: 450,
            election_max_ms: 900,
            snapshot_entries: 20_000,
            keep_entries: 10_000,
            feature_level_max: None,
        }
    }
}

/// Where tarballs are kept; every node of a cluster needs the same place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tarballs {
    /// `s3`, or `disk` (a directory that every node shares). Default `s3`.
    pub(super) kind: String,
    /// For `disk`. Default: none.
    pub(super) directory: Option<String>,
    /// For `s3`. Default: none.
    pub(super) bucket: Option<String>,
    /// Put before every object's key, without a slash at either end. Default empty.
    pub(super) prefix: String,
    /// Default: as the environment of the S3 client says.
    pub(super) region: Option<String>,
    /// URL of an S3-compatible store. Default: the provider of the region.
    pub(super) endpoint: Option<String>,
    /// The bucket in the path instead of in the host name; many S3-compatible stores need it. Default false.
    pub(super) path_style: bool,
    /// Default: the S3 client's own chain (environment, web identity, instance role).
    pub(super) access_key_id: Option<String>,
    /// The secret that goes with it. Default: none.
    pub(super) secret_access_key: Option<Secret>,
    /// File that holds the secret access key. Default: none.
    pub(super) secret_access_key_file: Option<String>,
    /// One attempt of one call, in seconds. Default 10.
    pub(super) timeout_seconds: u64,
    /// Answer downloads with a signed URL valid this many seconds. Default: none, the node streams the bytes.
    pub(super) redirect_seconds: Option<u64>,
}

impl Default for Tarballs {
    fn default() -> Tarballs {
        Tarballs {
            kind: "s3".to_owned(),
            directory: None,
            bucket: None,
            prefix: String::new(),
            region: None,
            endpoint: None,
            path_style: false,
            access_key_id: None,
            secret_access_key: None,
            secret_access_key_file: None,
            timeout_seconds: 10,
            redirect_seconds: None,
        }
    }
}

/// Backups of the history that the cluster makes by itself; whoever leads makes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Backup {
    /// A directory that every node reaches, or `s3://bucket/prefix`. Default: none, and so no backups.
    pub(super) to: Option<String>,
    /// How long from one to the next: a number and `s`, `m`, `h` or `d`. Default `1h`.
    pub(super) every: String,
    /// For S3; default: as `tarballs.endpoint`.
    pub(super) endpoint: Option<String>,
    /// For S3; default: as `tarballs.region`.
    pub(super) region: Option<String>,
    /// For S3; default: as `tarballs.path_style`.
    pub(super) path_style: Option<bool>,
    /// For S3; default: as `tarballs.access_key_id`.
    pub(super) access_key_id: Option<String>,
    /// The secret that goes with it. Default: none.
    pub(super) secret_access_key: Option<Secret>,
    /// File that holds the secret access key. Default: none.
    pub(super) secret_access_key_file: Option<String>,
}

impl Default for Backup {
    fn default() -> Backup {
        Backup {
            to: None,
            every: "1h".to_owned(),
            endpoint: None,
            region: None,
            path_style: None,
            access_key_id: None,
            secret_access_key: None,
            secret_access_key_file: None,
        }
    }
}

/// What may be published, and who may read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Registry {
    /// `public`, or `authenticated`: index and tarballs only with a token that may read. Default `public`.
    pub(super) read_access: String,
    /// Other index URLs under which published manifests may name this registry. Default none.
    #[serde(deserialize_with = "list")]
    pub(super) own_index_aliases: Vec<String>,
    /// Index URLs of the only other registries dependencies may come from, beside crates.io. Default: any.
    #[serde(deserialize_with = "super::secret::optional_list")]
    pub(super) allowed_registries: Option<Vec<String>>,
    /// A tarball unpacked, in bytes. Default 512 MiB, which is also where cargo stops.
    pub(super) unpacked_bytes_max: u64,
    /// Files and directories in a tarball. Default 100000.
    pub(super) entries_max: u64,
    /// Features of a version. Default 5000: bindings to large interfaces have more than a thousand.
    pub(super) features_max: usize,
    /// Dependencies of a version. Default 500.
    pub(super) dependencies_max: usize,
    /// Default false.
    pub(super) require_description: bool,
    /// Default false.
    pub(super) require_license: bool,
    /// Whether a dependency may ask for `*`. Default true.
    pub(super) allow_wildcard_requirements: bool,
    /// Whether a dependency on this registry must exist here already. Default true.
    pub(super) require_known_dependencies: bool,
    /// Crate names nobody may take. Default none.
    #[serde(deserialize_with = "list")]
    pub(super) reserved_names: Vec<String>,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            read_access: "public".to_owned(),
            own_index_aliases: Vec::new(),
            allowed_registries: None,
            unpacked_bytes_max: 512 * MIB,
            entries_max: 100_000,
            features_max: 5000,
            dependencies_max: 500,
            require_description: false,
            require_license: false,
            allow_wildcard_requirements: true,
            require_known_dependencies: true,
            reserved_names: Vec::new(),
        }
    }
}

/// What is written to standard error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// `text` or `json`. Default `text`.
    pub(super) format: String,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,cratekeeper_cluster=debug`. Default `info`.
    pub(super) level: String,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            format: "text".to_owned(),
            level: "info".to_owned(),
        }
    }
}

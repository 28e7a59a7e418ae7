//! The configuration, judged: plain values, each in the form in which it is used.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cratekeeper_cluster::{NodeRole, PeerTls, RaftOptions};
use cratekeeper_domain::{Login, Policy, TokenText};
use cratekeeper_tarballs::S3Options;

use crate::app::HttpSettings;
use crate::backup::{BackupSettings, PlaceSettings, Until};
use crate::listen::ListenSettings;

/// Without `Debug`, because it holds secrets.
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) name: String,
    pub(crate) role: NodeRole,
    pub(crate) drain: DrainSettings,
    /// `None`: as high as all nodes can.
    pub(crate) feature_level_max: Option<u32>,
    pub(crate) snapshot_bytes_per_second: Option<u64>,
    pub(crate) folded_crates_max: usize,
    pub(crate) index_cache_bytes: usize,
    pub(crate) listen: ListenSettings,
    pub(crate) http: HttpSettings,
    pub(crate) peer_listen: SocketAddr,
    pub(crate) peer_address: String,
    pub(crate) peer_tls: Option<PeerTls>,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) start: StartSettings,
    pub(crate) raft: RaftOptions,
    pub(crate) tarballs: TarballSettings,
    /// `None`: the cluster makes no backups by itself.
    pub(crate) backup: Option<BackupSettings>,
    /// What a node that founds begins with, if not with nothing.
    pub(crate) restore: Option<RestoreSettings>,
    pub(crate) policy: Policy,
    pub(crate) log: LogSettings,
}

/// How a node leaves; see `crate::drain`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainSettings {
    /// Until the others can agree without it.
    pub(crate) wait: Duration,
    /// From not being ready to not being there.
    pub(crate) linger: Duration,
}

/// A backup, and how much of it.
pub(crate) struct RestoreSettings {
    pub(crate) from: PlaceSettings,
    pub(crate) until: Until,
}

/// What an empty data directory does.
pub(crate) enum StartSettings {
    Found {
        cluster: String,
        peers: Vec<String>,
        admin: Login,
        /// `None`: generate one.
        admin_token: Option<TokenText>,
    },
    Join {
        /// `None`: whichever cluster the peers are in.
        cluster: Option<String>,
        peers: Vec<String>,
    },
}

pub(crate) enum TarballSettings {
    Disk(PathBuf),
    S3(S3Options),
}

#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    /// Directives as `tracing_subscriber::EnvFilter` reads them.
    pub(crate) level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

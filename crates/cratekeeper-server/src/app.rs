//! What the HTTP side works with: the cluster, the tarballs, the search index and the settings it obeys.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use cratekeeper_cluster::Cluster;
use cratekeeper_domain::Rules;
use cratekeeper_tarballs::Tarballs;
use ipnet::IpNet;

pub(crate) use crate::http::router;
use crate::search::Search;

/// Shared by all requests.
pub(crate) struct App {
    pub(crate) cluster: Cluster,
    pub(crate) tarballs: Tarballs,
    pub(crate) search: Search,
    pub(crate) settings: HttpSettings,
}

/// Who may read the index, tarballs, search and crate pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadAccess {
    Public,
    /// Only tokens with the scope `read`.
    Authenticated,
}

/// What one token, or one address without a token, may ask of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimitSettings {
    /// Requests a second, in the long run.
    pub(crate) per_second: NonZeroU32,
    /// Requests at once, after a pause.
    pub(crate) burst: NonZeroU32,
}

/// All explicit, validated by the configuration.
#[derive(Debug, Clone)]
pub(crate) struct HttpSettings {
    /// Where clients reach this registry, without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) read_access: ReadAccess,
    pub(crate) rules: Rules,
    pub(crate) json_bytes_max: u32,
    pub(crate) tarball_bytes_max: u32,
    /// Publishes being received or judged at once on this node; others wait.
    pub(crate) publish_in_flight_max: usize,
    /// From the end of the upload to the answer; below cargo's 30 s of patience.
    pub(crate) publish_deadline: Duration,
    /// Tarballs being received are files here, on a disk with room for `publish_in_flight_max` of the largest.
    pub(crate) spool_dir: PathBuf,
    /// `None`: nobody is limited.
    pub(crate) rate_limit: Option<RateLimitSettings>,
    /// Proxies whose word is believed about whom they were asked by.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// For every call but uploads, downloads and open event streams.
    pub(crate) request_timeout: Duration,
    /// How long a client may send nothing in the middle of a body.
    pub(crate) body_idle_timeout: Duration,
}

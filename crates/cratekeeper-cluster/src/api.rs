//! The handle and what it answers with.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_domain::{
    Account, Actor, CanonicalName, Checksum, Command, CrateName, Event, Login, Policy, Recorded,
    Rejection, RequestId, TokenHash, TokenId, Version, VersionFacts,
};
use tokio::sync::watch;
use tokio::time::Instant;

pub type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
/// Asked with the cluster id; the error is a sentence for the operator.
pub type StoreCheck = Arc<dyn Fn(String) -> CheckFuture + Send + Sync>;

/// Everything a node needs to start; all fields explicit, validated by the server's configuration.
#[derive(Clone)]
pub struct NodeOptions {
    pub data_dir: PathBuf,
    /// Where the peer service listens.
    pub peer_listen: SocketAddr,
    /// `host:port` at which other nodes reach it.
    pub peer_address: String,
    /// Name shown in status (`cratekeeper-0`).
    pub name: String,
    pub tls: Option<PeerTls>,
    pub start: Start,
    /// Called before founding: claims the object store for the cluster, or says why not.
    pub claim_store: StoreCheck,
    /// Called before joining: is the tarball store here the one that cluster uses?
    pub check_store: StoreCheck,
    pub policy: Policy,
    pub raft: RaftOptions,
    /// How many folded crates the leader keeps, and how many joined index files, in bytes.
    pub folded_crates_max: usize,
    pub index_cache_bytes: usize,
}

/// What an empty data directory does. A directory with a node in it continues and ignores this, but for peer addresses.
#[derive(Debug, Clone)]
pub enum Start {
    /// Ask all `peers` (may be empty); if none has a cluster, found one with this id and this first administrator.
    Found {
        cluster: String,
        peers: Vec<String>,
        admin: Login,
        admin_token: TokenId,
        admin_token_hash: TokenHash,
    },
    /// Wait until one of `peers` has a cluster (or one invites this node), then join it.
    Join { peers: Vec<String> },
}

/// Files are read at start; both sides show a certificate signed by `ca`.
#[derive(Debug, Clone)]
pub struct PeerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

#[derive(Debug, Clone)]
pub struct RaftOptions {
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
    /// A snapshot is made after this many entries of log, and that many are kept behind it.
    pub snapshot_entries: u64,
    pub keep_entries: u64,
}

/// Who asks for what, under which request.
#[derive(Debug, Clone)]
pub struct Request {
    pub actor: Actor,
    pub request: RequestId,
    pub command: Command,
}

/// An acknowledged command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Of its last event, or of the newest event at the time if everything was already so.
    pub sequence: u64,
    /// Empty if everything was already so.
    pub events: Vec<Event>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Nobody could decide within the deadline; nothing was written.
    #[error("the cluster has no leader that a majority follows")]
    NoLeader,
    /// The streams kept changing; nothing was written.
    #[error("the crate kept changing, try again")]
    Busy,
    /// The deadline passed with the command under way: it may or may not happen.
    #[error("the outcome is not known")]
    OutcomeUnknown,
    #[error("the node is stopping")]
    Stopping,
    #[error("storage")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("storage")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client has seen a newer state than this node has and it did not catch up in time.
    #[error("this node is behind what the client has already seen")]
    Behind,
    /// The node has not joined a cluster, or is not yet caught up.
    #[error("this node is not ready")]
    NotReady,
}

/// One crate's index file, ready to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    pub bytes: Bytes,
    /// With quotes: `"<position>-<hash>"`.
    pub etag: String,
    pub position: u64,
}

/// A token that was presented, with the account it belongs to. Not yet judged: see `Account::authorize`.
#[derive(Debug, Clone)]
pub struct Presented {
    pub token: TokenId,
    pub account: Arc<Account>,
}

/// A crate as lists and pages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrateSummary {
    pub name: CrateName,
    pub owners: Vec<Login>,
    /// In order of publication.
    pub versions: Vec<VersionSummary>,
    pub created_at_ms: u64,
    pub updated_at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSummary {
    pub version: Version,
    pub checksum: Checksum,
    pub tarball_bytes: u64,
    pub yanked: bool,
    pub removed: bool,
    pub published_at_ms: u64,
    pub published_by: Option<Login>,
}

/// What a download needs, by one look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarballEntry {
    pub name: CrateName,
    pub checksum: Checksum,
    pub tarball_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    Voter,
    Learner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    pub node: u64,
    pub name: String,
    pub address: String,
    pub role: MemberRole,
    pub leader: bool,
    pub this_node: bool,
    /// As the leader last heard; `None` where it has not, or this node is not the leader and could not ask it.
    pub sequence: Option<u64>,
    pub lag_entries: Option<u64>,
    pub ready: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    pub cluster: String,
    pub history: String,
    pub node: u64,
    pub leader: Option<u64>,
    pub term: u64,
    pub sequence: u64,
    /// Hex, of the chain at `sequence`.
    pub chain: String,
    pub feature_level: u32,
    pub last_log: u64,
    pub applied: u64,
    pub snapshot: Option<u64>,
    pub purged: Option<u64>,
    pub members: Vec<MemberStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// May take reads and forward writes: in the committed membership, caught up once since start, not draining, not behind by much.
    pub ready: bool,
    /// Writes would succeed: `ready` and a leader is known.
    pub write_ready: bool,
    /// Why not, in words.
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something the operator must fix, in a sentence.
    #[error("{0}")]
    Refused(String),
    #[error("{what}")]
    Storage {
        what: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The handle; cheap to clone.
#[derive(Clone)]
pub struct Cluster {}

impl Cluster {
    /// Opens the data directory, starts the peer service and Raft, founds or joins as `options.start` says. Returns as soon as
    /// the node runs; it may still be joining or catching up (`readiness`).
    pub async fn start(options: NodeOptions) -> Result<Cluster, StartError> {
        todo!("{}", options.name)
    }

    /// Decides on the leader and replicates; held while there is no leader, until `deadline`. When it returns Ok the events are
    /// committed, applied here and (bounded) on every ready node. `OutcomeUnknown` is not a failure.
    pub async fn execute(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<Executed, ExecuteError> {
        todo!("{request:?} {deadline:?}")
    }

    /// The index file of the lower-cased `name`; `known_position` is the position in the client's `If-None-Match`: a node that is behind
    /// it waits or asks the leader, and never answers with an older file.
    pub async fn index_file(
        &self,
        lower_name: &str,
        known_position: Option<u64>,
    ) -> Result<Option<Arc<IndexFile>>, ReadError> {
        todo!("{lower_name} {known_position:?}")
    }
    pub fn token(&self, hash: &TokenHash) -> Result<Option<Presented>, ReadError> {
        todo!("{hash:?}")
    }
    pub fn token_owner(&self, token: &TokenId) -> Result<Option<Arc<Account>>, ReadError> {
        todo!("{token:?}")
    }
    pub fn account(&self, login: &Login) -> Result<Option<Arc<Account>>, ReadError> {
        todo!("{login:?}")
    }
    /// In order of login.
    pub fn accounts(
        &self,
        after: Option<&Login>,
        limit: usize,
    ) -> Result<Vec<Arc<Account>>, ReadError> {
        todo!("{after:?} {limit}")
    }
    pub fn krate(&self, name: &CanonicalName) -> Result<Option<CrateSummary>, ReadError> {
        todo!("{name:?}")
    }
    /// In order of canonical name.
    pub fn crates(
        &self,
        after: Option<&CanonicalName>,
        limit: usize,
    ) -> Result<Vec<CrateName>, ReadError> {
        todo!("{after:?} {limit}")
    }
    pub fn version(
        &self,
        name: &CanonicalName,
        version: &Version,
    ) -> Result<Option<(VersionSummary, VersionFacts)>, ReadError> {
        todo!("{name:?} {version}")
    }
    pub fn tarball(
        &self,
        name: &CanonicalName,
        version: &Version,
    ) -> Result<Option<TarballEntry>, ReadError> {
        todo!("{name:?} {version}")
    }
    /// The history after `after`, in order, at most `limit`.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        todo!("{after} {limit}")
    }
    /// The newest applied sequence, as it grows.
    pub fn sequence(&self) -> watch::Receiver<u64> {
        todo!()
    }
    /// Hex chain hash at a sequence.
    pub fn chain_at(&self, sequence: u64) -> Result<Option<String>, ReadError> {
        todo!("{sequence}")
    }

    pub fn readiness(&self) -> Readiness {
        todo!()
    }
    /// The Raft core runs and the storage answers; nothing about quorum, leader or peers.
    pub async fn alive(&self) -> Result<(), String> {
        todo!()
    }
    /// As the leader sees it where it can be asked, else as this node does.
    pub async fn status(&self) -> Result<ClusterStatus, ReadError> {
        todo!()
    }
    /// Invites the node that listens at `address` (it waits with an empty data directory) and returns when it is a member.
    pub async fn invite(&self, address: &str, deadline: Instant) -> Result<u64, MembershipError> {
        todo!("{address} {deadline:?}")
    }
    /// Removes a node for ever; its id is never used again.
    pub async fn remove(&self, node: u64, deadline: Instant) -> Result<(), MembershipError> {
        todo!("{node} {deadline:?}")
    }
    /// Hands leadership to `to`, or to the most caught-up voter.
    pub async fn transfer_leader(
        &self,
        to: Option<u64>,
        deadline: Instant,
    ) -> Result<u64, MembershipError> {
        todo!("{to:?} {deadline:?}")
    }
    /// Not ready from now on; hands over leadership and waits (bounded) until another node leads.
    pub async fn drain(&self, deadline: Instant) -> Result<(), MembershipError> {
        todo!("{deadline:?}")
    }
    /// Forces a snapshot and purges the log behind it (tests, operators).
    pub async fn snapshot(&self) -> Result<u64, MembershipError> {
        todo!()
    }

    /// Resolves when the node can no longer work (Raft stopped, disk failed, this node was removed): the process must exit.
    pub async fn failed(&self) -> String {
        todo!()
    }
    /// Stops Raft, flushes and closes the databases.
    pub async fn shutdown(&self) {
        todo!()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    #[error("{0}")]
    Refused(String),
    #[error("the cluster has no leader that a majority follows")]
    NoLeader,
    #[error("it did not finish in time; it may still happen")]
    Unfinished,
}

/// The outcome of folding all events of a stopped node into fresh projections and comparing them with the live ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    pub events: u64,
    pub chain: String,
    /// Keys that differ, as `projection/key`; empty is the only good answer.
    pub differences: Vec<String>,
}

/// `rebuild --verify`, and without `verify` also replaces the live projections. Needs the data directory of a stopped node.
/// `progress` hears (done, all) events.
pub fn rebuild(
    data_dir: &std::path::Path,
    replace: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Rebuilt, StartError> {
    let _ = progress;
    todo!("{data_dir:?} {replace}")
}

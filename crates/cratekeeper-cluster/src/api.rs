//! What the cluster is given and what it answers with.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_domain::{
    Account, Actor, Checksum, Command, CrateName, Event, Login, Policy, Rejection, RequestId,
    TokenHash, TokenId, Version,
};

pub type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
/// Asked with whose store it should be; the error is a sentence for the operator.
pub type StoreCheck = Arc<dyn Fn(StoreOwner) -> CheckFuture + Send + Sync>;

/// Whose tarball store one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOwner {
    pub cluster: String,
    /// `None` where it is not known, or the store is to be claimed for the first history of a cluster.
    pub history: Option<String>,
    /// Of the volume that founds the cluster's first history: another empty one with the same configuration is what is left after
    /// everything was lost, and must not found it again.
    pub founder: Option<String>,
}

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
    /// What it joins as; a node keeps the role it joined with.
    pub role: NodeRole,
    /// A level to hold the cluster back at; `None`: the newest this release knows.
    pub feature_level_max: Option<u32>,
    /// For each snapshot this node sends as the leader; `None`: as fast as it goes.
    pub snapshot_bytes_per_second: Option<u64>,
    pub tls: Option<PeerTls>,
    pub start: Start,
    /// Called before founding: claims the object store for the cluster, or says why not.
    pub claim_store: StoreCheck,
    /// Called before joining: is the tarball store here the one that cluster uses?
    pub check_store: StoreCheck,
    /// Called when a volume that is a node already starts: does the store say that another history has taken its place?
    pub confirm_store: StoreCheck,
    /// Founding begins with this history instead of none.
    pub restore: Option<Restore>,
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
    /// Wait until one of `peers` has a cluster (or one invites this node), then join it; only `cluster`, if that is given.
    Join {
        cluster: Option<String>,
        peers: Vec<String>,
    },
}

/// What a node is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeRole {
    /// It takes part in agreeing, and may lead.
    #[default]
    Voter,
    /// It has everything, serves reads and forwards writes, and is never counted.
    Reader,
}

/// A history, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryHead {
    pub cluster: String,
    pub history: String,
    pub sequence: u64,
    /// The chain hash there.
    pub chain: [u8; 32],
}

pub type RecordBatches = tokio::sync::mpsc::Receiver<Result<Vec<Bytes>, String>>;

/// A history from a backup, with which a founding node begins.
#[derive(Clone)]
pub struct Restore {
    /// Where it must have come to when its last record is in.
    pub from: HistoryHead,
    /// Its records from the first on, in order. The error is a sentence for the operator.
    pub records: Arc<dyn Fn() -> RecordBatches + Send + Sync>,
    /// Called when the history is proven and before it counts: hands the tarball store on to the new one.
    pub claim_store: StoreCheck,
    /// A new token for an administrator of the restored history.
    pub admin_token: Option<(Login, TokenId, TokenHash)>,
    /// Hears how many events are in.
    pub progress: Arc<dyn Fn(u64) + Send + Sync>,
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Restore({:?})", self.from)
    }
}

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Under its new id, behind the events that say that it was restored.
    pub now: HistoryHead,
    /// The id of the node that has it.
    pub node: u64,
}

/// PEM files, read at start and again when they change. Both sides of every connection show a certificate that `ca` has signed,
/// for the host of the node's peer address.
#[derive(Debug, Clone)]
pub struct PeerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// One authority or several: a bundle while one takes the place of another.
    pub ca: PathBuf,
    /// Certificates must name the cluster, as a URI `cratekeeper://<cluster id>`. One that names clusters must name this one in
    /// any case.
    pub require_cluster: bool,
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
    pub lower_name: String,
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
    /// It becomes a voter when it has caught up.
    Learner,
    /// It never does.
    Reader,
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
    /// It is about to stop.
    pub draining: bool,
    /// What it runs and the highest feature level it takes; `None` where it is not connected to the leader.
    pub release: Option<String>,
    pub feature_level_max: Option<u32>,
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

/// Why a node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Raft or the storage below it has stopped; starting again may help.
    #[error("{0}")]
    Broken(String),
    /// A sentence for the operator: removed, refused, of another history.
    #[error("{0}")]
    Refused(String),
}

/// One question that a node asks itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub passed: bool,
    /// What was found, in words.
    pub found: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// May take reads and forward writes: in the committed membership, caught up once since start, not draining, not behind by much.
    pub ready: bool,
    /// Writes would succeed: `ready` and a leader is known.
    pub write_ready: bool,
    /// Why not, in words.
    pub reason: String,
    /// All that `ready` asks, in order, and last what `write_ready` asks beyond.
    pub checks: Vec<Check>,
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

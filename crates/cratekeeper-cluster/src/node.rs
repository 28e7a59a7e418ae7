//! A node from its data directory up: what it opens, in which order, what runs, and how it stops.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use rocksdb::DB;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{Failure, NodeOptions, RaftOptions, StartError};
use crate::node_file::NodeFile;
use crate::peer::{AppliedReport, Dialer, Identity, Invitation, PeerHost, PeerNetwork, Peers};
use crate::raft::log_store::LogStore;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::{self, Raft};
use crate::raft_thread::RaftThread;
use crate::snapshot::Snapshots;
use crate::store::State;

/// Commands about different crates decide side by side in this many lanes.
const TURNS: usize = 256;

/// What a node has from its first start on, in a cluster or not.
pub(crate) struct Node {
    pub(crate) options: NodeOptions,
    pub(crate) file: Mutex<NodeFile>,
    pub(crate) state: Arc<State>,
    /// Until Raft takes it.
    pub(crate) log: Mutex<Option<LogStore>>,
    /// The log's database, as long as Raft has it; only to be measured.
    pub(crate) log_database: Weak<DB>,
    pub(crate) member: OnceLock<Member>,
    pub(crate) host: Arc<PeerHost>,
    pub(crate) dialer: Dialer,
    pub(crate) reports: watch::Sender<AppliedReport>,
    pub(crate) invitations: watch::Sender<Option<Invitation>>,
    pub(crate) turns: Vec<tokio::sync::Mutex<()>>,
    /// Background errors of the Raft log's storage.
    pub(crate) log_errors: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) draining: AtomicBool,
    /// Too far behind the log to be ready; see `readiness`.
    pub(crate) lagging: AtomicBool,
    /// Once since start it had applied everything acknowledged before.
    pub(crate) caught_up: AtomicBool,
    /// Since start, the committed membership has named this node.
    pub(crate) was_member: AtomicBool,
    pub(crate) failure: watch::Sender<Option<Failure>>,
    pub(crate) stopping: CancellationToken,
    pub(crate) thread: RaftThread,
}

/// What only a member of a cluster has.
pub(crate) struct Member {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    pub(crate) network: PeerNetwork,
}

impl Member {
    /// As far as is known here.
    pub(crate) fn leader(&self) -> Option<(u64, types::Member)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let at = metrics
            .membership_config
            .membership()
            .get_node(&leader)
            .cloned()?;
        Some((leader, at))
    }
}

impl Node {
    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.get()
    }

    /// Opens log and snapshots and starts Raft as `identity`; runs on the Raft thread. Only once in a node's life.
    pub(crate) async fn start_raft(
        self: &Arc<Node>,
        identity: Identity,
    ) -> Result<&Member, StartError> {
        let data_dir = &self.options.data_dir;
        let log = self
            .log
            .lock()
            .take()
            .ok_or_else(|| StartError::Refused("this node is a member already".to_owned()))?;
        let snapshots = Snapshots::open(&data_dir.join("snapshots"), &identity.cluster)
            .map_err(|error| storage("open the snapshots", error))?;
        let snapshots = Arc::new(snapshots);
        self.warn_of_a_lost_tail(&log)?;
        let peers = Peers::new();
        let network = PeerNetwork::new(self.dialer.clone(), identity.clone(), peers.clone())
            .with_snapshot_rate(self.options.snapshot_bytes_per_second);
        let machine = StateMachine::new(self.state.clone(), snapshots);
        let config = raft_config(&identity.cluster, &self.options.raft)?;
        let raft = Raft::new(
            identity.node,
            Arc::new(config),
            network.clone(),
            log,
            machine,
        )
        .await
        .map_err(|error| storage("start Raft", io::Error::other(error.to_string())))?;
        let member = Member {
            identity,
            raft,
            peers,
            network,
        };
        if self.member.set(member).is_err() {
            return Err(StartError::Refused(
                "this node is a member already".to_owned(),
            ));
        }
        let member = self
            .member()
            .ok_or_else(|| StartError::Refused("the member was just set".to_owned()))?;
        self.serve_members(member);
        crate::tasks::start(self, member);
        Ok(member)
    }

    /// A log that ends before what is applied is what a disk that lies about syncing leaves behind; after a power cut it can also be
    /// honest, because applying does not wait for this node's own log. openraft closes the gap; the operator should know.
    fn warn_of_a_lost_tail(&self, log: &LogStore) -> Result<(), StartError> {
        let applied = self
            .state
            .live()
            .applied()
            .map_err(|error| storage("read the state", error))?;
        if log.last() < applied {
            tracing::warn!(?applied, log = ?log.last(), "the Raft log ends before what is applied: the last stop was not clean");
        }
        Ok(())
    }

    /// Tells the leader how far this node is.
    pub(crate) fn report(&self) {
        let progress = *self.state.progress().borrow();
        let ready = self.readiness().ready;
        let report = AppliedReport {
            applied_index: progress.applied,
            sequence: progress.sequence,
            ready,
            draining: self.draining.load(Ordering::Acquire),
        };
        self.reports
            .send_if_modified(|current| std::mem::replace(current, report) != report);
    }

    /// Returns when the state here has reached `sequence`, or at `deadline`.
    pub(crate) async fn wait_sequence(&self, sequence: u64, deadline: Instant) -> bool {
        let mut reached = self.state.sequence();
        tokio::time::timeout_at(deadline, reached.wait_for(|here| *here >= sequence))
            .await
            .is_ok_and(|waited| waited.is_ok())
    }

    /// Returns when the state here has applied the log up to `index`, or at `deadline`.
    pub(crate) async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut reached = self.state.progress();
        tokio::time::timeout_at(deadline, reached.wait_for(|here| here.applied >= index))
            .await
            .is_ok_and(|waited| waited.is_ok())
    }

    /// The process must exit: says why, once.
    pub(crate) fn fail(&self, why: Failure) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(why);
            first
        });
    }

    pub(crate) fn turns() -> Vec<tokio::sync::Mutex<()>> {
        std::iter::repeat_with(tokio::sync::Mutex::default)
            .take(TURNS)
            .collect()
    }
}

fn raft_config(cluster: &str, options: &RaftOptions) -> Result<Config, StartError> {
    let config = Config {
        cluster_name: cluster.to_owned(),
        heartbeat_interval: millis(options.heartbeat),
        election_timeout_min: millis(options.election_min),
        election_timeout_max: millis(options.election_max),
        enable_pre_vote: Some(true),
        // The state may go back when a node restarts after a power cut: it must win an election before it leads again.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
        max_in_snapshot_log_to_keep: options.keep_entries,
        replication_lag_threshold: options.keep_entries.max(options.snapshot_entries),
        purge_batch_size: 4_096,
        install_snapshot_timeout: 60_000,
        quorum_loss_probe_interval: Some(millis(options.election_max) * 3),
        ..Config::default()
    };
    config.validate().map_err(|error| {
        StartError::Refused(format!("the Raft timings do not fit together: {error}"))
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn storage(
    what: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StartError {
    StartError::Storage {
        what: what.to_owned(),
        source: Box::new(source),
    }
}

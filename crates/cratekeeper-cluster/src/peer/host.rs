//! What the peer service needs from the node it serves. A node listens before it is in a cluster, so most of it comes late.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use cratekeeper_wire::pb::peer as pb;
use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::identity::Identity;
use super::peers::AppliedReport;
use crate::raft::types::{Member, Raft};
use crate::{ClusterStatus, ExecuteError, Executed, MembershipError, Request};

/// Answered by the leader itself: a node does not pass on what was passed to it.
pub(crate) type Answer<T, E> = BoxFuture<'static, Result<T, Asked<E>>>;
pub(crate) type ExecuteFn =
    Arc<dyn Fn(Request, Instant) -> Answer<Executed, ExecuteError> + Send + Sync>;
/// The log index that a node must have applied to see everything acknowledged before.
pub(crate) type ReadIndexFn = Arc<dyn Fn(Instant) -> Answer<u64, NoQuorum> + Send + Sync>;
/// As this node sees it, leader or not; nothing while it is stopping.
pub(crate) type StatusFn =
    Arc<dyn Fn(Instant) -> BoxFuture<'static, Option<ClusterStatus>> + Send + Sync>;
/// Which node was removed, or leads then.
pub(crate) type ChangeFn =
    Arc<dyn Fn(Change, Instant) -> Answer<u64, MembershipError> + Send + Sync>;
pub(crate) type JoinFn =
    Arc<dyn Fn(pb::JoinRequest) -> BoxFuture<'static, JoinAnswer> + Send + Sync>;
/// As applied here: that node was a member and is none any more, nor will be.
pub(crate) type WasRemovedFn = Arc<dyn Fn(u64) -> bool + Send + Sync>;
/// To a node in no cluster; the error is a sentence for the operator.
pub(crate) type InviteFn = Arc<dyn Fn(Invitation) -> Result<(), String> + Send + Sync>;

/// What only the leader can do to the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Remove(u64),
    /// Leadership, to the given node or to the best voter.
    HandOver(Option<u64>),
}

/// Why a node that was asked could not answer.
#[derive(Debug)]
pub(crate) enum Asked<E> {
    /// Ask this one, if anybody is known. Nothing was done.
    NotLeader(Option<(u64, Member)>),
    Failed(E),
}

impl<E> From<E> for Asked<E> {
    fn from(error: E) -> Asked<E> {
        Asked::Failed(error)
    }
}

/// No majority confirmed this leader within the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no majority follows this leader")]
pub(crate) struct NoQuorum;

#[derive(Debug)]
pub(crate) enum JoinAnswer {
    Joined {
        node: u64,
        cluster: String,
        members: Vec<(u64, Member)>,
    },
    NotLeader(Option<(u64, Member)>),
    /// A sentence for the operator; asking again does not help.
    Refused(String),
    /// A sentence; asking again does.
    Later(String),
}

/// A cluster asks this node to join it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invitation {
    pub(crate) cluster: String,
    pub(crate) peers: Vec<String>,
}

/// What only a node in a cluster has; set once, when it has founded, joined or continued one.
pub(crate) struct Joined {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft,
    pub(crate) execute: ExecuteFn,
    pub(crate) read_index: ReadIndexFn,
    pub(crate) status: StatusFn,
    pub(crate) change: ChangeFn,
    pub(crate) join: JoinFn,
    pub(crate) was_removed: WasRemovedFn,
}

pub(crate) struct PeerHost {
    /// Of this volume, in a cluster or not.
    pub(crate) incarnation: String,
    pub(crate) name: String,
    /// The highest feature level this node takes.
    pub(crate) feature_level_max: u32,
    /// The newest form of state this node reads.
    pub(crate) state_format: u32,
    /// `data/incoming`: snapshots on their way.
    pub(crate) incoming: PathBuf,
    pub(crate) applied: watch::Receiver<AppliedReport>,
    pub(crate) invite: InviteFn,
    /// Ends the long streams; cancel it first when the node stops.
    pub(crate) stopping: CancellationToken,
    pub(crate) joined: OnceLock<Joined>,
    /// Held while a snapshot comes in.
    pub(crate) receiving: Arc<Mutex<()>>,
}

impl PeerHost {
    /// UNAVAILABLE while this node is in no cluster.
    pub(crate) fn joined(&self) -> Result<&Joined, Status> {
        self.joined
            .get()
            .ok_or_else(|| Status::unavailable("this node is in no cluster yet"))
    }
}

impl Joined {
    /// As the membership known here has it, committed or under way.
    pub(crate) fn member(&self, node: u64) -> Option<Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let under_way = metrics.membership_config.membership().get_node(&node);
        let committed = || {
            metrics
                .committed_membership_config
                .membership()
                .get_node(&node)
        };
        under_way.or_else(committed).cloned()
    }

    /// As far as is known here.
    pub(crate) fn leader(&self) -> Option<(u64, Member)> {
        let leader = self.raft.metrics().borrow_watched().current_leader?;
        Some((leader, self.member(leader)?))
    }

    /// This node leads, in a term not before `term`: there is no member it does not know.
    pub(super) fn leads_since(&self, term: u64) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        // Right after a start the vote may still name this node, which then leads nobody and has not read who is a member.
        metrics.state.is_leader()
            && metrics.current_leader == Some(self.identity.node)
            && metrics.current_term >= term
    }
}

//! The cluster as this node sees it, and as the leader does where it can be asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cratekeeper_domain::{StreamId, StreamState};
use openraft::async_runtime::WatchReceiver;
use tokio::time::Instant;

use crate::api::{ClusterStatus, HistoryHead, MemberRole, MemberStatus, NodeRole, ReadError};
use crate::node::{Member, Node};
use crate::store::StorageError;

const ASK_WITHIN: Duration = Duration::from_secs(1);

impl Node {
    /// The members come from the leader: only it hears from all.
    pub(crate) async fn status(self: &Arc<Node>) -> Result<ClusterStatus, ReadError> {
        let member = self.member().ok_or(ReadError::NotReady)?;
        let mut status = self.status_here()?;
        if let Some((leader, at)) = member.leader()
            && leader != member.identity.node
            && let Ok(theirs) = member
                .network
                .status(leader, &at, Instant::now() + ASK_WITHIN)
                .await
        {
            let me = member.identity.node;
            status.members = theirs.members;
            for other in &mut status.members {
                other.this_node = other.node == me;
            }
        }
        Ok(status)
    }

    pub(crate) fn status_here(&self) -> Result<ClusterStatus, ReadError> {
        let member = self.member().ok_or(ReadError::NotReady)?;
        let live = self.state.live();
        let head = live.head()?;
        let (history, feature_level) = self.installation()?;
        // Cloned: the members below read it again, and reading twice while Raft waits to write stops Raft for ever.
        let metrics = member.raft.metrics().borrow_watched().clone();
        Ok(ClusterStatus {
            cluster: member.identity.cluster.clone(),
            history,
            node: member.identity.node,
            leader: metrics.current_leader,
            term: metrics.current_term,
            sequence: head.sequence,
            chain: hex::encode(&head.chain),
            feature_level,
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            members: self.members_here(member),
        })
    }

    /// See `Cluster::history`.
    pub(crate) fn history_here(&self) -> Result<HistoryHead, ReadError> {
        let member = self.member().ok_or(ReadError::NotReady)?;
        let head = self.state.live().head()?;
        let (history, _) = self.installation()?;
        Ok(HistoryHead {
            cluster: member.identity.cluster.clone(),
            history,
            sequence: head.sequence,
            chain: head.chain.as_ref().try_into().unwrap_or_default(),
        })
    }

    /// The history's id and the feature level; empty and 0 before the founding.
    pub(crate) fn installation(&self) -> Result<(String, u32), StorageError> {
        let folded = self.state.folded(&StreamId::Installation)?;
        match &*folded.state {
            StreamState::Installation(Some(installation)) => {
                Ok((installation.history.clone(), installation.feature_level))
            }
            StreamState::Installation(None) | StreamState::Crate(_) | StreamState::Account(_) => {
                Ok((String::new(), 0))
            }
        }
    }

    pub(crate) fn members_here(&self, member: &Member) -> Vec<MemberStatus> {
        let (voters, members) = (member.voters(), member.members());
        let leader = member.leader().map(|(leader, _)| leader);
        let leads = leader == Some(member.identity.node);
        let last = member
            .raft
            .metrics()
            .borrow_watched()
            .last_log_index
            .unwrap_or(0);
        let progress = *self.state.progress().borrow();
        let describe = |(node, at): (u64, crate::raft::types::Member)| {
            let this_node = node == member.identity.node;
            let heard = member
                .peers
                .get(node)
                .filter(|peer| peer.connected && leads)
                .map(|peer| peer.report);
            let about = if this_node {
                Some(self.about())
            } else {
                member.peers.about(node).filter(|_| leads)
            };
            let applied = if this_node {
                Some(progress.applied)
            } else {
                heard.map(|report| report.applied_index)
            };
            MemberStatus {
                node,
                name: at.name,
                address: at.address,
                role: match at.role {
                    _ if voters.contains(&node) => MemberRole::Voter,
                    NodeRole::Reader => MemberRole::Reader,
                    NodeRole::Voter => MemberRole::Learner,
                },
                leader: leader == Some(node),
                this_node,
                sequence: if this_node {
                    Some(progress.sequence)
                } else {
                    heard.map(|report| report.sequence)
                },
                lag_entries: applied.map(|applied| last.saturating_sub(applied)),
                ready: if this_node {
                    Some(self.readiness().ready)
                } else {
                    heard.map(|report| report.ready).or(leads.then_some(false))
                },
                draining: if this_node {
                    self.draining.load(Ordering::Acquire)
                } else {
                    heard.is_some_and(|report| report.draining)
                },
                release: about.as_ref().map(|about| about.release.clone()),
                feature_level_max: about.map(|about| about.feature_level_max),
            }
        };
        members.into_iter().map(describe).collect()
    }
}

//! Changing who is a member: promoting learners, replacing volumes, inviting, removing, handing over leadership.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::api::MembershipError;
use crate::node::{Member, Node};
use crate::peer::Asked;
use crate::raft::types;

/// A learner this close to the end of the log becomes a voter.
const PROMOTE_WITHIN_ENTRIES: u64 = 200;
const PAUSE: Duration = Duration::from_millis(50);

impl Member {
    pub(crate) fn members(&self) -> Vec<(u64, types::Member)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .membership()
            .nodes()
            .map(|(node, member)| (*node, member.clone()))
            .collect()
    }

    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.raft
            .metrics()
            .borrow_watched()
            .membership_config
            .membership()
            .voter_ids()
            .collect()
    }

    /// How far each node's log is known to equal this leader's.
    fn matched(&self) -> BTreeMap<u64, u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.iter().flatten();
        replication
            .map(|(node, matched)| (*node, matched.as_ref().map_or(0, |id| id.index)))
            .collect()
    }

    async fn change(
        &self,
        change: ChangeMembers<u64, types::Member>,
        deadline: Instant,
    ) -> Result<(), Asked<MembershipError>> {
        match timeout_at(deadline, self.raft.change_membership(change, false)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(Asked::NotLeader(self.leader()))
            }
            Ok(Err(error)) => Err(MembershipError::Refused(error.to_string()).into()),
            Err(_) => Err(MembershipError::Unfinished.into()),
        }
    }
}

impl Node {
    /// On the leader: one learner that has caught up becomes a voter; the older members at its address leave in the same change,
    /// because one address is one place and its older volume is gone.
    pub(crate) async fn promote_learners(self: &Arc<Node>) {
        let Some(member) = self.member().filter(|member| member.raft.is_leader()) else {
            return;
        };
        let last = member
            .raft
            .metrics()
            .borrow_watched()
            .last_log_index
            .unwrap_or(0);
        let (voters, matched, members) = (member.voters(), member.matched(), member.members());
        let ready = members.iter().find(|(node, _)| {
            let close = matched.get(node).is_some_and(|matched| {
                last.saturating_sub(*matched) <= PROMOTE_WITHIN_ENTRIES && 0 < *matched
            });
            let answers = member.peers.get(*node).is_some_and(|peer| peer.connected);
            !voters.contains(node) && close && answers
        });
        let Some((learner, at)) = ready else { return };
        let replaced: BTreeSet<u64> = members
            .iter()
            .filter(|(node, other)| node < learner && other.address == at.address)
            .map(|(node, _)| *node)
            .collect();
        let wanted = voters
            .iter()
            .copied()
            .filter(|voter| !replaced.contains(voter))
            .chain([*learner])
            .collect();
        tracing::info!(
            node = learner,
            ?replaced,
            "a learner that has caught up becomes a voter"
        );
        if let Err(error) = member
            .change(
                ChangeMembers::ReplaceAllVoters(wanted),
                Instant::now() + Duration::from_secs(10),
            )
            .await
        {
            tracing::warn!(
                node = learner,
                ?error,
                "the learner was not promoted; it will be tried again"
            );
        }
        for node in replaced {
            member.peers.forget(node);
        }
    }

    /// True once the cluster, as committed and known here, has gone on without this node.
    pub(crate) async fn was_removed(&self) -> bool {
        let Some(member) = self.member() else {
            return false;
        };
        let metrics = member.raft.metrics();
        let committed = metrics.borrow_watched().committed_membership_config.clone();
        let is_member = committed
            .membership()
            .get_node(&member.identity.node)
            .is_some();
        if is_member {
            self.was_member.store(true, Ordering::Release);
            return member.network.is_refused();
        }
        // A node that is still catching up may see memberships from before it was let in.
        self.was_member.load(Ordering::Acquire)
    }

    /// It must never speak for this id again.
    pub(crate) fn note_removal(&self) {
        let mut file = self.file.lock();
        file.removed = true;
        if let Err(error) = file.write(&self.options.data_dir) {
            tracing::error!(%error, "the file NODE could not be written");
        }
        self.fail(REMOVED.to_owned());
    }

    /// See `Cluster::invite`; any member can do it.
    pub(crate) async fn invite(
        self: &Arc<Node>,
        address: &str,
        deadline: Instant,
    ) -> Result<u64, MembershipError> {
        let member = self.member().ok_or(MembershipError::NoLeader)?;
        let mut peers: Vec<String> = member
            .members()
            .into_iter()
            .map(|(_, member)| member.address)
            .collect();
        if peers.iter().any(|peer| peer == address) {
            return Err(MembershipError::Refused(format!(
                "`{address}` is a member already"
            )));
        }
        if let Some((_, leader)) = member.leader() {
            peers.insert(0, leader.address);
        }
        let invite = pb::InviteRequest {
            cluster: member.identity.cluster.clone(),
            peers,
        };
        let reply = self.dialer.invite(address, invite, deadline).await;
        let reply = reply.map_err(|why| {
            MembershipError::Refused(format!("the node at `{address}` cannot be asked: {why}"))
        })?;
        let incarnation = match reply.outcome {
            Some(pb::invite_reply::Outcome::Accepted(incarnation)) => incarnation,
            Some(pb::invite_reply::Outcome::Refused(why)) => {
                return Err(MembershipError::Refused(why));
            }
            None => {
                return Err(MembershipError::Refused(format!(
                    "the node at `{address}` gave no answer"
                )));
            }
        };
        while Instant::now() < deadline {
            let voters = member.voters();
            let found = member
                .members()
                .into_iter()
                .find(|(node, other)| other.incarnation == incarnation && voters.contains(node));
            if let Some((node, _)) = found {
                return Ok(node);
            }
            sleep_until(Instant::now() + PAUSE).await;
        }
        Err(MembershipError::Unfinished)
    }

    /// On the leader. Refused where those that remain could not reach a majority.
    pub(crate) async fn remove_here(
        self: &Arc<Node>,
        node: u64,
        deadline: Instant,
    ) -> Result<(), Asked<MembershipError>> {
        let member = self.member().ok_or(Asked::NotLeader(None))?;
        if !member.raft.is_leader() {
            return Err(Asked::NotLeader(member.leader()));
        }
        let voters = member.voters();
        if !member.members().iter().any(|(other, _)| *other == node) {
            return Err(MembershipError::Refused(format!(
                "there is no node {node}; `cratekeeper cluster status` lists the members"
            ))
            .into());
        }
        if !voters.contains(&node) {
            return self.removed(
                member,
                node,
                member
                    .change(ChangeMembers::RemoveNodes(BTreeSet::from([node])), deadline)
                    .await,
            );
        }
        let rest: BTreeSet<u64> = voters
            .iter()
            .copied()
            .filter(|voter| *voter != node)
            .collect();
        let answering = rest
            .iter()
            .filter(|voter| self.answers(member, **voter))
            .count();
        if rest.is_empty() {
            return Err(MembershipError::Refused(format!(
                "node {node} is the last one; a cluster cannot be without nodes"
            ))
            .into());
        }
        if answering < rest.len() / 2 + 1 {
            let why = format!(
                "without node {node} only {answering} of {} voters would answer, which is no majority; bring the others back first",
                rest.len()
            );
            return Err(MembershipError::Refused(why).into());
        }
        if node == member.identity.node {
            // Whoever leads next removes this one: a leader that removes itself cannot see it through.
            let _ = self.hand_over_here(None, deadline).await?;
            return Err(Asked::NotLeader(member.leader()));
        }
        self.removed(
            member,
            node,
            member
                .change(ChangeMembers::ReplaceAllVoters(rest), deadline)
                .await,
        )
    }

    fn removed(
        &self,
        member: &Member,
        node: u64,
        changed: Result<(), Asked<MembershipError>>,
    ) -> Result<(), Asked<MembershipError>> {
        changed?;
        member.peers.forget(node);
        tracing::info!(node, "a node was removed from the cluster");
        Ok(())
    }

    fn answers(&self, member: &Member, node: u64) -> bool {
        node == member.identity.node || member.peers.get(node).is_some_and(|peer| peer.connected)
    }

    /// On the leader: the voter that is most caught up, or the one named, leads next.
    pub(crate) async fn hand_over_here(
        self: &Arc<Node>,
        to: Option<u64>,
        deadline: Instant,
    ) -> Result<u64, Asked<MembershipError>> {
        let member = self.member().ok_or(Asked::NotLeader(None))?;
        if !member.raft.is_leader() {
            return Err(Asked::NotLeader(member.leader()));
        }
        let me = member.identity.node;
        let (voters, matched) = (member.voters(), member.matched());
        let to = match to {
            Some(node) if node == me => return Ok(me),
            Some(node) if voters.contains(&node) => node,
            Some(node) => {
                return Err(MembershipError::Refused(format!("node {node} is not a voter")).into());
            }
            None => {
                let others = voters
                    .iter()
                    .filter(|voter| **voter != me && self.answers(member, **voter));
                let best = others.max_by_key(|voter| matched.get(voter).copied().unwrap_or(0));
                *best.ok_or_else(|| {
                    MembershipError::Refused(
                        "no other voter answers; leadership stays here".to_owned(),
                    )
                })?
            }
        };
        member
            .raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|error| MembershipError::Refused(error.to_string()))?;
        let moved = member
            .raft
            .wait(Some(deadline.saturating_duration_since(Instant::now())));
        let moved = moved
            .metrics(
                |metrics| metrics.current_leader.is_some_and(|leader| leader != me),
                "another leader",
            )
            .await;
        moved
            .map(|metrics| metrics.current_leader.unwrap_or(to))
            .map_err(|_| MembershipError::Unfinished.into())
    }

    /// See `Cluster::remove`.
    pub(crate) async fn remove(
        self: &Arc<Node>,
        node: u64,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        loop {
            let member = self.member().ok_or(MembershipError::NoLeader)?;
            let asked = match member.leader() {
                Some((leader, _)) if leader == member.identity.node => {
                    self.remove_here(node, deadline).await
                }
                Some((leader, at)) => member.network.remove(leader, &at, node, deadline).await,
                None => Err(Asked::NotLeader(None)),
            };
            match asked {
                Ok(()) => return Ok(()),
                Err(Asked::Failed(error)) => return Err(error),
                Err(Asked::NotLeader(_)) if deadline < Instant::now() => {
                    return Err(MembershipError::NoLeader);
                }
                Err(Asked::NotLeader(_)) => sleep_until(Instant::now() + PAUSE).await,
            }
        }
    }

    /// See `Cluster::transfer_leader`.
    pub(crate) async fn hand_over(
        self: &Arc<Node>,
        to: Option<u64>,
        deadline: Instant,
    ) -> Result<u64, MembershipError> {
        loop {
            let member = self.member().ok_or(MembershipError::NoLeader)?;
            let asked = match member.leader() {
                Some((leader, _)) if leader == member.identity.node => {
                    self.hand_over_here(to, deadline).await
                }
                Some((leader, at)) => member.network.hand_over(leader, &at, to, deadline).await,
                None => Err(Asked::NotLeader(None)),
            };
            match asked {
                Ok(leader) => return Ok(leader),
                Err(Asked::Failed(error)) => return Err(error),
                Err(Asked::NotLeader(_)) if deadline < Instant::now() => {
                    return Err(MembershipError::NoLeader);
                }
                Err(Asked::NotLeader(_)) => sleep_until(Instant::now() + PAUSE).await,
            }
        }
    }
}

pub(crate) const REMOVED: &str = "this node was removed from its cluster and stops; to use it again, start it with an empty data directory and it joins as a new node";

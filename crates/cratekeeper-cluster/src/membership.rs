//! Changing who is a member: promoting learners, replacing volumes, inviting, removing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::api::{Failure, MembershipError, NodeRole};
use crate::node::{Member, Node};
use crate::peer::{Asked, Change};
use crate::raft::types;

/// A learner this close to the end of the log becomes a voter.
const PROMOTE_WITHIN_ENTRIES: u64 = 200;
const PLACE_WITHIN: Duration = Duration::from_secs(10);
/// Before voters are said not to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);
const ASK_WITHIN: Duration = Duration::from_secs(1);

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
    pub(crate) fn matched(&self) -> BTreeMap<u64, u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.iter().flatten();
        replication
            .map(|(node, matched)| (*node, matched.as_ref().map_or(0, |id| id.index)))
            .collect()
    }

    /// On the leader: the node is connected, and its log close to the end.
    fn has_caught_up(&self, node: u64) -> bool {
        let last = self.raft.metrics().borrow_watched().last_log_index;
        let close = self.matched().get(&node).is_some_and(|matched| {
            last.unwrap_or(0).saturating_sub(*matched) <= PROMOTE_WITHIN_ENTRIES && 0 < *matched
        });
        close && self.peers.get(node).is_some_and(|peer| peer.connected)
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
    /// On the leader: one node that has caught up takes its place. A learner becomes a voter, a reader stays what it is; the older
    /// members at its address leave in the same change, because one address is one place and its older volume is gone.
    pub(crate) async fn promote_learners(self: &Arc<Node>) {
        let Some(member) = self.member().filter(|member| member.raft.is_leader()) else {
            return;
        };
        let (voters, members) = (member.voters(), member.members());
        let place = members
            .iter()
            .filter(|(node, _)| !voters.contains(node) && member.has_caught_up(*node))
            .find_map(|(node, at)| {
                let older = |(other, there): &&(u64, types::Member)| {
                    other < node && there.address == at.address
                };
                let replaced = members.iter().filter(older).map(|(older, _)| *older);
                let replaced: BTreeSet<u64> = replaced.collect();
                let change = taking_place(*node, at.role, &voters, &replaced)?;
                Some((*node, at.role, replaced, change))
            });
        let Some((node, role, replaced, change)) = place else {
            return;
        };
        tracing::info!(
            node,
            ?role,
            ?replaced,
            "a node that has caught up takes its place"
        );
        let deadline = Instant::now() + PLACE_WITHIN;
        if let Err(error) = member.change(change, deadline).await {
            tracing::warn!(
                node,
                ?error,
                "the node did not take its place; it will be tried again"
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

    /// The newest membership seen here lacks this node, but the entry that would make it certain may never be sent to it: any
    /// member that knows says so to whoever asks.
    pub(crate) async fn ask_whether_removed(&self) {
        let Some(member) = self.member() else { return };
        let members = member.members();
        let named = members
            .iter()
            .any(|(node, _)| *node == member.identity.node);
        if named || !self.was_member.load(Ordering::Acquire) {
            return;
        }
        for (node, at) in members {
            // The network remembers a refusal.
            let _ = member
                .network
                .status(node, &at, Instant::now() + ASK_WITHIN)
                .await;
        }
    }

    /// It must never speak for this id again.
    pub(crate) fn note_removal(&self) {
        let mut file = self.file.lock();
        file.removed = true;
        if let Err(error) = file.write(&self.options.data_dir) {
            tracing::error!(%error, "the file NODE could not be written");
        }
        self.fail(Failure::Refused(REMOVED.to_owned()));
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
            let found = member.members().into_iter().find(|(node, other)| {
                let settled = voters.contains(node) || other.role == NodeRole::Reader;
                other.incarnation == incarnation && settled
            });
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
        if rest.is_empty() {
            return Err(MembershipError::Refused(format!(
                "node {node} is the last one; a cluster cannot be without nodes"
            ))
            .into());
        }
        let answering = self.await_majority(member, &rest, deadline).await;
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

    /// How many of `voters` answer, as soon as they are a majority; a connection that was just lost is given a moment to come back.
    async fn await_majority(
        &self,
        member: &Member,
        voters: &BTreeSet<u64>,
        deadline: Instant,
    ) -> usize {
        let deadline = deadline.min(Instant::now() + ANSWER_WITHIN);
        loop {
            let answering = voters.iter().filter(|voter| self.answers(member, **voter));
            let answering = answering.count();
            if voters.len() / 2 < answering || deadline <= Instant::now() {
                return answering;
            }
            sleep_until(Instant::now() + PAUSE).await;
        }
    }

    pub(crate) fn answers(&self, member: &Member, node: u64) -> bool {
        node == member.identity.node || member.peers.get(node).is_some_and(|peer| peer.connected)
    }

    /// What only the leader does; see `Cluster::remove` and `Cluster::transfer_leader`.
    pub(crate) async fn change_here(
        self: &Arc<Node>,
        change: Change,
        deadline: Instant,
    ) -> Result<u64, Asked<MembershipError>> {
        match change {
            Change::Remove(node) => self.remove_here(node, deadline).await.map(|()| node),
            Change::HandOver(to) => self.hand_over_here(to, deadline).await,
        }
    }

    /// Has the leader do it, whoever that is by `deadline`.
    pub(crate) async fn change(
        self: &Arc<Node>,
        change: Change,
        deadline: Instant,
    ) -> Result<u64, MembershipError> {
        loop {
            let member = self.member().ok_or(MembershipError::NoLeader)?;
            let asked = match member.leader() {
                Some((leader, _)) if leader == member.identity.node => {
                    self.change_here(change, deadline).await
                }
                Some((leader, at)) => member.network.change(leader, &at, change, deadline).await,
                None => Err(Asked::NotLeader(None)),
            };
            match asked {
                Ok(node) => return Ok(node),
                Err(Asked::Failed(error)) => return Err(error),
                Err(Asked::NotLeader(_)) if deadline < Instant::now() => {
                    return Err(MembershipError::NoLeader);
                }
                Err(Asked::NotLeader(_)) => sleep_until(Instant::now() + PAUSE).await,
            }
        }
    }
}

/// The change by which `node`, which has caught up and does not vote, takes its place; none if it has it.
fn taking_place(
    node: u64,
    role: NodeRole,
    voters: &BTreeSet<u64>,
    replaced: &BTreeSet<u64>,
) -> Option<ChangeMembers<u64, types::Member>> {
    let joining = (role == NodeRole::Voter).then_some(node);
    let kept = voters.difference(replaced).copied();
    let wanted: BTreeSet<u64> = kept.chain(joining).collect();
    // A reader at the address of the only voter: nobody would be left to agree.
    if wanted.is_empty() {
        return None;
    }
    if wanted != *voters {
        return Some(ChangeMembers::ReplaceAllVoters(wanted));
    }
    (!replaced.is_empty()).then(|| ChangeMembers::RemoveNodes(replaced.clone()))
}

pub(crate) const REMOVED: &str = "this node was removed from its cluster and stops; to use it again, start it with an empty data directory and it joins as a new node";

#[cfg(test)]
mod tests {
    use super::*;

    fn change(node: u64, role: NodeRole, voters: &[u64], replaced: &[u64]) -> String {
        let voters = voters.iter().copied().collect();
        let replaced = replaced.iter().copied().collect();
        format!("{:?}", taking_place(node, role, &voters, &replaced))
    }

    #[test]
    fn a_learner_becomes_a_voter_in_the_place_of_its_older_volume() {
        let voters = [1, 2, 3];
        assert_eq!(
            change(4, NodeRole::Voter, &voters, &[]),
            "Some(ReplaceAllVoters({1, 2, 3, 4}))"
        );
        assert_eq!(
            change(4, NodeRole::Voter, &voters, &[2]),
            "Some(ReplaceAllVoters({1, 3, 4}))"
        );
    }

    #[test]
    fn a_reader_never_votes_and_its_older_volume_leaves() {
        let voters = [1, 2, 3];
        assert_eq!(change(5, NodeRole::Reader, &voters, &[]), "None");
        assert_eq!(
            change(5, NodeRole::Reader, &voters, &[4]),
            "Some(RemoveNodes({4}))"
        );
        assert_eq!(
            change(5, NodeRole::Reader, &voters, &[3]),
            "Some(ReplaceAllVoters({1, 2}))"
        );
        assert_eq!(change(5, NodeRole::Reader, &[1], &[1]), "None");
    }
}

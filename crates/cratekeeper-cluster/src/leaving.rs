//! A node that is about to stop: waiting until the others can agree without it, and giving them the lead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::api::{ClusterStatus, MemberRole, MembershipError};
use crate::node::{Member, Node};
use crate::peer::Asked;

const LOOK_AGAIN: Duration = Duration::from_millis(200);
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// A voter further behind than this would have to catch up before it could agree to anything new.
const LAG_ENTRIES_MAX: u64 = 1_000;

impl Node {
    /// See `Cluster::wait_dispensable`.
    pub(crate) async fn wait_dispensable(
        self: &Arc<Node>,
        deadline: Instant,
    ) -> Result<(), String> {
        let Some(member) = self.member() else {
            return Ok(());
        };
        let (me, voters) = (member.identity.node, member.voters());
        let majority = voters.len() / 2 + 1;
        // A reader is not counted, and of one or two voters none can be spared: waiting would not change that.
        if !voters.contains(&me) || voters.len() - 1 < majority {
            return Ok(());
        }
        loop {
            let missing = match self.ask_status(member).await {
                Some(status) => match fit_without(me, &status) {
                    fit if majority <= fit => return Ok(()),
                    fit => format!(
                        "without this node only {fit} of {} voters are ready, and {majority} must be",
                        voters.len()
                    ),
                },
                None => "no leader can be asked about the other nodes".to_owned(),
            };
            if deadline <= Instant::now() {
                return Err(missing);
            }
            sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)).await;
        }
    }

    /// As the leader sees it, which hears from everybody.
    async fn ask_status(self: &Arc<Node>, member: &Member) -> Option<ClusterStatus> {
        match member.leader()? {
            (leader, _) if leader == member.identity.node => self.status_here().ok(),
            (leader, at) => {
                let deadline = Instant::now() + ASK_WITHIN;
                member.network.status(leader, &at, deadline).await.ok()
            }
        }
    }

    /// See `Cluster::step_aside`.
    pub(crate) async fn step_aside(
        self: &Arc<Node>,
        deadline: Instant,
    ) -> Result<(), MembershipError> {
        let Some(member) = self.member() else {
            return Ok(());
        };
        if !member.raft.is_leader() || member.voters().len() < 2 {
            return Ok(());
        }
        match self.hand_over_here(None, deadline).await {
            Ok(_) | Err(Asked::NotLeader(_)) => Ok(()),
            Err(Asked::Failed(error)) => Err(error),
        }
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
                // A node that is about to stop, or not ready, would have to hand it on.
                let best = others.max_by_key(|voter| {
                    let report = member.peers.get(**voter).map(|peer| peer.report);
                    let stays = report.is_some_and(|report| report.ready && !report.draining);
                    (stays, matched.get(voter).copied().unwrap_or(0))
                });
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
}

/// Other voters that can take part. Of several nodes that drain at once the one with the lowest id goes first: it counts on the
/// rest, who wait for it.
fn fit_without(me: u64, status: &ClusterStatus) -> usize {
    let others = status.members.iter().filter(|other| other.node != me);
    others
        .filter(|other| {
            let stays = other.ready == Some(true) || (other.draining && me < other.node);
            let close = other.lag_entries.is_some_and(|lag| lag <= LAG_ENTRIES_MAX);
            other.role == MemberRole::Voter && stays && close
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MemberStatus;

    fn member(node: u64, ready: bool, draining: bool, lag: u64) -> MemberStatus {
        MemberStatus {
            node,
            name: String::new(),
            address: String::new(),
            role: MemberRole::Voter,
            leader: false,
            this_node: false,
            sequence: None,
            lag_entries: Some(lag),
            ready: Some(ready),
            draining,
            release: None,
            feature_level_max: None,
        }
    }

    fn status(members: Vec<MemberStatus>) -> ClusterStatus {
        ClusterStatus {
            cluster: String::new(),
            history: String::new(),
            node: 1,
            leader: None,
            term: 1,
            sequence: 0,
            chain: String::new(),
            feature_level: 2,
            last_log: 0,
            applied: 0,
            snapshot: None,
            purged: None,
            members,
        }
    }

    #[test]
    fn only_voters_that_are_ready_and_close_count() {
        let reader = MemberStatus {
            role: MemberRole::Reader,
            ..member(5, true, false, 0)
        };
        let seen = status(vec![
            member(1, false, true, 0),
            member(2, true, false, 3),
            member(3, true, false, 5_000),
            member(4, false, false, 0),
            reader,
        ]);
        assert_eq!(fit_without(1, &seen), 1);
    }

    #[test]
    fn of_two_that_drain_at_once_one_goes_first() {
        let seen = status(vec![
            member(1, false, true, 0),
            member(2, false, true, 0),
            member(3, true, false, 0),
        ]);
        assert_eq!(fit_without(1, &seen), 2, "it counts on the one that waits");
        assert_eq!(fit_without(2, &seen), 1, "it waits for the one that goes");
    }
}

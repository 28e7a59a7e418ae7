//! Counts leaders and elections as this node lives through them.

use std::sync::Arc;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use crate::node::Node;

/// What was seen last.
#[derive(Debug, Default)]
struct Seen {
    leader: Option<u64>,
    /// The newest term in which this node stood for election or led.
    stood_in: Option<u64>,
}

impl Seen {
    /// Whether there is another leader than the last one, and whether this node stood in another election.
    fn look(&mut self, leader: Option<u64>, contends: bool, term: u64) -> (bool, bool) {
        let another = leader.is_some() && leader != self.leader;
        if another {
            self.leader = leader;
        }
        let stands = contends && self.stood_in != Some(term);
        if stands {
            self.stood_in = Some(term);
        }
        (another, stands)
    }
}

pub(crate) async fn count(node: Arc<Node>) {
    let Some(member) = node.member() else { return };
    let changes = metrics::counter!("cratekeeper_raft_leader_changes_total");
    let elections = metrics::counter!("cratekeeper_raft_elections_total");
    // Both are to be seen before the first of their kind.
    changes.increment(0);
    elections.increment(0);
    let mut metrics = member.raft.metrics();
    let mut seen = Seen::default();
    loop {
        let (leader, contends, term) = {
            let metrics = metrics.borrow_and_update();
            let contends = matches!(metrics.state, ServerState::Candidate | ServerState::Leader);
            (metrics.current_leader, contends, metrics.current_term)
        };
        let (another, stands) = seen.look(leader, contends, term);
        changes.increment(u64::from(another));
        elections.increment(u64::from(stands));
        tokio::select! {
            () = node.stopping.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_counts_when_it_is_another_and_an_election_once_a_term() {
        let mut seen = Seen::default();
        assert_eq!(seen.look(None, true, 1), (false, true));
        assert_eq!(seen.look(Some(1), true, 1), (true, false));
        // Lost and found again in between is no change.
        assert_eq!(seen.look(None, false, 1), (false, false));
        assert_eq!(seen.look(Some(1), false, 1), (false, false));
        assert_eq!(seen.look(Some(2), false, 2), (true, false));
        assert_eq!(seen.look(None, true, 3), (false, true));
        assert_eq!(seen.look(None, true, 4), (false, true));
    }
}

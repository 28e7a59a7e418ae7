//! Whether this node's history is the cluster's: its chain hash is compared with the leader's at a sequence both have.
//! A node that differs has lost or changed something that was acknowledged, and must not serve.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::Failure;
use crate::node::Node;
use crate::store::queries;

const ASK_WITHIN: Duration = Duration::from_secs(1);
const REACH_WITHIN: Duration = Duration::from_secs(5);

impl Node {
    /// Stops the node, for good, if its history differs from the leader's. True if they were compared and are equal.
    pub(crate) async fn compare_history(&self) -> bool {
        let Some(member) = self.member() else {
            return false;
        };
        let Some((leader, at)) = member.leader() else {
            return false;
        };
        if leader == member.identity.node {
            return true;
        }
        let Ok(theirs) = member
            .network
            .status(leader, &at, Instant::now() + ASK_WITHIN)
            .await
        else {
            return false;
        };
        if !self
            .wait_sequence(theirs.sequence, Instant::now() + REACH_WITHIN)
            .await
        {
            return false;
        }
        match queries::chain_at(&self.state.live(), theirs.sequence) {
            Ok(Some(ours)) if ours == theirs.chain => true,
            Ok(ours) => {
                self.fail(Failure::Refused(differs(
                    leader,
                    theirs.sequence,
                    ours.as_deref(),
                    &theirs.chain,
                )));
                false
            }
            Err(error) => {
                self.fail(Failure::Broken(format!(
                    "the chain hash at sequence {} cannot be read: {error}",
                    theirs.sequence
                )));
                false
            }
        }
    }
}

fn differs(leader: u64, sequence: u64, ours: Option<&str>, theirs: &str) -> String {
    let ours = ours.unwrap_or("nothing");
    format!(
        "the history on this node is not the cluster's: at sequence {sequence} the chain hash is {ours} here and {theirs} on node {leader}; \
         keep its data directory for an investigation, and start the node with an empty one: it joins as a new node"
    )
}

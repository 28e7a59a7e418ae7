//! The leader's side of joining: who is let in, under which node id, and as what.

use std::sync::Arc;
use std::time::Duration;

use cratekeeper_domain::{Command, READERS_LEVEL, StreamId, StreamState};
use cratekeeper_wire::pb::peer as pb;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::{Instant, timeout_at};

use crate::api::NodeRole;
use crate::causes::with_causes;
use crate::features;
use crate::node::Node;
use crate::peer::JoinAnswer;
use crate::raft::types;

const LEARNER_WITHIN: Duration = Duration::from_secs(10);

impl Node {
    /// On the leader: gives the volume its node id and makes it a learner; asking again is the same asking.
    pub(crate) async fn admit(self: &Arc<Node>, join: pb::JoinRequest) -> JoinAnswer {
        let Some(member) = self.member() else {
            return JoinAnswer::Later("this node is in no cluster".to_owned());
        };
        if !member.raft.is_leader() {
            return JoinAnswer::NotLeader(member.leader());
        }
        let Ok(level) = self.feature_level() else {
            return JoinAnswer::Later("the feature level cannot be read".to_owned());
        };
        if let Some(why) = features::refusal(&join, level) {
            return JoinAnswer::Refused(why);
        }
        if join.reader && level < READERS_LEVEL {
            return JoinAnswer::Later(format!(
                "readers join at feature level {READERS_LEVEL}, and the cluster is at {level} until all its nodes take more"
            ));
        }
        let role = if join.reader {
            NodeRole::Reader
        } else {
            NodeRole::Voter
        };
        if join.address.is_empty() || join.incarnation.is_empty() {
            return JoinAnswer::Refused(
                "a node must say its peer address and incarnation to join".to_owned(),
            );
        }
        // The founder's own id comes first: whoever asks between the founding and that would be given the id 1 too.
        if !matches!(self.admitted(&member.identity.incarnation), Ok(Some(_))) {
            return JoinAnswer::Later("the cluster is being founded".to_owned());
        }
        let admit = Command::AdmitNode {
            incarnation: join.incarnation.clone(),
        };
        if let Err(error) = self.execute_for_the_cluster(admit).await {
            return JoinAnswer::Later(with_causes(&error));
        }
        let Ok(Some(node)) = self.admitted(&join.incarnation) else {
            return JoinAnswer::Later("the node's id is not known here yet".to_owned());
        };
        match self.state.was_removed(node) {
            Ok(false) => {}
            Ok(true) => {
                return JoinAnswer::Refused(format!(
                    "node {node} was removed from this cluster; start it with an empty data directory and it joins as a new node"
                ));
            }
            Err(error) => return JoinAnswer::Later(with_causes(&error)),
        }
        let joining = types::Member {
            address: join.address,
            incarnation: join.incarnation,
            name: join.name,
            role,
        };
        match timeout_at(
            Instant::now() + LEARNER_WITHIN,
            member.raft.add_learner(node, joining, false),
        )
        .await
        {
            Ok(Ok(_)) => JoinAnswer::Joined {
                node,
                cluster: member.identity.cluster.clone(),
                members: member.members(),
            },
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                JoinAnswer::NotLeader(member.leader())
            }
            Ok(Err(error)) => JoinAnswer::Later(error.to_string()),
            Err(_) => JoinAnswer::Later("no majority answered in time".to_owned()),
        }
    }

    fn admitted(&self, incarnation: &str) -> Result<Option<u64>, crate::store::StorageError> {
        let installation = self.state.folded(&StreamId::Installation)?;
        let StreamState::Installation(Some(installation)) = &*installation.state else {
            return Ok(None);
        };
        Ok(installation
            .nodes
            .iter()
            .find(|node| node.incarnation == incarnation)
            .map(|node| node.node))
    }
}

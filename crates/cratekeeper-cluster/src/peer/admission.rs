//! The part of the service that is open to nodes outside of the cluster.

use std::sync::Arc;

use cratekeeper_domain::NEWEST_LEVEL;
use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::admission_server::Admission;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::host::{Invitation, JoinAnswer, PeerHost};
use crate::RELEASE;
use crate::raft::convert::member_to_pb;

pub(super) struct Doorkeeper {
    pub(super) host: Arc<PeerHost>,
}

#[tonic::async_trait]
impl Admission for Doorkeeper {
    async fn hello(
        &self,
        _call: Request<pb::HelloRequest>,
    ) -> Result<Response<pb::HelloReply>, Status> {
        let joined = self.host.joined.get();
        let leader = joined.and_then(|joined| joined.leader());
        let status = match joined {
            Some(joined) => (joined.status)(Instant::now()).await,
            None => None,
        };
        Ok(Response::new(pb::HelloReply {
            cluster: joined.map(|joined| joined.identity.cluster.clone()),
            node: joined.map_or(0, |joined| joined.identity.node),
            incarnation: self.host.incarnation.clone(),
            name: self.host.name.clone(),
            state_format: self.host.state_format,
            release: RELEASE.to_owned(),
            leader: leader.map(|(node, member)| member_to_pb(node, &member)),
            feature_level_max: Some(NEWEST_LEVEL),
            history: status
                .map(|status| status.history)
                .filter(|history| !history.is_empty()),
        }))
    }

    async fn join(
        &self,
        call: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinReply>, Status> {
        use pb::join_reply::Outcome;
        let joined = self.host.joined()?;
        let outcome = match (joined.join)(call.into_inner()).await {
            JoinAnswer::Joined {
                node,
                cluster,
                members,
            } => Outcome::Joined(pb::Joined {
                node,
                cluster,
                members: members
                    .iter()
                    .map(|(node, member)| member_to_pb(*node, member))
                    .collect(),
            }),
            JoinAnswer::NotLeader(leader) => Outcome::NotLeader(pb::NotLeader {
                leader: leader.map(|(node, member)| member_to_pb(node, &member)),
            }),
            JoinAnswer::Refused(sentence) => Outcome::Refused(sentence),
            JoinAnswer::Later(sentence) => Outcome::Later(sentence),
        };
        Ok(Response::new(pb::JoinReply {
            outcome: Some(outcome),
        }))
    }

    async fn invite(
        &self,
        call: Request<pb::InviteRequest>,
    ) -> Result<Response<pb::InviteReply>, Status> {
        use pb::invite_reply::Outcome;
        let pb::InviteRequest { cluster, peers } = call.into_inner();
        let outcome = match self.host.joined.get() {
            // Asked twice, or in the middle of joining.
            Some(joined) if joined.identity.cluster == cluster => {
                Outcome::Accepted(self.host.incarnation.clone())
            }
            Some(joined) => Outcome::Refused(format!(
                "the node already belongs to cluster `{}`",
                joined.identity.cluster
            )),
            None => match (self.host.invite)(Invitation { cluster, peers }) {
                Ok(()) => Outcome::Accepted(self.host.incarnation.clone()),
                Err(sentence) => Outcome::Refused(sentence),
            },
        };
        Ok(Response::new(pb::InviteReply {
            outcome: Some(outcome),
        }))
    }
}

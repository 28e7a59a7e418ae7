//! The part of the service that is open to nodes outside of the cluster.

use std::sync::Arc;

use cratekeeper_domain::NEWEST_LEVEL;
use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::admission_server::Admission;
use tokio::time::Instant;
use tonic::{Extensions, Request, Response, Status};

use super::connection::PeerConnection;
use super::host::{Invitation, JoinAnswer, PeerHost};
use super::tls::host_of;
use crate::RELEASE;
use crate::raft::convert::member_to_pb;

pub(super) struct Doorkeeper {
    pub(super) host: Arc<PeerHost>,
}

#[tonic::async_trait]
impl Admission for Doorkeeper {
    async fn hello(
        &self,
        call: Request<pb::HelloRequest>,
    ) -> Result<Response<pb::HelloReply>, Status> {
        let address = &call.get_ref().address;
        // Whoever only looks around may say nothing about itself.
        if !address.is_empty() {
            claims(&call, address)?;
        }
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
        claims(&call, &call.get_ref().address)?;
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
        invites_to_its_own(call.extensions(), &call.get_ref().cluster)?;
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

/// With TLS, whoever says where it is must show a certificate for that host.
fn claims<T>(call: &Request<T>, address: &str) -> Result<(), Status> {
    names_its_host(call.extensions(), address).map_err(|why| {
        let refusal = format!("the call is from `{address}`, but {why}");
        tracing::warn!(refusal, "a node that asks for admission was refused");
        Status::permission_denied(refusal)
    })
}

/// The error continues "…, but".
pub(super) fn names_its_host(extensions: &Extensions, address: &str) -> Result<(), String> {
    let connection = extensions.get::<PeerConnection>();
    let Some(certificate) = connection.and_then(|connection| connection.certificate.as_ref())
    else {
        return Ok(());
    };
    let host = host_of(address);
    if certificate.is_for_host(host) {
        return Ok(());
    }
    Err(format!(
        "the certificate shown is for {}, not for `{host}`",
        certificate.hosts_in_words()
    ))
}

/// A node that is in no cluster yet may not know which one to expect.
fn invites_to_its_own(extensions: &Extensions, cluster: &str) -> Result<(), Status> {
    let connection = extensions.get::<PeerConnection>();
    let Some(certificate) = connection.and_then(|connection| connection.certificate.as_ref())
    else {
        return Ok(());
    };
    if certificate.clusters.is_empty() || certificate.clusters.iter().any(|one| one == cluster) {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "the invitation is to the cluster `{cluster}`, but the certificate shown is for {}",
        certificate.clusters_in_words()
    )))
}

//! Questions that only the leader can answer, passed on to it: at most one hop, and never twice by the network itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_domain::{Actor, Login, RequestId, TokenId};
use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::{
    DecodeError, decode_command, decode_rejection, decode_typed_event, encode_command,
    encode_rejection, encode_typed_event,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::client::{PeerNetwork, stamped};
use super::dial::{Purpose, describe, never_sent, within};
use super::host::{Asked, Change, NoQuorum};
use super::trace;
use crate::raft::convert::{member_from_pb, member_to_pb};
use crate::raft::types::Member;
use crate::{
    ClusterStatus, ExecuteError, Executed, MemberRole, MemberStatus, MembershipError, Request,
};

/// The leader answers at its deadline; its answer needs a moment to arrive.
const GRACE: Duration = Duration::from_millis(100);

impl PeerNetwork {
    /// Asks `node` to decide. `NotLeader(None)`: nothing was done, also because nobody was reached.
    pub(crate) async fn execute(
        &self,
        node: u64,
        at: &Member,
        request: &Request,
        deadline: Instant,
    ) -> Result<Executed, Asked<ExecuteError>> {
        let Ok((mut client, stamp)) = self.client(node, at, Purpose::Commands) else {
            return Err(Asked::NotLeader(None));
        };
        let mut call = stamped(&stamp, request_to_pb(request, deadline));
        trace::put(call.metadata_mut());
        match within(deadline + GRACE, client.execute(call)).await {
            Ok(reply) => execute_reply_from_pb(reply),
            Err(status) if self.nothing_done(node, &status) => Err(Asked::NotLeader(None)),
            Err(_) => Err(ExecuteError::OutcomeUnknown.into()),
        }
    }

    /// The log index that has to be applied here to see everything that was acknowledged anywhere before.
    pub(crate) async fn read_index(
        &self,
        node: u64,
        at: &Member,
        deadline: Instant,
    ) -> Result<u64, Asked<NoQuorum>> {
        use pb::read_index_reply::Outcome;
        let Ok((mut client, stamp)) = self.client(node, at, Purpose::Commands) else {
            return Err(Asked::NotLeader(None));
        };
        let question = pb::ReadIndexRequest {
            remaining_ms: remaining_ms(deadline),
        };
        let mut call = stamped(&stamp, question);
        trace::put(call.metadata_mut());
        match within(deadline + GRACE, client.read_index(call))
            .await
            .map(|reply| reply.outcome)
        {
            Ok(Some(Outcome::Index(index))) => Ok(index),
            Ok(Some(Outcome::NotLeader(leader))) => Err(not_leader(leader)),
            Ok(Some(Outcome::NoLeader(_)) | None) => Err(NoQuorum.into()),
            Err(status) => {
                self.nothing_done(node, &status);
                Err(NoQuorum.into())
            }
        }
    }

    /// As `node` sees the cluster; the error says what happened instead.
    pub(crate) async fn status(
        &self,
        node: u64,
        at: &Member,
        deadline: Instant,
    ) -> Result<ClusterStatus, String> {
        let client = self.client(node, at, Purpose::Commands);
        let (mut client, stamp) = client.map_err(|status| describe(&status))?;
        let question = pb::StatusRequest {
            remaining_ms: remaining_ms(deadline),
        };
        let call = client.status(stamped(&stamp, question));
        match within(deadline + GRACE, call).await {
            Ok(reply) => Ok(status_from_pb(reply, self.identity.node)),
            Err(status) => {
                self.note_refusal(&status);
                Err(describe(&status))
            }
        }
    }

    /// Asks the leader to do it; the node it was about, or that leads then.
    pub(crate) async fn change(
        &self,
        leader: u64,
        at: &Member,
        change: Change,
        deadline: Instant,
    ) -> Result<u64, Asked<MembershipError>> {
        let Ok((mut client, stamp)) = self.client(leader, at, Purpose::Commands) else {
            return Err(Asked::NotLeader(None));
        };
        let remaining_ms = remaining_ms(deadline);
        let reply = match change {
            Change::Remove(node) => {
                let wish = pb::RemoveRequest { node, remaining_ms };
                within(deadline + GRACE, client.remove(stamped(&stamp, wish))).await
            }
            Change::HandOver(to) => {
                let wish = pb::HandOverRequest { to, remaining_ms };
                within(deadline + GRACE, client.hand_over(stamped(&stamp, wish))).await
            }
        };
        self.changed(leader, reply)
    }

    fn changed(
        &self,
        leader: u64,
        reply: Result<pb::ChangeReply, Status>,
    ) -> Result<u64, Asked<MembershipError>> {
        use pb::change_reply::Outcome;
        match reply.map(|reply| reply.outcome) {
            Ok(Some(Outcome::Done(node))) => Ok(node),
            Ok(Some(Outcome::Refused(why))) => Err(MembershipError::Refused(why).into()),
            Ok(Some(Outcome::NotLeader(leader))) => Err(not_leader(leader)),
            Ok(Some(Outcome::NoLeader(_))) => Err(MembershipError::NoLeader.into()),
            Ok(Some(Outcome::Unfinished(_)) | None) => Err(MembershipError::Unfinished.into()),
            Err(status) if self.nothing_done(leader, &status) => Err(Asked::NotLeader(None)),
            Err(_) => Err(MembershipError::Unfinished.into()),
        }
    }

    /// True if the other side cannot have begun with it.
    fn nothing_done(&self, node: u64, status: &Status) -> bool {
        self.note_refusal(status);
        tracing::debug!(
            node,
            cause = describe(status),
            "a call to the leader failed"
        );
        never_sent(status) || status.code() == Code::FailedPrecondition
    }

    /// A member has said that this node is none (any more). It is only ever said by one that knows.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }
}

fn remaining_ms(deadline: Instant) -> u64 {
    let remaining = deadline.saturating_duration_since(Instant::now());
    u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX)
}

fn not_leader<E>(other: pb::NotLeader) -> Asked<E> {
    Asked::NotLeader(other.leader.as_ref().map(member_from_pb))
}

fn not_leader_to_pb(leader: Option<(u64, Member)>) -> pb::NotLeader {
    pb::NotLeader {
        leader: leader.map(|(node, member)| member_to_pb(node, &member)),
    }
}

fn request_to_pb(request: &Request, deadline: Instant) -> pb::ExecuteRequest {
    pb::ExecuteRequest {
        command: encode_command(&request.command),
        request: Bytes::copy_from_slice(&request.request.0),
        login: request
            .actor
            .login
            .as_ref()
            .map(|login| login.as_str().to_owned()),
        token: request
            .actor
            .token
            .as_ref()
            .map(|token| token.as_str().to_owned()),
        remaining_ms: remaining_ms(deadline),
    }
}

pub(super) fn request_from_pb(message: pb::ExecuteRequest) -> Result<Request, DecodeError> {
    let request = message.request.as_ref().try_into();
    let login = message.login.as_deref().map(Login::parse).transpose();
    let token = message.token.as_deref().map(TokenId::parse).transpose();
    Ok(Request {
        actor: Actor {
            login: login.map_err(|_| DecodeError::Field("login"))?,
            token: token.map_err(|_| DecodeError::Field("token"))?,
        },
        request: RequestId(request.map_err(|_| DecodeError::Field("request"))?),
        command: decode_command(&message.command)?,
    })
}

pub(super) fn execute_reply_to_pb(
    outcome: Result<Executed, Asked<ExecuteError>>,
) -> pb::ExecuteReply {
    use pb::execute_reply::Outcome;
    let nothing = pb::Nothing {};
    let outcome = match outcome {
        Ok(executed) => Outcome::Executed(pb::Executed {
            sequence: executed.sequence,
            events: executed.events.iter().map(encode_typed_event).collect(),
        }),
        Err(Asked::NotLeader(leader)) => Outcome::NotLeader(not_leader_to_pb(leader)),
        Err(Asked::Failed(error)) => match error {
            ExecuteError::Rejected(rejection) => Outcome::Rejected(encode_rejection(&rejection)),
            ExecuteError::NoLeader => Outcome::NoLeader(nothing),
            ExecuteError::Busy => Outcome::Busy(nothing),
            ExecuteError::OutcomeUnknown => Outcome::Unknown(nothing),
            ExecuteError::Stopping => Outcome::Stopping(nothing),
            ExecuteError::Storage(source) => {
                tracing::error!(error = %source, "a forwarded command failed on storage");
                Outcome::Fault(source.to_string())
            }
        },
    };
    pb::ExecuteReply {
        outcome: Some(outcome),
    }
}

fn execute_reply_from_pb(reply: pb::ExecuteReply) -> Result<Executed, Asked<ExecuteError>> {
    use pb::execute_reply::Outcome;
    let error = match reply.outcome {
        Some(Outcome::Executed(executed)) => {
            let events = executed
                .events
                .iter()
                .map(|event| decode_typed_event(event));
            return match events.collect() {
                Ok(events) => Ok(Executed {
                    sequence: executed.sequence,
                    events,
                }),
                // It is stored; a newer release decided something this one cannot read.
                Err(_) => Err(ExecuteError::OutcomeUnknown.into()),
            };
        }
        Some(Outcome::Rejected(rejected)) => match decode_rejection(rejected) {
            Ok(rejection) => ExecuteError::Rejected(rejection),
            Err(error) => ExecuteError::Storage(error.into()),
        },
        Some(Outcome::NotLeader(leader)) => return Err(not_leader(leader)),
        Some(Outcome::NoLeader(_)) => ExecuteError::NoLeader,
        Some(Outcome::Busy(_)) => ExecuteError::Busy,
        Some(Outcome::Stopping(_)) => ExecuteError::Stopping,
        Some(Outcome::Fault(fault)) => ExecuteError::Storage(fault.into()),
        Some(Outcome::Unknown(_)) | None => ExecuteError::OutcomeUnknown,
    };
    Err(error.into())
}

pub(super) fn read_index_reply_to_pb(outcome: Result<u64, Asked<NoQuorum>>) -> pb::ReadIndexReply {
    use pb::read_index_reply::Outcome;
    let outcome = match outcome {
        Ok(index) => Outcome::Index(index),
        Err(Asked::NotLeader(leader)) => Outcome::NotLeader(not_leader_to_pb(leader)),
        Err(Asked::Failed(NoQuorum)) => Outcome::NoLeader(pb::Nothing {}),
    };
    pb::ReadIndexReply {
        outcome: Some(outcome),
    }
}

pub(super) fn change_reply_to_pb(outcome: Result<u64, Asked<MembershipError>>) -> pb::ChangeReply {
    use pb::change_reply::Outcome;
    let outcome = match outcome {
        Ok(node) => Outcome::Done(node),
        Err(Asked::NotLeader(leader)) => Outcome::NotLeader(not_leader_to_pb(leader)),
        Err(Asked::Failed(MembershipError::Refused(why))) => Outcome::Refused(why),
        Err(Asked::Failed(MembershipError::NoLeader)) => Outcome::NoLeader(pb::Nothing {}),
        Err(Asked::Failed(MembershipError::Unfinished)) => Outcome::Unfinished(pb::Nothing {}),
    };
    pb::ChangeReply {
        outcome: Some(outcome),
    }
}

pub(super) fn status_to_pb(status: ClusterStatus) -> pb::StatusReply {
    let member = |member: MemberStatus| pb::MemberStatus {
        node: member.node,
        name: member.name,
        address: member.address,
        voter: member.role == MemberRole::Voter,
        leader: member.leader,
        sequence: member.sequence,
        lag_entries: member.lag_entries,
        ready: member.ready,
        reader: member.role == MemberRole::Reader,
        draining: member.draining,
        release: member.release,
        feature_level_max: member.feature_level_max,
    };
    pb::StatusReply {
        cluster: status.cluster,
        history: status.history,
        node: status.node,
        leader: status.leader,
        term: status.term,
        sequence: status.sequence,
        chain: status.chain,
        feature_level: status.feature_level,
        last_log: status.last_log,
        applied: status.applied,
        snapshot: status.snapshot,
        purged: status.purged,
        members: status.members.into_iter().map(member).collect(),
    }
}

fn status_from_pb(status: pb::StatusReply, this_node: u64) -> ClusterStatus {
    let member = |member: pb::MemberStatus| MemberStatus {
        role: match member {
            pb::MemberStatus { voter: true, .. } => MemberRole::Voter,
            pb::MemberStatus { reader: true, .. } => MemberRole::Reader,
            _ => MemberRole::Learner,
        },
        this_node: member.node == this_node,
        node: member.node,
        name: member.name,
        address: member.address,
        leader: member.leader,
        sequence: member.sequence,
        lag_entries: member.lag_entries,
        ready: member.ready,
        draining: member.draining,
        release: member.release,
        feature_level_max: member.feature_level_max,
    };
    ClusterStatus {
        cluster: status.cluster,
        history: status.history,
        node: status.node,
        leader: status.leader,
        term: status.term,
        sequence: status.sequence,
        chain: status.chain,
        feature_level: status.feature_level,
        last_log: status.last_log,
        applied: status.applied,
        snapshot: status.snapshot,
        purged: status.purged,
        members: status.members.into_iter().map(member).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekeeper_domain::{Command, Event, Rejection, RejectionKind};

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let request = Request {
            actor: Actor {
                login: Some(Login::parse("alice").unwrap()),
                token: None,
            },
            request: RequestId([7; 16]),
            command: Command::DisableAccount {
                login: Login::parse("bob").unwrap(),
            },
        };
        let message = request_to_pb(&request, Instant::now() + Duration::from_secs(2));
        assert!((1..=2000).contains(&message.remaining_ms));
        let arrived = request_from_pb(message).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{request:?}"));
        assert!(request_from_pb(pb::ExecuteRequest::default()).is_err());
    }

    #[test]
    fn every_outcome_arrives_as_it_was() {
        let executed = Executed {
            sequence: 12,
            events: vec![Event::AccountDisabled],
        };
        let reply = execute_reply_to_pb(Ok(executed.clone()));
        assert_eq!(execute_reply_from_pb(reply).unwrap(), executed);

        let member = Member {
            address: "b:8081".into(),
            incarnation: "i".into(),
            name: "b".into(),
            role: crate::NodeRole::Voter,
        };
        let rejection = Rejection::new(RejectionKind::Forbidden, "no");
        let failures = [
            Asked::NotLeader(None),
            Asked::NotLeader(Some((2, member))),
            Asked::Failed(ExecuteError::Rejected(rejection)),
            Asked::Failed(ExecuteError::NoLeader),
            Asked::Failed(ExecuteError::Busy),
            Asked::Failed(ExecuteError::OutcomeUnknown),
            Asked::Failed(ExecuteError::Stopping),
            Asked::Failed(ExecuteError::Storage("disk".into())),
        ];
        for failure in failures {
            let sent = format!("{failure:?}");
            let arrived = execute_reply_from_pb(execute_reply_to_pb(Err(failure))).unwrap_err();
            assert_eq!(format!("{arrived:?}"), sent);
        }
        // An outcome of a newer release is not taken for a failure.
        let unknown = execute_reply_from_pb(pb::ExecuteReply::default()).unwrap_err();
        assert!(matches!(
            unknown,
            Asked::Failed(ExecuteError::OutcomeUnknown)
        ));
    }
}

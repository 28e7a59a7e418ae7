//! The service that other nodes call: Raft's side of it, and the port it listens on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::admission_server::AdmissionServer;
use cratekeeper_wire::pb::peer::peer_server::{Peer, PeerServer};
use futures::StreamExt;
use futures::stream::BoxStream;
use openraft::raft::StreamAppendResult;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Extensions, Request, Response, Status, Streaming};
use tracing::Instrument;

use super::accept;
use super::admission::{Doorkeeper, names_its_host};
use super::connection::PeerConnection;
use super::dial::{MESSAGE_MAX, describe};
use super::encoding::{
    append_from_pb, append_result_to_pb, transfer_from_pb, transfer_reply_to_pb, vote_reply_to_pb,
    vote_request_from_pb,
};
use super::forward;
use super::host::{Change, Joined, PeerHost};
use super::identity::{Caller, not_a_member};
use super::peers::AppliedReport;
use super::tls::PeerCertificates;
use super::trace;
use crate::RELEASE;
use crate::raft::convert::Malformed;
use crate::raft::types::{Raft, TypeConfig};
use crate::snapshot::receive::{Intake, receive_snapshot};

const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// Of append requests on their way to one stream, before the sender has to wait.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The port is taken, nobody is answered yet.
pub(crate) struct BoundPeer {
    listener: TcpListener,
}

pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<BoundPeer> {
    let listener = TcpListener::bind(address).await?;
    Ok(BoundPeer { listener })
}

impl BoundPeer {
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Answers until `host.stopping` is cancelled, then gives calls under way a few seconds.
    pub(crate) async fn serve(self, host: Arc<PeerHost>, tls: Option<Arc<PeerCertificates>>) {
        let stopping = host.stopping.clone();
        let door = host.clone();
        let peer = PeerServer::new(PeerCalls { host: host.clone() })
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let members_only =
            InterceptedService::new(peer, move |call: Request<()>| admit(&door, call));
        let service = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(AdmissionServer::new(Doorkeeper { host }))
            .add_service(members_only);
        accept::serve(self.listener, service, tls, stopping).await;
    }
}

/// Every call of `Peer` passes here first.
fn admit(host: &PeerHost, mut call: Request<()>) -> Result<Request<()>, Status> {
    let joined = host.joined()?;
    let incarnation_of = |node| joined.member(node).map(|member| member.incarnation);
    let admitted = joined
        .identity
        .admit(call.metadata(), incarnation_of)
        .and_then(|caller| {
            judge(joined, caller, call.extensions())?;
            Ok(caller)
        });
    match admitted {
        Ok(caller) => {
            call.extensions_mut().insert(caller);
            Ok(call)
        }
        Err(refusal) => {
            tracing::warn!(refusal = refusal.message(), "a peer's call was refused");
            Err(refusal)
        }
    }
}

/// A member speaks only from where it is a member, and a node that was removed not at all.
fn judge(joined: &Joined, caller: Caller, extensions: &Extensions) -> Result<(), Status> {
    match joined.member(caller.node) {
        Some(member) => names_its_host(extensions, &member.address).map_err(|why| {
            Status::permission_denied(format!("the call is from node {}, but {why}", caller.node))
        }),
        None if (joined.was_removed)(caller.node) => Err(not_a_member(caller.node)),
        // It may have joined since this node last heard from the cluster.
        None => Ok(()),
    }
}

struct PeerCalls {
    host: Arc<PeerHost>,
}

impl PeerCalls {
    /// For calls by which members change or ask something through the leader. If this node leads, whoever it does not know was
    /// removed. If it does not, the caller may know more: this node may have just started, and not know its members yet.
    fn for_member<T>(&self, call: &Request<T>) -> Result<&Joined, Status> {
        let joined = self.host.joined()?;
        match caller(call)? {
            Caller { member: true, .. } => Ok(joined),
            Caller { node, .. } if joined.leads_since(0) => Err(not_a_member(node)),
            Caller { .. } => Err(Status::unavailable(
                "this node does not know its members yet",
            )),
        }
    }
}

fn caller<T>(call: &Request<T>) -> Result<Caller, Status> {
    let caller = call.extensions().get::<Caller>().copied();
    caller.ok_or_else(|| Status::internal("the call was not admitted"))
}

#[tonic::async_trait]
impl Peer for PeerCalls {
    type AppendStream = BoxStream<'static, Result<pb::AppendStreamReply, Status>>;
    type SnapshotStream = ReceiverStream<Result<pb::SnapshotReply, Status>>;

    async fn append(
        &self,
        call: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let raft = self.host.joined()?.raft.clone();
        let mut life = interval(SIGN_OF_LIFE);
        life.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let connection = call.extensions().get::<PeerConnection>();
        let answering = Answering {
            trust: connection.map_or_else(CancellationToken::new, |one| one.trust.clone()),
            results: append_results(raft, call.into_inner()),
            applied: self.host.applied.clone(),
            life,
            about: Some(pb::About {
                release: RELEASE.to_owned(),
                feature_level_max: self.host.feature_level_max,
            }),
            stopping: self.host.stopping.clone(),
        };
        let replies = futures::stream::unfold(answering, Answering::next);
        Ok(Response::new(replies.boxed()))
    }

    async fn append_entries(
        &self,
        call: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendReply>, Status> {
        let request = append_from_pb(call.into_inner()).map_err(malformed)?;
        let previous = request.prev_log_id;
        let last = request
            .entries
            .last()
            .map(|entry| entry.log_id)
            .or(previous);
        let reply = self.host.joined()?.raft.append_entries(request).await;
        let result = reply.map_err(stopped)?.into_stream_result(previous, last);
        Ok(Response::new(append_result_to_pb(&result)))
    }

    async fn vote(
        &self,
        call: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteReply>, Status> {
        let joined = self.host.joined()?;
        let request = vote_request_from_pb(call.get_ref()).map_err(malformed)?;
        let Caller { node, member } = caller(&call)?;
        // The candidate asks for the term after its own. A node that was removed and has not heard of it is told here.
        if !member && joined.leads_since(request.vote.leader_id.term.saturating_sub(1)) {
            return Err(not_a_member(node));
        }
        let raft = &joined.raft;
        let reply = if call.get_ref().pre_vote {
            raft.pre_vote(request).await
        } else {
            raft.vote(request).await
        };
        Ok(Response::new(vote_reply_to_pb(&reply.map_err(stopped)?)))
    }

    async fn transfer_leader(
        &self,
        call: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderReply>, Status> {
        let request = transfer_from_pb(call.get_ref()).map_err(malformed)?;
        let reply = self
            .host
            .joined()?
            .raft
            .handle_transfer_leader(request)
            .await;
        Ok(Response::new(transfer_reply_to_pb(
            &reply.map_err(stopped)?,
        )))
    }

    async fn snapshot(
        &self,
        call: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let joined = self.host.joined()?;
        let Ok(turn) = self.host.receiving.clone().try_lock_owned() else {
            return Err(Status::unavailable("another snapshot is coming in"));
        };
        let intake = Intake {
            incoming: self.host.incoming.clone(),
            cluster: joined.identity.cluster.clone(),
            state_format: self.host.state_format,
            turn,
        };
        let raft = joined.raft.clone();
        let (replies, outgoing) = mpsc::channel(4);
        // Installing goes on when the sender has given up.
        tokio::spawn(receive_snapshot(
            call.into_inner(),
            replies,
            intake,
            move |vote, snapshot| async move {
                let installed = raft.install_full_snapshot(vote, snapshot).await;
                installed
                    .map(|reply| reply.vote)
                    .map_err(|fatal| fatal.to_string())
            },
        ));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn execute(
        &self,
        call: Request<pb::ExecuteRequest>,
    ) -> Result<Response<pb::ExecuteReply>, Status> {
        let joined = self.for_member(&call)?;
        let span = trace::asked("Execute", call.metadata());
        let message = call.into_inner();
        let deadline = deadline(message.remaining_ms);
        let request = forward::request_from_pb(message)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let outcome = (joined.execute)(request, deadline).instrument(span).await;
        Ok(Response::new(forward::execute_reply_to_pb(outcome)))
    }

    async fn read_index(
        &self,
        call: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexReply>, Status> {
        let joined = self.for_member(&call)?;
        let span = trace::asked("ReadIndex", call.metadata());
        let deadline = deadline(call.get_ref().remaining_ms);
        let outcome = (joined.read_index)(deadline).instrument(span).await;
        Ok(Response::new(forward::read_index_reply_to_pb(outcome)))
    }

    async fn status(
        &self,
        call: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusReply>, Status> {
        let joined = self.for_member(&call)?;
        let status = (joined.status)(deadline(call.get_ref().remaining_ms)).await;
        let status = status.ok_or_else(|| Status::unavailable("this node is stopping"))?;
        Ok(Response::new(forward::status_to_pb(status)))
    }

    async fn remove(
        &self,
        call: Request<pb::RemoveRequest>,
    ) -> Result<Response<pb::ChangeReply>, Status> {
        let joined = self.for_member(&call)?;
        let pb::RemoveRequest { node, remaining_ms } = call.into_inner();
        let outcome = (joined.change)(Change::Remove(node), deadline(remaining_ms)).await;
        Ok(Response::new(forward::change_reply_to_pb(outcome)))
    }

    async fn hand_over(
        &self,
        call: Request<pb::HandOverRequest>,
    ) -> Result<Response<pb::ChangeReply>, Status> {
        let joined = self.for_member(&call)?;
        let pb::HandOverRequest { to, remaining_ms } = call.into_inner();
        let outcome = (joined.change)(Change::HandOver(to), deadline(remaining_ms)).await;
        Ok(Response::new(forward::change_reply_to_pb(outcome)))
    }
}

type AppendResults = BoxStream<'static, StreamAppendResult<TypeConfig>>;

/// What Raft makes of the requests; ends with the requests, after a refusal, or when Raft has stopped.
fn append_results(raft: Raft, requests: Streaming<pb::AppendRequest>) -> AppendResults {
    let requests = futures::stream::unfold(requests, |mut requests| async {
        match requests.message().await {
            Ok(message) => match append_from_pb(message?) {
                Ok(request) => Some((request, requests)),
                Err(error) => {
                    tracing::error!(%error, "an append stream ends: a request cannot be read");
                    None
                }
            },
            Err(status) => {
                tracing::debug!(cause = describe(&status), "an append stream broke");
                None
            }
        }
    });
    let results = raft.stream_append(requests);
    results
        .scan((), |(), result| futures::future::ready(result.ok()))
        .boxed()
}

struct Answering {
    results: AppendResults,
    applied: watch::Receiver<AppliedReport>,
    life: Interval,
    /// Until it has been said.
    about: Option<pb::About>,
    stopping: CancellationToken,
    /// Of the connection.
    trust: CancellationToken,
}

impl Answering {
    async fn next(mut self) -> Option<(Result<pb::AppendStreamReply, Status>, Answering)> {
        use pb::append_stream_reply::Reply;
        if let Some(about) = self.about.take() {
            let reply = Some(Reply::About(about));
            return Some((Ok(pb::AppendStreamReply { reply }), self));
        }
        let reply = tokio::select! {
            biased;
            () = self.stopping.cancelled() => return None,
            () = self.trust.cancelled() => return None,
            result = self.results.next() => Reply::Result(append_result_to_pb(&result?)),
            moved = self.applied.changed() => {
                moved.ok()?;
                Reply::Applied(self.report())
            }
            _ = self.life.tick() => Reply::Applied(self.report()),
        };
        Some((Ok(pb::AppendStreamReply { reply: Some(reply) }), self))
    }

    fn report(&mut self) -> pb::Applied {
        let report = *self.applied.borrow_and_update();
        pb::Applied {
            index: report.applied_index,
            sequence: report.sequence,
            ready: report.ready,
            draining: report.draining,
        }
    }
}

/// Clocks of two machines are not compared: what travels is the time left.
fn deadline(remaining_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(remaining_ms.min(600_000))
}

fn malformed(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(fatal: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("Raft has stopped here: {fatal}"))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::peer::host::Invitation;
    use crate::peer::identity::Identity;
    use crate::peer::peers::Peers;
    use crate::peer::{Dialer, PeerNetwork};
    use crate::raft::types::Member;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn a_node_in_no_cluster_says_so_can_be_invited_and_answers_no_member() {
        let bound = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = bound.address().to_string();
        let (invited, mut invitations) = mpsc::unbounded_channel();
        let (_reports, applied) = watch::channel(AppliedReport::default());
        let host = Arc::new(PeerHost {
            incarnation: "volume-b".into(),
            name: "b".into(),
            state_format: 1,
            feature_level_max: 1,
            incoming: std::path::PathBuf::new(),
            applied,
            invite: Arc::new(move |invitation| {
                invited
                    .send(invitation)
                    .map_err(|_| "nobody waits".to_owned())
            }),
            stopping: CancellationToken::new(),
            joined: OnceLock::new(),
            receiving: Arc::default(),
        });
        let serving = tokio::spawn(bound.serve(host.clone(), None));

        let dialer = Dialer::new(None);
        let hello = dialer
            .hello(&address, pb::HelloRequest::default(), soon())
            .await
            .unwrap();
        assert_eq!(
            (hello.cluster, hello.incarnation.as_str()),
            (None, "volume-b")
        );

        let invite = pb::InviteRequest {
            cluster: "c1".into(),
            peers: vec!["a:8081".into()],
        };
        let reply = dialer.invite(&address, invite, soon()).await.unwrap();
        let accepted = pb::invite_reply::Outcome::Accepted("volume-b".into());
        assert_eq!(reply.outcome, Some(accepted));
        let invitation = Invitation {
            cluster: "c1".into(),
            peers: vec!["a:8081".into()],
        };
        assert_eq!(invitations.recv().await, Some(invitation));

        let identity = Identity {
            cluster: "c1".into(),
            node: 1,
            incarnation: "volume-a".into(),
        };
        let member = Member {
            address,
            incarnation: "volume-b".into(),
            name: "b".into(),
            role: crate::NodeRole::Voter,
        };
        let network = PeerNetwork::new(dialer, identity, Peers::new());
        let why = network.status(2, &member, soon()).await.unwrap_err();
        assert!(why.contains("this node is in no cluster yet"), "{why}");

        host.stopping.cancel();
        serving.await.unwrap();
    }
}

//! Raft's network: what this node asks of each other one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cratekeeper_wire::pb::peer::peer_client::PeerClient;
use futures::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::append;
use super::dial::{Dialer, MESSAGE_MAX, Purpose, describe, within};
use super::encoding::{
    append_result_from_pb, append_to_pb, transfer_reply_from_pb, transfer_to_pb,
    vote_reply_from_pb, vote_request_to_pb,
};
use super::identity::{Identity, Stamp, is_not_a_member};
use super::peers::Peers;
use crate::raft::convert::Malformed;
use crate::raft::types::{Member, Snapshot, TypeConfig, Vote};
use crate::snapshot::SnapshotDirectory;
use crate::snapshot::send::send_snapshot;

/// Makes a client for each target; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PeerNetwork {
    pub(super) dialer: Dialer,
    pub(super) identity: Arc<Identity>,
    peers: Arc<Peers>,
    /// See `is_refused`.
    pub(super) refused: Arc<AtomicBool>,
    snapshot_rate: Option<u64>,
}

impl PeerNetwork {
    pub(crate) fn new(dialer: Dialer, identity: Identity, peers: Arc<Peers>) -> PeerNetwork {
        PeerNetwork {
            dialer,
            identity: Arc::new(identity),
            peers,
            refused: Arc::default(),
            snapshot_rate: None,
        }
    }

    /// Snapshots are sent with at most so many bytes a second each.
    pub(crate) fn with_snapshot_rate(self, rate: Option<u64>) -> PeerNetwork {
        PeerNetwork {
            snapshot_rate: rate,
            ..self
        }
    }

    fn target(&self, node: u64, member: &Member, heartbeat: bool) -> PeerTarget {
        PeerTarget {
            network: self.clone(),
            node,
            member: member.clone(),
            heartbeat,
        }
    }

    /// A client and what its calls are to carry.
    pub(super) fn client(
        &self,
        node: u64,
        member: &Member,
        purpose: Purpose,
    ) -> Result<(PeerClient<Channel>, Stamp), Status> {
        let channel = self.dialer.channel(&member.address, purpose)?;
        let client = PeerClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        Ok((
            client,
            Stamp::new(&self.identity, node, &member.incarnation)?,
        ))
    }

    /// Remembers if a member says that this node is none.
    pub(super) fn note_refusal(&self, status: &Status) {
        if is_not_a_member(status) && !self.refused.swap(true, Ordering::AcqRel) {
            tracing::error!(refusal = status.message(), "the cluster refuses this node");
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for PeerNetwork {
    type Network = PeerTarget;

    async fn new_client(&mut self, target: u64, node: &Member) -> PeerTarget {
        self.target(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> PeerTarget {
        self.target(target, node, true)
    }
}

/// Raft's calls to one other node.
#[derive(Debug)]
pub(crate) struct PeerTarget {
    network: PeerNetwork,
    node: u64,
    member: Member,
    /// Its streams are single requests that must not open a stream of ours.
    heartbeat: bool,
}

impl PeerTarget {
    fn client(
        &self,
        purpose: Purpose,
    ) -> Result<(PeerClient<Channel>, Stamp), RPCError<TypeConfig>> {
        let client = self.network.client(self.node, &self.member, purpose);
        client.map_err(|status| unreachable(&status))
    }

    async fn ask_for_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (mut client, stamp) = self.client(Purpose::Control)?;
        let call = stamped(&stamp, vote_request_to_pb(&request, pre_vote));
        let reply = within(Instant::now() + option.soft_ttl(), client.vote(call)).await;
        let reply = reply.map_err(|status| {
            self.network.note_refusal(&status);
            unreachable(&status)
        })?;
        vote_reply_from_pb(&reply).map_err(|error| malformed(&error))
    }
}

impl RaftNetworkV2<TypeConfig> for PeerTarget {
    type SnapshotData = SnapshotDirectory;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (mut client, stamp) = self.client(Purpose::Control)?;
        let part = append_to_pb(request, MESSAGE_MAX / 2).swap_remove(0);
        let call = client.append_entries(stamped(&stamp, part));
        let reply = within(Instant::now() + option.soft_ttl(), call).await;
        let reply = reply.map_err(|status| unreachable(&status))?;
        Ok(
            match append_result_from_pb(&reply).map_err(|error| malformed(&error))? {
                Ok(matched) => AppendEntriesResponse::PartialSuccess(matched),
                Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
                Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
            },
        )
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        if self.heartbeat {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let trust = self.network.dialer.trust();
            let (client, stamp) = self.client(Purpose::Append)?;
            let connection = self.network.peers.connect(self.node);
            let results = append::open(client, &stamp, input, connection, trust).await?;
            Ok(results as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(request, false, option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_for_vote(request, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (client, stamp) = self
            .client(Purpose::Snapshot)
            .map_err(StreamingError::from)?;
        let (node, rate) = (self.node, self.network.snapshot_rate);
        let started = Instant::now();
        let outcome = |outcome: &'static str| {
            metrics::counter!("cratekeeper_snapshot_sends_total", "outcome" => outcome)
                .increment(1);
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send_snapshot(client, &stamp, vote, snapshot.snapshot, rate) => match sent {
                Ok(vote) => {
                    outcome("delivered");
                    metrics::histogram!("cratekeeper_snapshot_send_duration_seconds")
                        .record(started.elapsed().as_secs_f64());
                    Ok(SnapshotResponse::new(vote))
                }
                Err(failure) => {
                    outcome("failed");
                    tracing::warn!(node, %failure, "a snapshot was not delivered");
                    Err(failure.into())
                }
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (mut client, stamp) = self.client(Purpose::Control)?;
        let call = client.transfer_leader(stamped(&stamp, transfer_to_pb(&request)));
        let reply = within(Instant::now() + option.soft_ttl(), call).await;
        let reply = reply.map_err(|status| unreachable(&status))?;
        transfer_reply_from_pb(&request, &reply).map_err(|error| malformed(&error))
    }

    /// Short at first: a node that restarts is back within seconds.
    fn backoff(&self) -> Option<Backoff> {
        let growing = (0..5).map(|step| Duration::from_millis(50 << step));
        Some(Backoff::new(
            growing.chain(std::iter::repeat(Duration::from_secs(1))),
        ))
    }
}

pub(super) fn stamped<T>(stamp: &Stamp, message: T) -> Request<T> {
    let mut request = Request::new(message);
    stamp.put(request.metadata_mut());
    request
}

/// Every failure of the network asks Raft to wait a little before it tries again.
pub(super) fn unreachable(status: &Status) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(describe(status)))
}

fn malformed(error: &Malformed) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

//! The leader's side of an append stream: requests go out as Raft produces them, results come back in the same order, and
//! between them the reports of what the follower has applied.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::peer_client::PeerClient;
use futures::{Stream, StreamExt};
use openraft::base::BoxStream;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::client::unreachable;
use super::dial::within;
use super::encoding::{append_result_from_pb, append_to_pb};
use super::identity::Stamp;
use super::peers::{About, AppliedReport, Connection};
use crate::raft::types::TypeConfig;

/// Of one message, unless a single entry is larger.
const REQUEST_BYTES: usize = 2 * 1024 * 1024;
/// Handed to the connection and not yet on their way.
const QUEUED_REQUESTS: usize = 4;
/// At least this long between two tries to reach a lost follower.
const PAUSE: Duration = Duration::from_millis(150);
const OPEN: Duration = Duration::from_millis(1500);
/// The follower gives a sign of life every half second.
const SILENCE: Duration = Duration::from_secs(4);

pub(super) type Results =
    BoxStream<'static, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

/// Opens a stream that ends when `input` has ended and every request is answered, after the first refusal, or with an error
/// when the follower is lost. Dropping it drops `input` at once.
pub(super) async fn open<S>(
    mut client: PeerClient<Channel>,
    stamp: &Stamp,
    mut input: S,
    connection: Connection,
    trust: CancellationToken,
) -> Result<Results, RPCError<TypeConfig>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    // After a failure Raft pauses inside `input`: connecting before asking for a request would go round without a pause. An idle
    // Raft has no request for a long time, and its followers are to be heard all the same.
    let parts = match timeout(PAUSE, input.next()).await {
        Ok(Some(first)) => append_to_pb(first, REQUEST_BYTES).into(),
        Ok(None) => return Ok(futures::stream::empty().boxed()),
        Err(_) => VecDeque::new(),
    };
    let (requests, outgoing) = mpsc::channel(QUEUED_REQUESTS);
    let mut call = Request::new(ReceiverStream::new(outgoing));
    stamp.put(call.metadata_mut());
    let opening = client.append(call);
    let replies = within(Instant::now() + OPEN, opening).await;
    let session = Session {
        outgoing: Outgoing {
            input: Some(input),
            parts,
            requests: Some(requests),
        },
        replies: replies.map_err(|status| unreachable(&status))?,
        unanswered: 0,
        heard: Instant::now(),
        connection,
        trust,
    };
    Ok(futures::stream::unfold(Some(session), |session| async { session?.next().await }).boxed())
}

struct Session<S> {
    outgoing: Outgoing<S>,
    replies: Streaming<pb::AppendStreamReply>,
    unanswered: usize,
    heard: Instant,
    connection: Connection,
    /// Of the connection: when it ends, Raft opens another stream.
    trust: CancellationToken,
}

type Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl<S> Session<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    /// The next result and, unless it is the last one, the session to go on with.
    async fn next(mut self) -> Option<(Item, Option<Session<S>>)> {
        loop {
            if self.outgoing.is_done() && self.unanswered == 0 {
                return None;
            }
            let reply = tokio::select! {
                biased;
                () = self.trust.cancelled() => {
                    let status = Status::unavailable("connections are made again with the new authorities");
                    return Some((Err(unreachable(&status)), None));
                }
                reply = timeout_at(self.heard + SILENCE, self.replies.message()) => reply,
                sent = self.outgoing.send_next(), if self.outgoing.is_open() => {
                    self.unanswered += usize::from(sent);
                    continue;
                }
            };
            self.heard = Instant::now();
            let item = match reply {
                Ok(Ok(Some(reply))) => self.receive(reply),
                Ok(Ok(None)) => Err(Status::unavailable("the follower closed the append stream")),
                Ok(Err(status)) => Err(status),
                Err(_) => Err(Status::deadline_exceeded(
                    "the follower gives no sign of life",
                )),
            };
            match item {
                Ok(None) => {}
                Ok(Some(Ok(matched))) => return Some((Ok(Ok(matched)), Some(self))),
                Ok(Some(refusal)) => return Some((Ok(refusal), None)),
                Err(status) => return Some((Err(unreachable(&status)), None)),
            }
        }
    }

    fn receive(
        &mut self,
        reply: pb::AppendStreamReply,
    ) -> Result<Option<StreamAppendResult<TypeConfig>>, Status> {
        match reply.reply {
            Some(pb::append_stream_reply::Reply::Result(result)) => {
                self.unanswered = self.unanswered.saturating_sub(1);
                let result = append_result_from_pb(&result);
                result
                    .map(Some)
                    .map_err(|error| Status::data_loss(error.to_string()))
            }
            Some(pb::append_stream_reply::Reply::Applied(applied)) => {
                self.connection.report(AppliedReport {
                    applied_index: applied.index,
                    sequence: applied.sequence,
                    ready: applied.ready,
                    draining: applied.draining,
                });
                Ok(None)
            }
            Some(pb::append_stream_reply::Reply::About(about)) => {
                self.connection.introduce(About {
                    release: about.release,
                    feature_level_max: about.feature_level_max,
                });
                Ok(None)
            }
            // Something a newer release says.
            None => Ok(None),
        }
    }
}

struct Outgoing<S> {
    /// `None` when Raft has nothing more for this stream.
    input: Option<S>,
    /// Of the request being sent.
    parts: VecDeque<pb::AppendRequest>,
    /// `None` when the connection takes no more.
    requests: Option<mpsc::Sender<pb::AppendRequest>>,
}

impl<S> Outgoing<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    fn is_done(&self) -> bool {
        self.input.is_none() && self.parts.is_empty()
    }

    fn is_open(&self) -> bool {
        self.requests.is_some()
    }

    /// Hands over one more message; false if there was none or the connection took none. Loses nothing when dropped.
    async fn send_next(&mut self) -> bool {
        let Some(requests) = &self.requests else {
            return false;
        };
        let Ok(permit) = requests.reserve().await else {
            // What became of the connection is told by the replies.
            self.requests = None;
            return false;
        };
        if self.parts.is_empty() {
            let next = match &mut self.input {
                Some(input) => pin!(input).next().await,
                None => None,
            };
            match next {
                Some(request) => self.parts.extend(append_to_pb(request, REQUEST_BYTES)),
                None => self.input = None,
            }
        }
        match self.parts.pop_front() {
            Some(part) => {
                permit.send(part);
                true
            }
            None => {
                drop(permit);
                self.requests = None;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;
    use crate::peer::identity::Identity;
    use crate::peer::peers::Peers;

    #[tokio::test]
    async fn raft_pauses_before_a_lost_follower_is_connected_to_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let identity = Identity {
            cluster: "c1".to_owned(),
            node: 1,
            incarnation: "a".to_owned(),
        };
        let stamp = Stamp::new(&identity, 2, "b").unwrap();
        let pausing = futures::stream::pending();
        let opening = open(
            PeerClient::new(channel),
            &stamp,
            pausing,
            Peers::new().connect(2),
            CancellationToken::new(),
        );
        let began = Instant::now();
        assert!(opening.await.is_err(), "nobody listens there");
        assert!(PAUSE <= began.elapsed(), "it went round without a pause");
    }
}

//! openraft's requests and replies ⇄ what goes over the wire.

use cratekeeper_wire::pb::peer as pb;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message;

use crate::raft::convert::{
    Malformed, entry_from_pb, entry_to_pb, log_id_from_pb, log_id_to_pb, vote_from_pb, vote_to_pb,
};
use crate::raft::types::{TypeConfig, Vote};

type AppendRequest = AppendEntriesRequest<TypeConfig>;
type AppendResult = StreamAppendResult<TypeConfig>;

fn some_vote(vote: Option<&pb::Vote>) -> Result<Vote, Malformed> {
    vote.map(vote_from_pb)
        .ok_or(Malformed("a message without a vote"))
}

/// One request as several of at most `limit` bytes, or of one entry: sent in order, each is a prefix of what it was cut from.
pub(super) fn append_to_pb(request: AppendRequest, limit: usize) -> Vec<pb::AppendRequest> {
    let part = |previous| pb::AppendRequest {
        vote: Some(vote_to_pb(&request.vote)),
        previous,
        entries: Vec::new(),
        committed: request.leader_commit.as_ref().map(log_id_to_pb),
    };
    let mut current = part(request.prev_log_id.as_ref().map(log_id_to_pb));
    let (mut parts, mut bytes) = (Vec::new(), 0);
    for entry in request.entries.iter().map(entry_to_pb) {
        let entry_bytes = entry.encoded_len();
        if bytes + entry_bytes > limit && !current.entries.is_empty() {
            let last = current.entries.last().and_then(|entry| entry.id);
            parts.push(std::mem::replace(&mut current, part(last)));
            bytes = 0;
        }
        bytes += entry_bytes;
        current.entries.push(entry);
    }
    parts.push(current);
    parts
}

pub(super) fn append_from_pb(request: pb::AppendRequest) -> Result<AppendRequest, Malformed> {
    Ok(AppendEntriesRequest {
        vote: some_vote(request.vote.as_ref())?,
        prev_log_id: request.previous.as_ref().map(log_id_from_pb),
        entries: request
            .entries
            .into_iter()
            .map(entry_from_pb)
            .collect::<Result<_, _>>()?,
        leader_commit: request.committed.as_ref().map(log_id_from_pb),
    })
}

pub(super) fn append_result_to_pb(result: &AppendResult) -> pb::AppendReply {
    use pb::append_reply::Outcome;
    let outcome = match result {
        Ok(matched) => Outcome::Matched(pb::Matched {
            log_id: matched.as_ref().map(log_id_to_pb),
        }),
        Err(StreamAppendError::Conflict(previous)) => Outcome::Conflict(pb::Conflict {
            previous: Some(log_id_to_pb(previous)),
        }),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(vote_to_pb(vote)),
    };
    pb::AppendReply {
        outcome: Some(outcome),
    }
}

pub(super) fn append_result_from_pb(reply: &pb::AppendReply) -> Result<AppendResult, Malformed> {
    use pb::append_reply::Outcome;
    match reply
        .outcome
        .as_ref()
        .ok_or(Malformed("an empty append reply"))?
    {
        Outcome::Matched(matched) => Ok(Ok(matched.log_id.as_ref().map(log_id_from_pb))),
        Outcome::Conflict(conflict) => {
            let previous = conflict.previous.as_ref();
            let previous = previous.ok_or(Malformed("a conflict without a log id"))?;
            Ok(Err(StreamAppendError::Conflict(log_id_from_pb(previous))))
        }
        Outcome::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(vote_from_pb(vote)))),
    }
}

pub(super) fn vote_request_to_pb(
    request: &VoteRequest<TypeConfig>,
    pre_vote: bool,
) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_pb(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_pb),
        leadership_transfer: request.leadership_transfer,
        pre_vote,
    }
}

pub(super) fn vote_request_from_pb(
    request: &pb::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Malformed> {
    Ok(VoteRequest {
        vote: some_vote(request.vote.as_ref())?,
        last_log_id: request.last_log_id.as_ref().map(log_id_from_pb),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(super) fn vote_reply_to_pb(reply: &VoteResponse<TypeConfig>) -> pb::VoteReply {
    pb::VoteReply {
        vote: Some(vote_to_pb(&reply.vote)),
        granted: reply.vote_granted,
        last_log_id: reply.last_log_id.as_ref().map(log_id_to_pb),
    }
}

pub(super) fn vote_reply_from_pb(
    reply: &pb::VoteReply,
) -> Result<VoteResponse<TypeConfig>, Malformed> {
    let last_log_id = reply.last_log_id.as_ref().map(log_id_from_pb);
    let vote = some_vote(reply.vote.as_ref())?;
    Ok(VoteResponse::new(vote, last_log_id, reply.granted))
}

pub(super) fn transfer_to_pb(
    request: &TransferLeaderRequest<TypeConfig>,
) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from_leader: Some(vote_to_pb(request.from_leader())),
        to: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to_pb),
    }
}

pub(super) fn transfer_from_pb(
    request: &pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    let from = some_vote(request.from_leader.as_ref())?;
    let last_log_id = request.last_log_id.as_ref().map(log_id_from_pb);
    Ok(TransferLeaderRequest::new(from, request.to, last_log_id))
}

pub(super) fn transfer_reply_to_pb(
    reply: &TransferLeaderResponse<TypeConfig>,
) -> pb::TransferLeaderReply {
    use pb::transfer_leader_reply::Outcome;
    let outcome = match reply {
        Ok(()) => Outcome::Accepted(pb::Accepted {}),
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            Outcome::OtherVote(vote_to_pb(actual))
        }
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            Outcome::LogNotFlushed(pb::LogNotFlushed {
                last_log_id: actual.as_ref().map(log_id_to_pb),
            })
        }
    };
    pb::TransferLeaderReply {
        outcome: Some(outcome),
    }
}

pub(super) fn transfer_reply_from_pb(
    request: &TransferLeaderRequest<TypeConfig>,
    reply: &pb::TransferLeaderReply,
) -> Result<TransferLeaderResponse<TypeConfig>, Malformed> {
    use pb::transfer_leader_reply::Outcome;
    let outcome = reply.outcome.as_ref();
    Ok(
        match outcome.ok_or(Malformed("an empty reply about leadership"))? {
            Outcome::Accepted(_) => Ok(()),
            Outcome::OtherVote(vote) => Err(TransferLeaderError::VoteChanged {
                expected: *request.from_leader(),
                actual: vote_from_pb(vote),
            }),
            Outcome::LogNotFlushed(log) => Err(TransferLeaderError::LogNotFlushed {
                expected: request.last_log_id().copied(),
                actual: log.last_log_id.as_ref().map(log_id_from_pb),
            }),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{Entry, LogId, Proposal};
    use openraft::EntryPayload;

    fn log_id(index: u64) -> LogId {
        log_id_from_pb(&pb::LogId {
            term: 3,
            leader: 1,
            index,
        })
    }

    fn request(previous: u64, sizes: &[usize]) -> AppendRequest {
        let entries = sizes.iter().enumerate().map(|(at, size)| Entry {
            log_id: log_id(previous + 1 + at as u64),
            payload: EntryPayload::Normal(Proposal {
                bytes: vec![7; *size].into(),
            }),
        });
        AppendEntriesRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: Some(log_id(previous)),
            entries: entries.collect(),
            leader_commit: Some(log_id(2)),
        }
    }

    #[test]
    fn a_request_is_cut_into_prefixes_that_follow_one_another() {
        let parts = append_to_pb(request(5, &[400, 400, 400, 5000, 10]), 1000);
        let shape = |part: &pb::AppendRequest| {
            let indexes = part.entries.iter().map(|entry| entry.id.unwrap().index);
            (part.previous.unwrap().index, indexes.collect::<Vec<_>>())
        };
        assert_eq!(
            parts.iter().map(shape).collect::<Vec<_>>(),
            [(5, vec![6, 7]), (7, vec![8]), (8, vec![9]), (9, vec![10])]
        );
        assert!(parts.iter().all(|part| part.committed.unwrap().index == 2));
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        let sent = request(5, &[1, 2]);
        let parts = append_to_pb(sent.clone(), 1000);
        let bytes = parts[0].encode_to_vec();
        let arrived = append_from_pb(pb::AppendRequest::decode(bytes.as_slice()).unwrap()).unwrap();
        assert_eq!(format!("{sent:?}"), format!("{arrived:?}"));
        let results: [AppendResult; 4] = [
            Ok(None),
            Ok(Some(log_id(4))),
            Err(StreamAppendError::Conflict(log_id(5))),
            Err(StreamAppendError::HigherVote(Vote::new(9, 2))),
        ];
        for result in results {
            assert_eq!(
                append_result_from_pb(&append_result_to_pb(&result)).unwrap(),
                result
            );
        }
    }

    #[test]
    fn a_heartbeat_is_one_empty_request() {
        assert_eq!(append_to_pb(request(5, &[]), 1000).len(), 1);
        assert!(append_from_pb(pb::AppendRequest::default()).is_err());
    }
}

//! What one log entry proposes.

use bytes::Bytes;
use cratekeeper_domain::{Actor, Event, RequestId, StreamId};
use prost::Message;

use crate::{DecodeError, encode_event, pb, scalar};

/// The events a decision came to, with what it looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Each stream the decision looked at, with the position of its last event then (0: it was empty).
    pub read: Vec<(StreamId, u64)>,
    pub events: Vec<(StreamId, Event)>,
    pub time_ms: u64,
    pub actor: Actor,
    pub request: RequestId,
    /// The feature level by which the writer decided.
    pub feature_level: u32,
}

pub fn encode_append(append: &Append) -> Bytes {
    let mut reads: Vec<pb::event::Read> = append
        .read
        .iter()
        .map(|(stream, position)| pb::event::Read {
            stream: stream.to_string(),
            position: *position,
        })
        .collect();
    reads.sort_by(|a, b| a.stream.cmp(&b.stream));
    let events = append
        .events
        .iter()
        .map(|(stream, event)| {
            let encoded = encode_event(event);
            pb::event::NewEvent {
                stream: stream.to_string(),
                kind: encoded.kind.to_owned(),
                schema: encoded.schema,
                payload: encoded.payload,
            }
        })
        .collect();
    pb::event::Append {
        reads,
        events,
        time_ms: append.time_ms,
        actor: Some(encode_actor(&append.actor)),
        request: Bytes::copy_from_slice(&append.request.0),
        feature_level: append.feature_level,
    }
    .encode_to_vec()
    .into()
}

/// The payloads of its events stay as they are; streams, actor and request are checked, so that the records made of it decode.
pub fn decode_append(bytes: Bytes) -> Result<pb::event::Append, DecodeError> {
    let append = pb::event::Append::decode(bytes)?;
    scalar::request(&append.request)?;
    decode_actor(append.actor.as_ref())?;
    let read = append.reads.iter().map(|read| &read.stream);
    for stream in read.chain(append.events.iter().map(|event| &event.stream)) {
        StreamId::parse(stream)?;
    }
    Ok(append)
}

pub(crate) fn encode_actor(actor: &Actor) -> pb::event::Actor {
    pb::event::Actor {
        login: actor.login.as_ref().map(ToString::to_string),
        token: actor.token.as_ref().map(ToString::to_string),
    }
}

pub(crate) fn decode_actor(actor: Option<&pb::event::Actor>) -> Result<Actor, DecodeError> {
    use cratekeeper_domain::{Login, TokenId};
    let actor = actor.ok_or(DecodeError::Field("actor"))?;
    let login = actor.login.as_deref().map(Login::parse).transpose()?;
    let token = actor.token.as_deref().map(TokenId::parse).transpose()?;
    Ok(Actor { login, token })
}

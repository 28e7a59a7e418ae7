//! The stored event: written once, at apply, and never again.

use bytes::Bytes;
use cratekeeper_domain::{Recorded, StreamId};
use prost::Message;

use crate::append::decode_actor;
use crate::{DecodeError, decode_event, pb, scalar};

/// The record of one event of `append`, at its place in the history. The payload is copied, not read.
pub fn record_bytes(
    sequence: u64,
    position: u64,
    append: &pb::event::Append,
    event: &pb::event::NewEvent,
) -> Bytes {
    pb::event::Record {
        sequence,
        stream: event.stream.clone(),
        position,
        time_ms: append.time_ms,
        actor: append.actor.clone(),
        request: append.request.clone(),
        kind: event.kind.clone(),
        schema: event.schema,
        payload: event.payload.clone(),
    }
    .encode_to_vec()
    .into()
}

pub fn decode_record(bytes: &[u8]) -> Result<Recorded, DecodeError> {
    let record = pb::event::Record::decode(bytes)?;
    Ok(Recorded {
        sequence: record.sequence,
        stream: StreamId::parse(&record.stream)?,
        position: record.position,
        time_ms: record.time_ms,
        actor: decode_actor(record.actor.as_ref())?,
        request: scalar::request(&record.request)?,
        event: decode_event(&record.kind, record.schema, &record.payload)?,
    })
}

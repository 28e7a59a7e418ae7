//! The bytes in `fixtures/` were written once and must decode, and be written again, the same for ever.

mod samples;

use std::path::Path;

use bytes::Bytes;
use cratekeeper_domain::{Actor, CanonicalName, Event, Recorded, RequestId, StreamId};
use cratekeeper_wire::{
    Append, CHAIN_START, DecodeError, chain_hash, decode_append, decode_event, decode_record,
    decode_typed_event, encode_append, encode_event, encode_typed_event, leaf_hash, record_bytes,
};
use samples::events;

/// Compares with the fixture; a new one is what the failure prints.
fn must_be_frozen(name: &str, bytes: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let file = directory.join(format!("{name}.hex"));
    let frozen = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(frozen.trim(), hex::encode(bytes), "{name}.hex");
}

fn actor() -> Actor {
    Actor {
        login: Some(samples::login("alice")),
        token: Some(samples::token()),
    }
}

fn request() -> RequestId {
    RequestId([9; 16])
}

fn append() -> Append {
    let krate = StreamId::Crate(CanonicalName::parse("foo_bar").expect("canonical"));
    let account = StreamId::Account(samples::login("alice"));
    let name = samples::krate("Foo-Bar");
    let login = samples::login("alice");
    Append {
        read: vec![(krate.clone(), 0), (account, 7)],
        events: vec![
            (krate.clone(), Event::CrateCreated { name }),
            (krate, Event::OwnerAdded { login }),
        ],
        time_ms: 1_763_700_000_123,
        actor: actor(),
        request: request(),
        feature_level: 1,
    }
}

#[test]
fn payloads_of_all_events_are_frozen() {
    for (name, event) in events() {
        let encoded = encode_event(&event);
        assert_eq!(encoded.kind, name);
        assert_eq!(encoded.schema, 1);
        must_be_frozen(name, &encoded.payload);
        let decoded = decode_event(encoded.kind, encoded.schema, &encoded.payload);
        assert_eq!(decoded.expect("decodes"), event);
        let typed = decode_typed_event(&encode_typed_event(&event));
        assert_eq!(typed.expect("decodes"), event);
    }
}

#[test]
fn appends_and_their_records_are_frozen() {
    let append = append();
    let bytes = encode_append(&append);
    must_be_frozen("append", &bytes);
    let decoded = decode_append(bytes).expect("decodes");
    let record = record_bytes(42, 1, &decoded, &decoded.events[0]);
    must_be_frozen("record", &record);
    let (stream, event) = append.events[0].clone();
    let recorded = Recorded {
        sequence: 42,
        stream,
        position: 1,
        time_ms: append.time_ms,
        actor: append.actor,
        request: append.request,
        event,
    };
    assert_eq!(decode_record(&record).expect("decodes"), recorded);
}

#[test]
fn a_record_without_an_author_is_the_clusters_own() {
    let mut append = append();
    append.actor = Actor::default();
    let decoded = decode_append(encode_append(&append)).expect("decodes");
    let record = record_bytes(1, 1, &decoded, &decoded.events[0]);
    let recorded = decode_record(&record).expect("decodes");
    assert_eq!(recorded.actor, Actor::default());
}

#[test]
fn the_order_of_the_read_set_does_not_matter() {
    let mut other = append();
    other.read.reverse();
    assert_eq!(encode_append(&other), encode_append(&append()));
}

#[test]
fn the_chain_is_frozen() {
    let leaf = leaf_hash(b"record");
    must_be_frozen("leaf", &leaf);
    let first = chain_hash(CHAIN_START, leaf);
    must_be_frozen("chain", &chain_hash(first, leaf));
}

#[test]
fn what_a_newer_release_wrote_is_named() {
    for (kind, schema) in [("crate_renamed", 1), ("crate_created", 2)] {
        let error = decode_event(kind, schema, b"").expect_err("unknown");
        assert!(
            matches!(&error, DecodeError::UnknownEvent { kind: k, schema: s } if k == kind && *s == schema)
        );
    }
}

#[test]
fn damaged_bytes_are_errors() {
    assert!(matches!(
        decode_record(b"\xff"),
        Err(DecodeError::Malformed(_))
    ));
    assert!(matches!(decode_record(b""), Err(DecodeError::Value(_))));
    assert!(matches!(
        decode_append(Bytes::new()),
        Err(DecodeError::Field("request"))
    ));
    assert!(matches!(
        decode_event("owner_added", 1, b""),
        Err(DecodeError::Value(_))
    ));
    assert!(matches!(
        decode_event("account_created", 1, b"\x0a\x01a"),
        Err(DecodeError::Field("role"))
    ));
}

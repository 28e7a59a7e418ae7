//! The rows of the state store keep their bytes from release to release: a row written by an older one must read the same.

use cratekeeper_wire::pb::peer::{LogId, SnapshotFile, SnapshotManifest, StoredMembership};
use cratekeeper_wire::pb::state::{CrateRow, Head, TokenRow, VersionRow};
use prost::Message;

/// Name, then hex, a line each.
const FROZEN: &str = include_str!("../../fixtures/rows.hex");

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(name: &str, message: &M) {
    let bytes = message.encode_to_vec();
    let line = format!("{name} {}", hex::encode(&bytes));
    assert!(
        FROZEN.lines().any(|frozen| frozen == line),
        "not frozen: {line}"
    );
    assert_eq!(M::decode(bytes.as_slice()).expect("decodes"), *message);
}

#[test]
fn rows_keep_their_bytes() {
    check(
        "head",
        &Head {
            sequence: 300,
            chain: vec![7; 32].into(),
            time_ms: 1_795_262_400_000,
        },
    );
    check(
        "crate",
        &CrateRow {
            name: "Foo-Bar".to_owned(),
            created_at_ms: 1_795_262_400_000,
            updated_at_ms: 1_795_262_400_001,
            file_position: 5,
            file_leaf: vec![9; 32].into(),
            lines: 2,
        },
    );
    check(
        "version",
        &VersionRow {
            version: "1.2.3+meta".to_owned(),
            checksum: vec![1; 32].into(),
            tarball_bytes: 10_240,
            yanked: true,
            removed: true,
            published_at_ms: 1_795_262_400_000,
            published_by: "alice".to_owned(),
            sequence: 300,
        },
    );
    check(
        "token",
        &TokenRow {
            login: "alice".to_owned(),
            token: "0123456789abcdef".to_owned(),
        },
    );
    check(
        "log_id",
        &LogId {
            term: 3,
            leader: 2,
            index: 71,
        },
    );
}

#[test]
fn a_snapshot_manifest_keeps_its_bytes() {
    let file = SnapshotFile {
        name: "000012.sst".to_owned(),
        size: 4096,
        sha256: vec![2; 32].into(),
    };
    check(
        "manifest",
        &SnapshotManifest {
            cluster: "of-tests".to_owned(),
            last_log_id: Some(LogId {
                term: 3,
                leader: 2,
                index: 71,
            }),
            membership: Some(StoredMembership::default()),
            sequence: 300,
            chain: vec![7; 32].into(),
            state_format: 1,
            min_reader_format: 1,
            rocksdb: "11.8.1".to_owned(),
            files: vec![file],
        },
    );
}

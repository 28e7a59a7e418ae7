//! Backups: frozen bytes, and nothing that was changed is believed.

mod samples;

use bytes::Bytes;
use cratekeeper_domain::StreamId;
use cratekeeper_wire::backup::{
    BrokenBackup, Manifest, SegmentBuilder, SegmentEntry, open_segment,
};
use cratekeeper_wire::{Append, CHAIN_START, decode_append, encode_append, record_bytes};
use time::OffsetDateTime;

/// Every kind of event once, in the installation's stream: a backup does not ask where they belong.
fn records() -> Vec<Bytes> {
    let append = encode_append(&Append {
        read: Vec::new(),
        events: samples::events()
            .into_iter()
            .filter(|(name, _)| *name != "history_restored")
            .map(|(_, event)| (StreamId::Installation, event))
            .collect(),
        time_ms: 1_763_700_000_123,
        actor: cratekeeper_domain::Actor::default(),
        request: cratekeeper_domain::RequestId([9; 16]),
        feature_level: 1,
    });
    let append = decode_append(append).expect("decodes");
    (1..)
        .zip(&append.events)
        .map(|(sequence, event)| record_bytes(sequence, sequence, &append, event))
        .collect()
}

fn segment(records: &[Bytes], after: u64, chain: [u8; 32]) -> (SegmentEntry, Vec<u8>) {
    let mut builder = SegmentBuilder::new(after, chain);
    for record in records {
        builder.push(record).expect("the next one");
    }
    builder.finish().expect("packs")
}

fn manifest(segments: &[SegmentEntry]) -> Manifest {
    let now = OffsetDateTime::from_unix_timestamp(1_763_700_001).expect("a time");
    let mut manifest = Manifest::empty("0.2.0", now);
    for segment in segments {
        manifest.push(segment.clone());
    }
    manifest
}

#[test]
fn a_manifest_is_frozen_and_read_again() {
    let records = records();
    let (first, _) = segment(&records[..4], 0, CHAIN_START);
    let (second, _) = segment(&records[4..], 4, first.chain_after);
    let mut manifest = manifest(&[first, second]);
    for (place, segment) in manifest.segments.iter_mut().enumerate() {
        // How zstd packs may change with its release; what is packed may not.
        segment.sha256 = [place as u8; 32];
        segment.bytes = 1000;
        segment.file = format!("segments/{place}");
    }
    let frozen = include_str!("fixtures/backup-manifest.json");
    assert_eq!(String::from_utf8_lossy(&manifest.encode()), frozen);
    assert_eq!(Manifest::decode(frozen.as_bytes()), Ok(manifest));
}

#[test]
fn a_segment_that_an_earlier_release_wrote_is_read() {
    let frozen = include_str!("fixtures/backup-segment.json");
    let entry: SegmentEntry = serde_json::from_str(frozen).expect("an entry");
    let file = hex::decode(include_str!("fixtures/backup-segment.hex").trim()).expect("hex");
    assert_eq!(open_segment(&entry, &file), Ok(records()));
}

#[test]
fn a_longer_segment_takes_the_place_of_the_one_it_begins_with() {
    let records = records();
    let (short, _) = segment(&records[..2], 0, CHAIN_START);
    let (long, _) = segment(&records[..5], 0, CHAIN_START);
    let manifest = manifest(&[short, long.clone()]);
    assert_eq!(manifest.segments, [long]);
    assert_eq!(manifest.last_sequence, 5);
}

#[test]
fn every_flipped_byte_is_noticed() {
    let (entry, file) = segment(&records(), 0, CHAIN_START);
    for place in 0..file.len() {
        let mut changed = file.clone();
        changed[place] ^= 1;
        assert_eq!(
            open_segment(&entry, &changed)
                .expect_err("changed")
                .sequence,
            1
        );
    }
    assert!(open_segment(&entry, &file[..file.len() - 1]).is_err());
}

/// Whoever changes a record also makes its file's hash right; the chain still tells.
#[test]
fn a_record_changed_by_somebody_careful_breaks_the_chain() {
    let mut records = records();
    let (entry, _) = segment(&records, 0, CHAIN_START);
    let last = records.len() - 1;
    let text = records[last].to_vec();
    let mut changed = text.clone();
    let place = changed.len() - 1;
    changed[place] ^= 1;
    records[last] = changed.into();
    let (forged, file) = segment(&records, 0, CHAIN_START);
    let careful = SegmentEntry {
        chain_after: entry.chain_after,
        ..forged
    };
    let error = open_segment(&careful, &file).expect_err("changed");
    assert_eq!(error.sequence, entry.last);
    assert!(error.what.starts_with("the chain hash there is"), "{error}");
}

#[test]
fn records_out_of_order_or_missing_are_told_with_their_sequence() {
    let records = records();
    let mut builder = SegmentBuilder::new(0, CHAIN_START);
    builder.push(&records[0]).expect("the first");
    let skipped = builder.push(&records[2]).expect_err("not the next");
    assert_eq!(
        skipped.to_string(),
        "the backup breaks at sequence 2: the record in its place has sequence 3"
    );
    let (first, _) = segment(&records[..4], 0, CHAIN_START);
    let (second, _) = segment(&records[4..6], 4, first.chain_after);
    let (third, _) = segment(&records[6..], 6, second.chain_after);
    let whole = manifest(&[first, second, third]);
    let told = |change: fn(&mut Manifest)| -> BrokenBackup {
        let mut changed = whole.clone();
        change(&mut changed);
        Manifest::decode(&changed.encode()).expect_err("changed")
    };
    let dropped = told(|it| drop(it.segments.remove(1)));
    let swapped = told(|it| it.segments.swap(0, 1));
    let cut_off = told(|it| drop(it.segments.pop()));
    let newer = told(|it| it.format = 2);
    insta::assert_snapshot!([dropped, swapped, cut_off, newer].map(|it| it.to_string()).join("\n"), @r"
    the backup breaks at sequence 5: manifest.json names no segment with it; the next one begins at 7
    the backup breaks at sequence 1: manifest.json names no segment with it; the next one begins at 5
    the backup breaks at sequence 7: manifest.json does not agree with its own segments about where they end, whose they are or what is in them
    the backup breaks at sequence 1: manifest.json has format 2, this release reads format 1; use a newer release
    ");
}

//! A segment: records one behind the other behind a short head, compressed with zstd. Its name and its entry in the manifest say
//! what must come out of it.

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{BrokenBackup, Owner, RecordFrames, SegmentEntry, Totals, broken, frame_record};
use crate::{chain_hash, leaf_hash, pb};

/// A segment is closed when its records come to this much.
pub const SEGMENT_BYTES: usize = 8 << 20;
/// What a segment begins with when it is unpacked: a name and the version of its layout.
const HEAD: &[u8; 8] = b"ck-seg\0\x01";
/// Fast, and a history shrinks to about a fifth.
const LEVEL: i32 = 3;
/// Beyond what its totals say, only the lengths and the head.
const FRAMING_BYTES_MAX: u64 = 64;

/// Takes records in order and follows their chain.
#[derive(Debug)]
pub struct SegmentBuilder {
    first: u64,
    last: u64,
    last_time_ms: u64,
    chain_before: [u8; 32],
    chain: [u8; 32],
    owner: Option<Owner>,
    totals: Totals,
    content: Vec<u8>,
}

impl SegmentBuilder {
    /// A segment that begins behind sequence `after`, where the chain hash is `chain`.
    pub fn new(after: u64, chain: [u8; 32]) -> SegmentBuilder {
        SegmentBuilder {
            first: after + 1,
            last: after,
            last_time_ms: 0,
            chain_before: chain,
            chain,
            owner: None,
            totals: Totals::default(),
            content: HEAD.to_vec(),
        }
    }

    /// Refuses a record that is not the next one.
    pub fn push(&mut self, record: &[u8]) -> Result<(), BrokenBackup> {
        let next = self.last + 1;
        self.count(record, next)?;
        frame_record(&mut self.content, record);
        Ok(())
    }

    fn count(&mut self, record: &[u8], next: u64) -> Result<(), BrokenBackup> {
        let read = pb::event::Record::decode(record)
            .map_err(|_| broken(next, "it is not the record of an event"))?;
        if read.sequence != next {
            return Err(broken(
                next,
                format!("the record in its place has sequence {}", read.sequence),
            ));
        }
        match read.kind.as_str() {
            "crate_created" => self.totals.crates += 1,
            "version_published" => {
                let published = pb::event::VersionPublished::decode(read.payload)
                    .map_err(|_| broken(next, "it is not a publication, but says so"))?;
                self.totals.versions += 1;
                self.totals.tarball_bytes += published.tarball_bytes;
            }
            "version_removed" => self.totals.versions_removed += 1,
            "cluster_founded" => {
                let founded = pb::event::ClusterFounded::decode(read.payload)
                    .map_err(|_| broken(next, "it is not a founding, but says so"))?;
                self.owner = Some(Owner {
                    cluster: founded.cluster,
                    history: founded.history,
                });
            }
            "history_restored" => {
                let restored = pb::event::HistoryRestored::decode(read.payload)
                    .map_err(|_| broken(next, "it is not a restore, but says so"))?;
                self.owner = Some(Owner {
                    cluster: restored.cluster,
                    history: restored.history,
                });
            }
            _ => {}
        }
        self.totals.events += 1;
        self.totals.record_bytes += record.len() as u64;
        self.chain = chain_hash(self.chain, leaf_hash(record));
        self.last_time_ms = read.time_ms;
        self.last = next;
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.totals.events == 0
    }

    pub fn is_full(&self) -> bool {
        self.content.len() >= SEGMENT_BYTES
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn chain(&self) -> [u8; 32] {
        self.chain
    }

    /// The file to store, and what the manifest has to say about it.
    pub fn finish(self) -> std::io::Result<(SegmentEntry, Vec<u8>)> {
        let file = zstd::encode_all(self.content.as_slice(), LEVEL)?;
        let sha256: [u8; 32] = Sha256::digest(&file).into();
        let entry = SegmentEntry {
            file: format!(
                "segments/{:012}-{:012}-{}.ckseg",
                self.first,
                self.last,
                hex::encode(&sha256[..8])
            ),
            first: self.first,
            last: self.last,
            last_time: at_ms(self.last_time_ms),
            bytes: file.len() as u64,
            sha256,
            chain_before: self.chain_before,
            chain_after: self.chain,
            owner: self.owner,
            totals: self.totals,
        };
        Ok((entry, file))
    }
}

/// The records of a segment, if they are exactly those that its entry promises.
pub fn open_segment(entry: &SegmentEntry, file: &[u8]) -> Result<Vec<Bytes>, BrokenBackup> {
    let wrong = |what: String| broken(entry.first, format!("{} {what}", entry.file));
    if file.len() as u64 != entry.bytes {
        return Err(wrong(format!(
            "has {} bytes instead of {}",
            file.len(),
            entry.bytes
        )));
    }
    let sha256: [u8; 32] = Sha256::digest(file).into();
    if sha256 != entry.sha256 {
        return Err(wrong(format!(
            "has the SHA-256 {} instead of {}",
            hex::encode(sha256),
            hex::encode(entry.sha256)
        )));
    }
    let unpacked_max = entry.totals.record_bytes + 4 * entry.totals.events + FRAMING_BYTES_MAX;
    let content = unpack(file, unpacked_max).map_err(wrong)?;
    let records = records(entry, &content)?;
    let mut counted = SegmentBuilder::new(entry.first - 1, entry.chain_before);
    for (record, sequence) in records.iter().zip(entry.first..) {
        counted.count(record, sequence)?;
    }
    if counted.last != entry.last {
        return Err(broken(
            counted.last + 1,
            format!("{} ends before {}", entry.file, entry.last),
        ));
    }
    if counted.chain != entry.chain_after {
        return Err(broken(
            entry.last,
            format!(
                "the chain hash there is {} instead of {}",
                hex::encode(counted.chain),
                hex::encode(entry.chain_after)
            ),
        ));
    }
    if counted.totals != entry.totals
        || counted.owner != entry.owner
        || at_ms(counted.last_time_ms) != entry.last_time
    {
        return Err(wrong(
            "does not hold what the manifest counts in it".to_owned(),
        ));
    }
    Ok(records)
}

fn records(entry: &SegmentEntry, content: &Bytes) -> Result<Vec<Bytes>, BrokenBackup> {
    let Some(framed) = content.strip_prefix(HEAD) else {
        return Err(broken(
            entry.first,
            format!("{} is not a segment that this release can read", entry.file),
        ));
    };
    let mut frames = RecordFrames::default();
    frames.push(framed);
    let mut records = Vec::new();
    loop {
        let next = entry.first + records.len() as u64;
        match frames.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) if frames.is_empty() => return Ok(records),
            Ok(None) => return Err(broken(next, format!("{} is cut off there", entry.file))),
            Err(length) => {
                return Err(broken(
                    next,
                    format!("{} claims {length} bytes for it", entry.file),
                ));
            }
        }
    }
}

/// Never unpacks more than `bytes_max`, whatever the file says.
fn unpack(file: &[u8], bytes_max: u64) -> Result<Bytes, String> {
    use std::io::Read;
    let cannot = |error: std::io::Error| format!("cannot be unpacked: {error}");
    let mut content = Vec::new();
    zstd::Decoder::new(file)
        .map_err(cannot)?
        .take(bytes_max + 1)
        .read_to_end(&mut content)
        .map_err(cannot)?;
    if content.len() as u64 > bytes_max {
        return Err(format!("unpacks to more than {bytes_max} bytes"));
    }
    Ok(content.into())
}

fn at_ms(time_ms: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

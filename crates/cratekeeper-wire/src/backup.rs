//! The stored form of a backup: immutable segments of event records, exactly as stored, and a manifest that says what is in them
//! and what verifies them. Only ever added to; what one release has written every later one reads.

mod manifest;
mod records;
mod segment;

pub use manifest::{FORMAT, MANIFEST, Manifest, Owner, SegmentEntry, Totals};
pub use records::{RECORD_BYTES_MAX, RecordFrames, frame_record};
pub use segment::{SEGMENT_BYTES, SegmentBuilder, open_segment};

/// A backup that is not what it says it is. The sequence is that of the first event that cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the backup breaks at sequence {sequence}: {what}")]
pub struct BrokenBackup {
    pub sequence: u64,
    pub what: String,
}

pub(crate) fn broken(sequence: u64, what: impl Into<String>) -> BrokenBackup {
    BrokenBackup {
        sequence,
        what: what.into(),
    }
}

//! `manifest.json` of a backup: whose history it is, which segments hold it, and where it ends. Replaced last and as a whole.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::{BrokenBackup, broken};
use crate::CHAIN_START;

/// The name of the manifest in a backup.
pub const MANIFEST: &str = "manifest.json";
/// Raised when a reader of this release could misunderstand what is written.
pub const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// The release that wrote it last.
    pub release: String,
    /// Whose history it is, as its last event knows.
    #[serde(flatten)]
    pub owner: Owner,
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    /// When the last backup ended well, whether or not there was anything new.
    #[serde(with = "rfc3339")]
    pub updated_at: OffsetDateTime,
    pub last_sequence: u64,
    #[serde(with = "hash")]
    pub chain: [u8; 32],
    pub totals: Totals,
    /// In order; together every event from 1 to `last_sequence`.
    pub segments: Vec<SegmentEntry>,
}

/// A history that is restored goes on as another one, perhaps of another cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owner {
    pub cluster: String,
    pub history: String,
}

/// What a part of the history says was done, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    pub events: u64,
    /// Of all records, as stored and not compressed.
    pub record_bytes: u64,
    pub crates: u64,
    /// Published, whether or not removed later. Each names a tarball.
    pub versions: u64,
    /// By an administrator, for ever: their tarballs are not needed.
    pub versions_removed: u64,
    /// Of the tarballs of all versions published.
    pub tarball_bytes: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.events += other.events;
        self.record_bytes += other.record_bytes;
        self.crates += other.crates;
        self.versions += other.versions;
        self.versions_removed += other.versions_removed;
        self.tarball_bytes += other.tarball_bytes;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its name in the backup. It contains the hash, so that no two segments ever have one name.
    pub file: String,
    pub first: u64,
    pub last: u64,
    /// Of its last event.
    #[serde(with = "rfc3339")]
    pub last_time: OffsetDateTime,
    /// Of the file.
    pub bytes: u64,
    /// Of the file.
    #[serde(with = "hash")]
    pub sha256: [u8; 32],
    #[serde(with = "hash")]
    pub chain_before: [u8; 32],
    #[serde(with = "hash")]
    pub chain_after: [u8; 32],
    /// Whose history it is from here on, where an event in it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    pub totals: Totals,
}

impl Manifest {
    /// The manifest of a backup that holds nothing yet.
    pub fn empty(release: &str, now: OffsetDateTime) -> Manifest {
        Manifest {
            format: FORMAT,
            release: release.to_owned(),
            owner: Owner::default(),
            created_at: now,
            updated_at: now,
            last_sequence: 0,
            chain: CHAIN_START,
            totals: Totals::default(),
            segments: Vec::new(),
        }
    }

    /// Puts a segment behind the last one, or, where it begins at the last one's first event, in its place.
    /// Panics if it does neither: whoever built it began elsewhere.
    pub fn push(&mut self, segment: SegmentEntry) {
        self.segments
            .retain(|earlier| earlier.first < segment.first);
        assert_eq!(
            self.segments.last().map_or(0, |last| last.last) + 1,
            segment.first,
            "segments follow one another"
        );
        self.last_sequence = segment.last;
        self.chain = segment.chain_after;
        self.segments.push(segment);
        self.totals = self.sum();
        self.owner = self.last_owner();
    }

    /// Pretty JSON with a line break at its end.
    pub fn encode(&self) -> Vec<u8> {
        let mut text =
            serde_json::to_vec_pretty(self).expect("numbers, texts and times become JSON");
        text.push(b'\n');
        text
    }

    /// Reads and checks whatever can be checked without the segments: that they are dense, chained, and add up.
    pub fn decode(text: &[u8]) -> Result<Manifest, BrokenBackup> {
        let unreadable =
            |error: serde_json::Error| broken(1, format!("{MANIFEST} cannot be read: {error}"));
        let format: FormatOnly = serde_json::from_slice(text).map_err(unreadable)?;
        if format.format != FORMAT {
            return Err(broken(
                1,
                format!(
                    "{MANIFEST} has format {}, this release reads format {FORMAT}; use a newer release",
                    format.format
                ),
            ));
        }
        let manifest: Manifest = serde_json::from_slice(text).map_err(unreadable)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), BrokenBackup> {
        let (mut last, mut chain) = (0, CHAIN_START);
        for segment in &self.segments {
            let next = last + 1;
            if segment.first != next {
                return Err(broken(
                    next,
                    format!(
                        "{MANIFEST} names no segment with it; the next one begins at {}",
                        segment.first
                    ),
                ));
            }
            if segment.last < segment.first
                || segment.totals.events != segment.last - segment.first + 1
            {
                return Err(broken(
                    next,
                    format!(
                        "{MANIFEST} says that {} has {} events, from {} to {}",
                        segment.file, segment.totals.events, segment.first, segment.last
                    ),
                ));
            }
            if segment.chain_before != chain {
                return Err(broken(
                    next,
                    format!("the chain of {} does not go on where it was", segment.file),
                ));
            }
            (last, chain) = (segment.last, segment.chain_after);
        }
        let agrees = (last, chain) == (self.last_sequence, self.chain)
            && self.sum() == self.totals
            && self.last_owner() == self.owner;
        if !agrees {
            return Err(broken(
                last.min(self.last_sequence) + 1,
                format!(
                    "{MANIFEST} does not agree with its own segments about where they end, whose they are or what is in them"
                ),
            ));
        }
        Ok(())
    }

    fn last_owner(&self) -> Owner {
        let owners = self.segments.iter().rev();
        owners
            .filter_map(|segment| segment.owner.clone())
            .next()
            .unwrap_or_default()
    }

    fn sum(&self) -> Totals {
        let mut totals = Totals::default();
        for segment in &self.segments {
            totals.add(&segment.totals);
        }
        totals
    }
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// A hash as hex digits.
mod hash {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash)
            .map_err(|_| D::Error::custom(format!("`{text}` is not a hash")))?;
        Ok(hash)
    }
}

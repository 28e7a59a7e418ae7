//! A history from its stored records, in a database of its own: what verifying and restoring a backup have in common with
//! rebuilding. Nothing is believed: order, streams and time are checked before a record is folded.

use std::path::Path;

use bytes::Bytes;
use cratekeeper_domain::{Recorded, StreamId, StreamState};
use cratekeeper_wire::pb::{event as pb, state};
use cratekeeper_wire::{CHAIN_START, decode_record};

use super::append::{Appended, append, position_of, refold};
use super::database::{Database, StorageError};
use super::families::Family;
use super::folded::FoldedStreams;
use super::staged::Staged;

/// Events staged for one write.
const BATCH: usize = 1024;

/// Why a history could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The records are not a history from here on.
    #[error("the history breaks at sequence {sequence}: {what}")]
    Broken { sequence: u64, what: String },
    #[error("the database that is being built failed")]
    Storage(#[source] StorageError),
}

/// Grows by records in order. What a crash leaves of it is of no use.
pub struct Replay {
    database: Database,
    head: state::Head,
}

impl Replay {
    /// An empty history in the directory `path`, which does not exist yet.
    pub fn create(path: &Path) -> Result<Replay, ReplayError> {
        let database = Database::open(path).map_err(ReplayError::Storage)?;
        let head = state::Head {
            sequence: 0,
            chain: CHAIN_START.to_vec().into(),
            time_ms: 0,
        };
        Ok(Replay { database, head })
    }

    pub fn sequence(&self) -> u64 {
        self.head.sequence
    }

    pub fn chain(&self) -> [u8; 32] {
        self.head.chain.as_ref().try_into().unwrap_or(CHAIN_START)
    }

    /// Folds the records that come next. After an error it is of no use any more.
    pub fn extend(&mut self, records: &[Bytes]) -> Result<(), ReplayError> {
        for batch in records.chunks(BATCH) {
            let mut staged = Staged::new(&self.database);
            for record in batch {
                let sequence = self.head.sequence + 1;
                fold(&mut staged, &mut self.head, record).map_err(|error| match error {
                    StorageError::Damaged(what) | StorageError::TooNew(what) => {
                        ReplayError::Broken { sequence, what }
                    }
                    error => ReplayError::Storage(error),
                })?;
            }
            staged.write_unlogged().map_err(ReplayError::Storage)?;
        }
        Ok(())
    }

    /// A stream as folded so far.
    pub(crate) fn stream(&self, stream: &StreamId) -> Result<StreamState, StorageError> {
        let folded = FoldedStreams::new(1).load(&self.database, stream)?;
        Ok(StreamState::clone(&folded.state))
    }

    /// Adds events of our own behind the records.
    pub(crate) fn go_on(&mut self, proposed: pb::Append) -> Result<(), StorageError> {
        let mut staged = Staged::new(&self.database);
        match append(&mut staged, &mut self.head, proposed)? {
            Appended::Stored { .. } => staged.write_unlogged(),
            Appended::Conflict => Err(StorageError::Damaged("a stream that moved".to_owned())),
        }
    }

    pub(crate) fn put_meta(&mut self, key: &[u8], value: Vec<u8>) -> Result<(), StorageError> {
        let mut staged = Staged::new(&self.database);
        staged.put(Family::Meta, key, value);
        staged.write_unlogged()
    }

    /// The database, with everything on disk but its directory entry.
    pub(crate) fn finish(mut self) -> Result<Database, StorageError> {
        use prost::Message;
        let head = self.head.encode_to_vec();
        self.put_meta(super::families::META_HEAD, head)?;
        self.database.flush()?;
        Ok(self.database)
    }
}

fn fold(
    staged: &mut Staged<'_>,
    head: &mut state::Head,
    record: &[u8],
) -> Result<(), StorageError> {
    let damaged = |what: String| Err(StorageError::Damaged(what));
    let recorded: Recorded =
        decode_record(record).map_err(|error| StorageError::TooNew(error.to_string()))?;
    if recorded.sequence != head.sequence + 1 {
        return damaged(format!(
            "the record in its place has sequence {}",
            recorded.sequence
        ));
    }
    let stream = recorded.stream.to_string();
    let expected = position_of(staged, &stream)? + 1;
    if recorded.position != expected {
        return damaged(format!(
            "it has position {} in the stream {stream}, which is at {expected}",
            recorded.position
        ));
    }
    if recorded.time_ms < head.time_ms {
        return damaged("it is older than the event before it".to_owned());
    }
    refold(staged, head, record, &recorded)
}

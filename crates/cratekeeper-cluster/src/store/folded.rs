//! Folded streams, kept: deciding and authenticating must not cost more as a stream grows.
//! A cached state is at some position; whoever uses it for a decision has that position checked at apply.

use std::num::NonZeroUsize;
use std::sync::Arc;

use cratekeeper_domain::{StreamId, StreamState};
use cratekeeper_wire::decode_record;
use lru::LruCache;
use parking_lot::Mutex;

use super::append::missing_event;
use super::database::{Database, StorageError, number};
use super::families::{Family, numbered, prefix};

/// A stream folded up to `position`.
#[derive(Clone)]
pub(crate) struct Folded {
    pub(crate) position: u64,
    pub(crate) state: Arc<StreamState>,
}

pub(crate) struct FoldedStreams {
    cached: Mutex<LruCache<StreamId, Folded>>,
}

impl FoldedStreams {
    pub(crate) fn new(streams_max: usize) -> FoldedStreams {
        let capacity = NonZeroUsize::new(streams_max).unwrap_or(NonZeroUsize::MIN);
        FoldedStreams {
            cached: Mutex::new(LruCache::new(capacity)),
        }
    }

    /// The stream folded at least up to what `database` holds now.
    pub(crate) fn load(
        &self,
        database: &Database,
        stream: &StreamId,
    ) -> Result<Folded, StorageError> {
        let key = stream.to_string();
        let head = match database.get(Family::Heads, key.as_bytes())? {
            None => 0,
            Some(position) => number(Family::Heads, &position)?,
        };
        let cached = self.cached.lock().get(stream).cloned();
        let mut folded = match cached {
            Some(folded) if head <= folded.position => return Ok(folded),
            Some(folded) => folded,
            None => Folded {
                position: 0,
                state: Arc::new(StreamState::new(stream)),
            },
        };
        // Taken out while it is brought forward, so that it is folded in place instead of copied.
        self.cached.lock().pop(stream);
        self.catch_up(database, &key, &mut folded)?;
        self.put(stream, &folded);
        Ok(folded)
    }

    fn catch_up(
        &self,
        database: &Database,
        key: &str,
        folded: &mut Folded,
    ) -> Result<(), StorageError> {
        let stream_prefix = prefix(key);
        for item in database.scan(
            Family::Streams,
            &stream_prefix,
            &numbered(key, folded.position + 1),
        )? {
            let (_, sequence) = item?;
            let record = database.get(Family::Events, &sequence)?;
            let record = match record {
                Some(record) => record,
                None => return Err(missing_event(number(Family::Streams, &sequence)?)),
            };
            let recorded =
                decode_record(&record).map_err(|error| StorageError::TooNew(error.to_string()))?;
            if recorded.position != folded.position + 1 {
                return Err(StorageError::Damaged(format!(
                    "stream {key} has a gap after position {}",
                    folded.position
                )));
            }
            folded.position = recorded.position;
            Arc::make_mut(&mut folded.state).fold(&recorded);
        }
        Ok(())
    }

    fn put(&self, stream: &StreamId, folded: &Folded) {
        let mut cached = self.cached.lock();
        if cached
            .peek(stream)
            .is_none_or(|other| other.position < folded.position)
        {
            cached.put(stream.clone(), folded.clone());
        }
    }
}

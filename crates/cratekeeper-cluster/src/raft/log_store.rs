//! The Raft log and vote on their own RocksDB: one synced write-ahead log, one flusher thread, group commit.
//! Contract: openraft `RaftLogStorage`; what is reported flushed survives power loss.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use cratekeeper_wire::pb::peer as pb;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use prost::Message;
use rocksdb::{ColumnFamilyDescriptor, DB, Direction, IteratorMode, ReadOptions, WriteBatch};

use super::convert;
use super::flusher::Flusher;
use super::frame::{decode_frame, encode_frame};
use super::log_tail::{Tail, weight};
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::store::BACKGROUND_ERRORS;

/// Key: index, 8 bytes big endian. Value: a frame (see [`encode_frame`]) around a `cratekeeper.peer.v1.Entry`.
const LOG: &str = "log";
/// Key: one of the names below. Value: a frame around the message named there.
const META: &str = "meta";
pub(crate) const FAMILIES: [&str; 2] = [LOG, META];
/// `cratekeeper.peer.v1.Vote`
const VOTE: &[u8] = b"vote";
/// `cratekeeper.peer.v1.LogId`
const PURGED: &[u8] = b"last_purged";

/// Key and value, as RocksDB hands them out.
type Row = (Box<[u8]>, Box<[u8]>);

/// One AppendEntries carries at most this much, so that a slow link is never blocked by one message.
const READ_BYTES_MAX: usize = 2 << 20;

#[derive(Clone)]
pub(crate) struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    db: Arc<DB>,
    flusher: Flusher,
    tail: Mutex<Tail>,
}

impl LogStore {
    /// Opens or creates the log. Refuses a log that is damaged anywhere but at its very end, has a hole, or whose terms go back:
    /// such a volume is lost and the node is replaced, never repaired.
    pub(crate) fn open(directory: &Path) -> io::Result<LogStore> {
        let families = [
            ColumnFamilyDescriptor::new(LOG, log_options()),
            ColumnFamilyDescriptor::new(META, log_options()),
        ];
        let db = Arc::new(
            DB::open_cf_descriptors(&database_options(), directory, families)
                .map_err(io::Error::other)?,
        );
        let vote = read_meta::<pb::Vote>(&db, VOTE)?.map(|vote| convert::vote_from_pb(&vote));
        let last_purged =
            read_meta::<pb::LogId>(&db, PURGED)?.map(|id| convert::log_id_from_pb(&id));
        let last = check_continuity(&db, last_purged)?;
        let flusher = Flusher::start(db.clone())?;
        let tail = Tail::new(vote, last_purged, last);
        Ok(LogStore {
            inner: Arc::new(Inner {
                db,
                flusher,
                tail: Mutex::new(tail),
            }),
        })
    }

    /// Counts flushes and compactions that failed since it was opened; 0 when the log is closed.
    pub(crate) fn count_background_errors(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.inner);
        move || {
            let errors = inner
                .upgrade()
                .and_then(|inner| inner.db.property_int_value(BACKGROUND_ERRORS).ok());
            errors.flatten().unwrap_or(0)
        }
    }

    /// Only to be measured: it must not keep the log open.
    pub(crate) fn database(&self) -> Weak<DB> {
        Arc::downgrade(&self.inner.db)
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.inner.tail.lock().last
    }

    /// Makes an empty log one that was purged up to `id`, by whose leader it says it was written. On disk when it returns.
    pub(crate) async fn begin_at(&self, id: LogId) -> io::Result<()> {
        let mut log = self.clone();
        let leader = id.leader_id;
        log.save_vote(&Vote::new_committed(leader.term, leader.node_id))
            .await?;
        log.purge(id).await
    }

    /// Entries of `[start, end)`, at least one if there is any, then as many as fit `bytes_max`.
    pub(crate) fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.inner.tail.lock().read(start, end, bytes_max) {
            return Ok(entries);
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        // Seeking to the first wanted key, never to the start, keeps clear of the tombstones a purge leaves.
        for item in log_iterator(&self.inner.db, start)? {
            let (key, value) = item.map_err(io::Error::other)?;
            let entry = decode_entry(&key, value)?;
            bytes += weight(&entry);
            if entry.log_id.index >= end || (!entries.is_empty() && bytes > bytes_max) {
                break;
            }
            // What is asked for may begin before the log does, but within the log nothing is missing.
            if entries
                .last()
                .is_some_and(|last: &Entry| last.log_id.index + 1 != entry.log_id.index)
            {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the Raft log is damaged: a hole before {}", entry.log_id),
                ));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => self
                .inner
                .tail
                .lock()
                .last_purged
                .map_or(0, |id| id.index + 1),
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.inner.tail.lock().vote)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.inner.tail.lock();
        Ok(LogState {
            last_purged_log_id: tail.last_purged,
            last_log_id: tail.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        put_meta(&self.inner.db, VOTE, &convert::vote_to_pb(vote))?;
        self.inner.flusher.flushed().await?;
        self.inner.tail.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let log = family(&self.inner.db, LOG)?;
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut batch = WriteBatch::default();
        for entry in &entries {
            batch.put_cf(
                log,
                entry.log_id.index.to_be_bytes(),
                encode_frame(&convert::entry_to_pb(entry)),
            );
        }
        // In the memtable it can be read at once; it is durable when the flusher says so.
        let started = Instant::now();
        self.inner.db.write(batch).map_err(io::Error::other)?;
        metrics::histogram!("cratekeeper_raft_log_append_duration_seconds")
            .record(started.elapsed().as_secs_f64());
        metrics::histogram!("cratekeeper_raft_log_append_entries").record(entries.len() as f64);
        let mut tail = self.inner.tail.lock();
        for entry in entries {
            tail.push(entry);
        }
        drop(tail);
        self.inner.flusher.flush(callback);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let (first, end) = {
            let tail = self.inner.tail.lock();
            let first = last_log_id.map_or(0, |id| id.index + 1);
            let purged = tail.last_purged.map_or(0, |id| id.index + 1);
            (first.max(purged), tail.last.map_or(0, |id| id.index + 1))
        };
        if end <= first {
            return Ok(());
        }
        let log = family(&self.inner.db, LOG)?;
        let mut batch = WriteBatch::default();
        for index in first..end {
            batch.delete_cf(log, index.to_be_bytes());
        }
        self.inner.db.write(batch).map_err(io::Error::other)?;
        self.inner.flusher.flushed().await?;
        let mut tail = self.inner.tail.lock();
        tail.truncate_after(last_log_id.map(|id| id.index));
        tail.last = last_log_id.max(tail.last_purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let log = family(&self.inner.db, LOG)?;
        let meta = family(&self.inner.db, META)?;
        let first = self.inner.tail.lock().last_purged.map_or(0, |id| id.index);
        let mut batch = WriteBatch::default();
        batch.put_cf(meta, PURGED, encode_frame(&convert::log_id_to_pb(&log_id)));
        batch.delete_range_cf(log, first.to_be_bytes(), (log_id.index + 1).to_be_bytes());
        self.inner.db.write(batch).map_err(io::Error::other)?;
        self.inner.flusher.flushed().await?;
        self.inner.tail.lock().purge(log_id);
        Ok(())
    }
}

fn database_options() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A torn tail was never reported flushed; damage before it is a lost volume and must not be papered over.
    options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    options.set_max_total_wal_size(128 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_background_jobs(2);
    options
}

fn log_options() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.set_write_buffer_size(32 << 20);
    options.set_max_write_buffer_number(3);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options
}

fn family<'a>(db: &'a DB, name: &str) -> io::Result<&'a rocksdb::ColumnFamily> {
    db.cf_handle(name)
        .ok_or_else(|| io::Error::other(format!("the log store has no column family {name}")))
}

fn log_iterator(
    db: &DB,
    start: u64,
) -> io::Result<impl Iterator<Item = Result<Row, rocksdb::Error>> + '_> {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    Ok(db.iterator_cf_opt(
        family(db, LOG)?,
        options,
        IteratorMode::From(&start.to_be_bytes(), Direction::Forward),
    ))
}

fn put_meta(db: &DB, key: &[u8], value: &impl Message) -> io::Result<()> {
    db.put_cf(family(db, META)?, key, encode_frame(value))
        .map_err(io::Error::other)
}

fn read_meta<M: Message + Default>(db: &DB, key: &[u8]) -> io::Result<Option<M>> {
    let value = db
        .get_cf(family(db, META)?, key)
        .map_err(io::Error::other)?;
    value.map(|value| decode_frame(value.into())).transpose()
}

fn decode_entry(key: &[u8], value: Box<[u8]>) -> io::Result<Entry> {
    let entry = convert::entry_from_pb(decode_frame(value.into())?).map_err(io::Error::other)?;
    if entry.log_id.index.to_be_bytes() != *key {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the Raft log is damaged: an entry under another's index",
        ));
    }
    Ok(entry)
}

/// Walks the whole log once: no hole, no entry under a wrong key, terms never decrease. Returns the last id.
fn check_continuity(db: &DB, last_purged: Option<LogId>) -> io::Result<Option<LogId>> {
    let mut last = last_purged;
    let start = last_purged.map_or(0, |id| id.index + 1);
    for item in log_iterator(db, start)? {
        let (key, value) = item.map_err(io::Error::other)?;
        let id = decode_entry(&key, value)?.log_id;
        let follows = match last {
            Some(last) => id.index == last.index + 1 && id.leader_id >= last.leader_id,
            None => true,
        };
        if !follows {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the Raft log is damaged: {id} follows {last:?}"),
            ));
        }
        last = Some(id);
    }
    Ok(last)
}

//! One RocksDB of the state: opening, typed reads, iteration. A generation of the state is one such database.

use std::path::{Path, PathBuf};

use cratekeeper_wire::pb::{peer, state};
use prost::Message;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, Direction, IteratorMode,
    ReadOptions, WriteBatch, WriteOptions,
};

use super::families::{Family, META_APPLIED, META_FORMAT, META_HEAD, META_MEMBERSHIP};
use crate::raft::convert;
use crate::raft::types::{LogId, StoredMembership};

/// The newest form this release reads. Raised when the layout of the column families changes, and once to 2 with feature level 2,
/// which changed nothing here: release 0.1.0 does not look at feature levels, but it stops before a form it does not know.
pub(crate) const STATE_FORMAT: u32 = 2;
const FIRST_FORMAT: u32 = 1;

/// What a state is marked with from the event on that raised the feature level to `level`.
pub(crate) fn format_of_level(level: u32) -> u32 {
    if level < 2 {
        FIRST_FORMAT
    } else {
        STATE_FORMAT
    }
}

/// What goes wrong below: RocksDB, or bytes that are not what they should be. Never "not found".
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("the state store failed")]
    RocksDb(#[from] rocksdb::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the state store is damaged: {0}")]
    Damaged(String),
    /// This binary is older than what it reads.
    #[error("{0}")]
    TooNew(String),
}

impl From<StorageError> for std::io::Error {
    fn from(error: StorageError) -> std::io::Error {
        std::io::Error::other(error)
    }
}

pub(crate) const BACKGROUND_ERRORS: &str = "rocksdb.background-errors";

/// Key and value, as RocksDB hands them out.
pub(crate) type Row = (Box<[u8]>, Box<[u8]>);

pub(crate) struct Database {
    db: DB,
    path: PathBuf,
}

impl Database {
    /// Opens or creates. Everything recovered is flushed first, so that whatever `applied` reports is durable (openraft's contract).
    pub(crate) fn open(path: &Path) -> Result<Database, StorageError> {
        let cache = Cache::new_lru_cache(64 << 20);
        let families = Family::ALL.map(|family| {
            ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache))
        });
        let db = DB::open_cf_descriptors(&database_options(), path, families)?;
        let database = Database {
            db,
            path: path.to_owned(),
        };
        match database.format()? {
            0 => database.db.put_cf(
                database.family(Family::Meta)?,
                META_FORMAT,
                FIRST_FORMAT.to_be_bytes(),
            )?,
            FIRST_FORMAT..=STATE_FORMAT => {}
            format => {
                return Err(StorageError::TooNew(format!(
                    "the state store has format {format}, this release reads up to format {STATE_FORMAT}: start a newer release"
                )));
            }
        }
        database.flush()?;
        Ok(database)
    }

    pub(crate) fn open_read_only(path: &Path) -> Result<Database, StorageError> {
        let cache = Cache::new_lru_cache(8 << 20);
        let mut options = database_options();
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let families = Family::ALL.map(|family| {
            ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache))
        });
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false)?;
        Ok(Database {
            db,
            path: path.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn raw(&self) -> &DB {
        &self.db
    }

    pub(crate) fn family(&self, family: Family) -> Result<&ColumnFamily, StorageError> {
        self.db.cf_handle(family.name()).ok_or_else(|| {
            StorageError::Damaged(format!("column family {} is missing", family.name()))
        })
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.family(family)?, key)?)
    }

    pub(crate) fn get_message<M: Message + Default>(
        &self,
        family: Family,
        key: &[u8],
    ) -> Result<Option<M>, StorageError> {
        self.get(family, key)?
            .map(|bytes| decode(family, &bytes))
            .transpose()
    }

    /// One write, atomic over all families. Not synced: the Raft log refills whatever a power cut takes.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), StorageError> {
        Ok(self.db.write(batch)?)
    }

    /// Past the write-ahead log: a crash before the next `flush` takes it.
    pub(crate) fn write_unlogged(&self, batch: WriteBatch) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Ok(self.db.write_opt(batch, &options)?)
    }

    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        for family in Family::ALL {
            self.db.flush_cf(self.family(family)?)?;
        }
        Ok(self.db.flush_wal(true)?)
    }

    /// Keys from `start` on that begin with `prefix`, in order, as of one moment.
    pub(crate) fn scan<'a>(
        &'a self,
        family: Family,
        prefix: &'a [u8],
        start: &[u8],
    ) -> Result<impl Iterator<Item = Result<Row, StorageError>> + 'a, StorageError> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        let mode = IteratorMode::From(start, Direction::Forward);
        let iterator = self.db.iterator_cf_opt(self.family(family)?, options, mode);
        Ok(iterator
            .take_while(move |item| {
                item.as_ref()
                    .map_or(true, |(key, _)| key.starts_with(prefix))
            })
            .map(|item| item.map_err(StorageError::from)))
    }

    pub(crate) fn applied(&self) -> Result<Option<LogId>, StorageError> {
        Ok(self
            .get_message::<peer::LogId>(Family::Meta, META_APPLIED)?
            .map(|id| convert::log_id_from_pb(&id)))
    }

    pub(crate) fn membership(&self) -> Result<StoredMembership, StorageError> {
        match self.get_message::<peer::StoredMembership>(Family::Meta, META_MEMBERSHIP)? {
            None => Ok(StoredMembership::default()),
            Some(stored) => convert::stored_membership_from_pb(&stored)
                .map_err(|error| StorageError::Damaged(error.to_string())),
        }
    }

    /// 0: it is empty.
    pub(crate) fn format(&self) -> Result<u32, StorageError> {
        let Some(format) = self.get(Family::Meta, META_FORMAT)? else {
            return Ok(0);
        };
        let format = format
            .try_into()
            .map_err(|_| StorageError::Damaged("the format of the state".to_owned()))?;
        Ok(u32::from_be_bytes(format))
    }

    /// Flushes and compactions that failed since it was opened.
    pub(crate) fn background_errors(&self) -> Result<u64, StorageError> {
        let errors = self.db.property_int_value(BACKGROUND_ERRORS)?;
        Ok(errors.unwrap_or(0))
    }

    pub(crate) fn head(&self) -> Result<state::Head, StorageError> {
        let head = self.get_message::<state::Head>(Family::Meta, META_HEAD)?;
        Ok(head.unwrap_or_else(|| state::Head {
            sequence: 0,
            chain: vec![0; 32].into(),
            time_ms: 0,
        }))
    }
}

pub(crate) fn decode<M: Message + Default>(
    family: Family,
    bytes: &[u8],
) -> Result<M, StorageError> {
    M::decode(bytes)
        .map_err(|error| StorageError::Damaged(format!("a row of {}: {error}", family.name())))
}

pub(crate) fn number(family: Family, bytes: &[u8]) -> Result<u64, StorageError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StorageError::Damaged(format!("a number in {}", family.name())))?;
    Ok(u64::from_be_bytes(bytes))
}

fn database_options() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // A prefix is fine here: the Raft log refills the rest.
    options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::PointInTime);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_total_wal_size(128 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_background_jobs(2);
    options
}

fn family_options(family: Family, cache: &Cache) -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(10.0, false);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let write_buffer = match family {
        Family::Events | Family::Lines => 16 << 20,
        Family::Meta
        | Family::Chain
        | Family::Streams
        | Family::Heads
        | Family::Crates
        | Family::Versions
        | Family::Tokens
        | Family::TokenIds => 4 << 20,
    };
    options.set_write_buffer_size(write_buffer);
    options
}

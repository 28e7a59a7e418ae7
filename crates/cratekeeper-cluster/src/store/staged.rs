//! Writes gathered for one `WriteBatch`, readable before they are written: later entries of a batch see earlier ones.

use std::collections::BTreeMap;

use prost::Message;
use rocksdb::WriteBatch;

use super::database::{Database, StorageError, decode};
use super::families::Family;

pub(crate) struct Staged<'a> {
    database: &'a Database,
    written: BTreeMap<(Family, Vec<u8>), Option<Vec<u8>>>,
}

impl<'a> Staged<'a> {
    pub(crate) fn new(database: &'a Database) -> Staged<'a> {
        Staged {
            database,
            written: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        match self.written.get(&(family, key.to_vec())) {
            Some(staged) => Ok(staged.clone()),
            None => self.database.get(family, key),
        }
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

    pub(crate) fn put(&mut self, family: Family, key: &[u8], value: Vec<u8>) {
        self.written.insert((family, key.to_vec()), Some(value));
    }

    pub(crate) fn delete(&mut self, family: Family, key: &[u8]) {
        self.written.insert((family, key.to_vec()), None);
    }

    /// Writes everything at once.
    pub(crate) fn write(self) -> Result<(), StorageError> {
        let database = self.database;
        database.write(self.batch()?)
    }

    /// The same, past the write-ahead log: for a database that is thrown away unless it is flushed at its end.
    pub(crate) fn write_unlogged(self) -> Result<(), StorageError> {
        let database = self.database;
        database.write_unlogged(self.batch()?)
    }

    fn batch(self) -> Result<WriteBatch, StorageError> {
        let mut batch = WriteBatch::default();
        for ((family, key), value) in self.written {
            let family = self.database.family(family)?;
            match value {
                Some(value) => batch.put_cf(family, key, value),
                None => batch.delete_cf(family, key),
            }
        }
        Ok(batch)
    }
}

//! Index files ready to send: the lines of a crate joined, kept in memory, bounded by bytes.

use std::sync::Arc;

use bytes::Bytes;
use cratekeeper_wire::pb::state;
use lru::LruCache;
use parking_lot::Mutex;

use super::database::{Database, StorageError};
use super::families::{Family, prefix};
use super::generation::Generations;
use crate::api::IndexFile;

pub(crate) struct IndexFiles {
    cached: Mutex<Cached>,
    bytes_max: usize,
}

struct Cached {
    files: LruCache<String, Arc<IndexFile>>,
    bytes: usize,
}

impl Cached {
    fn remove(&mut self, canonical: &str) {
        if let Some(file) = self.files.pop(canonical) {
            self.bytes -= weight(&file);
        }
    }
}

impl IndexFiles {
    pub(crate) fn new(bytes_max: usize) -> IndexFiles {
        IndexFiles {
            cached: Mutex::new(Cached {
                files: LruCache::unbounded(),
                bytes: 0,
            }),
            bytes_max,
        }
    }

    /// The file of the crate whose lower-cased name is `lower_name`; names that only meet it in canonical form are other names to cargo.
    pub(crate) fn get(
        &self,
        generations: &Generations,
        lower_name: &str,
    ) -> Result<Option<Arc<IndexFile>>, StorageError> {
        let canonical = lower_name.replace('-', "_");
        if let Some(file) = self.cached.lock().files.get(&canonical) {
            return Ok((file.lower_name == lower_name).then(|| file.clone()));
        }
        let Some(file) = read(&generations.live(), &canonical)? else {
            return Ok(None);
        };
        let file = Arc::new(file);
        self.insert(generations, canonical, &file)?;
        Ok((file.lower_name == lower_name).then_some(file))
    }

    /// To be called after the write that changed these crates, before anybody is told of it.
    pub(crate) fn forget<'a>(&self, canonical_names: impl IntoIterator<Item = &'a str>) {
        let mut cached = self.cached.lock();
        for name in canonical_names {
            cached.remove(name);
        }
    }

    pub(crate) fn forget_all(&self) {
        let mut cached = self.cached.lock();
        cached.files.clear();
        cached.bytes = 0;
    }

    fn insert(
        &self,
        generations: &Generations,
        canonical: String,
        file: &Arc<IndexFile>,
    ) -> Result<(), StorageError> {
        let mut cached = self.cached.lock();
        // A write, or another generation, between our reading and this moment has already said "forget": putting the old file
        // back would keep it for ever.
        let row = generations
            .live()
            .get_message::<state::CrateRow>(Family::Crates, canonical.as_bytes())?;
        if row.is_none_or(|row| row.file_position != file.position) {
            return Ok(());
        }
        cached.remove(&canonical);
        cached.bytes += weight(file);
        cached.files.put(canonical, file.clone());
        while cached.bytes > self.bytes_max {
            let Some((_, evicted)) = cached.files.pop_lru() else {
                break;
            };
            cached.bytes -= weight(&evicted);
        }
        Ok(())
    }
}

fn weight(file: &IndexFile) -> usize {
    file.bytes.len() + 256
}

/// Row and lines must be of one moment, or an old file could carry a new ETag.
fn read(database: &Database, canonical: &str) -> Result<Option<IndexFile>, StorageError> {
    loop {
        let Some(row) =
            database.get_message::<state::CrateRow>(Family::Crates, canonical.as_bytes())?
        else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let lines = prefix(canonical);
        for item in database.scan(Family::Lines, &lines, &lines)? {
            bytes.extend_from_slice(&item?.1);
        }
        let again =
            database.get_message::<state::CrateRow>(Family::Crates, canonical.as_bytes())?;
        if again.as_ref().map(|row| row.file_position) != Some(row.file_position) {
            continue;
        }
        if row.lines == 0 {
            return Ok(None);
        }
        let hash = hex::encode(row.file_leaf.get(..8).unwrap_or_default());
        return Ok(Some(IndexFile {
            lower_name: row.name.to_ascii_lowercase(),
            bytes: Bytes::from(bytes),
            etag: format!("\"{}-{hash}\"", row.file_position),
            position: row.file_position,
        }));
    }
}

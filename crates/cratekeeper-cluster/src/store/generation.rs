//! Generations of the state: `state/CURRENT` names the live directory, and installing a snapshot is a switch to the next one.
//! After a crash at any point either the old or the new generation is live, whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::database::{Database, StorageError};

const CURRENT: &str = "CURRENT";

/// The state directory with its live generation.
pub(crate) struct Generations {
    directory: PathBuf,
    live: ArcSwap<Generation>,
}

/// One opened generation; readers keep it alive while they use it, and a replaced one removes itself after the last.
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// `None` only while being dropped.
    database: Option<Database>,
    replaced: AtomicBool,
}

impl std::ops::Deref for Generation {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database
            .as_ref()
            .expect("the database is only taken when the generation is dropped")
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let Some(database) = self.database.take() else {
            return;
        };
        let path = database.path().to_owned();
        drop(database);
        if self.replaced.load(Ordering::Acquire)
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(%error, path = %path.display(), "a replaced generation of the state could not be removed; the next start tries again");
        }
    }
}

impl Generations {
    /// Opens the live generation, or creates the first. Directories that CURRENT does not name are left-overs of a crash and removed.
    pub(crate) fn open(directory: &Path) -> Result<Generations, StorageError> {
        fs::create_dir_all(directory)?;
        let number = match fs::read_to_string(directory.join(CURRENT)) {
            Ok(name) => parse_name(name.trim()).ok_or_else(|| {
                StorageError::Damaged(format!("state/CURRENT names `{}`", name.trim()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let database = Database::open(&directory.join(name(1)))?;
                drop(database);
                write_current(directory, 1)?;
                1
            }
            Err(error) => return Err(error.into()),
        };
        let path = directory.join(name(number));
        if !path.is_dir() {
            return Err(StorageError::Damaged(format!(
                "state/CURRENT names {}, which is not there",
                name(number)
            )));
        }
        remove_others(directory, number)?;
        let generation = Generation {
            number,
            database: Some(Database::open(&path)?),
            replaced: AtomicBool::new(false),
        };
        Ok(Generations {
            directory: directory.to_owned(),
            live: ArcSwap::from_pointee(generation),
        })
    }

    pub(crate) fn live(&self) -> Arc<Generation> {
        self.live.load_full()
    }

    /// Where the next generation is to be prepared; anything there is a left-over.
    pub(crate) fn next_path(&self) -> Result<(u64, PathBuf), StorageError> {
        let number = self.live.load().number + 1;
        let path = self.directory.join(name(number));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        Ok((number, path))
    }

    /// Makes a prepared and checked database the live one. Its files and directory entry are on disk before CURRENT names it.
    pub(crate) fn switch(&self, number: u64, database: Database) -> Result<(), StorageError> {
        sync_tree(database.path())?;
        sync_directory(&self.directory)?;
        write_current(&self.directory, number)?;
        let generation = Generation {
            number,
            database: Some(database),
            replaced: AtomicBool::new(false),
        };
        let old = self.live.swap(Arc::new(generation));
        old.replaced.store(true, Ordering::Release);
        Ok(())
    }
}

/// Where the live generation of a state directory is; nothing if there is none.
pub(crate) fn live_path(directory: &Path) -> Result<Option<PathBuf>, StorageError> {
    let name = match fs::read_to_string(directory.join(CURRENT)) {
        Ok(name) => name,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match parse_name(name.trim()) {
        Some(number) => Ok(Some(directory.join(self::name(number)))),
        None => Err(StorageError::Damaged(format!(
            "state/CURRENT names `{}`",
            name.trim()
        ))),
    }
}

fn name(number: u64) -> String {
    format!("gen-{number:06}")
}

fn parse_name(name: &str) -> Option<u64> {
    name.strip_prefix("gen-")?.parse().ok()
}

fn write_current(directory: &Path, number: u64) -> io::Result<()> {
    write_durably(&directory.join(CURRENT), name(number).as_bytes())
}

/// Replaces a small file: after a crash it has the old or the new content, whole.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::other("a file without a directory"))?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(directory)
}

pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Every file below `directory` and the directory itself, to disk.
pub(crate) fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        match File::open(entry.path()) {
            Ok(file) => file.sync_all()?,
            // An open database removes files that it does not need any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    sync_directory(directory)
}

fn remove_others(directory: &Path, live: u64) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let other = entry
            .file_name()
            .to_str()
            .and_then(parse_name)
            .is_some_and(|number| number != live);
        if other {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_survives_reopening_and_the_old_generation_goes() {
        let directory = tempfile::tempdir().expect("directory");
        let generations = Generations::open(directory.path()).expect("opens");
        let (number, path) = generations.next_path().expect("next");
        let database = Database::open(&path).expect("database");
        generations.switch(number, database).expect("switches");
        assert_eq!(generations.live().number, 2);
        assert!(!directory.path().join("gen-000001").exists());
        drop(generations);
        assert_eq!(
            Generations::open(directory.path())
                .expect("opens")
                .live()
                .number,
            2
        );
    }

    #[test]
    fn a_generation_that_was_not_switched_to_is_removed_at_start() {
        let directory = tempfile::tempdir().expect("directory");
        let generations = Generations::open(directory.path()).expect("opens");
        let (_, path) = generations.next_path().expect("next");
        drop(Database::open(&path).expect("database"));
        drop(generations);
        assert_eq!(
            Generations::open(directory.path())
                .expect("opens")
                .live()
                .number,
            1
        );
        assert!(!path.exists());
    }
}

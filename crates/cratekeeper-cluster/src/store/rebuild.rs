//! Folding the whole history into fresh projections and comparing them with the live ones, byte for byte: the proof that events
//! are the only truth.

use std::path::Path;

use cratekeeper_wire::decode_record;
use cratekeeper_wire::pb::state;

use super::append::refold;
use super::database::{Database, StorageError};
use super::families::Family;
use super::generation::Generations;
use super::staged::Staged;
use crate::api::Rebuilt;

/// Events staged for one write.
const BATCH: u64 = 256;

/// Folds all events of the state in `directory` (of a stopped node). With `replace`, what was folded becomes live.
pub(crate) fn rebuild(
    directory: &Path,
    replace: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Rebuilt, StorageError> {
    let generations = Generations::open(directory)?;
    let live = generations.live();
    let (number, path) = generations.next_path()?;
    let fresh = Database::open(&path)?;
    let head = fold_all(&live, &fresh, progress)?;
    let differences = compare(&live, &fresh)?;
    let rebuilt = Rebuilt {
        events: head.sequence,
        chain: hex::encode(&head.chain),
        differences,
    };
    if replace {
        copy_meta(&live, &fresh)?;
        fresh.flush()?;
        generations.switch(number, fresh)?;
    } else {
        drop(fresh);
        std::fs::remove_dir_all(&path)?;
    }
    Ok(rebuilt)
}

fn fold_all(
    live: &Database,
    fresh: &Database,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<state::Head, StorageError> {
    let all = live.head()?.sequence;
    let mut head = state::Head {
        sequence: 0,
        chain: vec![0; 32].into(),
        time_ms: 0,
    };
    let mut staged = Staged::new(fresh);
    for item in live.scan(Family::Events, b"", b"")? {
        let (key, record) = item?;
        if *key != (head.sequence + 1).to_be_bytes() {
            return Err(StorageError::Damaged(format!(
                "the history has a gap after event {}",
                head.sequence
            )));
        }
        let recorded =
            decode_record(&record).map_err(|error| StorageError::TooNew(error.to_string()))?;
        refold(&mut staged, &mut head, &record, &recorded)?;
        if head.sequence.is_multiple_of(BATCH) {
            std::mem::replace(&mut staged, Staged::new(fresh)).write()?;
            progress(head.sequence, all);
        }
    }
    staged.write()?;
    progress(head.sequence, all);
    Ok(head)
}

fn compare(live: &Database, fresh: &Database) -> Result<Vec<String>, StorageError> {
    let mut differences = Vec::new();
    for family in Family::REBUILT {
        let mut left = live.scan(family, b"", b"")?;
        let mut right = fresh.scan(family, b"", b"")?;
        loop {
            let (left, right) = (left.next().transpose()?, right.next().transpose()?);
            if left.is_none() && right.is_none() {
                break;
            }
            if left != right {
                let key = left
                    .or(right)
                    .map(|(key, _)| String::from_utf8_lossy(&key).into_owned())
                    .unwrap_or_default();
                differences.push(format!("{}/{}", family.name(), key.escape_debug()));
                // Once out of step every later key differs; one name is enough to look at.
                break;
            }
        }
    }
    Ok(differences)
}

fn copy_meta(live: &Database, fresh: &Database) -> Result<(), StorageError> {
    let mut staged = Staged::new(fresh);
    for item in live.scan(Family::Meta, b"", b"")? {
        let (key, value) = item?;
        staged.put(Family::Meta, &key, value.into_vec());
    }
    staged.write()
}

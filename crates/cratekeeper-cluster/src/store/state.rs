//! The handle on the state that apply and readers share: the live generation and what is kept in memory beside it.

use std::path::Path;
use std::sync::Arc;

use cratekeeper_domain::StreamId;
use tokio::sync::watch;

use super::database::StorageError;
use super::families::{Family, removed_node};
use super::folded::{Folded, FoldedStreams};
use super::generation::{Generation, Generations};
use super::index_files::IndexFiles;

use crate::api::IndexFile;

/// What is applied here, told after it is written and visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Raft index of the newest applied entry.
    pub(crate) applied: u64,
    pub(crate) sequence: u64,
}

pub(crate) struct State {
    pub(crate) generations: Generations,
    pub(crate) index_files: IndexFiles,
    folded: FoldedStreams,
    progress: watch::Sender<Progress>,
    sequence: watch::Sender<u64>,
}

impl State {
    /// Raft index of the newest applied entry.
    pub(crate) fn applied(&self) -> u64 {
        self.progress.borrow().applied
    }

    pub(crate) fn open(
        directory: &Path,
        folded_streams_max: usize,
        index_cache_bytes: usize,
    ) -> Result<State, StorageError> {
        let generations = Generations::open(directory)?;
        let progress = progress_of(&generations.live())?;
        Ok(State {
            generations,
            index_files: IndexFiles::new(index_cache_bytes),
            folded: FoldedStreams::new(folded_streams_max),
            progress: watch::Sender::new(progress),
            sequence: watch::Sender::new(progress.sequence),
        })
    }

    pub(crate) fn live(&self) -> Arc<Generation> {
        self.generations.live()
    }

    pub(crate) fn index_file(
        &self,
        lower_name: &str,
    ) -> Result<Option<Arc<IndexFile>>, StorageError> {
        self.index_files.get(&self.generations, lower_name)
    }

    pub(crate) fn folded(&self, stream: &StreamId) -> Result<Folded, StorageError> {
        self.folded.load(&self.live(), stream)
    }

    /// As applied here, since releases that note it.
    pub(crate) fn was_removed(&self, node: u64) -> Result<bool, StorageError> {
        let noted = self.live().get(Family::Meta, &removed_node(node))?;
        Ok(noted.is_some())
    }

    /// Told by apply, after the write and after the caches are right.
    pub(crate) fn advance(&self, progress: Progress) {
        self.progress.send_replace(progress);
        self.sequence.send_if_modified(|sequence| {
            std::mem::replace(sequence, progress.sequence) != progress.sequence
        });
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn sequence(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }

    /// After another generation became live.
    pub(crate) fn switched(&self) -> Result<(), StorageError> {
        self.index_files.forget_all();
        self.advance(progress_of(&self.live())?);
        Ok(())
    }
}

fn progress_of(generation: &Generation) -> Result<Progress, StorageError> {
    Ok(Progress {
        applied: generation.applied()?.map_or(0, |id| id.index),
        sequence: generation.head()?.sequence,
    })
}

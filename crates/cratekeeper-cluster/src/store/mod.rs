//! The state of a node on its own RocksDB: events, projections, what is applied. See `families.rs` for the schema.

mod append;
mod database;
mod families;
mod folded;
#[cfg(test)]
mod frozen_tests;
mod generation;
mod index_files;

pub(crate) mod queries;
mod rebuild;
mod replay;
mod staged;
mod state;

pub(crate) use append::{Appended, append};
pub(crate) use database::{BACKGROUND_ERRORS, Database, STATE_FORMAT, StorageError};
pub(crate) use families::{Family, META_APPLIED, META_MEMBERSHIP, removed_node};
pub(crate) use folded::FoldedStreams;
pub(crate) use generation::{live_path, sync_directory, sync_tree, write_durably};
pub(crate) use rebuild::rebuild;
pub use replay::{Replay, ReplayError};
pub(crate) use staged::Staged;
pub(crate) use state::{Progress, State};

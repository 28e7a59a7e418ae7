//! Snapshots: a checkpoint of the state with a manifest of hashes, streamed file by file, installed by a switch of generations.

mod build;
mod install;
pub(crate) mod manifest;
mod shelf;

pub(crate) mod receive;
pub(crate) mod send;

pub(crate) use build::SnapshotBuilder;
pub(crate) use manifest::SnapshotDirectory;
pub(crate) use shelf::Snapshots;

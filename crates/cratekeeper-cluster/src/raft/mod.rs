//! Raft's side of a node: types, the log store, the state machine, and their bytes.

pub(crate) mod convert;
mod flusher;
pub(crate) mod log_store;
pub(crate) mod state_machine;
pub(crate) mod types;

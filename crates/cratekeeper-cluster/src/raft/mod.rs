//! Raft's side of a node: types, the log store, the state machine, and their bytes.

pub(crate) mod convert;
mod flusher;
mod frame;
pub(crate) mod log_store;
mod log_tail;
pub(crate) mod state_machine;
pub(crate) mod types;

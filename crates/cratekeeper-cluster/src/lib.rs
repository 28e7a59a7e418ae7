//! Agreement and durability: a replicated history of events with projections, on openraft and RocksDB.
//! [`Cluster`] is the handle the server holds; nothing outside this crate names a Raft or RocksDB type.

mod api;

pub use api::*;

//! Agreement and durability: a replicated history of events with projections, on openraft and RocksDB.
//! [`Cluster`] is the handle the server holds; nothing outside this crate names a Raft or RocksDB type.

mod admission;
mod admitting;
mod api;
mod causes;
pub mod certificates;
mod cluster;
#[cfg(test)]
mod cluster_tests;
mod elections;
mod execute;
mod features;
mod gauges;
mod history;
mod leaving;
mod membership;
mod node;
mod node_file;
mod peer;
mod raft;
mod raft_thread;
mod readiness;
mod reading;
mod restore;
#[cfg(test)]
mod restore_tests;
mod snapshot;
mod starting;
mod status;
mod stopped;
mod store;
mod tasks;

pub use api::*;
pub use cluster::{Cluster, rebuild};
pub use peer::check_peer_certificate;
pub use restore::{has_node, restore};
pub use stopped::StoppedNode;
pub use store::{Replay, ReplayError};

/// As nodes tell each other.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");
pub use gauges::{DatabaseGauges, DiskGauges, Gauges, PeerGauges, RaftGauges};

//! The hash chain over the history: every node that has the same events has the same chain hash.

use sha2::{Digest, Sha256};

/// The chain hash before the first event.
pub const CHAIN_START: [u8; 32] = [0; 32];

/// SHA-256(0x00 ‖ record), as RFC 6962 hashes a leaf.
pub fn leaf_hash(record: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update([0])
        .chain_update(record)
        .finalize()
        .into()
}

/// SHA-256(0x01 ‖ previous ‖ leaf): the chain hash with one more event.
pub fn chain_hash(previous: [u8; 32], leaf: [u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update([1])
        .chain_update(previous)
        .chain_update(leaf)
        .finalize()
        .into()
}

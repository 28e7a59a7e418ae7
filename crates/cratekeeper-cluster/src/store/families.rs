//! The column families of the state store: this list is the storage schema. Integers in keys are big endian.

/// One keyspace of the state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// `applied` → `peer.v1.LogId` · `membership` → `peer.v1.StoredMembership` · `head` → `state.v1.Head` · `format` → u32 ·
    /// `removed` ‖ 0 ‖ node → nothing: it was a member and will never be one again.
    Meta,
    /// sequence → record, the bytes that are hashed. Never changed, never deleted.
    Events,
    /// sequence → leaf hash (32 bytes) ‖ chain hash (32 bytes).
    Chain,
    /// stream ‖ 0 ‖ position → sequence.
    Streams,
    /// stream → position of its newest event.
    Heads,
    /// canonical name → `state.v1.CrateRow`.
    Crates,
    /// canonical name ‖ 0 ‖ version without build metadata → `state.v1.VersionRow`.
    Versions,
    /// canonical name ‖ 0 ‖ sequence of publication → line of the index file.
    Lines,
    /// SHA-256 of a token → `state.v1.TokenRow`; revoked tokens stay, the account says that they are revoked.
    Tokens,
    /// token id → login.
    TokenIds,
}

impl Family {
    pub(crate) const ALL: [Family; 10] = [
        Family::Meta,
        Family::Events,
        Family::Chain,
        Family::Streams,
        Family::Heads,
        Family::Crates,
        Family::Versions,
        Family::Lines,
        Family::Tokens,
        Family::TokenIds,
    ];

    /// Those that folding the events again must give byte for byte.
    pub(crate) const REBUILT: [Family; 8] = [
        Family::Chain,
        Family::Streams,
        Family::Heads,
        Family::Crates,
        Family::Versions,
        Family::Lines,
        Family::Tokens,
        Family::TokenIds,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Events => "events",
            Family::Chain => "chain",
            Family::Streams => "streams",
            Family::Heads => "heads",
            Family::Crates => "crates",
            Family::Versions => "versions",
            Family::Lines => "lines",
            Family::Tokens => "tokens",
            Family::TokenIds => "token_ids",
        }
    }
}

pub(crate) const META_APPLIED: &[u8] = b"applied";
pub(crate) const META_MEMBERSHIP: &[u8] = b"membership";
pub(crate) const META_HEAD: &[u8] = b"head";
pub(crate) const META_FORMAT: &[u8] = b"format";

/// Of [`Family::Meta`].
pub(crate) fn removed_node(node: u64) -> Vec<u8> {
    numbered("removed", node)
}

/// `name ‖ 0`: what all keys about one name or stream start with. Neither may contain a zero byte.
pub(crate) fn prefix(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key
}

pub(crate) fn numbered(name: &str, number: u64) -> Vec<u8> {
    let mut key = prefix(name);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn named(name: &str, rest: &str) -> Vec<u8> {
    let mut key = prefix(name);
    key.extend_from_slice(rest.as_bytes());
    key
}

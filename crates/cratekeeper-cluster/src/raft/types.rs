//! The types Raft is run with. Nothing here is stored or sent as it is: `cratekeeper-wire` has the bytes.

use bytes::Bytes;

use crate::api::NodeRole;

/// What one log entry proposes: an encoded `Append` of the wire crate, kept as bytes so that no node re-encodes it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) bytes: Bytes,
}

impl std::fmt::Debug for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proposal({} bytes)", self.bytes.len())
    }
}

impl std::fmt::Display for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What applying an entry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The events are stored; the sequence of the last one.
    Stored { sequence: u64 },
    /// A stream in the read set had moved; nothing changed.
    Conflict,
    /// A blank or membership entry.
    Nothing,
}

impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A node as the membership names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Member {
    /// `host:port` of its peer service.
    pub(crate) address: String,
    /// Of its volume: a wiped volume has another one and therefore another node id.
    pub(crate) incarnation: String,
    pub(crate) name: String,
    pub(crate) role: NodeRole,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = Member,
);

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot =
    openraft::type_config::alias::SnapshotOf<TypeConfig, crate::snapshot::SnapshotDirectory>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::raft::state_machine::StateMachine>;

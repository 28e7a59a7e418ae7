//! Facts: what happened, in the past tense, and the envelope each carries in the history.

use crate::{
    Checksum, CrateName, CratePattern, Login, Role, Scope, StreamId, TokenHash, TokenId, Version,
    VersionFacts,
};

/// A fact. Stored for ever; a new kind of event is first folded by one release and only emitted by the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// In a crate's stream, always first: the name is taken in this spelling.
    CrateCreated {
        name: CrateName,
    },
    VersionPublished {
        facts: Box<VersionFacts>,
        checksum: Checksum,
        tarball_bytes: u64,
    },
    VersionYanked {
        version: Version,
    },
    VersionUnyanked {
        version: Version,
    },
    /// An administrator removed the version; name and version are never free again.
    VersionRemoved {
        version: Version,
        reason: String,
    },
    OwnerAdded {
        login: Login,
    },
    OwnerRemoved {
        login: Login,
    },
    /// In an account's stream, always first.
    AccountCreated {
        login: Login,
        name: Option<String>,
        role: Role,
    },
    AccountDisabled,
    AccountEnabled,
    TokenIssued {
        token: TokenId,
        name: String,
        hash: TokenHash,
        scopes: Vec<Scope>,
        crates: Vec<CratePattern>,
        expires_at_ms: Option<u64>,
    },
    TokenRevoked {
        token: TokenId,
    },
    /// In the installation's stream, always first: the cluster was founded.
    ClusterFounded {
        cluster: String,
        history: String,
    },
    /// A node id was given out; ids count from 1 and are never given out twice.
    NodeAdmitted {
        node: u64,
        incarnation: String,
    },
    /// From here on every node folds and renders as this level says.
    FeatureLevelRaised {
        level: u32,
    },
    /// Everything before was taken from a backup of another history; from here on it is this one. From feature level 2 on.
    HistoryRestored {
        from_cluster: String,
        from_history: String,
        /// Of the last event taken over, and the chain hash there.
        sequence: u64,
        chain: [u8; 32],
        cluster: String,
        history: String,
    },
}

/// Who did it. Both empty: the cluster itself (founding, admitting nodes).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    pub login: Option<Login>,
    pub token: Option<TokenId>,
}

/// One per client request, kept through retries and forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestId(pub [u8; 16]);

/// An event in its place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// In the whole history: dense, from 1.
    pub sequence: u64,
    pub stream: StreamId,
    /// In its stream: dense, from 1.
    pub position: u64,
    /// Milliseconds since the Unix epoch, UTC, as stamped by the leader; never decreases along the history.
    pub time_ms: u64,
    pub actor: Actor,
    pub request: RequestId,
    pub event: Event,
}

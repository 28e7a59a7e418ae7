//! What somebody asks for, in the imperative; `decide` turns it into events or a rejection.

use crate::{
    Actor, CanonicalName, Checksum, CrateName, CratePattern, Login, Role, Scope, StreamId,
    TokenHash, TokenId, Version, VersionFacts,
};

/// A version to publish: judged facts and the tarball already stored under its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub facts: VersionFacts,
    pub checksum: Checksum,
    pub tarball_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Publish(Box<Publish>),
    Yank {
        krate: CrateName,
        version: Version,
    },
    Unyank {
        krate: CrateName,
        version: Version,
    },
    RemoveVersion {
        krate: CrateName,
        version: Version,
        reason: String,
    },
    AddOwners {
        krate: CrateName,
        logins: Vec<Login>,
    },
    RemoveOwners {
        krate: CrateName,
        logins: Vec<Login>,
    },
    CreateAccount {
        login: Login,
        name: Option<String>,
        role: Role,
    },
    DisableAccount {
        login: Login,
    },
    EnableAccount {
        login: Login,
    },
    IssueToken {
        login: Login,
        token: TokenId,
        name: String,
        hash: TokenHash,
        scopes: Vec<Scope>,
        crates: Vec<CratePattern>,
        expires_at_ms: Option<u64>,
    },
    RevokeToken {
        login: Login,
        token: TokenId,
    },
    /// Only by the cluster itself, as the first command ever: the installation, its administrator and that administrator's token.
    Found {
        cluster: String,
        history: String,
        admin: Login,
        token: TokenId,
        hash: TokenHash,
    },
    /// Only by the cluster itself: give out the next node id to the volume with this incarnation.
    AdmitNode {
        incarnation: String,
    },
    /// Only by the cluster itself.
    RaiseFeatureLevel {
        level: u32,
    },
}

impl Command {
    /// Every stream that deciding this command for `actor` looks at; their positions become the read set of the append.
    pub fn reads(&self, actor: &Actor) -> Vec<StreamId> {
        todo!("{actor:?}")
    }

    /// Crates of this registry that the command's dependencies name: the caller of `decide` fills `View::known_crates` for them.
    pub fn dependency_names(&self) -> Vec<CanonicalName> {
        todo!()
    }
}

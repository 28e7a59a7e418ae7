//! What somebody asks for, in the imperative; `decide` turns it into events or a rejection.

use std::collections::BTreeSet;

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
        /// What the history begins with.
        feature_level: u32,
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
    /// In order, each once.
    pub fn reads(&self, actor: &Actor) -> Vec<StreamId> {
        let mut streams = BTreeSet::new();
        streams.extend(actor.login.clone().map(StreamId::Account));
        match self {
            Command::Publish(publish) => {
                streams.insert(StreamId::Crate(publish.facts.name.canonical()));
            }
            Command::Yank { krate, .. }
            | Command::Unyank { krate, .. }
            | Command::RemoveVersion { krate, .. }
            | Command::RemoveOwners { krate, .. } => {
                streams.insert(StreamId::Crate(krate.canonical()));
            }
            Command::AddOwners { krate, logins } => {
                streams.insert(StreamId::Crate(krate.canonical()));
                streams.extend(logins.iter().cloned().map(StreamId::Account));
            }
            Command::CreateAccount { login, .. }
            | Command::DisableAccount { login }
            | Command::EnableAccount { login }
            | Command::IssueToken { login, .. }
            | Command::RevokeToken { login, .. } => {
                streams.insert(StreamId::Account(login.clone()));
            }
            Command::Found { admin, .. } => {
                streams.insert(StreamId::Account(admin.clone()));
                streams.insert(StreamId::Installation);
            }
            Command::AdmitNode { .. } | Command::RaiseFeatureLevel { .. } => {
                streams.insert(StreamId::Installation);
            }
        }
        streams.into_iter().collect()
    }

    /// Crates of this registry that the command's dependencies name: the caller of `decide` fills `View::known_crates` for them.
    /// In order, each once; none for dev-dependencies, which may point at crates not yet published.
    pub fn dependency_names(&self) -> Vec<CanonicalName> {
        let Command::Publish(publish) = self else {
            return Vec::new();
        };
        let names: BTreeSet<CanonicalName> = publish
            .facts
            .dependencies
            .iter()
            .filter(|dependency| dependency.must_exist_here())
            .filter_map(|dependency| CrateName::parse(dependency.crate_name()).ok())
            .map(|name| name.canonical())
            .collect();
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DependencyKind;
    use crate::story::{dependency, facts, krate, login, publish_facts};

    #[test]
    fn a_decision_reads_the_caller_and_whatever_is_named() {
        let actor = Actor {
            login: Some(login("alice")),
            token: None,
        };
        let reads = |command: Command, actor: &Actor| -> Vec<String> {
            command
                .reads(actor)
                .iter()
                .map(StreamId::to_string)
                .collect()
        };
        let logins = vec![login("bob"), login("alice")];
        let add = Command::AddOwners {
            krate: krate("Foo-Bar"),
            logins,
        };
        assert_eq!(
            reads(add, &actor),
            ["crate:foo_bar", "account:alice", "account:bob"]
        );
        let admit = Command::AdmitNode {
            incarnation: String::new(),
        };
        assert_eq!(reads(admit, &Actor::default()), ["installation"]);
    }

    #[test]
    fn only_dependencies_users_need_must_be_known() {
        let mut facts = facts("foo", "1.0.0");
        let renamed = crate::Dependency {
            package: Some("Right-Pad".to_owned()),
            ..dependency("pad")
        };
        let dev = crate::Dependency {
            kind: DependencyKind::Dev,
            ..dependency("dev")
        };
        let elsewhere = crate::Dependency {
            registry: Some("x".to_owned()),
            ..dependency("else")
        };
        facts.dependencies = vec![renamed, dependency("bar"), dev, elsewhere];
        let names = publish_facts(facts, "").dependency_names();
        let names: Vec<&str> = names.iter().map(CanonicalName::as_str).collect();
        assert_eq!(names, ["bar", "right_pad"]);
    }
}

//! Events as JSON: for `events tail`, for scripts, for auditors. A view of the history, not its stored form.

use cratekeeper_domain::{CratePattern, Event, Recorded};
use serde::Serialize;
use utoipa::ToSchema;

use super::facts::ShownFacts;
use super::time::rfc3339;

/// One event with its place in the history.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct ShownEvent {
    /// In the whole history: dense, from 1.
    sequence: u64,
    /// What it happened to: `crate:NAME`, `account:LOGIN` or `installation`.
    stream: String,
    /// In its stream: dense, from 1.
    position: u64,
    /// Never before that of an earlier event.
    #[schema(format = DateTime)]
    time: String,
    actor: ShownActor,
    /// Id of the request that asked for it, as the log has it.
    request: String,
    #[serde(flatten)]
    happened: Happened,
}

/// Who did it; both null where it was the cluster itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Actor)]
struct ShownActor {
    login: Option<String>,
    /// Id of the token.
    token: Option<String>,
}

/// What happened, and to what.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", content = "content", rename_all = "snake_case")]
enum Happened {
    CrateCreated {
        name: String,
    },
    VersionPublished {
        version: String,
        /// SHA-256 of the tarball, in hex.
        checksum: String,
        tarball_bytes: u64,
        facts: Box<ShownFacts>,
    },
    VersionYanked {
        version: String,
    },
    VersionUnyanked {
        version: String,
    },
    VersionRemoved {
        version: String,
        reason: String,
    },
    OwnerAdded {
        login: String,
    },
    OwnerRemoved {
        login: String,
    },
    AccountCreated {
        login: String,
        name: Option<String>,
        role: String,
    },
    AccountDisabled {},
    AccountEnabled {},
    TokenIssued {
        /// Its id.
        token: String,
        name: String,
        scopes: Vec<String>,
        crates: Vec<String>,
        #[schema(format = DateTime)]
        expires_at: Option<String>,
    },
    TokenRevoked {
        /// Its id.
        token: String,
    },
    ClusterFounded {
        cluster: String,
        history: String,
    },
    NodeAdmitted {
        node: u64,
        incarnation: String,
    },
    FeatureLevelRaised {
        level: u32,
    },
    /// Everything before was taken from a backup of another history.
    HistoryRestored {
        from_cluster: String,
        from_history: String,
        /// Of the last event taken over.
        sequence: u64,
        /// Hex, of the chain there.
        chain: String,
        cluster: String,
        history: String,
    },
}

impl ShownEvent {
    pub(crate) fn new(recorded: &Recorded) -> ShownEvent {
        let actor = &recorded.actor;
        ShownEvent {
            sequence: recorded.sequence,
            stream: recorded.stream.to_string(),
            position: recorded.position,
            time: rfc3339(recorded.time_ms),
            actor: ShownActor {
                login: actor.login.as_ref().map(ToString::to_string),
                token: actor.token.as_ref().map(ToString::to_string),
            },
            request: hex::encode(recorded.request.0),
            happened: Happened::new(&recorded.event),
        }
    }

    /// The `type`.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.happened {
            Happened::CrateCreated { .. } => "crate_created",
            Happened::VersionPublished { .. } => "version_published",
            Happened::VersionYanked { .. } => "version_yanked",
            Happened::VersionUnyanked { .. } => "version_unyanked",
            Happened::VersionRemoved { .. } => "version_removed",
            Happened::OwnerAdded { .. } => "owner_added",
            Happened::OwnerRemoved { .. } => "owner_removed",
            Happened::AccountCreated { .. } => "account_created",
            Happened::AccountDisabled {} => "account_disabled",
            Happened::AccountEnabled {} => "account_enabled",
            Happened::TokenIssued { .. } => "token_issued",
            Happened::TokenRevoked { .. } => "token_revoked",
            Happened::ClusterFounded { .. } => "cluster_founded",
            Happened::NodeAdmitted { .. } => "node_admitted",
            Happened::FeatureLevelRaised { .. } => "feature_level_raised",
            Happened::HistoryRestored { .. } => "history_restored",
        }
    }
}

impl Happened {
    fn new(event: &Event) -> Happened {
        match event {
            Event::CrateCreated { name } => Happened::CrateCreated {
                name: name.as_str().to_owned(),
            },
            Event::VersionPublished {
                facts,
                checksum,
                tarball_bytes,
            } => Happened::VersionPublished {
                version: facts.version.to_string(),
                checksum: checksum.to_string(),
                tarball_bytes: *tarball_bytes,
                facts: Box::new(ShownFacts::new(facts)),
            },
            Event::VersionYanked { version } => Happened::VersionYanked {
                version: version.to_string(),
            },
            Event::VersionUnyanked { version } => Happened::VersionUnyanked {
                version: version.to_string(),
            },
            Event::VersionRemoved { version, reason } => Happened::VersionRemoved {
                version: version.to_string(),
                reason: reason.clone(),
            },
            Event::OwnerAdded { login } => Happened::OwnerAdded {
                login: login.to_string(),
            },
            Event::OwnerRemoved { login } => Happened::OwnerRemoved {
                login: login.to_string(),
            },
            Event::AccountCreated { login, name, role } => Happened::AccountCreated {
                login: login.to_string(),
                name: name.clone(),
                role: role.as_str().to_owned(),
            },
            Event::AccountDisabled => Happened::AccountDisabled {},
            Event::AccountEnabled => Happened::AccountEnabled {},
            Event::TokenIssued {
                token,
                name,
                // Of no use to a reader, and one thing less to guess against.
                hash: _,
                scopes,
                crates,
                expires_at_ms,
            } => Happened::TokenIssued {
                token: token.to_string(),
                name: name.clone(),
                scopes: texts(scopes, |scope| scope.as_str()),
                crates: texts(crates, CratePattern::as_str),
                expires_at: expires_at_ms.map(rfc3339),
            },
            Event::TokenRevoked { token } => Happened::TokenRevoked {
                token: token.to_string(),
            },
            Event::ClusterFounded { cluster, history } => Happened::ClusterFounded {
                cluster: cluster.clone(),
                history: history.clone(),
            },
            Event::NodeAdmitted { node, incarnation } => Happened::NodeAdmitted {
                node: *node,
                incarnation: incarnation.clone(),
            },
            Event::FeatureLevelRaised { level } => Happened::FeatureLevelRaised { level: *level },
            Event::HistoryRestored {
                from_cluster,
                from_history,
                sequence,
                chain,
                cluster,
                history,
            } => Happened::HistoryRestored {
                from_cluster: from_cluster.clone(),
                from_history: from_history.clone(),
                sequence: *sequence,
                chain: hex::encode(chain),
                cluster: cluster.clone(),
                history: history.clone(),
            },
        }
    }
}

fn texts<T>(values: &[T], text: impl Fn(&T) -> &str) -> Vec<String> {
    values.iter().map(|value| text(value).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use cratekeeper_domain::{Actor, Login, RequestId, StreamId, Version};

    use super::*;

    #[test]
    fn an_event_is_shown_with_its_place_and_author() {
        let login = Login::parse("alice").expect("a login");
        let recorded = Recorded {
            sequence: 12,
            stream: StreamId::Account(login.clone()),
            position: 3,
            time_ms: 1_795_262_400_000,
            actor: Actor {
                login: Some(login),
                token: None,
            },
            request: RequestId([0xab; 16]),
            event: Event::VersionYanked {
                version: Version::parse("1.0.0").expect("a version"),
            },
        };
        assert_eq!(
            serde_json::to_string(&ShownEvent::new(&recorded)).expect("plain data"),
            r#"{"sequence":12,"stream":"account:alice","position":3,"time":"2026-11-21T12:00:00Z","actor":{"login":"alice","token":null},"request":"abababababababababababababababab","type":"version_yanked","content":{"version":"1.0.0"}}"#
        );
    }
}

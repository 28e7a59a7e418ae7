//! Events as JSON: for `events tail`, for scripts, for auditors. A view of the history, not its stored form.

use cratekeeper_domain::{CratePattern, Event, Login, Recorded, Scope, TokenId, VersionFacts};
use serde_json::{Value, json};

use super::crates::dependency_json;
use super::time::rfc3339;

/// One event with its place in the history.
pub(crate) fn recorded_json(recorded: &Recorded) -> Value {
    let (kind, content) = event_json(&recorded.event);
    json!({
        "sequence": recorded.sequence,
        "stream": recorded.stream.to_string(),
        "position": recorded.position,
        "time": rfc3339(recorded.time_ms),
        "actor": {
            "login": recorded.actor.login.as_ref().map(Login::as_str),
            "token": recorded.actor.token.as_ref().map(TokenId::as_str),
        },
        "request": hex::encode(recorded.request.0),
        "type": kind,
        "content": content,
    })
}

/// The name of the event and what it says.
fn event_json(event: &Event) -> (&'static str, Value) {
    match event {
        Event::CrateCreated { name } => ("crate_created", json!({ "name": name.as_str() })),
        Event::VersionPublished {
            facts,
            checksum,
            tarball_bytes,
        } => (
            "version_published",
            json!({
                "version": facts.version.to_string(),
                "checksum": checksum.to_string(),
                "tarball_bytes": tarball_bytes,
                "facts": facts_json(facts),
            }),
        ),
        Event::VersionYanked { version } => {
            ("version_yanked", json!({ "version": version.to_string() }))
        }
        Event::VersionUnyanked { version } => (
            "version_unyanked",
            json!({ "version": version.to_string() }),
        ),
        Event::VersionRemoved { version, reason } => (
            "version_removed",
            json!({ "version": version.to_string(), "reason": reason }),
        ),
        Event::OwnerAdded { login } => ("owner_added", json!({ "login": login.as_str() })),
        Event::OwnerRemoved { login } => ("owner_removed", json!({ "login": login.as_str() })),
        Event::AccountCreated { login, name, role } => (
            "account_created",
            json!({ "login": login.as_str(), "name": name, "role": role.as_str() }),
        ),
        Event::AccountDisabled => ("account_disabled", json!({})),
        Event::AccountEnabled => ("account_enabled", json!({})),
        Event::TokenIssued {
            token,
            name,
            // Of no use to a reader, and one thing less to guess against.
            hash: _,
            scopes,
            crates,
            expires_at_ms,
        } => (
            "token_issued",
            json!({
                "token": token.as_str(),
                "name": name,
                "scopes": scopes.iter().map(|scope: &Scope| scope.as_str()).collect::<Vec<_>>(),
                "crates": crates.iter().map(CratePattern::as_str).collect::<Vec<_>>(),
                "expires_at": expires_at_ms.map(rfc3339),
            }),
        ),
        Event::TokenRevoked { token } => ("token_revoked", json!({ "token": token.as_str() })),
        Event::ClusterFounded { cluster, history } => (
            "cluster_founded",
            json!({ "cluster": cluster, "history": history }),
        ),
        Event::NodeAdmitted { node, incarnation } => (
            "node_admitted",
            json!({ "node": node, "incarnation": incarnation }),
        ),
        Event::FeatureLevelRaised { level } => ("feature_level_raised", json!({ "level": level })),
        Event::HistoryRestored {
            from_cluster,
            from_history,
            sequence,
            chain,
            cluster,
            history,
        } => (
            "history_restored",
            json!({
                "from_cluster": from_cluster,
                "from_history": from_history,
                "sequence": sequence,
                "chain": hex::encode(chain),
                "cluster": cluster,
                "history": history,
            }),
        ),
    }
}

fn facts_json(facts: &VersionFacts) -> Value {
    json!({
        "name": facts.name.as_str(),
        "description": facts.description,
        "homepage": facts.homepage,
        "documentation": facts.documentation,
        "repository": facts.repository,
        "license": facts.license,
        "license_file": facts.license_file,
        "keywords": facts.keywords,
        "categories": facts.categories,
        "features": facts.features,
        "links": facts.links,
        "rust_version": facts.rust_version,
        "dependencies": facts.dependencies.iter().map(dependency_json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use cratekeeper_domain::{Actor, RequestId, StreamId, Version};

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
            recorded_json(&recorded).to_string(),
            r#"{"actor":{"login":"alice","token":null},"content":{"version":"1.0.0"},"position":3,"request":"abababababababababababababababab","sequence":12,"stream":"account:alice","time":"2026-11-21T12:00:00Z","type":"version_yanked"}"#
        );
    }
}

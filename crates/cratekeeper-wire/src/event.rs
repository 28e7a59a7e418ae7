//! Domain events ⇄ the payloads that are stored for ever.

use bytes::Bytes;
use cratekeeper_domain::{Checksum, CrateName, Event, Login, TokenHash, TokenId, Version};
use prost::Message;

use crate::facts::{decode_facts, encode_facts};
use crate::scalar::{
    bytes, decode_patterns, decode_role, decode_scopes, encode_patterns, encode_role, encode_scopes,
};
use crate::{DecodeError, pb};

/// An event as it is stored: `kind` and `schema` together say how to read `payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    pub kind: &'static str,
    pub schema: u32,
    pub payload: Bytes,
}

/// Every event so far is in its first schema.
const SCHEMA: u32 = 1;

/// Equal events have equal bytes.
pub fn encode_event(event: &Event) -> EncodedEvent {
    let (kind, payload) = match event {
        Event::CrateCreated { name } => crate_created(name),
        Event::VersionPublished {
            facts,
            checksum,
            tarball_bytes,
        } => (
            "version_published",
            pb::event::VersionPublished {
                facts: Some(encode_facts(facts)),
                checksum: Bytes::copy_from_slice(&checksum.0),
                tarball_bytes: *tarball_bytes,
            }
            .encode_to_vec(),
        ),
        Event::VersionYanked { version } => {
            let version = version.to_string();
            let payload = pb::event::VersionYanked { version };
            ("version_yanked", payload.encode_to_vec())
        }
        Event::VersionUnyanked { version } => {
            let version = version.to_string();
            let payload = pb::event::VersionUnyanked { version };
            ("version_unyanked", payload.encode_to_vec())
        }
        Event::VersionRemoved { version, reason } => {
            let payload = pb::event::VersionRemoved {
                version: version.to_string(),
                reason: reason.clone(),
            };
            ("version_removed", payload.encode_to_vec())
        }
        Event::OwnerAdded { login } => {
            let login = login.to_string();
            let payload = pb::event::OwnerAdded { login };
            ("owner_added", payload.encode_to_vec())
        }
        Event::OwnerRemoved { login } => {
            let login = login.to_string();
            let payload = pb::event::OwnerRemoved { login };
            ("owner_removed", payload.encode_to_vec())
        }
        Event::AccountCreated { .. }
        | Event::AccountDisabled
        | Event::AccountEnabled
        | Event::TokenIssued { .. }
        | Event::TokenRevoked { .. } => account_event(event),
        Event::ClusterFounded { .. }
        | Event::NodeAdmitted { .. }
        | Event::FeatureLevelRaised { .. }
        | Event::HistoryRestored { .. } => installation_event(event),
    };
    EncodedEvent {
        kind,
        schema: SCHEMA,
        payload: payload.into(),
    }
}

fn crate_created(name: &CrateName) -> (&'static str, Vec<u8>) {
    let name = name.to_string();
    let payload = pb::event::CrateCreated { name };
    ("crate_created", payload.encode_to_vec())
}

fn account_event(event: &Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::AccountCreated { login, name, role } => {
            let payload = pb::event::AccountCreated {
                login: login.to_string(),
                name: name.clone(),
                role: encode_role(*role),
            };
            ("account_created", payload.encode_to_vec())
        }
        Event::AccountDisabled => (
            "account_disabled",
            pb::event::AccountDisabled {}.encode_to_vec(),
        ),
        Event::AccountEnabled => (
            "account_enabled",
            pb::event::AccountEnabled {}.encode_to_vec(),
        ),
        Event::TokenIssued {
            token,
            name,
            hash,
            scopes,
            crates,
            expires_at_ms,
        } => {
            let payload = pb::event::TokenIssued {
                token: token.to_string(),
                name: name.clone(),
                hash: Bytes::copy_from_slice(&hash.0),
                scopes: encode_scopes(scopes),
                crates: encode_patterns(crates),
                expires_at_ms: *expires_at_ms,
            };
            ("token_issued", payload.encode_to_vec())
        }
        Event::TokenRevoked { token } => {
            let token = token.to_string();
            let payload = pb::event::TokenRevoked { token };
            ("token_revoked", payload.encode_to_vec())
        }
        _ => unreachable!("only events of an account are encoded here"),
    }
}

fn installation_event(event: &Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::ClusterFounded { cluster, history } => {
            let payload = pb::event::ClusterFounded {
                cluster: cluster.clone(),
                history: history.clone(),
            };
            ("cluster_founded", payload.encode_to_vec())
        }
        Event::NodeAdmitted { node, incarnation } => {
            let payload = pb::event::NodeAdmitted {
                node: *node,
                incarnation: incarnation.clone(),
            };
            ("node_admitted", payload.encode_to_vec())
        }
        Event::FeatureLevelRaised { level } => {
            let payload = pb::event::FeatureLevelRaised { level: *level };
            ("feature_level_raised", payload.encode_to_vec())
        }
        Event::HistoryRestored {
            from_cluster,
            from_history,
            sequence,
            chain,
            cluster,
            history,
        } => {
            let payload = pb::event::HistoryRestored {
                from_cluster: from_cluster.clone(),
                from_history: from_history.clone(),
                sequence: *sequence,
                chain: Bytes::copy_from_slice(chain),
                cluster: cluster.clone(),
                history: history.clone(),
            };
            ("history_restored", payload.encode_to_vec())
        }
        _ => unreachable!("only events of the installation are encoded here"),
    }
}

/// A kind or schema that this release does not know is `UnknownEvent`: the node must stop, not skip it.
pub fn decode_event(kind: &str, schema: u32, payload: &[u8]) -> Result<Event, DecodeError> {
    let unknown = || DecodeError::UnknownEvent {
        kind: kind.to_owned(),
        schema,
    };
    if schema != SCHEMA {
        return Err(unknown());
    }
    let event = match kind {
        "crate_created" => {
            let payload = pb::event::CrateCreated::decode(payload)?;
            let name = CrateName::parse(&payload.name)?;
            Event::CrateCreated { name }
        }
        "version_published" => {
            let payload = pb::event::VersionPublished::decode(payload)?;
            Event::VersionPublished {
                facts: Box::new(decode_facts(payload.facts)?),
                checksum: Checksum(bytes(&payload.checksum, "checksum")?),
                tarball_bytes: payload.tarball_bytes,
            }
        }
        "version_yanked" => {
            let payload = pb::event::VersionYanked::decode(payload)?;
            let version = Version::parse(&payload.version)?;
            Event::VersionYanked { version }
        }
        "version_unyanked" => {
            let payload = pb::event::VersionUnyanked::decode(payload)?;
            let version = Version::parse(&payload.version)?;
            Event::VersionUnyanked { version }
        }
        "version_removed" => {
            let payload = pb::event::VersionRemoved::decode(payload)?;
            Event::VersionRemoved {
                version: Version::parse(&payload.version)?,
                reason: payload.reason,
            }
        }
        "owner_added" => {
            let payload = pb::event::OwnerAdded::decode(payload)?;
            let login = Login::parse(&payload.login)?;
            Event::OwnerAdded { login }
        }
        "owner_removed" => {
            let payload = pb::event::OwnerRemoved::decode(payload)?;
            let login = Login::parse(&payload.login)?;
            Event::OwnerRemoved { login }
        }
        _ => return decode_other(kind, payload)?.ok_or_else(unknown),
    };
    Ok(event)
}

/// Events of accounts and of the installation; none for a kind that is not known.
fn decode_other(kind: &str, payload: &[u8]) -> Result<Option<Event>, DecodeError> {
    let event = match kind {
        "account_created" => {
            let payload = pb::event::AccountCreated::decode(payload)?;
            Event::AccountCreated {
                login: Login::parse(&payload.login)?,
                name: payload.name,
                role: decode_role(payload.role)?,
            }
        }
        "account_disabled" => {
            pb::event::AccountDisabled::decode(payload)?;
            Event::AccountDisabled
        }
        "account_enabled" => {
            pb::event::AccountEnabled::decode(payload)?;
            Event::AccountEnabled
        }
        "token_issued" => {
            let payload = pb::event::TokenIssued::decode(payload)?;
            Event::TokenIssued {
                token: TokenId::parse(&payload.token)?,
                name: payload.name,
                hash: TokenHash(bytes(&payload.hash, "hash")?),
                scopes: decode_scopes(&payload.scopes)?,
                crates: decode_patterns(&payload.crates)?,
                expires_at_ms: payload.expires_at_ms,
            }
        }
        "token_revoked" => {
            let payload = pb::event::TokenRevoked::decode(payload)?;
            let token = TokenId::parse(&payload.token)?;
            Event::TokenRevoked { token }
        }
        "cluster_founded" => {
            let payload = pb::event::ClusterFounded::decode(payload)?;
            Event::ClusterFounded {
                cluster: payload.cluster,
                history: payload.history,
            }
        }
        "node_admitted" => {
            let payload = pb::event::NodeAdmitted::decode(payload)?;
            Event::NodeAdmitted {
                node: payload.node,
                incarnation: payload.incarnation,
            }
        }
        "feature_level_raised" => {
            let payload = pb::event::FeatureLevelRaised::decode(payload)?;
            Event::FeatureLevelRaised {
                level: payload.level,
            }
        }
        "history_restored" => {
            let payload = pb::event::HistoryRestored::decode(payload)?;
            Event::HistoryRestored {
                from_cluster: payload.from_cluster,
                from_history: payload.from_history,
                sequence: payload.sequence,
                chain: bytes(&payload.chain, "chain")?,
                cluster: payload.cluster,
                history: payload.history,
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(event))
}

/// One event in one piece, for answers between nodes.
pub fn encode_typed_event(event: &Event) -> Bytes {
    let encoded = encode_event(event);
    pb::event::TypedEvent {
        kind: encoded.kind.to_owned(),
        schema: encoded.schema,
        payload: encoded.payload,
    }
    .encode_to_vec()
    .into()
}

pub fn decode_typed_event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let event = pb::event::TypedEvent::decode(bytes)?;
    decode_event(&event.kind, event.schema, &event.payload)
}

//! Commands ⇄ protobuf: a node that does not lead sends them to the one that does.

use bytes::Bytes;
use cratekeeper_domain::{
    Checksum, Command, CrateName, FIRST_LEVEL, Login, Publish, TokenHash, TokenId, Version,
};
use prost::Message;

use crate::DecodeError;
use crate::facts::{decode_facts, encode_facts};
use crate::pb::peer::command as pb;
use crate::pb::peer::command::Command as Oneof;
use crate::scalar::{
    bytes, decode_logins, decode_patterns, decode_role, decode_scopes, encode_logins,
    encode_patterns, encode_role, encode_scopes,
};

/// An encoded `cratekeeper.peer.v1.Command`.
pub fn encode_command(command: &Command) -> Bytes {
    let command = Some(to_oneof(command));
    crate::pb::peer::Command { command }.encode_to_vec().into()
}

fn to_oneof(command: &Command) -> Oneof {
    let of_crate = |krate: &CrateName, version: &Version| pb::VersionOfCrate {
        krate: krate.to_string(),
        version: version.to_string(),
    };
    let owners = |krate: &CrateName, logins: &[Login]| pb::Owners {
        krate: krate.to_string(),
        logins: encode_logins(logins),
    };
    match command {
        Command::Publish(publish) => Oneof::Publish(pb::Publish {
            facts: Some(encode_facts(&publish.facts)),
            checksum: Bytes::copy_from_slice(&publish.checksum.0),
            tarball_bytes: publish.tarball_bytes,
        }),
        Command::Yank { krate, version } => Oneof::Yank(of_crate(krate, version)),
        Command::Unyank { krate, version } => Oneof::Unyank(of_crate(krate, version)),
        Command::RemoveVersion {
            krate,
            version,
            reason,
        } => Oneof::RemoveVersion(pb::RemoveVersion {
            krate: krate.to_string(),
            version: version.to_string(),
            reason: reason.clone(),
        }),
        Command::AddOwners { krate, logins } => Oneof::AddOwners(owners(krate, logins)),
        Command::RemoveOwners { krate, logins } => Oneof::RemoveOwners(owners(krate, logins)),
        Command::CreateAccount { login, name, role } => Oneof::CreateAccount(pb::CreateAccount {
            login: login.to_string(),
            name: name.clone(),
            role: encode_role(*role),
        }),
        Command::DisableAccount { login } => Oneof::DisableAccount(login.to_string()),
        Command::EnableAccount { login } => Oneof::EnableAccount(login.to_string()),
        Command::IssueToken { .. } | Command::RevokeToken { .. } => token_oneof(command),
        Command::Found {
            cluster,
            history,
            admin,
            token,
            hash,
            feature_level,
        } => Oneof::Found(pb::Found {
            cluster: cluster.clone(),
            history: history.clone(),
            admin: admin.to_string(),
            token: token.to_string(),
            hash: Bytes::copy_from_slice(&hash.0),
            feature_level: Some(*feature_level),
        }),
        Command::AdmitNode { incarnation } => Oneof::AdmitNode(incarnation.clone()),
        Command::RaiseFeatureLevel { level } => Oneof::RaiseFeatureLevel(*level),
    }
}

fn token_oneof(command: &Command) -> Oneof {
    match command {
        Command::IssueToken {
            login,
            token,
            name,
            hash,
            scopes,
            crates,
            expires_at_ms,
        } => Oneof::IssueToken(pb::IssueToken {
            login: login.to_string(),
            token: token.to_string(),
            name: name.clone(),
            hash: Bytes::copy_from_slice(&hash.0),
            scopes: encode_scopes(scopes),
            crates: encode_patterns(crates),
            expires_at_ms: *expires_at_ms,
        }),
        Command::RevokeToken { login, token } => Oneof::RevokeToken(pb::RevokeToken {
            login: login.to_string(),
            token: token.to_string(),
        }),
        _ => unreachable!("only commands about tokens are encoded here"),
    }
}

pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    let command = crate::pb::peer::Command::decode(bytes)?;
    match command.command {
        Some(command) => from_oneof(command),
        // Also a command that this release does not know: its leader is newer, and asks again after this node was upgraded.
        None => Err(DecodeError::Field("command")),
    }
}

fn from_oneof(command: Oneof) -> Result<Command, DecodeError> {
    Ok(match command {
        Oneof::Publish(publish) => Command::Publish(Box::new(Publish {
            facts: decode_facts(publish.facts)?,
            checksum: Checksum(bytes(&publish.checksum, "checksum")?),
            tarball_bytes: publish.tarball_bytes,
        })),
        Oneof::Yank(yank) => Command::Yank {
            krate: CrateName::parse(&yank.krate)?,
            version: Version::parse(&yank.version)?,
        },
        Oneof::Unyank(unyank) => Command::Unyank {
            krate: CrateName::parse(&unyank.krate)?,
            version: Version::parse(&unyank.version)?,
        },
        Oneof::RemoveVersion(remove) => Command::RemoveVersion {
            krate: CrateName::parse(&remove.krate)?,
            version: Version::parse(&remove.version)?,
            reason: remove.reason,
        },
        Oneof::AddOwners(owners) => Command::AddOwners {
            krate: CrateName::parse(&owners.krate)?,
            logins: decode_logins(&owners.logins)?,
        },
        Oneof::RemoveOwners(owners) => Command::RemoveOwners {
            krate: CrateName::parse(&owners.krate)?,
            logins: decode_logins(&owners.logins)?,
        },
        Oneof::CreateAccount(create) => Command::CreateAccount {
            login: Login::parse(&create.login)?,
            name: create.name,
            role: decode_role(create.role)?,
        },
        Oneof::DisableAccount(login) => Command::DisableAccount {
            login: Login::parse(&login)?,
        },
        Oneof::EnableAccount(login) => Command::EnableAccount {
            login: Login::parse(&login)?,
        },
        Oneof::IssueToken(issue) => issue_token(issue)?,
        Oneof::RevokeToken(revoke) => Command::RevokeToken {
            login: Login::parse(&revoke.login)?,
            token: TokenId::parse(&revoke.token)?,
        },
        Oneof::Found(found) => Command::Found {
            cluster: found.cluster,
            history: found.history,
            admin: Login::parse(&found.admin)?,
            token: TokenId::parse(&found.token)?,
            hash: TokenHash(bytes(&found.hash, "hash")?),
            feature_level: found.feature_level.unwrap_or(FIRST_LEVEL.level),
        },
        Oneof::AdmitNode(incarnation) => Command::AdmitNode { incarnation },
        Oneof::RaiseFeatureLevel(level) => Command::RaiseFeatureLevel { level },
    })
}

fn issue_token(issue: pb::IssueToken) -> Result<Command, DecodeError> {
    Ok(Command::IssueToken {
        login: Login::parse(&issue.login)?,
        token: TokenId::parse(&issue.token)?,
        name: issue.name,
        hash: TokenHash(bytes(&issue.hash, "hash")?),
        scopes: decode_scopes(&issue.scopes)?,
        crates: decode_patterns(&issue.crates)?,
        expires_at_ms: issue.expires_at_ms,
    })
}

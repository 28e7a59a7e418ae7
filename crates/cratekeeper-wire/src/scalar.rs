//! Small values: enumerations, arrays of fixed size, names in lists.

use cratekeeper_domain::{CratePattern, DependencyKind, Login, RequestId, Role, Scope};

use crate::{DecodeError, pb};

pub(crate) fn bytes<const N: usize>(
    bytes: &[u8],
    field: &'static str,
) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Field(field))
}

pub(crate) fn request(bytes_of: &[u8]) -> Result<RequestId, DecodeError> {
    Ok(RequestId(bytes(bytes_of, "request")?))
}

pub(crate) fn encode_role(role: Role) -> i32 {
    let role = match role {
        Role::Admin => pb::event::Role::Admin,
        Role::Publisher => pb::event::Role::Publisher,
        Role::Reader => pb::event::Role::Reader,
    };
    role.into()
}

pub(crate) fn decode_role(role: i32) -> Result<Role, DecodeError> {
    match pb::event::Role::try_from(role) {
        Ok(pb::event::Role::Admin) => Ok(Role::Admin),
        Ok(pb::event::Role::Publisher) => Ok(Role::Publisher),
        Ok(pb::event::Role::Reader) => Ok(Role::Reader),
        Ok(pb::event::Role::Unspecified) | Err(_) => Err(DecodeError::Field("role")),
    }
}

pub(crate) fn encode_scopes(scopes: &[Scope]) -> Vec<i32> {
    scopes.iter().map(|scope| encode_scope(*scope)).collect()
}

pub(crate) fn decode_scopes(scopes: &[i32]) -> Result<Vec<Scope>, DecodeError> {
    scopes.iter().map(|scope| decode_scope(*scope)).collect()
}

fn encode_scope(scope: Scope) -> i32 {
    let scope = match scope {
        Scope::PublishNew => pb::event::Scope::PublishNew,
        Scope::PublishUpdate => pb::event::Scope::PublishUpdate,
        Scope::Yank => pb::event::Scope::Yank,
        Scope::ChangeOwners => pb::event::Scope::ChangeOwners,
        Scope::Read => pb::event::Scope::Read,
        Scope::Admin => pb::event::Scope::Admin,
    };
    scope.into()
}

fn decode_scope(scope: i32) -> Result<Scope, DecodeError> {
    match pb::event::Scope::try_from(scope) {
        Ok(pb::event::Scope::PublishNew) => Ok(Scope::PublishNew),
        Ok(pb::event::Scope::PublishUpdate) => Ok(Scope::PublishUpdate),
        Ok(pb::event::Scope::Yank) => Ok(Scope::Yank),
        Ok(pb::event::Scope::ChangeOwners) => Ok(Scope::ChangeOwners),
        Ok(pb::event::Scope::Read) => Ok(Scope::Read),
        Ok(pb::event::Scope::Admin) => Ok(Scope::Admin),
        Ok(pb::event::Scope::Unspecified) | Err(_) => Err(DecodeError::Field("scope")),
    }
}

pub(crate) fn encode_dependency_kind(kind: DependencyKind) -> i32 {
    let kind = match kind {
        DependencyKind::Normal => pb::event::DependencyKind::Normal,
        DependencyKind::Build => pb::event::DependencyKind::Build,
        DependencyKind::Dev => pb::event::DependencyKind::Dev,
    };
    kind.into()
}

pub(crate) fn decode_dependency_kind(kind: i32) -> Result<DependencyKind, DecodeError> {
    match pb::event::DependencyKind::try_from(kind) {
        Ok(pb::event::DependencyKind::Normal) => Ok(DependencyKind::Normal),
        Ok(pb::event::DependencyKind::Build) => Ok(DependencyKind::Build),
        Ok(pb::event::DependencyKind::Dev) => Ok(DependencyKind::Dev),
        Ok(pb::event::DependencyKind::Unspecified) | Err(_) => Err(DecodeError::Field("kind")),
    }
}

pub(crate) fn encode_patterns(patterns: &[CratePattern]) -> Vec<String> {
    patterns.iter().map(CratePattern::to_string).collect()
}

pub(crate) fn decode_patterns(patterns: &[String]) -> Result<Vec<CratePattern>, DecodeError> {
    let parsed: Result<Vec<_>, _> = patterns.iter().map(|p| CratePattern::parse(p)).collect();
    Ok(parsed?)
}

pub(crate) fn encode_logins(logins: &[Login]) -> Vec<String> {
    logins.iter().map(Login::to_string).collect()
}

pub(crate) fn decode_logins(logins: &[String]) -> Result<Vec<Login>, DecodeError> {
    let parsed: Result<Vec<_>, _> = logins.iter().map(|l| Login::parse(l)).collect();
    Ok(parsed?)
}

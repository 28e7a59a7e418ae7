//! What the edge asks of the state: crates, versions, tokens, the history. Local look-ups, no network.

use bytes::Bytes;
use cratekeeper_domain::{
    CanonicalName, CrateName, Event, Login, Recorded, StreamId, StreamState, TokenHash, TokenId,
    Version, VersionFacts,
};
use cratekeeper_wire::pb::state;
use cratekeeper_wire::{CHAIN_START, decode_record};

use super::append::{checksum_of, missing_event, version_key};
use super::database::{Database, StorageError, decode};
use super::families::{Family, prefix};
use crate::api::{CrateSummary, TarballEntry, VersionSummary};

/// Login and token id behind a token's hash.
pub(crate) fn token(
    database: &Database,
    hash: &TokenHash,
) -> Result<Option<(Login, TokenId)>, StorageError> {
    let Some(row) = database.get_message::<state::TokenRow>(Family::Tokens, &hash.0)? else {
        return Ok(None);
    };
    Ok(Some((
        stored(Login::parse(&row.login))?,
        stored(TokenId::parse(&row.token))?,
    )))
}

pub(crate) fn token_owner(
    database: &Database,
    token: &TokenId,
) -> Result<Option<Login>, StorageError> {
    let Some(login) = database.get(Family::TokenIds, token.as_str().as_bytes())? else {
        return Ok(None);
    };
    let login =
        String::from_utf8(login).map_err(|_| StorageError::Damaged("a login".to_owned()))?;
    Ok(Some(stored(Login::parse(&login))?))
}

/// Logins in order, after `after`.
pub(crate) fn logins(
    database: &Database,
    after: Option<&Login>,
    limit: usize,
) -> Result<Vec<Login>, StorageError> {
    let start = match after {
        Some(login) => [b"account:", login.as_str().as_bytes(), b"\0"].concat(),
        None => b"account:".to_vec(),
    };
    let mut logins = Vec::new();
    for item in database
        .scan(Family::Heads, b"account:", &start)?
        .take(limit)
    {
        let (key, _) = item?;
        let text = std::str::from_utf8(&key)
            .map_err(|_| StorageError::Damaged("a stream name".to_owned()))?;
        if let StreamId::Account(login) = stored(StreamId::parse(text))? {
            logins.push(login);
        }
    }
    Ok(logins)
}

pub(crate) fn crate_name(
    database: &Database,
    name: &CanonicalName,
) -> Result<Option<CrateName>, StorageError> {
    match database.get_message::<state::CrateRow>(Family::Crates, name.as_str().as_bytes())? {
        Some(row) => Ok(Some(stored(CrateName::parse(&row.name))?)),
        None => Ok(None),
    }
}

pub(crate) fn crates(
    database: &Database,
    after: Option<&CanonicalName>,
    limit: usize,
) -> Result<Vec<CrateName>, StorageError> {
    let start = after.map(|name| prefix(name.as_str())).unwrap_or_default();
    let mut names = Vec::new();
    for item in database.scan(Family::Crates, b"", &start)?.take(limit) {
        let row = decode::<state::CrateRow>(Family::Crates, &item?.1)?;
        names.push(stored(CrateName::parse(&row.name))?);
    }
    Ok(names)
}

pub(crate) fn krate(
    database: &Database,
    name: &CanonicalName,
    folded: &StreamState,
) -> Result<Option<CrateSummary>, StorageError> {
    let Some(row) =
        database.get_message::<state::CrateRow>(Family::Crates, name.as_str().as_bytes())?
    else {
        return Ok(None);
    };
    let StreamState::Crate(Some(krate)) = folded else {
        return Ok(None);
    };
    let mut rows = Vec::new();
    let versions = prefix(name.as_str());
    for item in database.scan(Family::Versions, &versions, &versions)? {
        rows.push(decode::<state::VersionRow>(Family::Versions, &item?.1)?);
    }
    rows.sort_by_key(|row| row.sequence);
    Ok(Some(CrateSummary {
        name: stored(CrateName::parse(&row.name))?,
        owners: krate.owners.iter().cloned().collect(),
        versions: rows.iter().map(summary).collect::<Result<_, _>>()?,
        created_at_ms: row.created_at_ms,
        updated_at_ms: row.updated_at_ms,
    }))
}

pub(crate) fn version(
    database: &Database,
    name: &CanonicalName,
    version: &Version,
) -> Result<Option<(VersionSummary, VersionFacts)>, StorageError> {
    let Some(row) = version_row(database, name, version)? else {
        return Ok(None);
    };
    let recorded = event(database, row.sequence)?;
    match recorded.event {
        Event::VersionPublished { facts, .. } => Ok(Some((summary(&row)?, *facts))),
        other => Err(StorageError::Damaged(format!(
            "event {} is not a publication but {other:?}",
            row.sequence
        ))),
    }
}

pub(crate) fn tarball(
    database: &Database,
    name: &CanonicalName,
    version: &Version,
) -> Result<Option<TarballEntry>, StorageError> {
    let Some(row) = version_row(database, name, version)? else {
        return Ok(None);
    };
    if row.removed {
        return Ok(None);
    }
    let Some(krate) = crate_name(database, name)? else {
        return Ok(None);
    };
    Ok(Some(TarballEntry {
        name: krate,
        checksum: checksum_of(&row)?,
        tarball_bytes: row.tarball_bytes,
    }))
}

/// The history after `after`, in order.
pub(crate) fn events(
    database: &Database,
    after: u64,
    limit: usize,
) -> Result<Vec<Recorded>, StorageError> {
    let mut events = Vec::new();
    for item in database
        .scan(Family::Events, b"", &(after + 1).to_be_bytes())?
        .take(limit)
    {
        let (_, record) = item?;
        events
            .push(decode_record(&record).map_err(|error| StorageError::TooNew(error.to_string()))?);
    }
    Ok(events)
}

/// Stored records after `after` up to `until`, in order: at least one if there is any, then as many as fit `bytes_max`.
pub(crate) fn records(
    database: &Database,
    after: u64,
    until: u64,
    bytes_max: usize,
) -> Result<Vec<Bytes>, StorageError> {
    let mut records = Vec::new();
    let (mut next, mut bytes) = (after + 1, 0);
    for item in database.scan(Family::Events, b"", &next.to_be_bytes())? {
        let (key, record) = item?;
        if next > until || (bytes > 0 && bytes + record.len() > bytes_max) {
            break;
        }
        if *key != next.to_be_bytes() {
            return Err(missing_event(next));
        }
        bytes += record.len();
        next += 1;
        records.push(record.into_vec().into());
    }
    Ok(records)
}

/// The chain hash at a sequence as hex, if the history reaches it.
pub(crate) fn chain_at(database: &Database, sequence: u64) -> Result<Option<String>, StorageError> {
    Ok(chain_hash_at(database, sequence)?.map(hex::encode))
}

/// The chain hash at a sequence, if the history reaches it.
pub(crate) fn chain_hash_at(
    database: &Database,
    sequence: u64,
) -> Result<Option<[u8; 32]>, StorageError> {
    if sequence == 0 {
        return Ok(Some(CHAIN_START));
    }
    let row = database.get(Family::Chain, &sequence.to_be_bytes())?;
    row.map(|row| chain_of(&row)).transpose()
}

/// The chain hash in a row of `Family::Chain`.
pub(crate) fn chain_of(row: &[u8]) -> Result<[u8; 32], StorageError> {
    row.get(32..)
        .and_then(|chain| chain.try_into().ok())
        .ok_or_else(|| StorageError::Damaged("a row of the chain".to_owned()))
}

fn event(database: &Database, sequence: u64) -> Result<Recorded, StorageError> {
    let record = database
        .get(Family::Events, &sequence.to_be_bytes())?
        .ok_or_else(|| missing_event(sequence))?;
    decode_record(&record).map_err(|error| StorageError::TooNew(error.to_string()))
}

fn version_row(
    database: &Database,
    name: &CanonicalName,
    version: &Version,
) -> Result<Option<state::VersionRow>, StorageError> {
    let row = database
        .get_message::<state::VersionRow>(Family::Versions, &version_key(name.as_str(), version))?;
    // `1.0.0+a` and `1.0.0+b` share a key, but only the one that was published exists.
    Ok(row.filter(|row| row.version == version.to_string()))
}

fn summary(row: &state::VersionRow) -> Result<VersionSummary, StorageError> {
    Ok(VersionSummary {
        version: stored(Version::parse(&row.version))?,
        checksum: checksum_of(row)?,
        tarball_bytes: row.tarball_bytes,
        yanked: row.yanked,
        removed: row.removed,
        published_at_ms: row.published_at_ms,
        published_by: if row.published_by.is_empty() {
            None
        } else {
            Some(stored(Login::parse(&row.published_by))?)
        },
    })
}

/// What was valid when it was stored and no longer parses is damage.
fn stored<T>(parsed: Result<T, cratekeeper_domain::Rejection>) -> Result<T, StorageError> {
    parsed.map_err(|rejection| StorageError::Damaged(rejection.sentence))
}

//! One append, after the log: the position check, then records, chain and projections. The same bytes on every node and release.

use cratekeeper_domain::{
    Checksum, Event, NEWEST_LEVEL, Recorded, StreamId, Version, render_index_line,
};
use cratekeeper_wire::pb::{event as pb, state};
use cratekeeper_wire::{chain_hash, decode_event, decode_record, leaf_hash, record_bytes};
use prost::Message;

use super::database::{StorageError, format_of_level, number};
use super::families::{Family, META_FORMAT, META_HEAD, named, numbered};
use super::staged::Staged;

/// What one append came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Appended {
    /// Sequence of its last event.
    Stored { sequence: u64 },
    /// A stream that was read had moved.
    Conflict,
}

/// Where an event stands, and who did it when.
struct Place<'a> {
    sequence: u64,
    position: u64,
    time_ms: u64,
    leaf: [u8; 32],
    login: &'a str,
}

/// Stages an append and the head it leaves behind. An event this release does not know is an error: the node must stop, not skip.
pub(crate) fn append(
    staged: &mut Staged<'_>,
    head: &mut state::Head,
    append: pb::Append,
) -> Result<Appended, StorageError> {
    for read in &append.reads {
        if position_of(staged, &read.stream)? != read.position {
            return Ok(Appended::Conflict);
        }
    }
    // Two appends may have been stamped in another order than they were committed in.
    head.time_ms = head.time_ms.max(append.time_ms);
    let append = pb::Append {
        time_ms: head.time_ms,
        ..append
    };
    for new in &append.events {
        let sequence = head.sequence + 1;
        let position = position_of(staged, &new.stream)? + 1;
        let record = record_bytes(sequence, position, &append, new);
        store_record(staged, head, &new.stream, position, &record);
        let place = Place {
            sequence,
            position,
            time_ms: head.time_ms,
            leaf: leaf_hash(&record),
            login: append
                .actor
                .as_ref()
                .and_then(|actor| actor.login.as_deref())
                .unwrap_or_default(),
        };
        let event = decode_event(&new.kind, new.schema, &new.payload)
            .map_err(|error| StorageError::TooNew(error.to_string()))?;
        let stream = StreamId::parse(&new.stream)
            .map_err(|error| StorageError::Damaged(error.to_string()))?;
        project(staged, &stream, &event, &place)?;
    }
    staged.put(Family::Meta, META_HEAD, head.encode_to_vec());
    Ok(Appended::Stored {
        sequence: head.sequence,
    })
}

/// Stages the record of an event that happened (rebuilding, restoring): the bytes as they were stored.
pub(crate) fn refold(
    staged: &mut Staged<'_>,
    head: &mut state::Head,
    record: &[u8],
    recorded: &Recorded,
) -> Result<(), StorageError> {
    head.time_ms = recorded.time_ms;
    store_record(
        staged,
        head,
        &recorded.stream.to_string(),
        recorded.position,
        record,
    );
    let login = recorded
        .actor
        .login
        .as_ref()
        .map_or("", |login| login.as_str());
    let place = Place {
        sequence: recorded.sequence,
        position: recorded.position,
        time_ms: recorded.time_ms,
        leaf: leaf_hash(record),
        login,
    };
    project(staged, &recorded.stream, &recorded.event, &place)
}

/// The position of the newest event of a stream, 0 if it has none.
pub(crate) fn position_of(staged: &Staged<'_>, stream: &str) -> Result<u64, StorageError> {
    match staged.get(Family::Heads, stream.as_bytes())? {
        None => Ok(0),
        Some(position) => number(Family::Heads, &position),
    }
}

fn store_record(
    staged: &mut Staged<'_>,
    head: &mut state::Head,
    stream: &str,
    position: u64,
    record: &[u8],
) {
    let sequence = head.sequence + 1;
    let leaf = leaf_hash(record);
    let previous: [u8; 32] = head.chain.as_ref().try_into().unwrap_or([0; 32]);
    let chain = chain_hash(previous, leaf);
    staged.put(Family::Events, &sequence.to_be_bytes(), record.to_vec());
    staged.put(
        Family::Chain,
        &sequence.to_be_bytes(),
        [leaf, chain].concat(),
    );
    staged.put(
        Family::Streams,
        &numbered(stream, position),
        sequence.to_be_bytes().to_vec(),
    );
    staged.put(
        Family::Heads,
        stream.as_bytes(),
        position.to_be_bytes().to_vec(),
    );
    head.sequence = sequence;
    head.chain = chain.to_vec().into();
}

fn project(
    staged: &mut Staged<'_>,
    stream: &StreamId,
    event: &Event,
    place: &Place<'_>,
) -> Result<(), StorageError> {
    match (stream, event) {
        (StreamId::Crate(name), event) => project_crate(staged, name.as_str(), event, place),
        (StreamId::Account(login), Event::TokenIssued { token, hash, .. }) => {
            let row = state::TokenRow {
                login: login.as_str().to_owned(),
                token: token.as_str().to_owned(),
            };
            staged.put(Family::Tokens, &hash.0, row.encode_to_vec());
            staged.put(
                Family::TokenIds,
                token.as_str().as_bytes(),
                login.as_str().as_bytes().to_vec(),
            );
            Ok(())
        }
        (StreamId::Installation, Event::FeatureLevelRaised { level }) => {
            if NEWEST_LEVEL < *level {
                return Err(StorageError::TooNew(crate::features::too_new(*level)));
            }
            let format = format_of_level(*level).to_be_bytes().to_vec();
            staged.put(Family::Meta, META_FORMAT, format);
            Ok(())
        }
        (StreamId::Account(_) | StreamId::Installation, _) => Ok(()),
    }
}

fn project_crate(
    staged: &mut Staged<'_>,
    canonical: &str,
    event: &Event,
    place: &Place<'_>,
) -> Result<(), StorageError> {
    let row = staged.get_message::<state::CrateRow>(Family::Crates, canonical.as_bytes())?;
    let mut row = match (row, event) {
        (Some(row), _) => row,
        (None, Event::CrateCreated { name }) => state::CrateRow {
            name: name.as_str().to_owned(),
            created_at_ms: place.time_ms,
            ..Default::default()
        },
        (None, _) => {
            return Err(StorageError::Damaged(format!(
                "the stream of crate {canonical} does not begin with its creation"
            )));
        }
    };
    let file_changed = match event {
        Event::VersionPublished {
            facts,
            checksum,
            tarball_bytes,
        } => {
            let version = state::VersionRow {
                version: facts.version.to_string(),
                checksum: checksum.0.to_vec().into(),
                tarball_bytes: *tarball_bytes,
                yanked: false,
                removed: false,
                published_at_ms: place.time_ms,
                published_by: place.login.to_owned(),
                sequence: place.sequence,
            };
            staged.put(
                Family::Lines,
                &numbered(canonical, place.sequence),
                render_index_line(facts, checksum, false, place.time_ms),
            );
            put_version(staged, canonical, &facts.version, &version);
            row.lines += 1;
            true
        }
        Event::VersionYanked { version } => mark_yanked(staged, canonical, version, true)?,
        Event::VersionUnyanked { version } => mark_yanked(staged, canonical, version, false)?,
        Event::VersionRemoved { version, .. } => {
            let mut version_row = version_row(staged, canonical, version)?;
            version_row.removed = true;
            staged.delete(Family::Lines, &numbered(canonical, version_row.sequence));
            put_version(staged, canonical, version, &version_row);
            row.lines = row.lines.saturating_sub(1);
            true
        }
        Event::CrateCreated { .. }
        | Event::OwnerAdded { .. }
        | Event::OwnerRemoved { .. }
        | Event::AccountCreated { .. }
        | Event::AccountDisabled
        | Event::AccountEnabled
        | Event::TokenIssued { .. }
        | Event::TokenRevoked { .. }
        | Event::ClusterFounded { .. }
        | Event::NodeAdmitted { .. }
        | Event::FeatureLevelRaised { .. }
        | Event::HistoryRestored { .. } => false,
    };
    row.updated_at_ms = place.time_ms;
    if file_changed {
        row.file_position = place.position;
        row.file_leaf = place.leaf.to_vec().into();
    }
    staged.put(Family::Crates, canonical.as_bytes(), row.encode_to_vec());
    Ok(())
}

/// Renders the version's line anew from its own event; the time stays that of publication.
fn mark_yanked(
    staged: &mut Staged<'_>,
    canonical: &str,
    version: &Version,
    yanked: bool,
) -> Result<bool, StorageError> {
    let mut row = version_row(staged, canonical, version)?;
    row.yanked = yanked;
    if !row.removed {
        let record = staged
            .get(Family::Events, &row.sequence.to_be_bytes())?
            .ok_or_else(|| missing_event(row.sequence))?;
        let recorded =
            decode_record(&record).map_err(|error| StorageError::TooNew(error.to_string()))?;
        let Event::VersionPublished {
            facts, checksum, ..
        } = &recorded.event
        else {
            return Err(StorageError::Damaged(format!(
                "event {} is not a publication",
                row.sequence
            )));
        };
        staged.put(
            Family::Lines,
            &numbered(canonical, row.sequence),
            render_index_line(facts, checksum, yanked, recorded.time_ms),
        );
    }
    put_version(staged, canonical, version, &row);
    Ok(true)
}

pub(crate) fn version_key(canonical: &str, version: &Version) -> Vec<u8> {
    named(canonical, &version.without_build().to_string())
}

fn version_row(
    staged: &Staged<'_>,
    canonical: &str,
    version: &Version,
) -> Result<state::VersionRow, StorageError> {
    let row = staged.get_message(Family::Versions, &version_key(canonical, version))?;
    row.ok_or_else(|| StorageError::Damaged(format!("crate {canonical} has no version {version}")))
}

fn put_version(
    staged: &mut Staged<'_>,
    canonical: &str,
    version: &Version,
    row: &state::VersionRow,
) {
    staged.put(
        Family::Versions,
        &version_key(canonical, version),
        row.encode_to_vec(),
    );
}

pub(crate) fn missing_event(sequence: u64) -> StorageError {
    StorageError::Damaged(format!("event {sequence} is missing"))
}

pub(crate) fn checksum_of(row: &state::VersionRow) -> Result<Checksum, StorageError> {
    let bytes = row
        .checksum
        .as_ref()
        .try_into()
        .map_err(|_| StorageError::Damaged("a checksum".to_owned()))?;
    Ok(Checksum(bytes))
}

//! Tarballs are in a backup by reference only: what is looked at here is whether the store has each that a version needs.

use std::collections::BTreeMap;

use anyhow::Context;
use bytes::Bytes;
use clap::ValueEnum;
use cratekeeper_cluster::Cluster;
use cratekeeper_domain::{Checksum, Event, Recorded};
use cratekeeper_tarballs::Tarballs;
use cratekeeper_wire::decode_record;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Questions to the store under way at once.
const AT_ONCE: usize = 16;
/// Events looked at in one go.
const EVENTS: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckTarballs {
    /// Of every version.
    All,
    /// Of the versions that the backup did not have yet.
    New,
    None,
}

/// What looking for tarballs came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CheckedTarballs)]
pub(crate) struct Checked {
    /// Tarballs looked for.
    pub(crate) checked: u64,
    pub(crate) missing: Vec<Missing>,
    /// The sequence up to which events were looked at.
    pub(crate) next: u64,
}

/// A version whose tarball is not there, or not whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = MissingTarball)]
pub(crate) struct Missing {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) checksum: String,
    pub(crate) bytes: u64,
    /// How many bytes the store has under this checksum; nothing if it has none.
    pub(crate) found: Option<u64>,
}

impl Checked {
    pub(crate) fn add(&mut self, more: Checked) {
        self.checked += more.checked;
        self.missing.extend(more.missing);
        self.next = more.next;
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.checksum)?;
        match self.found {
            None => f.write_str(" is not in the store"),
            Some(found) => write!(f, " has {found} bytes instead of {}", self.bytes),
        }
    }
}

/// A tarball that a version needs.
struct Needed {
    name: String,
    version: String,
    checksum: Checksum,
    bytes: u64,
}

/// The tarballs that a history names and nobody has removed, gathered from its records in order.
#[derive(Default)]
pub(crate) struct Wanted(BTreeMap<(String, String), Needed>);

impl Wanted {
    pub(crate) fn note(&mut self, records: &[Bytes]) -> anyhow::Result<()> {
        for record in records {
            let recorded = decode_record(record)?;
            let stream = recorded.stream.to_string();
            if let Event::VersionRemoved { version, .. } = &recorded.event {
                self.0.remove(&(stream, version.to_string()));
            } else if let Some(needed) = needed(&recorded) {
                self.0.insert((stream, needed.version.clone()), needed);
            }
        }
        Ok(())
    }
}

fn needed(recorded: &Recorded) -> Option<Needed> {
    let Event::VersionPublished {
        facts,
        checksum,
        tarball_bytes,
    } = &recorded.event
    else {
        return None;
    };
    Some(Needed {
        name: facts.name.to_string(),
        version: facts.version.to_string(),
        checksum: *checksum,
        bytes: *tarball_bytes,
    })
}

/// Those published by some events behind `after` up to `until`, and not removed since.
pub(crate) async fn check_events(
    cluster: &Cluster,
    tarballs: &Tarballs,
    after: u64,
    until: u64,
) -> anyhow::Result<Checked> {
    let mut events = cluster.events(after, EVENTS)?;
    events.retain(|recorded| recorded.sequence <= until);
    let next = events.last().map_or(after, |last| last.sequence);
    let mut wanted = Vec::new();
    for recorded in &events {
        let Some(needed) = needed(recorded) else {
            continue;
        };
        let Event::VersionPublished { facts, .. } = &recorded.event else {
            continue;
        };
        let version = cluster.version(&facts.name.canonical(), &facts.version)?;
        if version.is_some_and(|(version, _)| !version.removed) {
            wanted.push(needed);
        }
    }
    Ok(Checked {
        next,
        ..look(tarballs, wanted).await?
    })
}

pub(crate) async fn check_wanted(wanted: Wanted, tarballs: &Tarballs) -> anyhow::Result<Checked> {
    look(tarballs, wanted.0.into_values()).await
}

async fn look(
    tarballs: &Tarballs,
    wanted: impl IntoIterator<Item = Needed>,
) -> anyhow::Result<Checked> {
    let looks = wanted.into_iter().map(async |needed| {
        let found = tarballs.size(&needed.checksum).await;
        let found =
            found.with_context(|| format!("look for {} {}", needed.name, needed.version))?;
        let right = found == Some(needed.bytes);
        anyhow::Ok((!right).then(|| Missing {
            name: needed.name,
            version: needed.version,
            checksum: needed.checksum.to_string(),
            bytes: needed.bytes,
            found,
        }))
    });
    let mut all = Checked::default();
    let mut looked = futures::stream::iter(looks).buffered(AT_ONCE);
    while let Some(missing) = looked.try_next().await? {
        all.checked += 1;
        all.missing.extend(missing);
    }
    Ok(all)
}

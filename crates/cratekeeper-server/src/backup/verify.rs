//! Proving a backup without a registry: every hash, the whole chain, and every event folded as a node would fold it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use cratekeeper_cluster::{Replay, ReplayError};
use cratekeeper_tarballs::{Shelf, Tarballs};
use cratekeeper_wire::backup::{BrokenBackup, Manifest};

use super::archive::Archive;
use super::tarballs::{Checked, Wanted, check_wanted};

/// What was proven.
pub(crate) struct Verified {
    pub(crate) manifest: Manifest,
    pub(crate) took: Duration,
    /// Where a store was given to look into.
    pub(crate) tarballs: Option<Checked>,
}

/// The error names the sequence at which the backup breaks. `progress` holds how far it is proven.
pub(crate) async fn verify(
    shelf: &Shelf,
    tarballs: Option<&Tarballs>,
    progress: &AtomicU64,
) -> anyhow::Result<Verified> {
    let began = Instant::now();
    let archive = Archive::open(shelf).await?;
    let scratch = tempfile::tempdir().context("make a directory to fold the events in")?;
    let mut replay = Some(Replay::create(&scratch.path().join("state"))?);
    let mut wanted = Wanted::default();
    for segment in &archive.manifest.segments {
        let records = archive.records(segment).await?;
        if tarballs.is_some() {
            wanted.note(&records)?;
        }
        let mut folding = replay.take().context("the replay comes back each time")?;
        let folded =
            tokio::task::spawn_blocking(move || folding.extend(&records).map(|()| folding));
        replay = Some(folded.await?.map_err(told)?);
        progress.store(segment.last, Ordering::Relaxed);
    }
    let tarballs = match tarballs {
        Some(tarballs) => Some(check_wanted(wanted, tarballs).await?),
        None => None,
    };
    Ok(Verified {
        manifest: archive.manifest,
        took: began.elapsed(),
        tarballs,
    })
}

/// In the words in which all that is wrong with a backup is told.
fn told(error: ReplayError) -> anyhow::Error {
    match error {
        ReplayError::Broken { sequence, what } => BrokenBackup { sequence, what }.into(),
        error @ ReplayError::Storage(_) => error.into(),
    }
}

//! Making a backup, or going on with one: segments first, the manifest last. An interrupted one is gone on with where its manifest
//! ends; what lies beside is litter with names of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cratekeeper_cluster::HistoryHead;
use cratekeeper_tarballs::{Shelf, ShelfError, Stamp};
use cratekeeper_wire::CHAIN_START;
use cratekeeper_wire::backup::{MANIFEST, Manifest, SegmentBuilder};
use time::OffsetDateTime;

use super::archive::Archive;
use super::source::Source;
use super::tarballs::{CheckTarballs, Checked};

const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// A last segment with less than this is written again with what follows, so that hourly backups do not pile up.
const MERGED_BELOW: u64 = 1 << 20;
/// A long first backup is written down from time to time.
const SEGMENTS_BETWEEN_MANIFESTS: usize = 8;

/// What a backup came to.
pub(crate) struct Created {
    pub(crate) manifest: Manifest,
    /// Events that were not in it before.
    pub(crate) events: u64,
    /// Of their records, as stored.
    pub(crate) record_bytes: u64,
    pub(crate) took: Duration,
    /// Nothing where it was not asked for, or the source has no store to look into.
    pub(crate) tarballs: Option<Checked>,
}

/// Backs up everything that `source` has now. `progress` holds the sequence it has come to.
pub(crate) async fn create(
    source: &Source,
    shelf: &Shelf,
    check: CheckTarballs,
    progress: &AtomicU64,
) -> anyhow::Result<Created> {
    let began = Instant::now();
    let archive = Archive::find(shelf).await?;
    let known = archive.as_ref().map_or(0, |it| it.manifest.last_sequence);
    let position = source.position(known).await.context("ask the registry")?;
    if let Some(archive) = &archive {
        must_continue(archive, &position.head, position.chain_there)?;
    }
    let head = position.head;
    let mut backup = Backup::new(shelf, archive);
    backup.fill(source, &head, progress).await?;
    backup.manifest.updated_at = OffsetDateTime::now_utc();
    backup.write_manifest().await?;
    backup.remove_replaced().await;
    let checked_from = match check {
        CheckTarballs::None => head.sequence,
        CheckTarballs::New => known,
        CheckTarballs::All => 0,
    };
    let tarballs = match check {
        CheckTarballs::None => None,
        _ => source.check_tarballs(checked_from, head.sequence).await?,
    };
    Ok(Created {
        events: head.sequence - known,
        record_bytes: backup.record_bytes,
        manifest: backup.manifest,
        took: began.elapsed(),
        tarballs,
    })
}

/// A backup goes on with any history that contains it, and with no other. What a history was called before it was restored does
/// not matter: the chain hash tells.
fn must_continue(
    archive: &Archive,
    head: &HistoryHead,
    there: Option<[u8; 32]>,
) -> anyhow::Result<()> {
    let (manifest, place) = (&archive.manifest, archive.shelf.describe());
    let Some(there) = there else {
        bail!(
            "the backup at {place} has {} events of the history {}, the registry asked has only {} of the history {}: ask a node that is further, or back up to an empty place",
            manifest.last_sequence,
            manifest.owner.history,
            head.sequence,
            head.history
        );
    };
    ensure!(
        there == manifest.chain,
        "the backup at {place} is of another history ({} of cluster `{}`): its chain hash at sequence {} is {}, that of {} of cluster `{}` is {}; back up to an empty place",
        manifest.owner.history,
        manifest.owner.cluster,
        manifest.last_sequence,
        hex::encode(manifest.chain),
        head.history,
        head.cluster,
        hex::encode(there)
    );
    Ok(())
}

struct Backup<'a> {
    shelf: &'a Shelf,
    manifest: Manifest,
    stamp: Option<Stamp>,
    /// Files that the manifest does not name any more once it is written.
    replaced: Vec<String>,
    unwritten: usize,
    record_bytes: u64,
}

impl Backup<'_> {
    fn new(shelf: &Shelf, archive: Option<Archive>) -> Backup<'_> {
        let (mut manifest, stamp) = match archive {
            Some(archive) => (archive.manifest, Some(archive.stamp)),
            None => (Manifest::empty(RELEASE, OffsetDateTime::now_utc()), None),
        };
        manifest.release = RELEASE.to_owned();
        Backup {
            shelf,
            manifest,
            stamp,
            replaced: Vec::new(),
            unwritten: 0,
            record_bytes: 0,
        }
    }

    /// Everything up to `head`, in segments that are stored when this returns.
    async fn fill(
        &mut self,
        source: &Source,
        head: &HistoryHead,
        progress: &AtomicU64,
    ) -> anyhow::Result<()> {
        if head.sequence == self.manifest.last_sequence {
            return Ok(());
        }
        let known = self.manifest.last_sequence;
        let (after, chain) = self.begin();
        let mut builder = SegmentBuilder::new(after, chain);
        let mut batches = source.records(after, head.sequence);
        while let Some(batch) = batches.recv().await {
            for record in batch? {
                builder.push(&record).context("read the history")?;
                if builder.last() > known {
                    self.record_bytes += record.len() as u64;
                }
                if builder.is_full() {
                    let next = SegmentBuilder::new(builder.last(), builder.chain());
                    self.store(std::mem::replace(&mut builder, next)).await?;
                }
            }
            progress.store(builder.last(), Ordering::Relaxed);
        }
        ensure!(
            (builder.last(), builder.chain()) == (head.sequence, head.chain),
            "the events that came end at sequence {} with the chain hash {}, the registry said {} and {}",
            builder.last(),
            hex::encode(builder.chain()),
            head.sequence,
            hex::encode(head.chain)
        );
        if !builder.is_empty() {
            self.store(builder).await?;
        }
        Ok(())
    }

    /// Behind the last segment, or, if that is small, where it begins.
    fn begin(&mut self) -> (u64, [u8; 32]) {
        match self.manifest.segments.last() {
            None => (0, CHAIN_START),
            Some(last) if last.totals.record_bytes < MERGED_BELOW => {
                self.replaced.push(last.file.clone());
                (last.first - 1, last.chain_before)
            }
            Some(last) => (last.last, last.chain_after),
        }
    }

    async fn store(&mut self, segment: SegmentBuilder) -> anyhow::Result<()> {
        let packed = tokio::task::spawn_blocking(move || segment.finish());
        let (entry, file) = packed.await?.context("pack a segment")?;
        self.shelf
            .put(&entry.file, file.into())
            .await
            .with_context(|| format!("store {}", entry.file))?;
        self.manifest.push(entry);
        self.unwritten += 1;
        if self.unwritten >= SEGMENTS_BETWEEN_MANIFESTS {
            self.write_manifest().await?;
        }
        Ok(())
    }

    async fn write_manifest(&mut self) -> anyhow::Result<()> {
        let text = self.manifest.encode().into();
        let written = self.shelf.replace(MANIFEST, text, self.stamp.as_ref());
        self.stamp = Some(written.await.map_err(|error| match error {
            ShelfError::Changed(_) => anyhow::anyhow!(
                "another backup to {} ended in the meantime; nothing is lost, this one is given up",
                self.shelf.describe()
            ),
            error => anyhow::Error::new(error).context("write the manifest"),
        })?);
        self.unwritten = 0;
        Ok(())
    }

    /// Litter that cannot be removed does no harm: nothing names it.
    async fn remove_replaced(&self) {
        for file in &self.replaced {
            if self.manifest.segments.iter().any(|it| it.file == *file) {
                continue;
            }
            if let Err(error) = self.shelf.remove(file).await {
                tracing::warn!(file, error = %crate::causes::with_causes(&error), "a segment that was written anew could not be removed");
            }
        }
    }
}

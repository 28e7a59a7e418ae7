//! What of a backup is to be restored, and handing it to the node that is founded with it.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use cratekeeper_cluster::{HistoryHead, RecordBatches, Restore, StoreCheck};
use cratekeeper_domain::{Recorded, RequestId};
use cratekeeper_wire::backup::SegmentEntry;
use cratekeeper_wire::{chain_hash, decode_record, leaf_hash};
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::archive::Archive;

/// Segments unpacked and waiting while one is folded.
const SEGMENTS_WAITING: usize = 1;

/// How far a restore goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    End,
    /// With this event as the last one.
    Sequence(u64),
    /// With the last event that happened then or before.
    Time(OffsetDateTime),
}

/// The last event that is restored, and the chain hash there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) sequence: u64,
    pub(crate) chain: [u8; 32],
}

/// Refuses to end in the middle of what one request has done, and outside of the backup.
pub(crate) async fn target(archive: &Archive, until: Until) -> anyhow::Result<Target> {
    let manifest = &archive.manifest;
    ensure!(manifest.last_sequence > 0, "the backup is empty");
    let sequence = match until {
        Until::End => manifest.last_sequence,
        Until::Sequence(sequence) => sequence,
        Until::Time(time) => last_until(archive, time).await?,
    };
    ensure!(
        (1..=manifest.last_sequence).contains(&sequence),
        "the backup has the events 1 to {}, and so no event {sequence} to restore up to",
        manifest.last_sequence
    );
    if sequence == manifest.last_sequence {
        return Ok(Target {
            sequence,
            chain: manifest.chain,
        });
    }
    let place = place_of(archive, sequence);
    let segment = &manifest.segments[place];
    let mut records = archive.records(segment).await?;
    let taken = usize::try_from(sequence - segment.first + 1).unwrap_or(usize::MAX);
    let chain = records
        .iter()
        .take(taken)
        .fold(segment.chain_before, |chain, record| {
            chain_hash(chain, leaf_hash(record))
        });
    if let Some(next) = manifest.segments.get(place + 1) {
        records.extend(archive.records(next).await?);
    }
    must_be_whole(&records, taken)?;
    Ok(Target { sequence, chain })
}

/// One request may have done several things at once, of which half makes no sense.
fn must_be_whole(records: &[Bytes], taken: usize) -> anyhow::Result<()> {
    let decoded = |record: &Bytes| decode_record(record).context("read an event");
    let (Some(last), Some(next)) = (
        taken.checked_sub(1).and_then(|last| records.get(last)),
        records.get(taken),
    ) else {
        return Ok(());
    };
    let (last, next) = (decoded(last)?, decoded(next)?);
    let together = |one: &Recorded, other: &Recorded| {
        one.request != RequestId::default()
            && one.request == other.request
            && one.time_ms == other.time_ms
    };
    if !together(&last, &next) {
        return Ok(());
    }
    let mut first = last.sequence;
    for record in records[..taken].iter().rev() {
        let recorded = decoded(record)?;
        if !together(&recorded, &last) {
            break;
        }
        first = recorded.sequence;
    }
    let mut end = next.sequence;
    for record in &records[taken..] {
        let recorded = decoded(record)?;
        if !together(&recorded, &last) {
            break;
        }
        end = recorded.sequence;
    }
    bail!(
        "the events {first} to {end} were done by one request and belong together; restore up to {} or {end}",
        first - 1
    );
}

async fn last_until(archive: &Archive, time: OffsetDateTime) -> anyhow::Result<u64> {
    let mut last = 0;
    for segment in &archive.manifest.segments {
        if segment.last_time <= time {
            last = segment.last;
            continue;
        }
        for record in archive.records(segment).await? {
            let recorded = decode_record(&record).context("read an event")?;
            if i128::from(recorded.time_ms) * 1_000_000 > time.unix_timestamp_nanos() {
                break;
            }
            last = recorded.sequence;
        }
        break;
    }
    ensure!(
        last > 0,
        "the first event of the backup is later than {time}"
    );
    Ok(last)
}

fn place_of(archive: &Archive, sequence: u64) -> usize {
    let segments = &archive.manifest.segments;
    segments.partition_point(|segment| segment.last < sequence)
}

/// What the node is told: where the history must come to, and where its records come from.
pub(crate) fn order(
    archive: Archive,
    target: Target,
    claim_store: StoreCheck,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
) -> Restore {
    let owner = archive.manifest.owner.clone();
    let archive = Arc::new(archive);
    // The node asks on a runtime of its own, but the client of the object store lives on this one.
    let runtime = Handle::current();
    Restore {
        from: HistoryHead {
            cluster: owner.cluster,
            history: owner.history,
            sequence: target.sequence,
            chain: target.chain,
        },
        records: Arc::new(move || records(&runtime, archive.clone(), target.sequence)),
        claim_store,
        admin_token: None,
        progress,
    }
}

fn records(runtime: &Handle, archive: Arc<Archive>, until: u64) -> RecordBatches {
    let (sender, receiver) = mpsc::channel(SEGMENTS_WAITING);
    runtime.spawn(async move {
        let wanted = |segment: &&SegmentEntry| segment.first <= until;
        for segment in archive.manifest.segments.iter().filter(wanted) {
            let mut batch = archive.records(segment).await;
            if let Ok(records) = &mut batch {
                let most = usize::try_from(until - segment.first + 1).unwrap_or(usize::MAX);
                records.truncate(most);
            }
            let failed = batch.is_err();
            let batch = batch.map_err(|error| format!("{error:#}"));
            if sender.send(batch).await.is_err() || failed {
                return;
            }
        }
    });
    receiver
}

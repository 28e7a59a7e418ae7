//! openraft's state machine on the state store. One batch of entries is one `WriteBatch` with events, projections, last applied
//! and membership together; callers are answered only after it (openraft `RaftStateMachine`; replication rules of the design).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use cratekeeper_domain::StreamId;
use cratekeeper_wire::decode_append;
use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::state::Head;
use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use prost::Message;

use super::convert;
use super::types::{
    Applied, Entry, LogId, Membership, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::snapshot::{SnapshotBuilder, SnapshotDirectory, Snapshots};
use crate::store::{
    Appended, Family, META_APPLIED, META_MEMBERSHIP, Staged, State, StorageError, append,
    removed_node,
};

/// One write holds at most this many entries and roughly this many bytes of proposals.
const BATCH_ENTRIES_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 4 << 20;

pub(crate) struct StateMachine {
    state: Arc<State>,
    snapshots: Arc<Snapshots>,
}

type Responder = ApplyResponder<TypeConfig>;

impl StateMachine {
    pub(crate) fn new(state: Arc<State>, snapshots: Arc<Snapshots>) -> StateMachine {
        StateMachine { state, snapshots }
    }

    fn apply_batch(&self, batch: Vec<(Entry, Option<Responder>)>) -> Result<(), StorageError> {
        let started = Instant::now();
        let live = self.state.live();
        let mut staged = Staged::new(&live);
        let mut head = live.head()?;
        let mut touched = BTreeSet::new();
        let mut answers = Vec::with_capacity(batch.len());
        let mut last: Option<LogId> = None;
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        let entries = batch.len();
        for (entry, responder) in batch {
            last = Some(entry.log_id);
            let answer = apply_entry(&mut staged, &mut head, &mut touched, &mut kinds, &entry)?;
            answers.push((responder, answer));
        }
        let Some(last) = last else { return Ok(()) };
        staged.put(
            Family::Meta,
            META_APPLIED,
            convert::log_id_to_pb(&last).encode_to_vec(),
        );
        staged.write()?;
        self.state
            .index_files
            .forget(touched.iter().map(String::as_str));
        self.state.advance(crate::store::Progress {
            applied: last.index,
            sequence: head.sequence,
        });
        measure(started, entries, kinds);
        for (responder, answer) in answers {
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }
}

fn measure(started: Instant, entries: usize, kinds: BTreeMap<String, u64>) {
    metrics::histogram!("cratekeeper_raft_apply_duration_seconds")
        .record(started.elapsed().as_secs_f64());
    metrics::histogram!("cratekeeper_raft_apply_entries").record(entries as f64);
    for (kind, events) in kinds {
        metrics::counter!("cratekeeper_events_applied_total", "type" => kind).increment(events);
    }
}

fn apply_entry(
    staged: &mut Staged<'_>,
    head: &mut Head,
    touched: &mut BTreeSet<String>,
    kinds: &mut BTreeMap<String, u64>,
    entry: &Entry,
) -> Result<Applied, StorageError> {
    match &entry.payload {
        EntryPayload::Blank => Ok(Applied::Nothing),
        EntryPayload::Membership(membership) => {
            note_removed(staged, membership)?;
            let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
            staged.put(
                Family::Meta,
                META_MEMBERSHIP,
                convert::stored_membership_to_pb(&stored).encode_to_vec(),
            );
            Ok(Applied::Nothing)
        }
        EntryPayload::Normal(proposal) => {
            let proposed = decode_append(proposal.bytes.clone())
                .map_err(|error| StorageError::Damaged(format!("a log entry: {error}")))?;
            let names: Vec<String> = proposed
                .events
                .iter()
                .filter_map(|event| crate_of(&event.stream))
                .collect();
            let events = proposed.events.iter();
            let told: Vec<String> = events.map(|event| event.kind.clone()).collect();
            match append(staged, head, proposed)? {
                Appended::Conflict => Ok(Applied::Conflict),
                Appended::Stored { sequence } => {
                    touched.extend(names);
                    for kind in told {
                        *kinds.entry(kind).or_default() += 1;
                    }
                    Ok(Applied::Stored { sequence })
                }
            }
        }
    }
}

/// Node ids are never used again, so whoever leaves the membership is out for ever, whatever certificate it has.
fn note_removed(staged: &mut Staged<'_>, next: &Membership) -> Result<(), StorageError> {
    let Some(before) = staged.get_message::<pb::StoredMembership>(Family::Meta, META_MEMBERSHIP)?
    else {
        return Ok(());
    };
    let before = before.membership.unwrap_or_default();
    for member in before.members {
        if next.get_node(&member.node).is_none() {
            staged.put(Family::Meta, &removed_node(member.node), Vec::new());
        }
    }
    Ok(())
}

/// The canonical name, if it is a crate's stream.
fn crate_of(stream: &str) -> Option<String> {
    match StreamId::parse(stream) {
        Ok(StreamId::Crate(name)) => Some(name.as_str().to_owned()),
        Ok(StreamId::Account(_) | StreamId::Installation) | Err(_) => None,
    }
}

fn bytes_of(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotDirectory;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let live = self.state.live();
        Ok((live.applied()?, live.membership()?))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let mut batch = vec![first?];
            let mut bytes = bytes_of(&batch[0].0);
            // Whatever is ready joins the batch; nothing is waited for.
            while batch.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX {
                let Some(Some(next)) = entries.next().now_or_never() else {
                    break;
                };
                let next = next?;
                bytes += bytes_of(&next.0);
                batch.push(next);
            }
            self.apply_batch(batch)?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    /// The checkpoint is taken here, serial with apply; hashing and publishing it runs beside apply.
    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.snapshots.begin(&self.state.live())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotDirectory,
    ) -> Result<(), io::Error> {
        self.snapshots.install(&self.state, meta, snapshot)?;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshots.newest())
    }
}

#[cfg(test)]
mod tests {
    use openraft::StorageError;
    use openraft::testing::log::{StoreBuilder, Suite};
    use tempfile::TempDir;

    use super::*;
    use crate::raft::log_store::LogStore;

    struct Stores;

    impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Stores {
        async fn build(
            &self,
        ) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
            let directory = tempfile::tempdir().expect("a directory");
            let log = LogStore::open(&directory.path().join("raftlog")).expect("a log");
            let state = State::open(&directory.path().join("state"), 10, 1 << 20).expect("a state");
            let snapshots =
                Snapshots::open(&directory.path().join("snapshots"), "suite").expect("snapshots");
            let machine = StateMachine::new(Arc::new(state), Arc::new(snapshots));
            Ok((directory, log, machine))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn openraft_accepts_the_log_and_the_state_machine() {
        Suite::test_all(Stores).await.expect("the contract holds");
    }
}

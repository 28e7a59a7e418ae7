//! The history on the volume of a stopped node, read without starting it: how events are saved when the others are lost.
//! What the log holds beyond the applied state is part of it: an acknowledged write is never left out.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use cratekeeper_domain::{StreamId, StreamState};
use cratekeeper_wire::decode_append;
use cratekeeper_wire::pb::state::Head;
use openraft::EntryPayload;

use crate::api::{HistoryHead, StartError};
use crate::node::storage;
use crate::node_file::NodeFile;
use crate::raft::log_store::LogStore;
use crate::store::{
    Appended, Database, Family, FoldedStreams, Staged, StorageError, append, live_path, queries,
};

/// Holds the lock of the node's log, so that the node cannot start meanwhile.
pub struct StoppedNode {
    database: Database,
    _log: LogStore,
    history: HistoryHead,
    /// Of the applied state; what follows is in `tail`.
    applied: u64,
    tail: BTreeMap<u64, Row>,
}

struct Row {
    record: Bytes,
    chain: [u8; 32],
}

impl StoppedNode {
    /// Refuses a directory that is not a node's, and one whose node runs.
    pub fn open(data_dir: &Path) -> Result<StoppedNode, StartError> {
        let node = data_dir.display();
        let state =
            live_path(&data_dir.join("state")).map_err(|error| storage("find the state", error))?;
        let identity = match NodeFile::has_node(data_dir) {
            Ok(true) => NodeFile::open(data_dir)
                .map_err(|error| storage("read the file NODE", error))?
                .identity(),
            Ok(false) => None,
            Err(error) => return Err(storage("read the file NODE", error)),
        };
        let (Some(state), Some(identity)) = (state, identity) else {
            return Err(StartError::Refused(format!(
                "`{node}` is not the data directory of a node that was in a cluster"
            )));
        };
        let log = LogStore::open(&data_dir.join("raftlog")).map_err(|error| {
            StartError::Refused(format!(
                "the Raft log in `{node}` cannot be opened; does the node still run? ({error})"
            ))
        })?;
        let read = || -> Result<_, StorageError> {
            let database = Database::open_read_only(&state)?;
            let (applied, head) = (database.head()?.sequence, database.head()?);
            let (head, tail) = tail_of(&database, &log, head)?;
            let history = history_of(&database)?;
            Ok((database, applied, head, tail, history))
        };
        let (database, applied, head, tail, history) =
            read().map_err(|error| storage("read the state", error))?;
        Ok(StoppedNode {
            database,
            _log: log,
            history: HistoryHead {
                cluster: identity.cluster,
                history,
                sequence: head.sequence,
                chain: head.chain.as_ref().try_into().unwrap_or_default(),
            },
            applied,
            tail,
        })
    }

    pub fn history(&self) -> &HistoryHead {
        &self.history
    }

    /// The chain hash at a sequence, if the history reaches it.
    pub fn chain_at(&self, sequence: u64) -> Result<Option<[u8; 32]>, StartError> {
        if let Some(row) = self.tail.get(&sequence) {
            return Ok(Some(row.chain));
        }
        queries::chain_hash_at(&self.database, sequence)
            .map_err(|error| storage("read the chain", error))
    }

    /// See `Cluster::records`.
    pub fn records(
        &self,
        after: u64,
        until: u64,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, StartError> {
        if after < self.applied {
            let until = until.min(self.applied);
            return queries::records(&self.database, after, until, bytes_max)
                .map_err(|error| storage("read the events", error));
        }
        let following = self.tail.range(after + 1..=until.max(after + 1));
        Ok(following.map(|(_, row)| row.record.clone()).collect())
    }
}

/// What the entries of the log would add to the state.
fn tail_of(
    database: &Database,
    log: &LogStore,
    mut head: Head,
) -> Result<(Head, BTreeMap<u64, Row>), StorageError> {
    let applied = head.sequence;
    let next = database.applied()?.map_or(0, |id| id.index + 1);
    let mut staged = Staged::new(database);
    for entry in log.read(next, u64::MAX, usize::MAX)? {
        let EntryPayload::Normal(proposal) = entry.payload else {
            continue;
        };
        let proposed = decode_append(proposal.bytes)
            .map_err(|error| StorageError::Damaged(format!("a log entry: {error}")))?;
        match append(&mut staged, &mut head, proposed)? {
            Appended::Stored { .. } | Appended::Conflict => {}
        }
    }
    let mut tail = BTreeMap::new();
    for sequence in applied + 1..=head.sequence {
        let key = sequence.to_be_bytes();
        let (record, chain) = (
            staged.get(Family::Events, &key)?,
            staged.get(Family::Chain, &key)?,
        );
        let (Some(record), Some(chain)) = (record, chain) else {
            return Err(StorageError::Damaged(format!(
                "event {sequence} is missing"
            )));
        };
        let row = Row {
            record: record.into(),
            chain: queries::chain_of(&chain)?,
        };
        tail.insert(sequence, row);
    }
    Ok((head, tail))
}

fn history_of(database: &Database) -> Result<String, StorageError> {
    let folded = FoldedStreams::new(1).load(database, &StreamId::Installation)?;
    match &*folded.state {
        StreamState::Installation(Some(installation)) => Ok(installation.history.clone()),
        _ => Err(StorageError::Damaged(
            "the history does not begin with a founding".to_owned(),
        )),
    }
}

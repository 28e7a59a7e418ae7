//! What a node measures about itself when somebody looks: plain numbers, named by whoever shows them.
//! Raft's own view, both databases, and the disk below them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::alias::SerdeInstantOf;
use rocksdb::properties as property;
use rocksdb::{ColumnFamily, DB};
use tokio::task::spawn_blocking;

use crate::api::MemberRole;
use crate::node::{Member, Node};
use crate::raft::types::TypeConfig;
use crate::store::Family;

/// One look at a node; parts that could not be read are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gauges {
    /// `None` while the node is in no cluster.
    pub raft: Option<RaftGauges>,
    /// Of the newest event applied here.
    pub sequence: u64,
    pub databases: Vec<DatabaseGauges>,
    pub disk: Option<DiskGauges>,
    /// Bytes of files below each directory of the data directory. A file that two share by hard links counts in both.
    pub directories: Vec<(&'static str, u64)>,
}

/// Raft as this node sees it. Indexes are 0 before the first entry.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RaftGauges {
    pub term: u64,
    pub leader_known: bool,
    pub is_leader: bool,
    pub is_voter: bool,
    pub last_log: u64,
    /// As the leader last told.
    pub committed: u64,
    pub applied: u64,
    pub snapshot: u64,
    pub purged: u64,
    /// How many members have each role.
    pub members: Vec<(MemberRole, usize)>,
    /// Since a majority last confirmed this leader; only on a leader.
    pub quorum_ack_age: Option<Duration>,
    /// Only on a leader.
    pub peers: Vec<PeerGauges>,
}

/// Another member, as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerGauges {
    pub node: u64,
    /// Entries of the leader's log that the peer is not known to have.
    pub lag: u64,
    /// Since it last answered a heartbeat or an append; `None` if it has not since this node leads.
    pub heard: Option<Duration>,
    /// An append stream to it is open and it reports on it.
    pub connected: bool,
}

/// One RocksDB, over all its column families.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DatabaseGauges {
    /// `state` or `raftlog`.
    pub name: &'static str,
    pub block_cache_bytes: u64,
    pub memtable_bytes: u64,
    pub table_bytes: u64,
    pub table_files: u64,
    /// What compaction still has to rewrite, estimated.
    pub pending_compaction_bytes: u64,
    pub running_compactions: u64,
    pub running_flushes: u64,
    /// Errors of flushes and compactions since the database was opened.
    pub background_errors: u64,
    /// Writes wait until compaction has caught up.
    pub writes_stopped: bool,
    /// What writes are slowed down to, in bytes a second; 0: they are not.
    pub delayed_write_rate: u64,
}

/// The file system of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskGauges {
    pub size_bytes: u64,
    /// For a process without privileges.
    pub free_bytes: u64,
}

const DIRECTORIES: [&str; 5] = ["raftlog", "state", "snapshots", "incoming", "search"];

impl Node {
    /// See `Cluster::gauges`.
    pub(crate) async fn gauges(self: &Arc<Node>) -> Gauges {
        let mut gauges = Gauges {
            raft: self.member().map(|member| self.raft_gauges(member)),
            sequence: self.state.progress().borrow().sequence,
            ..Gauges::default()
        };
        let node = self.clone();
        let measured = spawn_blocking(move || {
            let data_dir = &node.options.data_dir;
            let bytes = |name| (name, bytes_below(&data_dir.join(name)));
            (
                node.databases(),
                disk(data_dir),
                DIRECTORIES.map(bytes).to_vec(),
            )
        });
        if let Ok((databases, disk, directories)) = measured.await {
            gauges.databases = databases;
            gauges.disk = disk;
            gauges.directories = directories;
        }
        gauges
    }

    fn raft_gauges(&self, member: &Member) -> RaftGauges {
        // Cloned: whoever holds on to it stops Raft.
        let metrics = member.raft.metrics().borrow_watched().clone();
        let last_log = metrics.last_log_index.unwrap_or(0);
        let mut members: Vec<(MemberRole, usize)> = Vec::new();
        for status in self.members_here(member) {
            match members.iter_mut().find(|(role, _)| *role == status.role) {
                Some((_, count)) => *count += 1,
                None => members.push((status.role, 1)),
            }
        }
        let me = member.identity.node;
        let heartbeats = metrics.heartbeat.unwrap_or_default();
        let replication = metrics.replication.unwrap_or_default();
        let others = replication.into_iter().filter(|(node, _)| *node != me);
        let peers = others.map(|(node, matched)| PeerGauges {
            node,
            lag: last_log.saturating_sub(matched.map_or(0, |id| id.index)),
            heard: heartbeats.get(&node).copied().flatten().map(age),
            connected: member.peers.get(node).is_some_and(|peer| peer.connected),
        });
        let committed = metrics.cluster_committed.max(metrics.local_committed);
        RaftGauges {
            term: metrics.current_term,
            leader_known: metrics.current_leader.is_some(),
            is_leader: metrics.state.is_leader(),
            is_voter: member.voters().contains(&me),
            last_log,
            committed: committed.map_or(0, |id| id.index),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            snapshot: metrics.snapshot.map_or(0, |id| id.index),
            purged: metrics.purged.map_or(0, |id| id.index),
            members,
            quorum_ack_age: metrics.last_quorum_acked.map(age),
            peers: peers.collect(),
        }
    }

    fn databases(&self) -> Vec<DatabaseGauges> {
        let live = self.state.live();
        let families = Family::ALL.map(|family| live.family(family).ok());
        let families: Vec<&ColumnFamily> = families.into_iter().flatten().collect();
        // One cache serves all families of the state.
        let cached = families.iter().take(1).copied().collect();
        let mut databases = vec![database("state", live.raw(), &families, cached)];
        if let Some(log) = self.log_database.upgrade() {
            let names = crate::raft::log_store::FAMILIES;
            let families: Vec<&ColumnFamily> = names
                .iter()
                .filter_map(|name| log.cf_handle(name))
                .collect();
            let cached = families.clone();
            databases.push(database("raftlog", &log, &families, cached));
        }
        databases
    }
}

fn database(
    name: &'static str,
    db: &DB,
    families: &[&ColumnFamily],
    cached: Vec<&ColumnFamily>,
) -> DatabaseGauges {
    let one = |family: &ColumnFamily, name: &property::PropName| {
        let value = db.property_int_value_cf(&family, name);
        value.ok().flatten().unwrap_or(0)
    };
    let sum = |name| families.iter().map(|family| one(family, name)).sum();
    // These are of the whole database, whichever family is asked.
    let whole = |name| families.first().map_or(0, |family| one(family, name));
    let table_files = db.live_files().map_or(0, |files| files.len() as u64);
    DatabaseGauges {
        name,
        block_cache_bytes: cached
            .into_iter()
            .map(|family| one(family, property::BLOCK_CACHE_USAGE))
            .sum(),
        memtable_bytes: sum(property::CUR_SIZE_ALL_MEM_TABLES),
        table_bytes: sum(property::TOTAL_SST_FILES_SIZE),
        table_files,
        pending_compaction_bytes: sum(property::ESTIMATE_PENDING_COMPACTION_BYTES),
        running_compactions: whole(property::NUM_RUNNING_COMPACTIONS),
        running_flushes: whole(property::NUM_RUNNING_FLUSHES),
        background_errors: whole(property::BACKGROUND_ERRORS),
        writes_stopped: whole(property::IS_WRITE_STOPPED) != 0,
        delayed_write_rate: whole(property::ACTUAL_DELAYED_WRITE_RATE),
    }
}

fn age(moment: SerdeInstantOf<TypeConfig>) -> Duration {
    moment.elapsed()
}

fn disk(directory: &Path) -> Option<DiskGauges> {
    let stats = fs4::statvfs(directory).ok()?;
    Some(DiskGauges {
        size_bytes: stats.total_space(),
        free_bytes: stats.available_space(),
    })
}

/// What cannot be read counts nothing: files come and go while this looks.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_at_any_depth() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("inner")).expect("a directory");
        fs::write(directory.path().join("a"), [0; 10]).expect("a file");
        fs::write(directory.path().join("inner/b"), [0; 5]).expect("a file");
        assert_eq!(bytes_below(directory.path()), 15);
        assert_eq!(bytes_below(&directory.path().join("absent")), 0);
        let disk = disk(directory.path()).expect("a file system");
        assert!(disk.free_bytes <= disk.size_bytes);
    }
}

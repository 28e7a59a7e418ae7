//! Founding a cluster from a backup. The state is built beside the live one from the records, proven, and then becomes the live
//! one, as if a snapshot had been installed: Raft begins behind it, so that every node that joins is sent a snapshot.
//! `data/RESTORING` is there from before the first record until the volume is a node; until then the node does not serve.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cratekeeper_domain::{
    Actor, Event, Installation, NEWEST_LEVEL, RequestId, StreamId, StreamState, go_on_restored,
    issue_after_restore,
};
use cratekeeper_wire::{Append, decode_append, encode_append, pb};
use parking_lot::Mutex;
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::admission::ask_who_is_there;
use crate::api::{NodeOptions, NodeRole, Restore, Restored, Start, StartError, StoreOwner};
use crate::causes::with_causes;
use crate::execute::now_ms;
use crate::node::storage;
use crate::node_file::NodeFile;
use crate::peer::Dialer;
use crate::raft::convert;
use crate::raft::log_store::LogStore;
use crate::raft::types::{Member, Membership, StoredMembership};
use crate::starting::{certificates, open_volume};
use crate::store::{
    META_APPLIED, META_MEMBERSHIP, Replay, ReplayError, State, StorageError, sync_directory,
    write_durably,
};

const FILE_NAME: &str = "RESTORING";
/// The restored state is what one entry of the log would have left behind.
const RESTORED_TERM: u64 = 1;
const RESTORED_INDEX: u64 = 1;

/// `data/RESTORING`: which history this volume is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Restoring {
    format: u32,
    /// Chosen once, so that a store that was claimed for it before a crash is its own afterwards.
    history: String,
}

/// The parts of a volume that is no node yet.
pub(crate) struct Volume<'a> {
    pub(crate) options: &'a NodeOptions,
    pub(crate) file: &'a Mutex<NodeFile>,
    pub(crate) state: &'a Arc<State>,
    pub(crate) log: LogStore,
}

/// Whether the data directory is a node's already. False for one that does not exist.
pub fn has_node(data_dir: &Path) -> io::Result<bool> {
    NodeFile::has_node(data_dir)
}

/// Makes the first node of a cluster of an empty data directory and a backup, as `options.start` and `options.restore` say, and
/// leaves it stopped. After a crash the same call starts over; until it has succeeded the directory does not serve.
pub async fn restore(options: NodeOptions) -> Result<Restored, StartError> {
    let (Start::Found { cluster, peers, .. }, Some(restore)) = (&options.start, &options.restore)
    else {
        return Err(StartError::Refused(
            "only a node that founds a cluster can begin with a backup: set cluster.start = \"found\"".to_owned(),
        ));
    };
    if NodeFile::has_node(&options.data_dir)
        .map_err(|error| storage("read the file NODE", error))?
    {
        return Err(StartError::Refused(format!(
            "{} is a node of a cluster already; a backup is only restored onto an empty data directory",
            options.data_dir.display()
        )));
    }
    let file = open_volume(&options.data_dir)?;
    let dialer = Dialer::new(certificates(&options, &file)?);
    let others = ask_who_is_there(&dialer, &options, peers).await;
    if let Some((address, other)) = others.cluster {
        return Err(StartError::Refused(format!(
            "the peer at {address} is in the cluster `{other}`, so not everything is lost: let this node join it instead, or stop all of its nodes for good"
        )));
    }
    let file = Mutex::new(file);
    let log = LogStore::open(&options.data_dir.join("raftlog"))
        .map_err(|error| storage("open the Raft log", error))?;
    let state = State::open(&options.data_dir.join("state"), 10, 1 << 20)
        .map_err(|error| storage("open the state", error))?;
    let state = Arc::new(state);
    let volume = Volume {
        options: &options,
        file: &file,
        state: &state,
        log,
    };
    take_over(volume, restore, cluster)
        .await
        .map_err(StartError::Refused)
}

/// From an empty volume to the first node of a cluster with the history of `restore`.
pub(crate) async fn take_over(
    volume: Volume<'_>,
    restore: &Restore,
    cluster: &str,
) -> Result<Restored, String> {
    let data_dir = &volume.options.data_dir;
    let began = Instant::now();
    let restoring = begin(&volume)?;
    let (number, path) = volume
        .state
        .generations
        .next_path()
        .map_err(|error| with_causes(&error))?;
    let founder = Founder {
        cluster: cluster.to_owned(),
        history: restoring.history.clone(),
        me: Member {
            address: volume.options.peer_address.clone(),
            incarnation: volume.file.lock().incarnation.clone(),
            name: volume.options.name.clone(),
            role: NodeRole::Voter,
        },
    };
    let (building, records) = (restore.clone(), (restore.records)());
    let built = tokio::task::spawn_blocking(move || {
        let mut replay = replay(&path, &building, records)?;
        let node = go_on(&mut replay, &building, &founder)?;
        Ok::<_, String>((replay, node))
    });
    let (replay, node) = built.await.map_err(|error| error.to_string())??;
    let now = crate::HistoryHead {
        cluster: cluster.to_owned(),
        history: restoring.history.clone(),
        sequence: replay.sequence(),
        chain: replay.chain(),
    };
    (restore.claim_store)(StoreOwner {
        cluster: cluster.to_owned(),
        history: Some(restoring.history),
        founder: None,
    })
    .await?;
    let switched = replay.finish().and_then(|database| {
        volume.state.generations.switch(number, database)?;
        volume.state.switched()
    });
    switched.map_err(|error| with_causes(&error))?;
    let begins = convert::log_id_from_pb(&log_id(node));
    volume
        .log
        .begin_at(begins)
        .await
        .map_err(|error| with_causes(&error))?;
    volume
        .file
        .lock()
        .become_node(data_dir, cluster, node)
        .map_err(|error| with_causes(&error))?;
    end(data_dir).map_err(|error| with_causes(&error))?;
    tracing::info!(
        from = restore.from.history,
        history = now.history,
        events = restore.from.sequence,
        chain = hex::encode(restore.from.chain),
        ms = began.elapsed().as_millis(),
        "the history was restored"
    );
    Ok(Restored { now, node })
}

struct Founder {
    cluster: String,
    history: String,
    me: Member,
}

/// Refuses a volume with a history that no restore has left there.
fn begin(volume: &Volume<'_>) -> Result<Restoring, String> {
    let data_dir = &volume.options.data_dir;
    if let Some(restoring) = Restoring::read(data_dir).map_err(|error| with_causes(&error))? {
        return Ok(restoring);
    }
    let head = volume.state.live().head();
    if head.map_err(|error| with_causes(&error))?.sequence > 0 {
        return Err(format!(
            "{} has a history already; a backup is only restored onto an empty data directory",
            data_dir.display()
        ));
    }
    let restoring = Restoring {
        format: 1,
        history: uuid::Uuid::new_v4().to_string(),
    };
    let mut text = serde_json::to_vec_pretty(&restoring).map_err(|error| error.to_string())?;
    text.push(b'\n');
    write_durably(&data_dir.join(FILE_NAME), &text).map_err(|error| with_causes(&error))?;
    Ok(restoring)
}

/// What a start finds: a volume that is a node needs the mark no more, another one must be restored again.
pub(crate) fn check_unfinished(
    data_dir: &Path,
    file: &NodeFile,
    again: bool,
) -> Result<(), StartError> {
    let unfinished = Restoring::read(data_dir)
        .map_err(|error| storage("read the file RESTORING", error))?
        .is_some();
    if !unfinished {
        return Ok(());
    }
    if file.node.is_some() {
        return end(data_dir).map_err(|error| storage("remove the file RESTORING", error));
    }
    if again {
        tracing::warn!("a restore was interrupted here and starts over");
        return Ok(());
    }
    Err(StartError::Refused(format!(
        "a restore into {} was interrupted: run the same `cratekeeper restore` again, or empty the directory",
        data_dir.display()
    )))
}

fn end(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(data_dir.join(FILE_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_directory(data_dir),
    }
}

impl Restoring {
    fn read(data_dir: &Path) -> io::Result<Option<Restoring>> {
        match std::fs::read(data_dir.join(FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Every record of the backup, folded; proven to end where its manifest says.
fn replay(
    path: &Path,
    restore: &Restore,
    mut records: crate::RecordBatches,
) -> Result<Replay, String> {
    let failed = |error: ReplayError| with_causes(&error);
    let mut replay = Replay::create(path).map_err(failed)?;
    while let Some(batch) = records.blocking_recv() {
        replay.extend(&batch?).map_err(failed)?;
        (restore.progress)(replay.sequence());
    }
    let wanted = &restore.from;
    if (replay.sequence(), replay.chain()) != (wanted.sequence, wanted.chain) {
        return Err(format!(
            "the backup gave a history that ends at sequence {} with the chain hash {}, but was to end at {} with {}",
            replay.sequence(),
            hex::encode(replay.chain()),
            wanted.sequence,
            hex::encode(wanted.chain)
        ));
    }
    Ok(replay)
}

/// The events that say what happened, and what Raft has to find: this node alone, behind the first entry of its log.
fn go_on(replay: &mut Replay, restore: &Restore, founder: &Founder) -> Result<u64, String> {
    let failed = |error: StorageError| with_causes(&error);
    let installation = installation(replay).map_err(failed)?;
    let restored = Event::HistoryRestored {
        from_cluster: restore.from.cluster.clone(),
        from_history: restore.from.history.clone(),
        sequence: restore.from.sequence,
        chain: restore.from.chain,
        cluster: founder.cluster.clone(),
        history: founder.history.clone(),
    };
    let (node, mut events) = go_on_restored(&installation, restored, &founder.me.incarnation);
    if let Some((login, token, hash)) = &restore.admin_token {
        let stream = StreamId::Account(login.clone());
        let StreamState::Account(account) = replay.stream(&stream).map_err(failed)? else {
            return Err(format!("the account `{login}` cannot be read"));
        };
        let issued = issue_after_restore(account.as_deref(), login, token.clone(), *hash);
        events.push(issued.map_err(|rejection| rejection.sentence)?);
    }
    let proposed = encode_append(&Append {
        read: Vec::new(),
        events,
        time_ms: now_ms(),
        actor: Actor::default(),
        request: RequestId(*uuid::Uuid::new_v4().as_bytes()),
        feature_level: NEWEST_LEVEL,
    });
    let proposed = decode_append(proposed).map_err(|error| with_causes(&error))?;
    replay.go_on(proposed).map_err(failed)?;
    begin_raft(replay, node, &founder.me).map_err(failed)?;
    Ok(node)
}

fn installation(replay: &Replay) -> Result<Installation, StorageError> {
    match replay.stream(&StreamId::Installation)? {
        StreamState::Installation(Some(installation)) => Ok(installation),
        _ => Err(StorageError::Damaged(
            "the backup ends before the founding of its cluster".to_owned(),
        )),
    }
}

fn begin_raft(replay: &mut Replay, node: u64, me: &Member) -> Result<(), StorageError> {
    let applied = log_id(node);
    let members = std::collections::BTreeMap::from([(node, me.clone())]);
    let membership = Membership::new(vec![std::collections::BTreeSet::from([node])], members)
        .map_err(|error| StorageError::Damaged(error.to_string()))?;
    let stored = StoredMembership::new(Some(convert::log_id_from_pb(&applied)), membership);
    let stored = convert::stored_membership_to_pb(&stored);
    replay.put_meta(META_APPLIED, applied.encode_to_vec())?;
    replay.put_meta(META_MEMBERSHIP, stored.encode_to_vec())
}

fn log_id(node: u64) -> pb::peer::LogId {
    pb::peer::LogId {
        term: RESTORED_TERM,
        leader: node,
        index: RESTORED_INDEX,
    }
}

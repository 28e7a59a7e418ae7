//! Starting a node: what is checked and opened before anything is served, and what the peer service is given.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{ExecuteError, Failure, MembershipError, NodeOptions, Start, StartError};
use crate::features;
use crate::membership::REMOVED;
use crate::node::{Member, Node, storage};
use crate::node_file::NodeFile;
use crate::peer::{
    self, AppliedReport, Asked, Dialer, Invitation, JoinAnswer, Joined, NoQuorum, PeerCertificates,
    PeerHost,
};
use crate::raft::log_store::LogStore;
use crate::raft_thread::RaftThread;
use crate::restore::check_unfinished;
use crate::store::{STATE_FORMAT, State};

const SNAPSHOT_WITHIN: Duration = Duration::from_secs(600);
const ASK_AGAIN: Duration = Duration::from_millis(500);
const PURGE_WITHIN: Duration = Duration::from_secs(5);

struct Stores {
    log: LogStore,
    state: State,
}

impl Node {
    pub(crate) async fn start(options: NodeOptions) -> Result<Arc<Node>, StartError> {
        let thread =
            RaftThread::start().map_err(|error| storage("start the Raft runtime", error))?;
        let file = open_volume(&options.data_dir)?;
        let founds = matches!(options.start, Start::Found { .. });
        check_unfinished(
            &options.data_dir,
            &file,
            founds && options.restore.is_some(),
        )?;
        let tls = certificates(&options, &file)?;
        // Connections and the peer service live on the Raft runtime, whoever uses them.
        let listen = options.peer_listen;
        let dialer_tls = tls.clone();
        let bound = thread
            .spawn(async move { (peer::bind(listen).await, Dialer::new(dialer_tls)) })
            .await;
        let (bound, dialer) =
            bound.map_err(|error| storage("start the peer service", io::Error::other(error)))?;
        let bound = bound.map_err(|error| {
            StartError::Refused(format!(
                "the peer address {listen} cannot be listened on: {error}"
            ))
        })?;
        // Both exist before NODE names a node: from then on a missing one means a lost volume.
        let log = LogStore::open(&options.data_dir.join("raftlog"))
            .map_err(|error| storage("open the Raft log", error))?;
        let state = State::open(
            &options.data_dir.join("state"),
            options.folded_crates_max,
            options.index_cache_bytes,
        )
        .map_err(|error| storage("open the state", error))?;
        features::check(&state, &options)?;
        let node = Node::new(options, file, Stores { log, state }, dialer, thread);
        let host = node.host.clone();
        if let Some(tls) = &tls {
            node.watch_certificates(tls.clone());
        }
        node.thread.spawn(bound.serve(host, tls));
        let entering = node.clone();
        node.thread.spawn(async move {
            if let Err(why) = entering.enter().await
                && !entering.stopping.is_cancelled()
            {
                entering.fail(Failure::Refused(why));
            }
        });
        Ok(node)
    }

    fn watch_certificates(&self, certificates: Arc<PeerCertificates>) {
        let stopping = self.stopping.clone();
        self.thread.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = certificates.reload() => {}
            }
        });
    }

    fn new(
        options: NodeOptions,
        file: NodeFile,
        stores: Stores,
        dialer: Dialer,
        thread: RaftThread,
    ) -> Arc<Node> {
        let reports = watch::Sender::new(AppliedReport::default());
        let invitations = watch::Sender::new(None);
        let stopping = CancellationToken::new();
        let host = Arc::new(PeerHost {
            incarnation: file.incarnation.clone(),
            name: options.name.clone(),
            feature_level_max: features::taken(&options),
            state_format: STATE_FORMAT,
            incoming: options.data_dir.join("incoming"),
            applied: reports.subscribe(),
            invite: accept_invitations(&invitations),
            stopping: stopping.clone(),
            joined: OnceLock::new(),
            receiving: Arc::default(),
        });
        Arc::new(Node {
            options,
            file: Mutex::new(file),
            state: Arc::new(stores.state),
            log_errors: Box::new(stores.log.count_background_errors()),
            log_database: stores.log.database(),
            log: Mutex::new(Some(stores.log)),
            member: OnceLock::new(),
            host,
            dialer,
            reports,
            invitations,
            turns: Node::turns(),
            draining: AtomicBool::new(false),
            lagging: AtomicBool::new(false),
            caught_up: AtomicBool::new(false),
            was_member: AtomicBool::new(false),
            failure: watch::Sender::new(None),
            stopping,
            thread,
        })
    }

    /// From here on the peer service answers for a member. It holds the node weakly: the node owns the service, not the reverse.
    pub(crate) fn serve_members(self: &Arc<Node>, member: &Member) {
        let node = Arc::downgrade(self);
        let with = |node: &Weak<Node>| node.upgrade();
        let state = self.state.clone();
        let [execute, read_index, change, join, status] = std::array::from_fn(|_| node.clone());
        let joined = Joined {
            identity: member.identity.clone(),
            raft: member.raft.clone(),
            execute: Arc::new(move |request, deadline| {
                let node = with(&execute);
                async move {
                    let node = node.ok_or(Asked::Failed(ExecuteError::Stopping))?;
                    node.execute_here(&request, deadline).await
                }
                .boxed()
            }),
            read_index: Arc::new(move |deadline| {
                let node = with(&read_index);
                async move {
                    let node = node.ok_or(Asked::Failed(NoQuorum))?;
                    let member = node.member().ok_or(Asked::NotLeader(None))?;
                    member.read_index(deadline).await
                }
                .boxed()
            }),
            status: Arc::new(move |_| {
                let node = with(&status);
                async move { node.and_then(|node| node.status_here().ok()) }.boxed()
            }),
            change: Arc::new(move |wish, deadline| {
                let node = with(&change);
                async move {
                    let node = node.ok_or(Asked::Failed(MembershipError::NoLeader))?;
                    node.change_here(wish, deadline).await
                }
                .boxed()
            }),
            join: Arc::new(move |request| {
                let node = with(&join);
                let answer: BoxFuture<'static, JoinAnswer> = async move {
                    match node {
                        Some(node) => node.admit(request).await,
                        None => JoinAnswer::Later("the node is stopping".to_owned()),
                    }
                }
                .boxed();
                answer
            }),
            was_removed: Arc::new(move |node| was_removed(&state, node)),
        };
        // Set once: a node becomes a member once in its life.
        let _ = self.host.joined.set(joined);
    }

    /// See `Cluster::snapshot`.
    pub(crate) async fn snapshot(self: &Arc<Node>) -> Result<u64, MembershipError> {
        let member = self.member().ok_or(MembershipError::NoLeader)?;
        let refused = |error: &dyn std::error::Error| MembershipError::Refused(error.to_string());
        let wanted = self.state.applied();
        let deadline = Instant::now() + SNAPSHOT_WITHIN;
        let index = loop {
            let trigger = member.raft.trigger();
            // Raft forgets the wish if it is making an earlier one just now, so it is said again.
            trigger.snapshot().await.map_err(|error| refused(&error))?;
            let wait = member.raft.wait(Some(ASK_AGAIN));
            let made = wait.metrics(
                |metrics| metrics.snapshot.is_some_and(|id| wanted <= id.index),
                "the snapshot",
            );
            if let Ok(metrics) = made.await {
                break metrics.snapshot.map_or(wanted, |id| id.index);
            }
            if deadline < Instant::now() {
                return Err(MembershipError::Unfinished);
            }
        };
        let trigger = member.raft.trigger();
        trigger
            .purge_log(index)
            .await
            .map_err(|error| refused(&error))?;
        let wait = member.raft.wait(Some(PURGE_WITHIN));
        let purged = wait.metrics(
            |metrics| metrics.purged.is_some_and(|id| index <= id.index),
            "the purge",
        );
        if purged.await.is_err() {
            tracing::info!(
                index,
                "the log is purged when no follower is being sent it any more"
            );
        }
        Ok(index)
    }
}

/// Read before anything else is done: which cluster the peers must belong to is known from the volume, or from the configuration.
pub(crate) fn certificates(
    options: &NodeOptions,
    file: &NodeFile,
) -> Result<Option<Arc<PeerCertificates>>, StartError> {
    let Some(tls) = &options.tls else {
        return Ok(None);
    };
    let cluster = match &options.start {
        _ if file.cluster.is_some() => file.cluster.clone(),
        Start::Found { cluster, .. } => Some(cluster.clone()),
        Start::Join { cluster, .. } => cluster.clone(),
    };
    PeerCertificates::load(tls, &options.peer_address, cluster)
        .map(Some)
        .map_err(StartError::Refused)
}

/// Only a node that was told to join takes an invitation; one that was told to found has its own plan.
fn accept_invitations(invitations: &watch::Sender<Option<Invitation>>) -> peer::InviteFn {
    let invitations = invitations.clone();
    Arc::new(move |invitation| {
        invitations.send_replace(Some(invitation));
        Ok(())
    })
}

/// Storage that cannot answer is a fault of its own; Raft's own checks still stand.
fn was_removed(state: &State, node: u64) -> bool {
    state.was_removed(node).unwrap_or_else(|error| {
        tracing::error!(%error, node, "whether a node was removed could not be read");
        false
    })
}

/// A volume that was a node and has lost a part is not mended: the rest of the cluster still has what it had.
pub(crate) fn open_volume(data_dir: &Path) -> Result<NodeFile, StartError> {
    std::fs::create_dir_all(data_dir).map_err(|error| {
        storage(
            &format!("create the data directory {}", data_dir.display()),
            error,
        )
    })?;
    let file = NodeFile::open(data_dir).map_err(|error| storage("read the file NODE", error))?;
    if file.removed {
        return Err(StartError::Refused(REMOVED.to_owned()));
    }
    let whole = data_dir.join("raftlog").join("CURRENT").exists()
        && data_dir.join("state").join("CURRENT").exists();
    if file.node.is_some() && !whole {
        return Err(StartError::Refused(format!(
            "the volume at {} has lost its Raft log or its state; it must not continue as the node it was: start it with an empty data directory and it joins as a new node",
            data_dir.display()
        )));
    }
    Ok(file)
}

//! [`Cluster`]: the handle the server holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_domain::{
    Account, CanonicalName, CrateName, Login, Recorded, StreamId, StreamState, TokenHash, TokenId,
    Version, VersionFacts,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::api::{
    ClusterStatus, CrateSummary, ExecuteError, Executed, Failure, HistoryHead, IndexFile,
    MembershipError, NodeOptions, Presented, ReadError, Readiness, Rebuilt, Request, StartError,
    TarballEntry, VersionSummary,
};
use crate::gauges::Gauges;
use crate::node::{Node, storage};
use crate::peer::Change;
use crate::store::{self, StorageError, queries};

const ALIVE_WITHIN: Duration = Duration::from_secs(5);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// One node of a cluster; cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    node: Arc<Node>,
}

impl Cluster {
    /// Opens the data directory, starts the peer service and Raft, founds or joins as `options.start` says. Returns as soon as
    /// the node runs; it may still be joining or catching up (`readiness`).
    pub async fn start(options: NodeOptions) -> Result<Cluster, StartError> {
        Ok(Cluster {
            node: Node::start(options).await?,
        })
    }

    /// Decides on the leader and replicates; held while there is no leader, until `deadline`. When it returns Ok the events are
    /// committed, applied here and (bounded) on every ready node. `OutcomeUnknown` is not a failure.
    pub async fn execute(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<Executed, ExecuteError> {
        self.node.execute(request, deadline).await
    }

    /// Rejected now if the command would be, as far as a confirmed view tells; only to refuse before anything is stored, the
    /// decision comes with `execute`. Nothing is written.
    pub async fn foresee(&self, request: &Request, deadline: Instant) -> Result<(), ExecuteError> {
        self.node.foresee(request, deadline).await
    }

    /// The index file of the lower-cased `name`; `known_position` is the position in the client's `If-None-Match`: a node that is
    /// behind it waits or asks the leader, and never answers with an older file.
    pub async fn index_file(
        &self,
        lower_name: &str,
        known_position: Option<u64>,
    ) -> Result<Option<Arc<IndexFile>>, ReadError> {
        self.node.index_file(lower_name, known_position).await
    }

    /// The account and id behind a token's hash; revoked and expired ones too.
    pub fn token(&self, hash: &TokenHash) -> Result<Option<Presented>, ReadError> {
        let Some((login, token)) = queries::token(&self.node.state.live(), hash)? else {
            return self.unknown();
        };
        let account = self.folded_account(&login)?;
        Ok(account.map(|account| Presented { token, account }))
    }

    pub fn token_owner(&self, token: &TokenId) -> Result<Option<Arc<Account>>, ReadError> {
        match queries::token_owner(&self.node.state.live(), token)? {
            Some(login) => Ok(self.folded_account(&login)?),
            None => self.unknown(),
        }
    }

    pub fn account(&self, login: &Login) -> Result<Option<Arc<Account>>, ReadError> {
        match self.folded_account(login)? {
            Some(account) => Ok(Some(account)),
            None => self.unknown(),
        }
    }

    /// In order of login.
    pub fn accounts(
        &self,
        after: Option<&Login>,
        limit: usize,
    ) -> Result<Vec<Arc<Account>>, ReadError> {
        let logins = queries::logins(&self.node.state.live(), after, limit)?;
        let mut accounts = Vec::with_capacity(logins.len());
        for login in logins {
            accounts.extend(self.folded_account(&login)?);
        }
        Ok(accounts)
    }

    pub fn krate(&self, name: &CanonicalName) -> Result<Option<CrateSummary>, ReadError> {
        let folded = self.node.state.folded(&StreamId::Crate(name.clone()))?;
        match queries::krate(&self.node.state.live(), name, &folded.state)? {
            Some(krate) => Ok(Some(krate)),
            None => self.unknown(),
        }
    }

    /// In order of canonical name.
    pub fn crates(
        &self,
        after: Option<&CanonicalName>,
        limit: usize,
    ) -> Result<Vec<CrateName>, ReadError> {
        Ok(queries::crates(&self.node.state.live(), after, limit)?)
    }

    /// Removed versions too: the summary says so.
    pub fn version(
        &self,
        name: &CanonicalName,
        version: &Version,
    ) -> Result<Option<(VersionSummary, VersionFacts)>, ReadError> {
        match queries::version(&self.node.state.live(), name, version)? {
            Some(version) => Ok(Some(version)),
            None => self.unknown(),
        }
    }

    /// What a download needs; nothing for a removed version.
    pub fn tarball(
        &self,
        name: &CanonicalName,
        version: &Version,
    ) -> Result<Option<TarballEntry>, ReadError> {
        match queries::tarball(&self.node.state.live(), name, version)? {
            Some(entry) => Ok(Some(entry)),
            None => self.unknown(),
        }
    }

    /// The history after sequence `after`, in order, at most `limit`.
    pub fn events(&self, after: u64, limit: usize) -> Result<Vec<Recorded>, ReadError> {
        Ok(queries::events(&self.node.state.live(), after, limit)?)
    }

    /// The newest applied sequence, as it grows.
    pub fn sequence(&self) -> watch::Receiver<u64> {
        self.node.state.sequence()
    }

    /// The chain hash at a sequence, if the history here reaches it.
    pub fn chain_hash_at(&self, sequence: u64) -> Result<Option<[u8; 32]>, ReadError> {
        Ok(queries::chain_hash_at(&self.node.state.live(), sequence)?)
    }

    /// Hex chain hash at a sequence, if the history here reaches it.
    pub fn chain_at(&self, sequence: u64) -> Result<Option<String>, ReadError> {
        Ok(queries::chain_at(&self.node.state.live(), sequence)?)
    }

    /// Whose history this is and how far it is applied here.
    pub fn history(&self) -> Result<HistoryHead, ReadError> {
        self.node.history_here()
    }

    /// Stored records after sequence `after` up to `until`, in order and byte for byte: at least one if there is any, then as many
    /// as fit `bytes_max`.
    pub fn records(
        &self,
        after: u64,
        until: u64,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let live = self.node.state.live();
        Ok(queries::records(&live, after, until, bytes_max)?)
    }

    pub fn readiness(&self) -> Readiness {
        self.node.readiness()
    }

    /// The same, with `write_ready` only if a majority confirms the leader now; takes a second at most.
    pub async fn readiness_for_writes(&self) -> Readiness {
        self.node.readiness_for_writes().await
    }

    /// Everything acknowledged before this call is applied here when it returns.
    pub async fn barrier(&self, deadline: Instant) -> Result<(), ReadError> {
        self.node.barrier(deadline).await
    }

    /// The Raft core runs and the storage answers; nothing about quorum, leader or peers.
    pub async fn alive(&self) -> Result<(), String> {
        let node = self.node.clone();
        let read = tokio::task::spawn_blocking(move || node.state.live().head().map(drop));
        match timeout(ALIVE_WITHIN, read).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(error.to_string()),
            Ok(Err(_)) | Err(_) => return Err("the state store does not answer".to_owned()),
        }
        let Some(member) = self.node.member() else {
            return Ok(());
        };
        // Through the core's own queue, so that a core that hangs does not look alive.
        match timeout(ALIVE_WITHIN, member.raft.with_raft_state(|_| ())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("Raft has stopped: {error}")),
            Err(_) => Err("Raft does not answer".to_owned()),
        }
    }

    /// The members as the leader sees them where it can be asked, the rest as this node does.
    pub async fn status(&self) -> Result<ClusterStatus, ReadError> {
        self.node.status().await
    }

    /// What this node measures about itself now; reads a few directories, so not for every request.
    pub async fn gauges(&self) -> Gauges {
        self.node.gauges().await
    }

    /// Invites the node that listens at `address` (it waits with an empty data directory) and returns its id when it is a voter.
    pub async fn invite(&self, address: &str, deadline: Instant) -> Result<u64, MembershipError> {
        self.node.invite(address, deadline).await
    }

    /// Removes a node for ever, also one that is away; its id is never used again. Refused where the rest would have no majority.
    pub async fn remove(&self, node: u64, deadline: Instant) -> Result<(), MembershipError> {
        let change = Change::Remove(node);
        self.node.change(change, deadline).await.map(drop)
    }

    /// Hands leadership to `to`, or to the most caught-up voter; who leads then.
    pub async fn transfer_leader(
        &self,
        to: Option<u64>,
        deadline: Instant,
    ) -> Result<u64, MembershipError> {
        self.node.change(Change::HandOver(to), deadline).await
    }

    /// Not ready from now on, for good. It still serves and, until it steps aside, leads.
    pub fn begin_drain(&self) {
        self.node.draining.store(true, Ordering::Release);
        self.node.report();
    }

    pub fn is_draining(&self) -> bool {
        self.node.draining.load(Ordering::Acquire)
    }

    /// There is no other member who could serve instead.
    pub fn is_alone(&self) -> bool {
        self.node
            .member()
            .is_none_or(|member| member.members().len() < 2)
    }

    /// Returns when the other voters can agree without this node, or never could; the error says what was missing at `deadline`.
    pub async fn wait_dispensable(&self, deadline: Instant) -> Result<(), String> {
        self.node.wait_dispensable(deadline).await
    }

    /// If this node leads and another voter answers, that one leads when this returns.
    pub async fn step_aside(&self, deadline: Instant) -> Result<(), MembershipError> {
        self.node.step_aside(deadline).await
    }

    /// In force, as applied here; 0 before this node knows its cluster.
    pub fn feature_level(&self) -> Result<u32, ReadError> {
        Ok(self.node.feature_level()?)
    }

    /// Makes a snapshot now and purges the log behind it, as soon as no follower is being sent that; the log index it reaches to.
    pub async fn snapshot(&self) -> Result<u64, MembershipError> {
        self.node.snapshot().await
    }

    /// Resolves when the node can no longer work (Raft stopped, this node was removed): the process must exit.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.node.failure.subscribe();
        let why = match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone(),
            Err(_) => None,
        };
        why.unwrap_or_else(|| Failure::Broken("the node is gone".to_owned()))
    }

    /// Stops Raft and the peer service and flushes the state.
    pub async fn shutdown(&self) {
        self.node.stopping.cancel();
        if let Some(member) = self.node.member()
            && timeout(STOP_WITHIN, member.raft.shutdown()).await.is_err()
        {
            tracing::warn!("Raft did not stop in time");
        }
        if let Err(error) = self.node.state.live().flush() {
            tracing::warn!(%error, "the state was not flushed; the log brings it back at the next start");
        }
    }

    fn folded_account(&self, login: &Login) -> Result<Option<Arc<Account>>, StorageError> {
        let folded = self.node.state.folded(&StreamId::Account(login.clone()))?;
        match &*folded.state {
            StreamState::Account(account) => Ok(account.clone()),
            StreamState::Crate(_) | StreamState::Installation(_) => Ok(None),
        }
    }

    /// What is not here may be elsewhere, until this node has caught up once.
    fn unknown<T>(&self) -> Result<Option<T>, ReadError> {
        if self.node.caught_up.load(Ordering::Acquire) {
            Ok(None)
        } else {
            Err(ReadError::NotReady)
        }
    }
}

/// Folds the events of a stopped node into fresh projections and compares; with `replace` the fresh ones become live.
/// `progress` hears (done, all) events.
pub fn rebuild(
    data_dir: &Path,
    replace: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Rebuilt, StartError> {
    if !data_dir.join("state").is_dir() {
        return Err(StartError::Refused(format!(
            "`{}` is not the data directory of a node: it has no folder `state`",
            data_dir.display()
        )));
    }
    store::rebuild(&data_dir.join("state"), replace, progress)
        .map_err(|error| storage("rebuild the projections", error))
}

//! A command through the cluster: on the leader decide, propose, wait until it is visible; elsewhere one hop to the leader.
//! While nobody leads it is held. An outcome that is not known is found out by executing the same command again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cratekeeper_domain::{Event, Rejection, StreamId, View, decide};
use cratekeeper_wire::{Append, encode_append};
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::api::{ExecuteError, Executed, Request};
use crate::node::{Member, Node};
use crate::peer::{Asked, NoQuorum};
use crate::raft::types::{Applied, Proposal};
use crate::store::queries;

/// How often a decision is taken again because what it read had changed.
const DECISIONS_MAX: u32 = 8;
/// A write waits at most this long for the other ready nodes to show it.
const VISIBLE_WITHIN: Duration = Duration::from_millis(500);
/// Between attempts while nobody leads.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// One try to have a command executed somewhere.
enum Attempt {
    Done(Result<Executed, ExecuteError>),
    /// Nothing was written; somebody else must be asked, or the same one later.
    NotNow,
    /// It may have been written.
    Unknown,
}

impl Node {
    /// See `Cluster::execute`.
    pub(crate) async fn execute(
        self: &Arc<Node>,
        request: Request,
        deadline: Instant,
    ) -> Result<Executed, ExecuteError> {
        let mut unknown = false;
        loop {
            match self.attempt(&request, deadline).await {
                Attempt::Done(Ok(executed)) => {
                    self.wait_sequence(
                        executed.sequence,
                        deadline.min(Instant::now() + VISIBLE_WITHIN),
                    )
                    .await;
                    return Ok(executed);
                }
                Attempt::Done(Err(error)) => return Err(error),
                Attempt::NotNow => {}
                Attempt::Unknown => unknown = true,
            }
            let over = deadline <= Instant::now() + RETRY_AFTER;
            if over || self.stopping.is_cancelled() {
                return Err(match (unknown, over) {
                    (true, _) => ExecuteError::OutcomeUnknown,
                    (false, true) => ExecuteError::NoLeader,
                    (false, false) => ExecuteError::Stopping,
                });
            }
            sleep_until(Instant::now() + RETRY_AFTER).await;
        }
    }

    /// See `Cluster::foresee`.
    pub(crate) async fn foresee(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<(), ExecuteError> {
        if self.look(request)?.decide(self, request).is_ok() {
            return Ok(());
        }
        // This node may be behind what the caller has seen; whoever cannot find out leaves it to the leader.
        if self.barrier(deadline).await.is_ok() {
            self.look(request)?.decide(self, request)?;
        }
        Ok(())
    }

    async fn attempt(self: &Arc<Node>, request: &Request, deadline: Instant) -> Attempt {
        let Some(member) = self.member() else {
            return Attempt::NotNow;
        };
        if member.raft.is_leader() {
            return attempt_of(self.execute_here(request, deadline).await);
        }
        match member.leader() {
            None => Attempt::NotNow,
            Some((leader, _)) if leader == member.identity.node => Attempt::NotNow,
            Some((leader, at)) => {
                attempt_of(member.network.execute(leader, &at, request, deadline).await)
            }
        }
    }

    /// On the leader only; what was forwarded is not forwarded again.
    pub(crate) async fn execute_here(
        self: &Arc<Node>,
        request: &Request,
        deadline: Instant,
    ) -> Result<Executed, Asked<ExecuteError>> {
        let member = self.member().ok_or(Asked::NotLeader(None))?;
        // Commands about one crate take turns, or all but one would be decided in vain; others do not wait for them.
        let turn = self.turn_of(request).lock();
        let Ok(_turn) = timeout_at(deadline, turn).await else {
            return Err(ExecuteError::NoLeader.into());
        };
        for _ in 0..DECISIONS_MAX {
            if !member.raft.is_leader() {
                return Err(Asked::NotLeader(member.leader()));
            }
            let seen = self.look(request)?;
            match seen.decide(self, request) {
                Ok(events) if !events.is_empty() => {
                    match member.propose(request, &seen, events, deadline).await? {
                        Some((executed, index)) => {
                            member
                                .peers
                                .wait_applied(index, deadline.min(Instant::now() + VISIBLE_WITHIN))
                                .await;
                            return Ok(executed);
                        }
                        None => continue,
                    }
                }
                // Both say something about the present, and this node may have been deposed without knowing it.
                settled => {
                    member.confirm(deadline).await?;
                    if self.look(request)?.reads() == seen.reads() {
                        let executed = self.already(settled)?;
                        member
                            .peers
                            .wait_applied(
                                self.state.applied(),
                                deadline.min(Instant::now() + VISIBLE_WITHIN),
                            )
                            .await;
                        return Ok(executed);
                    }
                }
            }
        }
        Err(ExecuteError::Busy.into())
    }

    fn already(
        &self,
        settled: Result<Vec<(StreamId, Event)>, Rejection>,
    ) -> Result<Executed, ExecuteError> {
        settled?;
        Ok(Executed {
            sequence: *self.state.sequence().borrow(),
            events: Vec::new(),
        })
    }

    fn turn_of(&self, request: &Request) -> &tokio::sync::Mutex<()> {
        let reads = request.command.reads(&request.actor);
        let krate = reads
            .iter()
            .find(|stream| matches!(stream, StreamId::Crate(_)));
        let mut hasher = DefaultHasher::new();
        // Everything that is not about a crate is rare and takes turns with all its like.
        krate.hash(&mut hasher);
        &self.turns[usize::try_from(hasher.finish() % self.turns.len() as u64).unwrap_or(0)]
    }

    /// Folds everything the decision looks at, as applied here now.
    fn look(&self, request: &Request) -> Result<Seen, ExecuteError> {
        let mut seen = Seen {
            view: View::default(),
            reads: Vec::new(),
            feature_level: self.feature_level().map_err(storage)?,
        };
        for stream in request.command.reads(&request.actor) {
            let folded = self.state.folded(&stream).map_err(storage)?;
            seen.reads.push((stream.clone(), folded.position));
            seen.view.streams.insert(stream, folded.state);
        }
        for name in request.command.dependency_names() {
            if let Some(published) =
                queries::crate_name(&self.state.live(), &name).map_err(storage)?
            {
                seen.view.known_crates.insert(name, published);
            }
        }
        Ok(seen)
    }
}

/// What a decision looked at, and where those streams were.
struct Seen {
    view: View,
    reads: Vec<(StreamId, u64)>,
    /// In force then.
    feature_level: u32,
}

impl Seen {
    fn reads(&self) -> &[(StreamId, u64)] {
        &self.reads
    }

    fn decide(&self, node: &Node, request: &Request) -> Result<Vec<(StreamId, Event)>, Rejection> {
        decide(
            &request.command,
            &request.actor,
            request.request,
            &self.view,
            &node.options.policy,
            now_ms(),
        )
    }
}

impl Member {
    /// `None`: a stream had moved, decide again.
    async fn propose(
        &self,
        request: &Request,
        seen: &Seen,
        events: Vec<(StreamId, Event)>,
        deadline: Instant,
    ) -> Result<Option<(Executed, u64)>, Asked<ExecuteError>> {
        let proposal = Proposal {
            bytes: encode(request, seen, events.clone()),
        };
        let written = match timeout_at(deadline, self.raft.client_write(proposal)).await {
            Ok(written) => written,
            Err(_) => return Err(ExecuteError::OutcomeUnknown.into()),
        };
        let written = written.map_err(|error| match error {
            // Nothing was appended.
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
                Asked::NotLeader(self.leader())
            }
            RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )
            | RaftError::Fatal(_) => ExecuteError::OutcomeUnknown.into(),
        })?;
        match written.data {
            Applied::Stored { sequence } => {
                let events = events.into_iter().map(|(_, event)| event).collect();
                Ok(Some((Executed { sequence, events }, written.log_id.index)))
            }
            Applied::Conflict => Ok(None),
            Applied::Nothing => {
                Err(ExecuteError::Storage("an append was applied as nothing".into()).into())
            }
        }
    }

    /// ReadIndex (Raft dissertation 6.4): this node still leads, and has applied everything acknowledged before.
    async fn confirm(&self, deadline: Instant) -> Result<(), Asked<ExecuteError>> {
        self.read_index(deadline)
            .await
            .map(drop)
            .map_err(|asked| match asked {
                Asked::NotLeader(leader) => Asked::NotLeader(leader),
                Asked::Failed(NoQuorum) => Asked::Failed(ExecuteError::NoLeader),
            })
    }

    /// The log index that a node must have applied to see everything acknowledged before; applied here when it returns.
    pub(crate) async fn read_index(&self, deadline: Instant) -> Result<u64, Asked<NoQuorum>> {
        if !self.raft.is_leader() {
            return Err(Asked::NotLeader(self.leader()));
        }
        let confirmed = async {
            let linearizer = self
                .raft
                .get_read_linearizer(LinearizerOption::from(ReadPolicy::ReadIndex))
                .await
                .ok()?;
            let index = linearizer.read_log_id().index();
            linearizer.await_ready(&self.raft).await.ok()?;
            Some(index)
        };
        match timeout_at(deadline, confirmed).await {
            Ok(Some(index)) => Ok(index),
            Ok(None) | Err(_) => Err(NoQuorum.into()),
        }
    }
}

fn attempt_of(asked: Result<Executed, Asked<ExecuteError>>) -> Attempt {
    match asked {
        Ok(executed) => Attempt::Done(Ok(executed)),
        Err(
            Asked::NotLeader(_) | Asked::Failed(ExecuteError::NoLeader | ExecuteError::Stopping),
        ) => Attempt::NotNow,
        Err(Asked::Failed(ExecuteError::OutcomeUnknown)) => Attempt::Unknown,
        Err(Asked::Failed(
            error @ (ExecuteError::Rejected(_) | ExecuteError::Busy | ExecuteError::Storage(_)),
        )) => Attempt::Done(Err(error)),
    }
}

fn encode(request: &Request, seen: &Seen, events: Vec<(StreamId, Event)>) -> Bytes {
    encode_append(&Append {
        read: seen.reads.clone(),
        events,
        time_ms: now_ms(),
        actor: request.actor.clone(),
        request: request.request,
        feature_level: seen.feature_level,
    })
}

fn storage(error: crate::store::StorageError) -> ExecuteError {
    ExecuteError::Storage(Box::new(error))
}

/// The leader's clock: the only one a fact ever sees.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

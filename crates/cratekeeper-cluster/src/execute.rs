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
use tracing::Instrument;

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
        let span = tracing::info_span!("execute");
        self.execute_somewhere(request, deadline)
            .instrument(span)
            .await
    }

    async fn execute_somewhere(
        self: &Arc<Node>,
        request: Request,
        deadline: Instant,
    ) -> Result<Executed, ExecuteError> {
        let mut unknown = false;
        loop {
            match self.attempt(&request, deadline).await {
                Attempt::Done(Ok(executed)) => {
                    let visible = deadline.min(Instant::now() + VISIBLE_WITHIN);
                    self.wait_sequence(executed.sequence, visible)
                        .instrument(tracing::info_span!("wait until applied here"))
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
                let span = tracing::info_span!("forward", otel.kind = "client", leader);
                let asked = member.network.execute(leader, &at, request, deadline);
                let attempt = attempt_of(asked.instrument(span).await);
                count_forwarded(&attempt);
                attempt
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
            let (seen, decided) = tracing::info_span!("decide").in_scope(|| {
                let seen = self.look(request)?;
                let decided = seen.decide(self, request);
                Ok::<_, ExecuteError>((seen, decided))
            })?;
            match decided {
                Ok(events) if !events.is_empty() => {
                    match member.propose(request, &seen, events, deadline).await? {
                        Some((executed, index)) => {
                            member.show_everywhere(index, deadline).await;
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
                        member.show_everywhere(self.state.applied(), deadline).await;
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
        let started = Instant::now();
        let (outcome, written) = match self.write(proposal, deadline).await {
            Ok((Applied::Stored { sequence }, index)) => {
                let events = events.into_iter().map(|(_, event)| event).collect();
                let executed = Executed { sequence, events };
                ("stored", Ok(Some((executed, index))))
            }
            Ok((Applied::Conflict, _)) => ("conflict", Ok(None)),
            Ok((Applied::Nothing, _)) => {
                let fault = ExecuteError::Storage("an append was applied as nothing".into());
                ("fault", Err(fault.into()))
            }
            Err(Asked::NotLeader(leader)) => ("not_leader", Err(Asked::NotLeader(leader))),
            Err(Asked::Failed(error)) => ("unknown", Err(Asked::Failed(error))),
        };
        metrics::counter!("cratekeeper_raft_proposals_total", "outcome" => outcome).increment(1);
        metrics::histogram!("cratekeeper_raft_proposal_duration_seconds")
            .record(started.elapsed().as_secs_f64());
        written
    }

    /// Through the log: what it was applied as, and its index.
    async fn write(
        &self,
        proposal: Proposal,
        deadline: Instant,
    ) -> Result<(Applied, u64), Asked<ExecuteError>> {
        let writing = self
            .raft
            .client_write(proposal)
            .instrument(tracing::info_span!("propose"));
        let written = timeout_at(deadline, writing)
            .await
            .map_err(|_| ExecuteError::OutcomeUnknown)?;
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
        Ok((written.data, written.log_id.index))
    }

    /// Waits, for a bounded time, until every ready node has applied the log up to `index`.
    async fn show_everywhere(&self, index: u64, deadline: Instant) {
        let until = deadline.min(Instant::now() + VISIBLE_WITHIN);
        self.peers
            .wait_applied(index, until)
            .instrument(tracing::info_span!("wait until applied everywhere"))
            .await;
    }

    /// ReadIndex (Raft dissertation 6.4): this node still leads, and has applied everything acknowledged before.
    async fn confirm(&self, deadline: Instant) -> Result<(), Asked<ExecuteError>> {
        self.read_index(deadline)
            .instrument(tracing::info_span!("confirm leadership"))
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

fn count_forwarded(attempt: &Attempt) {
    let outcome = match attempt {
        Attempt::Done(_) => "answered",
        Attempt::NotNow => "not_leader",
        Attempt::Unknown => "unknown",
    };
    metrics::counter!("cratekeeper_commands_forwarded_total", "outcome" => outcome).increment(1);
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

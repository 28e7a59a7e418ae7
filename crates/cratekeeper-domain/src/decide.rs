//! Commands become events, or a rejection. Runs on the leader, before the log; nothing is judged again after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    Account, Actor, CanonicalName, Command, CrateName, Event, Installation, Krate, Login,
    Rejection, RequestId, StreamId, StreamState,
};

/// Rules an operator may set; read on the leader only, so nodes may differ while a change rolls out.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Refuse a version whose dependencies on this registry do not exist (dev-dependencies are exempt).
    pub require_known_dependencies: bool,
}

/// What a decision may look at: the folded streams named by [`Command::reads`], and the crates named by [`Command::dependency_names`].
#[derive(Debug, Clone, Default)]
pub struct View {
    pub streams: BTreeMap<StreamId, Arc<StreamState>>,
    /// Canonical name → published spelling, for those dependency names that exist.
    pub known_crates: BTreeMap<CanonicalName, CrateName>,
}

impl View {
    pub fn krate(&self, name: &CanonicalName) -> Option<&Krate> {
        todo!("{name:?}")
    }
    pub fn account(&self, login: &Login) -> Option<&Account> {
        todo!("{login:?}")
    }
    pub fn installation(&self) -> Option<&Installation> {
        todo!()
    }
}

/// The facts that follow from `command`, in order, each with its stream; none if everything asked for is already so.
/// `now_ms` is the leader's clock and only judges expiry.
pub fn decide(
    command: &Command,
    actor: &Actor,
    request: RequestId,
    view: &View,
    policy: &Policy,
    now_ms: u64,
) -> Result<Vec<(StreamId, Event)>, Rejection> {
    todo!("{command:?} {actor:?} {request:?} {view:?} {policy:?} {now_ms}")
}

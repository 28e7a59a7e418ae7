//! Commands become events, or a rejection. Runs on the leader, before the log; nothing is judged again after it.

mod accounts;
mod caller;
mod installation;
mod owners;
mod publish;
mod tokens;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    Account, Actor, CanonicalName, Command, CrateName, Event, Installation, Krate, Login,
    Rejection, RequestId, StreamId, StreamState,
};
use caller::Caller;

pub use installation::{go_on_restored, issue_after_restore};

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
        match self.streams.get(&StreamId::Crate(name.clone()))?.as_ref() {
            StreamState::Crate(krate) => krate.as_ref(),
            _ => None,
        }
    }
    pub fn account(&self, login: &Login) -> Option<&Account> {
        match self
            .streams
            .get(&StreamId::Account(login.clone()))?
            .as_ref()
        {
            StreamState::Account(account) => account.as_deref(),
            _ => None,
        }
    }
    pub fn installation(&self) -> Option<&Installation> {
        match self.streams.get(&StreamId::Installation)?.as_ref() {
            StreamState::Installation(installation) => installation.as_ref(),
            _ => None,
        }
    }
}

type Decision = Result<Vec<(StreamId, Event)>, Rejection>;

/// The facts that follow from `command`, in order, each with its stream; none if everything asked for is already so.
/// `now_ms` is the leader's clock and only judges expiry.
pub fn decide(
    command: &Command,
    actor: &Actor,
    request: RequestId,
    view: &View,
    policy: &Policy,
    now_ms: u64,
) -> Decision {
    match command {
        Command::Found { .. } | Command::AdmitNode { .. } | Command::RaiseFeatureLevel { .. } => {
            installation::decide(command, actor, view)
        }
        Command::Publish(publish) => {
            let caller = Caller::of(actor, view, now_ms)?;
            publish::publish(publish, &caller, view, policy)
        }
        Command::Yank { krate, version } => {
            let caller = Caller::of(actor, view, now_ms)?;
            versions::yank(krate, version, &caller, view)
        }
        Command::Unyank { krate, version } => {
            let caller = Caller::of(actor, view, now_ms)?;
            versions::unyank(krate, version, &caller, view)
        }
        Command::RemoveVersion {
            krate,
            version,
            reason,
        } => {
            let caller = Caller::of(actor, view, now_ms)?;
            versions::remove(krate, version, reason, &caller, view)
        }
        Command::AddOwners { krate, logins } => {
            let caller = Caller::of(actor, view, now_ms)?;
            owners::add(krate, logins, &caller, view)
        }
        Command::RemoveOwners { krate, logins } => {
            let caller = Caller::of(actor, view, now_ms)?;
            owners::remove(krate, logins, request, &caller, view)
        }
        Command::CreateAccount { .. }
        | Command::DisableAccount { .. }
        | Command::EnableAccount { .. } => {
            let caller = Caller::of(actor, view, now_ms)?;
            accounts::decide(command, request, &caller, view)
        }
        Command::IssueToken { .. } if actor.login.is_none() => tokens::recover(command, view),
        Command::IssueToken { .. } | Command::RevokeToken { .. } => {
            let caller = Caller::of(actor, view, now_ms)?;
            tokens::decide(command, &caller, view)
        }
    }
}

fn missing<T>(sentence: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(crate::RejectionKind::Missing, sentence))
}

fn conflict<T>(sentence: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(crate::RejectionKind::Conflict, sentence))
}

fn forbidden<T>(sentence: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(crate::RejectionKind::Forbidden, sentence))
}

//! Who may publish a crate from now on.

use std::collections::BTreeSet;

use super::versions::published_crate;
use super::{Caller, Decision, View, missing};
use crate::limits::{OWNERS_MAX, OWNERS_PER_REQUEST_MAX};
use crate::rejection::{invalid, shown};
use crate::{CrateName, Event, Login, Rejection, RequestId, Scope, StreamId};

pub(super) fn add(
    name: &CrateName,
    logins: &[Login],
    caller: &Caller<'_>,
    view: &View,
) -> Decision {
    caller.may(Scope::ChangeOwners, name)?;
    let logins = each_once(logins)?;
    let krate = published_crate(name, view)?;
    caller.must_own(krate)?;
    let mut events = Vec::new();
    for login in logins {
        if krate.owners.contains(login) {
            continue;
        }
        match view.account(login) {
            None => {
                return missing(format!(
                    "there is no account `{}`; an administrator can create it",
                    shown(login.as_str()),
                ));
            }
            Some(account) if account.disabled => {
                return invalid(format!(
                    "the account `{login}` is disabled; an administrator can enable it"
                ));
            }
            Some(_) => events.push(Event::OwnerAdded {
                login: login.clone(),
            }),
        }
    }
    if !events.is_empty() && krate.owners.len() + events.len() > OWNERS_MAX {
        return invalid(format!(
            "the crate `{name}` would have {} owners, at most {OWNERS_MAX} are allowed; remove some first",
            krate.owners.len() + events.len(),
        ));
    }
    Ok(in_stream(name, events))
}

pub(super) fn remove(
    name: &CrateName,
    logins: &[Login],
    request: RequestId,
    caller: &Caller<'_>,
    view: &View,
) -> Decision {
    caller.may(Scope::ChangeOwners, name)?;
    let logins = each_once(logins)?;
    let krate = published_crate(name, view)?;
    // This very request was carried out already; its author may have removed themselves by it.
    let done = |login: &&Login| krate.removed_owners.get(*login) == Some(&request);
    if !logins.is_empty() && logins.iter().all(done) {
        return Ok(Vec::new());
    }
    caller.must_own(krate)?;
    for login in &logins {
        if !krate.owners.contains(*login) {
            return invalid(format!(
                "`{login}` is not an owner of the crate `{name}`, which is owned by {}",
                krate.owners_in_words(),
            ));
        }
    }
    if !logins.is_empty() && krate.owners.len() == logins.len() {
        return invalid(format!(
            "the crate `{name}` would be left without an owner; add another one first"
        ));
    }
    let removed = logins.into_iter().map(|login| Event::OwnerRemoved {
        login: login.clone(),
    });
    Ok(in_stream(name, removed.collect()))
}

fn each_once(logins: &[Login]) -> Result<BTreeSet<&Login>, Rejection> {
    if logins.len() > OWNERS_PER_REQUEST_MAX {
        return invalid(format!(
            "the request names {} owners, at most {OWNERS_PER_REQUEST_MAX} are allowed; split it",
            logins.len(),
        ));
    }
    Ok(logins.iter().collect())
}

fn in_stream(name: &CrateName, events: Vec<Event>) -> Vec<(StreamId, Event)> {
    let stream = StreamId::Crate(name.canonical());
    events
        .into_iter()
        .map(|event| (stream.clone(), event))
        .collect()
}

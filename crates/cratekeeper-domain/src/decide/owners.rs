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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::story::{Registry, krate, login, publish};
    use crate::{Command, Role};

    fn registry() -> Registry {
        let mut registry = Registry::with(&[
            ("alice", Role::Publisher),
            ("bob", Role::Publisher),
            ("carol", Role::Publisher),
            ("root", Role::Admin),
        ]);
        registry.ask("alice", publish("foo", "1.0.0", "a"));
        registry
    }

    fn add(logins: &[&str]) -> Command {
        Command::AddOwners {
            krate: krate("foo"),
            logins: logins.iter().map(|text| login(text)).collect(),
        }
    }

    fn remove(logins: &[&str]) -> Command {
        Command::RemoveOwners {
            krate: krate("foo"),
            logins: logins.iter().map(|text| login(text)).collect(),
        }
    }

    #[test]
    fn an_owner_adds_accounts_that_exist() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("bob", add(&["bob"])), @"Forbidden: the crate `foo` is owned by alice; ask them to run `cargo owner --add bob foo`");
        assert_snapshot!(registry.ask("alice", add(&["dave"])), @"Missing: there is no account `dave`; an administrator can create it");
        assert_snapshot!(registry.ask("alice", add(&["bob", "bob", "alice"])), @r#"crate:foo OwnerAdded { login: Login("bob") }"#);
        assert_snapshot!(registry.ask("alice", add(&["bob"])), @"nothing to do");
        assert_snapshot!(registry.ask("carol", add(&["carol"])), @"Forbidden: the crate `foo` is owned by alice and bob; ask one of them to run `cargo owner --add carol foo`");
        registry.ask(
            "root",
            Command::DisableAccount {
                login: login("carol"),
            },
        );
        assert_snapshot!(registry.ask("alice", add(&["carol"])), @"Invalid: the account `carol` is disabled; an administrator can enable it");
    }

    #[test]
    fn an_administrator_stands_in_for_an_owner() {
        assert_snapshot!(registry().ask("root", add(&["carol"])), @r#"crate:foo OwnerAdded { login: Login("carol") }"#);
    }

    #[test]
    fn owners_are_removed_but_never_the_last() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("alice", remove(&["alice"])), @"Invalid: the crate `foo` would be left without an owner; add another one first");
        assert_snapshot!(registry.ask("alice", remove(&["bob"])), @"Invalid: `bob` is not an owner of the crate `foo`, which is owned by alice");
        assert_snapshot!(registry.ask("alice", remove(&[])), @"nothing to do");
        registry.ask("alice", add(&["bob", "carol"]));
        assert_snapshot!(registry.ask("alice", remove(&["alice"])), @r#"crate:foo OwnerRemoved { login: Login("alice") }"#);
        assert_snapshot!(registry.repeat("alice", remove(&["alice"])), @"nothing to do");
        assert_snapshot!(registry.ask("alice", remove(&["alice"])), @"Forbidden: the crate `foo` is owned by bob and carol; ask one of them to run `cargo owner --add alice foo`");
        assert_snapshot!(registry.ask("bob", remove(&["bob", "carol"])), @"Invalid: the crate `foo` would be left without an owner; add another one first");
    }

    #[test]
    fn lists_are_bounded() {
        let many: Vec<String> = (0..51).map(|n| format!("user-{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_snapshot!(registry().ask("alice", add(&many)), @"Invalid: the request names 51 owners, at most 50 are allowed; split it");
    }
}

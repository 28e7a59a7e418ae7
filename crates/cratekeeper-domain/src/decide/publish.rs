//! May this caller publish this version?

use super::{Caller, Decision, Policy, View, conflict};
use crate::rejection::invalid;
use crate::{CrateName, Event, Krate, Publish, Rejection, Scope, StreamId};

pub(super) fn publish(
    publish: &Publish,
    caller: &Caller<'_>,
    view: &View,
    policy: &Policy,
) -> Decision {
    let name = &publish.facts.name;
    let published = Event::VersionPublished {
        facts: Box::new(publish.facts.clone()),
        checksum: publish.checksum,
        tarball_bytes: publish.tarball_bytes,
    };
    let events = match view.krate(&name.canonical()) {
        None => {
            caller.may(Scope::PublishNew, name)?;
            name.refuse_reserved(&[])?;
            let owner = caller.account.login.clone();
            vec![
                Event::CrateCreated { name: name.clone() },
                Event::OwnerAdded { login: owner },
                published,
            ]
        }
        Some(krate) => {
            if publish_next(publish, krate, caller)? {
                return Ok(Vec::new());
            }
            vec![published]
        }
    };
    if policy.require_known_dependencies {
        refuse_unknown_dependencies(publish, view)?;
    }
    let stream = StreamId::Crate(name.canonical());
    Ok(events
        .into_iter()
        .map(|event| (stream.clone(), event))
        .collect())
}

/// Whether this very version is published already.
fn publish_next(publish: &Publish, krate: &Krate, caller: &Caller<'_>) -> Result<bool, Rejection> {
    let (name, version) = (&publish.facts.name, &publish.facts.version);
    let existing = krate.versions.get(&version.without_build());
    let same = existing.is_some_and(|existing| {
        existing.checksum == publish.checksum && existing.version == *version && !existing.removed
    });
    let update = caller.may(Scope::PublishUpdate, name);
    if same {
        // A token that may only create crates must be able to repeat the request that created this one.
        update.or_else(|_| caller.may(Scope::PublishNew, name))?;
    } else {
        update?;
    }
    if krate.name != *name {
        return conflict(format!(
            "the name `{name}` is taken by the crate `{}`: names that differ only in case, `-` and `_` are one; use that spelling or another name",
            krate.name,
        ));
    }
    caller.must_own(krate)?;
    match existing {
        None => Ok(false),
        Some(_) if same => Ok(true),
        Some(existing) if existing.removed => conflict(format!(
            "version {} of `{name}` was removed by an administrator and is never free again; publish another version",
            existing.version,
        )),
        Some(existing) if existing.version != *version => conflict(format!(
            "version {version} of `{name}` differs only in build metadata from the published {}; publish another version",
            existing.version,
        )),
        Some(existing) => conflict(format!(
            "version {version} of `{name}` is already published with other content (SHA-256 {}); a published version never changes, publish another one",
            existing.checksum,
        )),
    }
}

fn refuse_unknown_dependencies(publish: &Publish, view: &View) -> Result<(), Rejection> {
    for dependency in &publish.facts.dependencies {
        if !dependency.must_exist_here() {
            continue;
        }
        let name = CrateName::parse(dependency.crate_name())?;
        match view.known_crates.get(&name.canonical()) {
            Some(known) if *known == name => {}
            Some(known) => {
                return invalid(format!(
                    "the dependency `{name}` is spelled `{known}` in this registry; correct it in Cargo.toml"
                ));
            }
            None => {
                return invalid(format!(
                    "the dependency `{name}` is not in this registry; publish it first, or leave out its `registry` if it is on crates.io"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::story::{
        Registry, dependency, facts, krate, login, publish, publish_facts, version,
    };
    use crate::{Command, CratePattern, DependencyKind, Event, Role, Scope};

    fn registry() -> Registry {
        Registry::with(&[
            ("alice", Role::Publisher),
            ("bob", Role::Publisher),
            ("root", Role::Admin),
            ("rita", Role::Reader),
        ])
    }

    #[test]
    fn the_first_publish_takes_the_name_for_the_caller() {
        assert_snapshot!(registry().ask("alice", publish("Foo-Bar", "1.0.0", "a")), @r#"
        crate:foo_bar CrateCreated { name: CrateName("Foo-Bar") }
        crate:foo_bar OwnerAdded { login: Login("alice") }
        crate:foo_bar VersionPublished 1.0.0
        "#);
    }

    #[test]
    fn later_versions_are_for_owners_and_administrators() {
        let mut registry = registry();
        registry.ask("alice", publish("foo", "1.0.0", "a"));
        assert_snapshot!(registry.ask("alice", publish("foo", "1.1.0", "b")), @"crate:foo VersionPublished 1.1.0");
        assert_snapshot!(registry.ask("bob", publish("foo", "1.2.0", "c")), @"Forbidden: the crate `foo` is owned by alice; ask them to run `cargo owner --add bob foo`");
        assert_snapshot!(registry.ask("root", publish("foo", "1.2.0", "c")), @"crate:foo VersionPublished 1.2.0");
        assert_snapshot!(registry.ask("rita", publish("foo", "1.3.0", "d")), @"Forbidden: the account `rita` has the role reader, which does not allow `publish-update`; ask an administrator");
    }

    #[test]
    fn the_same_bytes_again_are_success_and_other_bytes_are_not() {
        let mut registry = registry();
        registry.ask("alice", publish("foo", "1.0.0", "a"));
        assert_snapshot!(registry.ask("alice", publish("foo", "1.0.0", "a")), @"nothing to do");
        assert_snapshot!(registry.ask("alice", publish("foo", "1.0.0", "b")), @"Conflict: version 1.0.0 of `foo` is already published with other content (SHA-256 ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb); a published version never changes, publish another one");
        assert_snapshot!(registry.ask("bob", publish("foo", "1.0.0", "a")), @"Forbidden: the crate `foo` is owned by alice; ask them to run `cargo owner --add bob foo`");
        assert_snapshot!(registry.ask("alice", publish("foo", "1.0.0+build", "a")), @"Conflict: version 1.0.0+build of `foo` differs only in build metadata from the published 1.0.0; publish another version");
    }

    #[test]
    fn a_yanked_or_removed_version_is_not_free() {
        let mut registry = registry();
        registry.ask("alice", publish("foo", "1.0.0", "a"));
        let (krate, version) = (krate("foo"), version("1.0.0"));
        let yank = Command::Yank {
            krate: krate.clone(),
            version: version.clone(),
        };
        registry.ask("alice", yank);
        assert_snapshot!(registry.ask("alice", publish("foo", "1.0.0", "a")), @"nothing to do");
        assert_snapshot!(registry.ask("alice", publish("foo", "1.0.0", "b")), @"Conflict: version 1.0.0 of `foo` is already published with other content (SHA-256 ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb); a published version never changes, publish another one");
        let reason = String::new();
        registry.ask(
            "root",
            Command::RemoveVersion {
                krate,
                version,
                reason,
            },
        );
        assert_snapshot!(registry.ask("alice", publish("foo", "1.0.0", "a")), @"Conflict: version 1.0.0 of `foo` was removed by an administrator and is never free again; publish another version");
    }

    #[test]
    fn spellings_of_one_name_meet() {
        let mut registry = registry();
        registry.ask("alice", publish("foo_bar", "1.0.0", "a"));
        assert_snapshot!(registry.ask("alice", publish("Foo-Bar", "1.1.0", "b")), @"Conflict: the name `Foo-Bar` is taken by the crate `foo_bar`: names that differ only in case, `-` and `_` are one; use that spelling or another name");
    }

    #[test]
    fn reserved_names_are_refused() {
        assert_snapshot!(registry().ask("root", publish("std", "1.0.0", "a")), @"Invalid: the crate name `std` is reserved: the Rust toolchain has a crate of that name; choose another name");
        assert_snapshot!(registry().ask("root", publish("Proc-Macro", "1.0.0", "a")), @"Invalid: the crate name `Proc-Macro` is reserved: the Rust toolchain has a crate of that name; choose another name");
        assert_snapshot!(registry().ask("root", publish("nul", "1.0.0", "a")), @"Invalid: the crate name `nul` is reserved: Windows keeps that name for a device, so the crate could not be unpacked there; choose another name");
    }

    #[test]
    fn scopes_and_crate_patterns_limit_a_token() {
        let mut registry = registry();
        registry.ask("alice", publish("foo", "1.0.0", "a"));
        registry.token("alice", "new", |token| {
            if let Event::TokenIssued { scopes, .. } = token {
                *scopes = vec![Scope::PublishNew];
            }
        });
        registry.token("alice", "team", |token| {
            if let Event::TokenIssued { scopes, crates, .. } = token {
                *scopes = vec![Scope::PublishNew, Scope::PublishUpdate];
                *crates = vec![CratePattern::parse("team-*").unwrap()];
            }
        });
        assert_snapshot!(registry.ask_with("alice", "new", publish("foo", "1.1.0", "b")), @"Forbidden: the token `11507a0e2f5e69d5` of `alice` does not have the scope `publish-update`; use one that has it");
        assert_snapshot!(registry.ask_with("alice", "new", publish("foo", "1.0.0", "a")), @"nothing to do");
        assert_snapshot!(registry.ask_with("alice", "team", publish("foo", "1.1.0", "b")), @"Forbidden: the token `ca8b22d0db83a22d` of `alice` is not for the crate `foo`; use one whose crate patterns include it");
        assert_snapshot!(registry.ask_with("alice", "team", publish("team_x", "1.0.0", "b")), @r#"
        crate:team_x CrateCreated { name: CrateName("team_x") }
        crate:team_x OwnerAdded { login: Login("alice") }
        crate:team_x VersionPublished 1.0.0
        "#);
        assert_snapshot!(registry.ask_with("alice", "no such", publish("foo", "1.1.0", "b")), @"Unauthenticated: `alice` has no token `6ca085ba66502d36`; log in with one that is in force");
    }

    #[test]
    fn dependencies_on_this_registry_must_exist_in_that_spelling() {
        let mut registry = registry();
        registry.ask("alice", publish("left-pad", "1.0.0", "a"));
        let on = |name: &str, kind| {
            let mut facts = facts("foo", "1.0.0");
            facts.dependencies.push(dependency(name));
            facts.dependencies[0].kind = kind;
            publish_facts(facts, "b")
        };
        let normal = DependencyKind::Normal;
        assert_snapshot!(registry.ask("alice", on("right-pad", normal)), @"Invalid: the dependency `right-pad` is not in this registry; publish it first, or leave out its `registry` if it is on crates.io");
        assert_snapshot!(registry.ask("alice", on("left_pad", normal)), @"Invalid: the dependency `left_pad` is spelled `left-pad` in this registry; correct it in Cargo.toml");
        assert_snapshot!(registry.ask("alice", on("right-pad", DependencyKind::Dev)), @r#"
        crate:foo CrateCreated { name: CrateName("foo") }
        crate:foo OwnerAdded { login: Login("alice") }
        crate:foo VersionPublished 1.0.0
        "#);
        registry.policy.require_known_dependencies = false;
        let mut next = facts("foo", "2.0.0");
        next.dependencies.push(dependency("right-pad"));
        assert_snapshot!(registry.ask("alice", publish_facts(next, "c")), @"crate:foo VersionPublished 2.0.0");
    }

    #[test]
    fn a_disabled_account_may_do_nothing() {
        let mut registry = registry();
        registry.ask(
            "root",
            Command::DisableAccount {
                login: login("alice"),
            },
        );
        assert_snapshot!(registry.ask("alice", publish("foo", "1.0.0", "a")), @"Forbidden: the account `alice` is disabled; ask an administrator to enable it");
        assert_snapshot!(registry.ask("nobody", publish("foo", "1.0.0", "a")), @"Unauthenticated: there is no account `nobody`; log in with another token");
        assert_snapshot!(registry.ask_itself(publish("foo", "1.0.0", "a")), @"Unauthenticated: this needs an account; log in with a token");
    }
}

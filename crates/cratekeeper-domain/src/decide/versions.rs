//! Yanking hides a version from new resolutions; an administrator may remove one for good.

use super::{Caller, Decision, View, missing};
use crate::limits::REASON_CHARS_MAX;
use crate::rejection::invalid;
use crate::{CrateName, Event, Krate, PublishedVersion, Rejection, Scope, StreamId, Version};

pub(super) fn yank(
    name: &CrateName,
    version: &Version,
    caller: &Caller<'_>,
    view: &View,
) -> Decision {
    caller.may(Scope::Yank, name)?;
    let krate = published_crate(name, view)?;
    caller.must_own(krate)?;
    let existing = published_version(krate, version)?;
    Ok(if existing.yanked {
        Vec::new()
    } else {
        let version = existing.version.clone();
        one(krate, Event::VersionYanked { version })
    })
}

pub(super) fn unyank(
    name: &CrateName,
    version: &Version,
    caller: &Caller<'_>,
    view: &View,
) -> Decision {
    caller.may(Scope::Yank, name)?;
    let krate = published_crate(name, view)?;
    caller.must_own(krate)?;
    let existing = published_version(krate, version)?;
    Ok(if existing.yanked {
        let version = existing.version.clone();
        one(krate, Event::VersionUnyanked { version })
    } else {
        Vec::new()
    })
}

pub(super) fn remove(
    name: &CrateName,
    version: &Version,
    reason: &str,
    caller: &Caller<'_>,
    view: &View,
) -> Decision {
    caller.may(Scope::Admin, name)?;
    if reason.chars().count() > REASON_CHARS_MAX {
        return invalid(format!(
            "the reason is too long: at most {REASON_CHARS_MAX} characters are kept"
        ));
    }
    let krate = published_crate(name, view)?;
    match krate.versions.get(&version.without_build()) {
        Some(existing) if existing.removed => Ok(Vec::new()),
        _ => {
            let version = published_version(krate, version)?.version.clone();
            let reason = reason.to_owned();
            Ok(one(krate, Event::VersionRemoved { version, reason }))
        }
    }
}

fn one(krate: &Krate, event: Event) -> Vec<(StreamId, Event)> {
    vec![(StreamId::Crate(krate.name.canonical()), event)]
}

/// The crate, under any spelling of its name.
pub(super) fn published_crate<'a>(
    name: &CrateName,
    view: &'a View,
) -> Result<&'a Krate, Rejection> {
    match view.krate(&name.canonical()) {
        Some(krate) => Ok(krate),
        None => missing(format!(
            "there is no crate `{name}` in this registry; check the spelling"
        )),
    }
}

fn published_version<'a>(
    krate: &'a Krate,
    version: &Version,
) -> Result<&'a PublishedVersion, Rejection> {
    let name = &krate.name;
    match krate.versions.get(&version.without_build()) {
        None => missing(format!(
            "the crate `{name}` has no version {version}; check which ones it has"
        )),
        Some(existing) if existing.removed => missing(format!(
            "version {version} of `{name}` was removed by an administrator"
        )),
        Some(existing) => Ok(existing),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::story::{Registry, krate, publish, version};
    use crate::{Command, Role};

    fn registry() -> Registry {
        let mut registry = Registry::with(&[
            ("alice", Role::Publisher),
            ("bob", Role::Publisher),
            ("root", Role::Admin),
        ]);
        registry.ask("alice", publish("foo", "1.0.0+linux", "a"));
        registry
    }

    fn yank(text: &str) -> Command {
        let (krate, version) = (krate("foo"), version(text));
        Command::Yank { krate, version }
    }

    fn unyank(text: &str) -> Command {
        let (krate, version) = (krate("foo"), version(text));
        Command::Unyank { krate, version }
    }

    fn remove(text: &str, reason: &str) -> Command {
        Command::RemoveVersion {
            krate: krate("foo"),
            version: version(text),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn an_owner_yanks_and_unyanks() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("alice", unyank("1.0.0")), @"nothing to do");
        assert_snapshot!(registry.ask("alice", yank("1.0.0")), @r#"crate:foo VersionYanked { version: Version(Version { major: 1, minor: 0, patch: 0, build: BuildMetadata("linux") }) }"#);
        assert_snapshot!(registry.ask("alice", yank("1.0.0+linux")), @"nothing to do");
        assert_snapshot!(registry.ask("root", unyank("1.0.0")), @r#"crate:foo VersionUnyanked { version: Version(Version { major: 1, minor: 0, patch: 0, build: BuildMetadata("linux") }) }"#);
    }

    #[test]
    fn nobody_else_does() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("bob", yank("1.0.0")), @"Forbidden: the crate `foo` is owned by alice; ask them to run `cargo owner --add bob foo`");
        assert_snapshot!(registry.ask("bob", unyank("1.0.0")), @"Forbidden: the crate `foo` is owned by alice; ask them to run `cargo owner --add bob foo`");
    }

    #[test]
    fn what_does_not_exist_cannot_be_yanked() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("alice", yank("2.0.0")), @"Missing: the crate `foo` has no version 2.0.0; check which ones it has");
        let (krate, version) = (krate("bar"), version("1.0.0"));
        assert_snapshot!(registry.ask("alice", Command::Yank { krate, version }), @"Missing: there is no crate `bar` in this registry; check the spelling");
    }

    #[test]
    fn an_administrator_removes_for_good() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("alice", remove("1.0.0", "mine")), @"Forbidden: the account `alice` has the role publisher, which does not allow `admin`; ask an administrator");
        assert_snapshot!(registry.ask("root", remove("2.0.0", "gone")), @"Missing: the crate `foo` has no version 2.0.0; check which ones it has");
        assert_snapshot!(registry.ask("root", remove("1.0.0", &"x".repeat(1_001))), @"Invalid: the reason is too long: at most 1000 characters are kept");
        assert_snapshot!(registry.ask("root", remove("1.0.0", "a secret in it")), @r#"crate:foo VersionRemoved { version: Version(Version { major: 1, minor: 0, patch: 0, build: BuildMetadata("linux") }), reason: "a secret in it" }"#);
        assert_snapshot!(registry.ask("root", remove("1.0.0", "a secret in it")), @"nothing to do");
        assert_snapshot!(registry.ask("alice", yank("1.0.0")), @"Missing: version 1.0.0 of `foo` was removed by an administrator");
    }
}

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

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

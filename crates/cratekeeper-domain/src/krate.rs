//! A crate as its events say it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Checksum, CrateName, Event, Login, Recorded, RequestId, Version};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Krate {
    pub name: CrateName,
    pub owners: BTreeSet<Login>,
    /// Who is no owner any more, and the request that did it: the same request again is success.
    pub removed_owners: BTreeMap<Login, RequestId>,
    /// By version without build metadata ([`Version::without_build`]): cargo holds two that differ only there to be one.
    pub versions: BTreeMap<semver::Version, PublishedVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedVersion {
    pub version: Version,
    pub checksum: Checksum,
    pub yanked: bool,
    pub removed: bool,
    /// Sequence of the `VersionPublished` event.
    pub sequence: u64,
}

impl Krate {
    pub(crate) fn fold(krate: &mut Option<Krate>, recorded: &Recorded) {
        if let Event::CrateCreated { name } = &recorded.event {
            *krate = Some(Krate {
                name: name.clone(),
                owners: BTreeSet::new(),
                removed_owners: BTreeMap::new(),
                versions: BTreeMap::new(),
            });
        } else if let Some(krate) = krate {
            krate.fold_later(recorded);
        }
    }

    fn fold_later(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::VersionPublished {
                facts, checksum, ..
            } => {
                let published = PublishedVersion {
                    version: facts.version.clone(),
                    checksum: *checksum,
                    yanked: false,
                    removed: false,
                    sequence: recorded.sequence,
                };
                self.versions
                    .insert(facts.version.without_build(), published);
            }
            Event::VersionYanked { version } => self.change(version, |v| v.yanked = true),
            Event::VersionUnyanked { version } => self.change(version, |v| v.yanked = false),
            Event::VersionRemoved { version, .. } => self.change(version, |v| v.removed = true),
            Event::OwnerAdded { login } => {
                self.removed_owners.remove(login);
                self.owners.insert(login.clone());
            }
            Event::OwnerRemoved { login } => {
                self.owners.remove(login);
                self.removed_owners.insert(login.clone(), recorded.request);
            }
            _ => {}
        }
    }

    fn change(&mut self, version: &Version, change: impl FnOnce(&mut PublishedVersion)) {
        if let Some(published) = self.versions.get_mut(&version.without_build()) {
            change(published);
        }
    }

    /// `alice`, `alice and bob`, `alice, bob and carol`.
    pub(crate) fn owners_in_words(&self) -> String {
        let logins: Vec<&str> = self.owners.iter().map(Login::as_str).collect();
        match logins.split_last() {
            None => "nobody".to_owned(),
            Some((only, [])) => (*only).to_owned(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        }
    }
}

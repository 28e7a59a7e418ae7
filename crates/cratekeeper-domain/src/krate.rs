//! A crate as its events say it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Checksum, CrateName, Login, Recorded, Version};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Krate {
    pub name: CrateName,
    pub owners: BTreeSet<Login>,
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
        todo!("{krate:?} {recorded:?}")
    }
}

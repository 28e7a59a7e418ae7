//! Versions: semver, bounded, unique without their build metadata.

use crate::Rejection;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    pub fn parse(text: &str) -> Result<Version, Rejection> {
        todo!("{text}")
    }
    pub fn semver(&self) -> &semver::Version {
        &self.0
    }
    /// What makes it unique.
    pub fn without_build(&self) -> semver::Version {
        todo!()
    }
}
impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

//! Versions: semver, bounded, unique without their build metadata.

use crate::Rejection;
use crate::limits::VERSION_CHARS_MAX;
use crate::rejection::{invalid, shown};

/// Stored in events, so what is accepted may only ever grow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(semver::Version);

impl Version {
    pub fn parse(text: &str) -> Result<Version, Rejection> {
        if text.len() > VERSION_CHARS_MAX {
            return invalid(format!(
                "the version `{}` is too long: at most {VERSION_CHARS_MAX} characters are allowed",
                shown(text),
            ));
        }
        match semver::Version::parse(text) {
            Ok(version) => Ok(Version(version)),
            Err(error) => invalid(format!(
                "`{}` is not a semantic version: {error}; write it like `1.2.3` or `1.2.3-rc.1`",
                shown(text),
            )),
        }
    }
    pub fn semver(&self) -> &semver::Version {
        &self.0
    }
    /// What makes it unique.
    pub fn without_build(&self) -> semver::Version {
        let mut version = self.0.clone();
        version.build = semver::BuildMetadata::EMPTY;
        version
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

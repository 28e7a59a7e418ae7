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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn versions_are_semantic_and_bounded() {
        let version = Version::parse("1.2.3-rc.1+linux").unwrap();
        assert_eq!(version.to_string(), "1.2.3-rc.1+linux");
        assert_eq!(version.without_build().to_string(), "1.2.3-rc.1");
        assert_snapshot!(Version::parse("1.2").unwrap_err(), @"`1.2` is not a semantic version: unexpected end of input while parsing minor version number; write it like `1.2.3` or `1.2.3-rc.1`");
        assert_snapshot!(Version::parse("../1.0.0").unwrap_err(), @"`../1.0.0` is not a semantic version: unexpected character '.' while parsing major version number; write it like `1.2.3` or `1.2.3-rc.1`");
        let long = format!("1.0.0-{}", "a".repeat(150));
        assert_snapshot!(Version::parse(&long).unwrap_err(), @"the version `1.0.0-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` is too long: at most 150 characters are allowed");
    }
}

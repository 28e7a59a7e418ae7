//! Crate names: as published, and canonical (lower case, `-` → `_`), which is what must be unique.

use crate::limits::NAME_CHARS_MAX;
use crate::rejection::{invalid, shown};
use crate::{Rejection, RejectionKind};

/// 1 to 64 of `A-Z a-z 0-9 - _`, starting with a letter. Reserved names parse: they are refused where a crate is created.
/// Stored in events, so what is accepted may only ever grow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrateName(String);

impl CrateName {
    pub fn parse(text: &str) -> Result<CrateName, Rejection> {
        if text.is_empty() {
            return invalid("the crate name is empty: choose one that starts with a letter");
        }
        if text.len() > NAME_CHARS_MAX {
            return invalid(format!(
                "the crate name `{}` is too long: it has {} characters, at most {NAME_CHARS_MAX} are allowed",
                shown(text),
                text.chars().count(),
            ));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return invalid(format!(
                "the crate name `{}` must start with an ASCII letter",
                shown(text)
            ));
        }
        let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if let Some(odd) = text.chars().find(odd) {
            return invalid(format!(
                "the crate name `{}` contains {odd:?}: use only ASCII letters, digits, `-` and `_`",
                shown(text),
            ));
        }
        Ok(CrateName(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn canonical(&self) -> CanonicalName {
        CanonicalName(canonicalize(&self.0))
    }

    /// Refuses names that no crate may have: of the toolchain's own crates, of Windows devices, and the `more` that the operator lists.
    pub(crate) fn refuse_reserved(&self, more: &[String]) -> Result<(), Rejection> {
        let canonical = self.canonical();
        let why = if WINDOWS_DEVICES.contains(&canonical.as_str()) {
            "Windows keeps that name for a device, so the crate could not be unpacked there"
        } else if TOOLCHAIN_NAMES.contains(&canonical.as_str()) {
            "the Rust toolchain has a crate of that name"
        } else if more.iter().any(|name| canonicalize(name) == canonical.0) {
            "the operators of this registry reserved it"
        } else {
            return Ok(());
        };
        Err(Rejection::new(
            RejectionKind::Invalid,
            format!("the crate name `{self}` is reserved: {why}; choose another name"),
        ))
    }
}

impl std::fmt::Display for CrateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalName(String);

impl CanonicalName {
    /// Takes only what is canonical already, as stored.
    pub fn parse(text: &str) -> Result<CanonicalName, Rejection> {
        let canonical = CrateName::parse(text)?.canonical();
        if canonical.0 != text {
            return invalid(format!(
                "`{text}` is not a canonical crate name: that would be `{}`",
                canonical.0
            ));
        }
        Ok(canonical)
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CanonicalName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn canonicalize(text: &str) -> String {
    text.to_ascii_lowercase().replace('-', "_")
}

/// Canonical names of the crates that come with the toolchain, and of its parts.
const TOOLCHAIN_NAMES: [&str; 27] = [
    "alloc",
    "arena",
    "ast",
    "builtins",
    "collections",
    "compiler_builtins",
    "core",
    "coretest",
    "debug",
    "driver",
    "flate",
    "fmt_macros",
    "grammar",
    "graphviz",
    "macro",
    "macros",
    "proc_macro",
    "rbml",
    "rust_installer",
    "rustbook",
    "rustc",
    "rustc_llvm",
    "rustdoc",
    "std",
    "std_unicode",
    "test",
    "unwind",
];

/// Also what no path component of a tarball may be called, with or without an extension.
pub(crate) const WINDOWS_DEVICES: [&str; 24] = [
    "aux", "com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "con",
    "lpt0", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9", "nul", "prn",
];

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn names_are_ascii_and_start_with_a_letter() {
        for good in ["a", "serde_json", "Foo-Bar2", &"a".repeat(64)] {
            assert_eq!(CrateName::parse(good).unwrap().as_str(), good);
        }
        let refused = |text: &str| CrateName::parse(text).unwrap_err().sentence;
        assert_snapshot!(refused(""), @"the crate name is empty: choose one that starts with a letter");
        assert_snapshot!(refused("1a"), @"the crate name `1a` must start with an ASCII letter");
        assert_snapshot!(refused("_a"), @"the crate name `_a` must start with an ASCII letter");
        assert_snapshot!(refused("a/../b"), @"the crate name `a/../b` contains '/': use only ASCII letters, digits, `-` and `_`");
        assert_snapshot!(refused("naïve"), @"the crate name `naïve` contains 'ï': use only ASCII letters, digits, `-` and `_`");
        assert_snapshot!(refused(&"a".repeat(65)), @"the crate name `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is too long: it has 65 characters, at most 64 are allowed");
    }

    #[test]
    fn canonical_names_are_lower_case_with_underscores() {
        let canonical = CrateName::parse("Foo-Bar_x").unwrap().canonical();
        assert_eq!(canonical.as_str(), "foo_bar_x");
        assert_eq!(CanonicalName::parse("foo_bar_x"), Ok(canonical));
        assert_snapshot!(CanonicalName::parse("Foo-Bar").unwrap_err(), @"`Foo-Bar` is not a canonical crate name: that would be `foo_bar`");
    }

    #[test]
    fn the_operator_may_reserve_names_too() {
        let name = CrateName::parse("acme-core").unwrap();
        assert_eq!(name.refuse_reserved(&[]), Ok(()));
        assert_snapshot!(name.refuse_reserved(&["Acme_Core".to_owned()]).unwrap_err(), @"the crate name `acme-core` is reserved: the operators of this registry reserved it; choose another name");
    }
}

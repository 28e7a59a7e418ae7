//! Logins: the names of accounts.

use crate::limits::LOGIN_CHARS_MAX;
use crate::{Rejection, RejectionKind};

/// 1 to 64 of `a-z 0-9 - _ .`, starting with a letter or digit. `:` is kept free for namespaces.
/// Stored in events, so what is accepted may only ever grow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login(String);

impl Login {
    pub fn parse(text: &str) -> Result<Login, Rejection> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let rest_is_well = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
        if !starts_well || !rest_is_well || text.len() > LOGIN_CHARS_MAX {
            return Err(Rejection::new(
                RejectionKind::Invalid,
                format!(
                    "`{}` is not a login: use 1 to {LOGIN_CHARS_MAX} of the characters a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit",
                    crate::rejection::shown(text),
                ),
            ));
        }
        Ok(Login(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_short_and_plain() {
        for good in ["a", "0", "alice", "ci-bot_2.x", &"a".repeat(64)] {
            assert_eq!(Login::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            ".a",
            "Alice",
            "a b",
            "github:a",
            "é",
            "a\n",
            &"a".repeat(65),
        ] {
            assert!(Login::parse(bad).is_err(), "{bad}");
        }
        insta::assert_snapshot!(Login::parse("Al\nice").unwrap_err(), @r"`Al\nice` is not a login: use 1 to 64 of the characters a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit");
    }
}

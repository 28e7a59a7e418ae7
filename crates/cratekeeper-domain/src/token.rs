//! Tokens: their text, hash, scopes and crate patterns.

use sha2::{Digest, Sha256};

use crate::name::canonicalize;
use crate::rejection::{invalid, shown};
use crate::{CrateName, Rejection, RejectionKind};

/// Public name of a token: 16 hex digits, chosen at random by whoever issues it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);

impl TokenId {
    pub fn from_random(bytes: [u8; 8]) -> TokenId {
        TokenId(hex::encode(bytes))
    }
    pub fn parse(text: &str) -> Result<TokenId, Rejection> {
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if text.len() == 16 && text.chars().all(hex) {
            return Ok(TokenId(text.to_owned()));
        }
        // A whole token pasted here by mistake must not be repeated in an answer or a log.
        invalid(
            "that is not a token id: it has 16 lower-case hex digits; list the account's tokens to see them",
        )
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a token's text; all that is ever stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// The secret itself: `ck_`, 256 bits in base 62, and a check suffix by which scanners tell a real token from noise.
/// `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

const PREFIX: &str = "ck_";
/// Base 62 digits of 256 bits.
const SECRET_CHARS: usize = 43;
/// Base 62 digits of 32 bits.
const CHECK_CHARS: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl TokenText {
    pub fn from_random(bytes: [u8; 32]) -> TokenText {
        let mut text = String::from(PREFIX);
        text.push_str(&base62(&bytes, SECRET_CHARS));
        let check = check_suffix(&text);
        text.push_str(&check);
        TokenText(text)
    }
    /// Checks prefix, alphabet, length and check suffix, so that a mistyped token costs no look-up.
    pub fn parse(text: &str) -> Result<TokenText, Rejection> {
        let well_formed = text.len() == PREFIX.len() + SECRET_CHARS + CHECK_CHARS
            && text.starts_with(PREFIX)
            && text[PREFIX.len()..]
                .bytes()
                .all(|b| b.is_ascii_alphanumeric());
        if well_formed {
            let (secret, check) = text.split_at(PREFIX.len() + SECRET_CHARS);
            if check == check_suffix(secret) {
                return Ok(TokenText(text.to_owned()));
            }
        }
        Err(Rejection::new(
            RejectionKind::Unauthenticated,
            format!(
                "that is not a token of this registry: one starts with `{PREFIX}` and has {} characters; copy it again or ask an administrator for a new one",
                PREFIX.len() + SECRET_CHARS + CHECK_CHARS,
            ),
        ))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenText(…)")
    }
}

fn check_suffix(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    base62(&digest[..4], CHECK_CHARS)
}

/// `number` (big-endian) in base 62, padded with `0` to `chars` digits.
fn base62(number: &[u8], chars: usize) -> String {
    let mut number = number.to_vec();
    let mut digits = vec![DIGITS[0]; chars];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = remainder * 256 + u32::from(*byte);
            // A remainder is below 62, so the quotient fits a byte.
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = DIGITS[remainder as usize];
    }
    digits.into_iter().map(char::from).collect()
}

/// What a token may do. `Admin` includes all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    PublishNew,
    PublishUpdate,
    Yank,
    ChangeOwners,
    Read,
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 6] = [
        Scope::PublishNew,
        Scope::PublishUpdate,
        Scope::Yank,
        Scope::ChangeOwners,
        Scope::Read,
        Scope::Admin,
    ];

    /// `publish-new`, `publish-update`, `yank`, `change-owners`, `read`, `admin`.
    pub fn parse(text: &str) -> Result<Scope, Rejection> {
        match Scope::ALL.into_iter().find(|scope| scope.as_str() == text) {
            Some(scope) => Ok(scope),
            None => invalid(format!(
                "`{}` is not a scope: use one of publish-new, publish-update, yank, change-owners, read, admin",
                shown(text),
            )),
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::PublishNew => "publish-new",
            Scope::PublishUpdate => "publish-update",
            Scope::Yank => "yank",
            Scope::ChangeOwners => "change-owners",
            Scope::Read => "read",
            Scope::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A crate name, or a prefix followed by `*`; compared in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CratePattern(String);

impl CratePattern {
    pub fn parse(text: &str) -> Result<CratePattern, Rejection> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if text != "*" && CrateName::parse(name).is_err() {
            return invalid(format!(
                "`{}` is not a crate pattern: write a crate name, or the beginning of one followed by `*`",
                shown(text),
            ));
        }
        Ok(CratePattern(text.to_owned()))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn matches(&self, name: &CrateName) -> bool {
        self.includes(name.as_str())
    }
    /// Does every name that matches `other` match this too?
    pub fn covers(&self, other: &CratePattern) -> bool {
        match other.0.strip_suffix('*') {
            Some(prefix) => self.0.ends_with('*') && self.includes(prefix),
            None => self.includes(&other.0),
        }
    }

    fn includes(&self, name: &str) -> bool {
        let name = canonicalize(name);
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(&canonicalize(prefix)),
            None => name == canonicalize(&self.0),
        }
    }
}

impl std::fmt::Display for CratePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn a_token_has_one_length_and_a_check_suffix() {
        assert_snapshot!(TokenText::from_random([0; 32]).as_str(), @"ck_00000000000000000000000000000000000000000000kUfeQ");
        assert_snapshot!(TokenText::from_random([255; 32]).as_str(), @"ck_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp11urkgQ");
        let text = TokenText::from_random([7; 32]);
        assert_eq!(TokenText::parse(text.as_str()), Ok(text.clone()));
        assert_eq!(
            text.hash().0,
            crate::Checksum::of(text.as_str().as_bytes()).0
        );
        assert!(!format!("{text:?}").contains(text.as_str()));
    }

    #[test]
    fn a_mistyped_token_is_refused_and_not_repeated() {
        let text = TokenText::from_random([7; 32]);
        for at in 0..text.as_str().len() {
            let mut mistyped = text.as_str().as_bytes().to_vec();
            mistyped[at] = if mistyped[at] == b'x' { b'y' } else { b'x' };
            let mistyped = String::from_utf8(mistyped).unwrap();
            let refused = TokenText::parse(&mistyped).unwrap_err();
            assert!(!refused.sentence.contains(&mistyped));
        }
        assert_snapshot!(TokenText::parse("ck_é").unwrap_err(), @"that is not a token of this registry: one starts with `ck_` and has 52 characters; copy it again or ask an administrator for a new one");
        assert_snapshot!(TokenId::parse(text.as_str()).unwrap_err(), @"that is not a token id: it has 16 lower-case hex digits; list the account's tokens to see them");
    }

    #[test]
    fn scopes_have_names() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Ok(scope));
        }
        assert_snapshot!(Scope::parse("write").unwrap_err(), @"`write` is not a scope: use one of publish-new, publish-update, yank, change-owners, read, admin");
    }

    #[test]
    fn patterns_match_in_canonical_form() {
        let pattern = |text| CratePattern::parse(text).unwrap();
        let name = |text| CrateName::parse(text).unwrap();
        assert!(pattern("Foo-Bar").matches(&name("foo_bar")));
        assert!(!pattern("foo").matches(&name("foo_bar")));
        assert!(pattern("foo-*").matches(&name("Foo_bar")));
        assert!(!pattern("foo-*").matches(&name("foo")));
        assert!(pattern("*").matches(&name("anything")));
        assert_snapshot!(CratePattern::parse("a*b").unwrap_err(), @"`a*b` is not a crate pattern: write a crate name, or the beginning of one followed by `*`");
    }

    #[test]
    fn patterns_cover_what_is_narrower() {
        let covers = |wide, narrow| {
            let parse = |text| CratePattern::parse(text).unwrap();
            parse(wide).covers(&parse(narrow))
        };
        assert!(covers("*", "*"));
        assert!(covers("*", "foo"));
        assert!(covers("foo-*", "Foo_bar*"));
        assert!(covers("foo", "FOO"));
        assert!(!covers("foo", "foo*"));
        assert!(!covers("foo-*", "foo*"));
        assert!(!covers("foo-*", "*"));
    }
}

//! Tokens: their text, hash, scopes and crate patterns.

use crate::{CrateName, Rejection};

/// Public name of a token: 16 hex digits, chosen at random by whoever issues it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(String);
impl TokenId {
    pub fn from_random(bytes: [u8; 8]) -> TokenId {
        todo!("{bytes:?}")
    }
    pub fn parse(text: &str) -> Result<TokenId, Rejection> {
        todo!("{text}")
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 of a token's text; all that is ever stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

/// The secret itself: `ck_`, 256 bits in base 62, and a check suffix by which scanners tell a real token from noise.
/// `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);
impl TokenText {
    pub fn from_random(bytes: [u8; 32]) -> TokenText {
        todo!("{bytes:?}")
    }
    /// Checks prefix, alphabet, length and check suffix, so that a mistyped token costs no look-up.
    pub fn parse(text: &str) -> Result<TokenText, Rejection> {
        todo!("{text}")
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn hash(&self) -> TokenHash {
        todo!()
    }
}

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
    /// `publish-new`, `publish-update`, `yank`, `change-owners`, `read`, `admin`.
    pub fn parse(text: &str) -> Result<Scope, Rejection> {
        todo!("{text}")
    }
    pub fn as_str(self) -> &'static str {
        todo!()
    }
}

/// A crate name, or a prefix followed by `*`; compared in canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CratePattern(String);
impl CratePattern {
    pub fn parse(text: &str) -> Result<CratePattern, Rejection> {
        todo!("{text}")
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn matches(&self, name: &CrateName) -> bool {
        todo!("{name:?}")
    }
}

//! Logins: the names of accounts.

use crate::Rejection;

/// 1 to 64 of `a-z 0-9 - _ .`, starting with a letter or digit. `:` is kept free for namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login(String);

impl Login {
    pub fn parse(text: &str) -> Result<Login, Rejection> {
        todo!("{text}")
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

//! Crate names: as published, and canonical (lower case, `-` → `_`), which is what must be unique.

use crate::Rejection;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrateName(String);

impl CrateName {
    pub fn parse(text: &str) -> Result<CrateName, Rejection> {
        todo!("{text}")
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn canonical(&self) -> CanonicalName {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalName(String);

impl CanonicalName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

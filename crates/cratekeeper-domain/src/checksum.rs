//! The SHA-256 of a tarball.

use crate::Rejection;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub [u8; 32]);

impl Checksum {
    pub fn of(bytes: &[u8]) -> Checksum {
        todo!("{bytes:?}")
    }
    /// 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Checksum, Rejection> {
        todo!("{text}")
    }
}
impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", hex::encode(self.0))
    }
}

//! The SHA-256 of a tarball.

use sha2::{Digest, Sha256};

use crate::Rejection;
use crate::rejection::{invalid, shown};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub [u8; 32]);

impl Checksum {
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum(Sha256::digest(bytes).into())
    }
    /// 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Checksum, Rejection> {
        let mut bytes = [0; 32];
        let lower_case = !text.contains(|c: char| c.is_ascii_uppercase());
        if lower_case && hex::decode_to_slice(text, &mut bytes).is_ok() {
            return Ok(Checksum(bytes));
        }
        invalid(format!(
            "`{}` is not a checksum: a SHA-256 is written as 64 lower-case hex digits",
            shown(text),
        ))
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_lower_case_hex() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Checksum::of(b"abc").to_string(), text);
        assert_eq!(Checksum::parse(text), Ok(Checksum::of(b"abc")));
        insta::assert_snapshot!(Checksum::parse(&text.to_uppercase()).unwrap_err(), @"`BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD` is not a checksum: a SHA-256 is written as 64 lower-case hex digits");
        assert!(Checksum::parse(&text[1..]).is_err());
        assert!(Checksum::parse("").is_err());
    }
}

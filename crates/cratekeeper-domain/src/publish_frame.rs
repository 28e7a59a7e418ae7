//! The body of `PUT /api/v1/crates/new`: two length-prefixed parts, cargo's JSON and the tarball.

use crate::Rejection;

/// The lengths the frame claims, each checked against its limit before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub json_bytes: u32,
}

/// A frame read incrementally: feed it bytes as they arrive, spool the tarball part elsewhere.
#[derive(Debug)]
pub struct PublishFrame {
    _private: (),
}

impl PublishFrame {
    /// `json_bytes_max` and `tarball_bytes_max` come from configuration.
    pub fn new(json_bytes_max: u32, tarball_bytes_max: u32) -> PublishFrame {
        todo!("{json_bytes_max} {tarball_bytes_max}")
    }
    /// Takes the next piece of the body; returns the part of it that is tarball.
    pub fn feed<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], Rejection> {
        todo!("{piece:?}")
    }
    /// The body ended: the JSON, if both parts arrived whole and nothing followed them.
    pub fn finish(self) -> Result<Vec<u8>, Rejection> {
        todo!()
    }
}

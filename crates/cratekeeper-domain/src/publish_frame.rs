//! The body of `PUT /api/v1/crates/new`: two length-prefixed parts, cargo's JSON and the tarball.

use crate::rejection::invalid;
use crate::{Rejection, RejectionKind};

/// A frame read incrementally: feed it bytes as they arrive, spool the tarball part elsewhere.
#[derive(Debug)]
pub struct PublishFrame {
    json_bytes_max: u32,
    tarball_bytes_max: u32,
    part: Part,
    json: Vec<u8>,
}

#[derive(Debug)]
enum Part {
    JsonLength(Length),
    Json { missing: u32 },
    TarballLength(Length),
    Tarball { missing: u32 },
}

/// Four bytes, little-endian, as far as they have arrived.
#[derive(Debug, Default)]
struct Length {
    bytes: [u8; 4],
    filled: usize,
}

impl Length {
    fn take(&mut self, piece: &mut &[u8]) -> Option<u32> {
        while self.filled < self.bytes.len() {
            let (first, rest) = piece.split_first()?;
            self.bytes[self.filled] = *first;
            self.filled += 1;
            *piece = rest;
        }
        Some(u32::from_le_bytes(self.bytes))
    }
}

impl PublishFrame {
    /// `json_bytes_max` and `tarball_bytes_max` come from configuration.
    pub fn new(json_bytes_max: u32, tarball_bytes_max: u32) -> PublishFrame {
        PublishFrame {
            json_bytes_max,
            tarball_bytes_max,
            part: Part::JsonLength(Length::default()),
            json: Vec::new(),
        }
    }

    /// Takes the next piece of the body; returns the part of it that is tarball.
    /// Lengths are checked as soon as they are known; memory grows only with what has arrived.
    pub fn feed<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], Rejection> {
        loop {
            match &mut self.part {
                Part::JsonLength(length) => {
                    let Some(bytes) = length.take(&mut piece) else {
                        return Ok(&[]);
                    };
                    refuse_too_large("JSON", bytes, self.json_bytes_max)?;
                    self.part = Part::Json { missing: bytes };
                }
                Part::Json { missing } => {
                    let (json, rest) = split(piece, missing);
                    self.json.extend_from_slice(json);
                    piece = rest;
                    if *missing > 0 {
                        return Ok(&[]);
                    }
                    self.part = Part::TarballLength(Length::default());
                }
                Part::TarballLength(length) => {
                    let Some(bytes) = length.take(&mut piece) else {
                        return Ok(&[]);
                    };
                    refuse_too_large("tarball", bytes, self.tarball_bytes_max)?;
                    if bytes == 0 {
                        return invalid("the request has no tarball; publish with `cargo publish`");
                    }
                    self.part = Part::Tarball { missing: bytes };
                }
                Part::Tarball { missing } => {
                    let (tarball, rest) = split(piece, missing);
                    if !rest.is_empty() {
                        return invalid(
                            "the request goes on after its tarball; publish with `cargo publish`",
                        );
                    }
                    return Ok(tarball);
                }
            }
        }
    }

    /// The body ended: the JSON, if both parts arrived whole and nothing followed them.
    pub fn finish(self) -> Result<Vec<u8>, Rejection> {
        let missing = match self.part {
            Part::Tarball { missing: 0 } => return Ok(self.json),
            Part::Tarball { missing } => format!("{missing} bytes of its tarball are missing"),
            Part::Json { missing } if missing > 0 => {
                format!("{missing} bytes of its JSON are missing")
            }
            Part::Json { .. } | Part::TarballLength(_) => {
                "the length of its tarball is missing".to_owned()
            }
            Part::JsonLength(_) => "the length of its JSON is missing".to_owned(),
        };
        invalid(format!("the request ended too early: {missing}; try again"))
    }
}

/// The first `missing` bytes of the piece, or all of it; `missing` is what is still to come after that.
fn split<'a>(piece: &'a [u8], missing: &mut u32) -> (&'a [u8], &'a [u8]) {
    let here = piece.len().min(*missing as usize);
    // Not above `missing`, so it fits.
    *missing -= here as u32;
    piece.split_at(here)
}

fn refuse_too_large(part: &str, bytes: u32, bytes_max: u32) -> Result<(), Rejection> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Rejection::new(
        RejectionKind::TooLarge,
        format!(
            "the {part} has {bytes} bytes, this registry takes at most {bytes_max}; leave out what users do not need (`exclude` in Cargo.toml), or ask its operators for a higher limit"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;

    fn frame(json: &[u8], tarball: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for part in [json, tarball] {
            body.extend_from_slice(&(part.len() as u32).to_le_bytes());
            body.extend_from_slice(part);
        }
        body
    }

    fn read(body: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, Vec<u8>), Rejection> {
        let mut frame = PublishFrame::new(100, 200);
        let mut tarball = Vec::new();
        for piece in body.chunks(piece_bytes) {
            tarball.extend_from_slice(frame.feed(piece)?);
        }
        Ok((frame.finish()?, tarball))
    }

    fn refused(body: &[u8]) -> String {
        let refused = read(body, 7).unwrap_err();
        format!("{:?}: {refused}", refused.kind)
    }

    proptest! {
        #[test]
        fn a_frame_is_read_however_it_is_cut(
            json in prop::collection::vec(any::<u8>(), 0..100),
            tarball in prop::collection::vec(any::<u8>(), 1..200),
            piece_bytes in 1_usize..50,
        ) {
            let body = frame(&json, &tarball);
            prop_assert_eq!(read(&body, piece_bytes), Ok((json, tarball)));
        }

        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&body, 9);
        }
    }

    #[test]
    fn lengths_are_checked_before_the_parts_arrive() {
        assert_snapshot!(refused(&u32::MAX.to_le_bytes()), @"TooLarge: the JSON has 4294967295 bytes, this registry takes at most 100; leave out what users do not need (`exclude` in Cargo.toml), or ask its operators for a higher limit");
        let mut body = frame(b"{}", b"");
        body.truncate(6);
        body.extend_from_slice(&201_u32.to_le_bytes());
        assert_snapshot!(refused(&body), @"TooLarge: the tarball has 201 bytes, this registry takes at most 200; leave out what users do not need (`exclude` in Cargo.toml), or ask its operators for a higher limit");
    }

    #[test]
    fn what_is_missing_or_too_much_is_refused() {
        let body = frame(b"{}", b"tarball");
        assert_snapshot!(refused(&[]), @"Invalid: the request ended too early: the length of its JSON is missing; try again");
        assert_snapshot!(refused(&body[..5]), @"Invalid: the request ended too early: 1 bytes of its JSON are missing; try again");
        assert_snapshot!(refused(&body[..8]), @"Invalid: the request ended too early: the length of its tarball is missing; try again");
        assert_snapshot!(refused(&body[..12]), @"Invalid: the request ended too early: 5 bytes of its tarball are missing; try again");
        assert_snapshot!(refused(&[body.as_slice(), b"x"].concat()), @"Invalid: the request goes on after its tarball; publish with `cargo publish`");
        assert_snapshot!(refused(&frame(b"{}", b"")), @"Invalid: the request has no tarball; publish with `cargo publish`");
    }
}

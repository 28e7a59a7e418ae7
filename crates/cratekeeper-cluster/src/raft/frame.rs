//! How the log store keeps a message: with a version and a checksum of its own, so that damage is noticed wherever it happens.

use std::io;

use bytes::Bytes;
use prost::Message;

const VERSION: u8 = 1;
const HEADER: usize = 5;

/// version 1 byte · CRC-32C of the message, 4 bytes little endian · message
pub(super) fn encode_frame(message: &impl Message) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + message.encoded_len());
    frame.push(VERSION);
    frame.extend_from_slice(&[0; 4]);
    message.encode_raw(&mut frame);
    let checksum = crc32c::crc32c(&frame[HEADER..]);
    frame[1..HEADER].copy_from_slice(&checksum.to_le_bytes());
    frame
}

pub(super) fn decode_frame<M: Message + Default>(frame: Bytes) -> io::Result<M> {
    let damaged = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the Raft log is damaged: {what}"),
        )
    };
    if frame.len() < HEADER || frame[0] != VERSION {
        return Err(damaged("a frame of an unknown version"));
    }
    let message = frame.slice(HEADER..);
    if crc32c::crc32c(&message).to_le_bytes() != frame[1..HEADER] {
        return Err(damaged("a frame whose checksum does not match"));
    }
    M::decode(message).map_err(|_| damaged("a frame that is not a message"))
}

#[cfg(test)]
mod tests {
    use cratekeeper_wire::pb::peer as pb;

    use super::*;

    #[test]
    fn a_frame_survives_and_a_flipped_bit_does_not() {
        let message = pb::Vote {
            term: 7,
            node: 3,
            committed: true,
        };
        let frame = encode_frame(&message);
        assert_eq!(
            decode_frame::<pb::Vote>(frame.clone().into()).expect("decodes"),
            message
        );
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode_frame::<pb::Vote>(flipped.into()).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn frames_keep_their_bytes() {
        let frame = encode_frame(&pb::Vote {
            term: 7,
            node: 3,
            committed: true,
        });
        assert_eq!(hex::encode(frame), "01a5aaaacc080710031801");
    }
}

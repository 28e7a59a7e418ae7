//! Records one behind the other: length, 4 bytes little endian, then the record as stored. So they lie in a segment, and so a
//! node sends them to whoever backs it up.

use bytes::{Buf, Bytes, BytesMut};

/// Nothing that is published comes near it; a longer one is damage.
pub const RECORD_BYTES_MAX: usize = 64 << 20;
const LENGTH: usize = 4;

pub fn frame_record(frames: &mut Vec<u8>, record: &[u8]) {
    let length = u32::try_from(record.len()).expect("a record is far smaller than 4 GiB");
    frames.extend_from_slice(&length.to_le_bytes());
    frames.extend_from_slice(record);
}

/// Takes records out of a stream however it was cut.
#[derive(Debug, Default)]
pub struct RecordFrames {
    pending: BytesMut,
}

impl RecordFrames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole record, if it has come. The error is its impossible length.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, usize> {
        let Some(length) = self.pending.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(length);
        }
        if self.pending.len() < LENGTH + length {
            return Ok(None);
        }
        self.pending.advance(LENGTH);
        Ok(Some(self.pending.split_to(length).freeze()))
    }

    /// Whether nothing is left over: a stream that ends elsewhere was cut off.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        for record in [&b"one"[..], b"second", b"3"] {
            frame_record(&mut stream, record);
        }
        for cut in 0..stream.len() {
            let mut frames = RecordFrames::default();
            let mut records = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                frames.push(part);
                while let Some(record) = frames.next_record().expect("whole records") {
                    records.push(record);
                }
            }
            assert_eq!(records, [&b"one"[..], b"second", b"3"], "cut at {cut}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn an_impossible_length_is_refused_before_it_is_waited_for() {
        for length in [0, u32::MAX] {
            let mut frames = RecordFrames::default();
            frames.push(&length.to_le_bytes());
            assert!(frames.next_record().is_err());
        }
    }
}

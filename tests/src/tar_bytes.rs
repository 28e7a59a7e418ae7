//! Tar archives byte by byte: also those that no honest tool would write.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// An archive under construction.
#[derive(Debug, Clone, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub fn new() -> Tar {
        Tar::default()
    }

    pub fn file(self, path: &str, content: &[u8]) -> Tar {
        self.entry(b'0', path.as_bytes(), "", content)
    }

    /// An entry of any type; `path` and `target` are written as they are and must fit 100 bytes.
    pub fn entry(self, kind: u8, path: &[u8], target: &str, content: &[u8]) -> Tar {
        let bytes = u64::try_from(content.len()).expect("content fits 64 bits");
        self.entry_claiming(kind, path, target, content, bytes)
    }

    /// As [`Tar::entry`], with a header that claims `bytes` of content.
    pub fn entry_claiming(
        mut self,
        kind: u8,
        path: &[u8],
        target: &str,
        content: &[u8],
        bytes: u64,
    ) -> Tar {
        let mut header = Header::new_gnu();
        let fields = header.as_gnu_mut().expect("made as a GNU header");
        fields.name[..path.len()].copy_from_slice(path);
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_mtime(1);
        header.set_size(bytes);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        let blocks = self.bytes.len().div_ceil(BLOCK);
        self.bytes.resize(blocks * BLOCK, 0);
        self
    }

    /// The archive without its end mark.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 2 * BLOCK]);
        self.bytes
    }

    /// Finished and compressed: a `.crate`.
    pub fn tarball(self) -> Vec<u8> {
        gzip(&self.finish())
    }
}

/// One gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory can be written")
}

//! The lines of an index file, as cargo reads them, and the path a crate's file has.

use crate::{Checksum, VersionFacts};

/// One line, with its `\n`. A function of its arguments only, so equal on every node.
pub fn render_index_line(
    facts: &VersionFacts,
    checksum: &Checksum,
    yanked: bool,
    time_ms: u64,
) -> Vec<u8> {
    todo!("{facts:?} {checksum:?} {yanked} {time_ms}")
}

/// `3/f/foo`, `se/rd/serde`: where cargo looks for the file of the (lower-cased) name.
pub fn index_path(lower_name: &str) -> String {
    todo!("{lower_name}")
}

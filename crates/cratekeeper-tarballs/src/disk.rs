//! Tarballs in a directory, content-addressed, fsynced.
#[derive(Debug, Clone)]
pub struct Disk {}

//! Tarballs in an S3 bucket.
#[derive(Debug, Clone)]
pub struct S3 {}

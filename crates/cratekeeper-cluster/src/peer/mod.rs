//! What nodes say to each other, over gRPC.

pub(crate) mod host;
pub(crate) mod identity;
pub(crate) mod peers;

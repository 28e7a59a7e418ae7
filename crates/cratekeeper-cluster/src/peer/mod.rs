//! What nodes say to each other, over gRPC.

mod admission;
mod append;
mod client;
mod dial;
mod encoding;
mod forward;
mod host;
mod identity;
mod peers;
mod server;
mod trace;

pub(crate) use client::PeerNetwork;
pub(crate) use dial::{Dialer, TlsFiles};
pub(crate) use host::{
    Asked, Change, Invitation, InviteFn, JoinAnswer, Joined, NoQuorum, PeerHost,
};
pub(crate) use identity::{Identity, Stamp};
pub(crate) use peers::{About, AppliedReport, Peers};
pub(crate) use server::bind;

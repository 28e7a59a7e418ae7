//! What nodes say to each other, over gRPC.

mod accept;
mod admission;
mod append;
mod client;
mod connection;
mod dial;
mod encoding;
mod forward;
mod host;
mod identity;
mod peers;
mod refusals;
mod server;
mod tls;
mod tls_faults;
#[cfg(test)]
mod tls_tests;
mod trace;

pub(crate) use client::PeerNetwork;
pub(crate) use dial::Dialer;
pub(crate) use host::{
    Asked, Change, Invitation, InviteFn, JoinAnswer, Joined, NoQuorum, PeerHost,
};
pub(crate) use identity::{Identity, Stamp};
pub(crate) use peers::{About, AppliedReport, Peers};
pub(crate) use server::bind;
pub(crate) use tls::PeerCertificates;
pub use tls::check_peer_certificate;

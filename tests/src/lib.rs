//! The harness of the integration tests: the real binary as separate processes, a load balancer, an S3 server and cargo.
//! Its functions panic with a sentence where something that must work does not; what a test judges is returned.

mod balancer;
mod binary;
mod cargo;
mod cargo_json;
mod certificates;
pub mod chart;
mod client;
mod cluster;
mod garage;
mod index_lines;
mod node;
mod package;
mod pages;
mod ports;
mod previous;
mod process;
mod public_registry;
mod scratch;
mod tar_bytes;
mod wait;

pub use balancer::{Balance, Balancer};
pub use binary::{cratekeeper, workspace};
pub use cargo::{Cargo, Outcome};
pub use cargo_json::{CRATES_IO, metadata};
pub use certificates::{Authority, CertificateFiles, Leaf};
pub use client::{Answer, Client, NO_TOKEN};
pub use cluster::{Cluster, Setup, Store};
pub use garage::Garage;
pub use index_lines::{Difference, compare};
pub use node::Node;
pub use package::{Package, frame, frame_claiming};
pub use pages::{Block, Page, Stage, pages};
pub use ports::free_port;
pub use previous::previous_release;
pub use process::Process;
pub use public_registry::{
    LockedCrate, fetch_locked, locked_crates, manifest_of, public_index_line,
};
pub use scratch::{Scratch, figure};
pub use tar_bytes::{Tar, gzip};
pub use wait::{wait_for, wait_until};

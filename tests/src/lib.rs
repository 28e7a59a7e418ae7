//! The harness of the integration tests: the real binary as separate processes, a load balancer, an S3 server and cargo.
//! Its functions panic with a sentence where something that must work does not; what a test judges is returned.

mod balancer;
mod binary;
mod bridge;
mod cargo;
mod cargo_json;
mod certificates;
pub mod chart;
mod client;
mod cluster;
mod compose;
mod container;
mod containers;
mod garage;
mod index_lines;
mod name_server;
mod node;
mod otlp;
mod package;
mod pages;
mod pod_spec;
mod pods;
mod ports;
mod previous;
mod process;
mod promtool;
mod public_registry;
mod schema;
mod scratch;
mod tar_bytes;
mod wait;

pub use balancer::{Backend, Balance, Balancer, haproxy};
pub use binary::{cratekeeper, workspace};
pub use bridge::{Bridge, Namespace};
pub use cargo::{Cargo, Outcome};
pub use cargo_json::{CRATES_IO, metadata};
pub use certificates::{Authority, CertificateFiles, Leaf};
pub use client::{Answer, Client, NO_TOKEN};
pub use cluster::{Cluster, Setup, Store};
pub use compose::{Compose, Service, interpolate};
pub use container::{Container, ContainerSpec};
pub use containers::{BASE_IMAGE, Containers, IMAGE};
pub use garage::{Garage, binary as garage_binary};
pub use index_lines::{Difference, compare};
pub use name_server::NameServer;
pub use node::Node;
pub use otlp::{Collector, Told};
pub use package::{Package, frame, frame_claiming};
pub use pages::{Block, Page, Stage, pages};
pub use pods::{Manifests, Pods, Termination};
pub use ports::free_port;
pub use previous::previous_release;
pub use process::Process;
pub use promtool::promtool;
pub use public_registry::{
    LockedCrate, fetch_locked, locked_crates, manifest_of, public_index_line,
};
pub use schema::complaints;
pub use scratch::{Scratch, figure};
pub use tar_bytes::{Tar, gzip};
pub use wait::{wait_for, wait_until};

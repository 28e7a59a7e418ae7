//! Generates the code for everything under `proto/`, without protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked when it runs: a cached build script may come from another checkout.
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let files = [
        "cratekeeper/event/v1/event.proto",
        "cratekeeper/peer/v1/command.proto",
        "cratekeeper/peer/v1/peer.proto",
        "cratekeeper/peer/v1/raft.proto",
        "cratekeeper/state/v1/state.proto",
    ];
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(files, [&root])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

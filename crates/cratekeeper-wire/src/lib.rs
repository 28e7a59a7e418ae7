//! The only place where bytes outlive a process: generated code for `proto/`, and proto ⇄ domain.

/// Generated from `proto/`.
#[expect(missing_debug_implementations, clippy::all, unreachable_pub, reason = "generated code")]
pub mod pb {
    pub mod event {
        tonic::include_proto!("cratekeeper.event.v1");
    }
    pub mod peer {
        tonic::include_proto!("cratekeeper.peer.v1");
    }
    pub mod state {
        tonic::include_proto!("cratekeeper.state.v1");
    }
}

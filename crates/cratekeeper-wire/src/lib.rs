//! The only place where bytes outlive a process: generated code for `proto/`, and proto ⇄ domain.

mod append;
pub mod backup;
mod command;
mod error;
mod event;
mod facts;
mod hash;
mod record;
mod rejection;
mod scalar;

pub use append::{Append, decode_append, encode_append};
pub use command::{decode_command, encode_command};
pub use error::DecodeError;
pub use event::{EncodedEvent, decode_event, decode_typed_event, encode_event, encode_typed_event};
pub use hash::{CHAIN_START, chain_hash, leaf_hash};
pub use record::{decode_record, record_bytes};
pub use rejection::{decode_rejection, encode_rejection};

/// Generated from `proto/`. Modules follow the packages, because generated code names neighbours by relative paths.
#[expect(
    clippy::all,
    clippy::allow_attributes,
    clippy::too_many_lines,
    unused_qualifications,
    reason = "generated code"
)]
pub mod pb {
    pub mod event {
        pub mod v1 {
            tonic::include_proto!("cratekeeper.event.v1");
        }
        pub use v1::*;
    }
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("cratekeeper.peer.v1");
        }
        pub use v1::*;
    }
    pub mod state {
        pub mod v1 {
            tonic::include_proto!("cratekeeper.state.v1");
        }
        pub use v1::*;
    }
}

//! The rules of a cargo registry, pure: parse, decide (command → events), fold (events → state), render (state → cargo's bytes).
//! No IO, no clock, no randomness, no environment; whatever is needed from outside comes in as an argument.

mod account;
mod checksum;
mod command;
mod decide;
mod event;
mod feature_level;
mod index_line;
mod installation;
mod krate;
pub mod limits;
mod login;
mod manifest;
mod name;
mod publish_frame;
mod rejection;
#[cfg(test)]
mod story;
mod stream;
mod tarball;
mod token;
mod version;
mod version_facts;

pub use account::{Account, Role, Token};
pub use checksum::Checksum;
pub use command::{Command, Publish};
pub use decide::{Policy, View, decide, go_on_restored, issue_after_restore};
pub use event::{Actor, Event, Recorded, RequestId};
pub use feature_level::{
    FEATURE_LEVELS, FIRST_LEVEL, FeatureLevel, NEWEST_LEVEL, READERS_LEVEL, RESTORED_LEVEL,
};
pub use index_line::{index_path, render_index_line};
pub use installation::{AdmittedNode, Installation};
pub use krate::{Krate, PublishedVersion};
pub use login::Login;
pub use manifest::{Judged, Rules, judge};
pub use name::{CanonicalName, CrateName};
pub use publish_frame::PublishFrame;
pub use rejection::{Rejection, RejectionKind};
pub use stream::{StreamId, StreamState};
pub use token::{CratePattern, Scope, TokenHash, TokenId, TokenText};
pub use version::Version;
pub use version_facts::{Dependency, DependencyKind, VersionFacts};

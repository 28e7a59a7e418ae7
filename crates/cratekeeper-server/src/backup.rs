//! Backups: the history in immutable segments in a directory or an S3 bucket, made from a cluster or from the volume of a stopped
//! node, verified without either, and restored onto an empty data directory. The stored form is `cratekeeper_wire::backup`.

mod archive;
mod create;
mod place;
mod restore;
mod schedule;
mod source;
mod tarballs;
mod verify;

pub(crate) use archive::Archive;
pub(crate) use create::{Created, create};
pub(crate) use place::{PlaceSettings, S3Access, place};
pub(crate) use restore::{Target, Until, order, target};
pub(crate) use schedule::{BackupSettings, keep_backed_up};
pub(crate) use source::{Position, Source};
pub(crate) use tarballs::{CheckTarballs, Checked, check_events};
pub(crate) use verify::{Verified, verify};

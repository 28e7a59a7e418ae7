//! The configuration: defaults, then a TOML file, then `CRATEKEEPER_SECTION__KEY`, then `--set`; judged once, here, and plain
//! values from then on. `file` documents every key, `settings` is what the rest of the server sees.

mod backup;
mod clients;
mod file;
mod layers;
mod reference;
mod secret;
mod settings;
mod show;
mod validate;

use std::fmt;

pub(crate) use file::ConfigFile;
pub(crate) use layers::{Sources, load, snippet};
pub(crate) use reference::commented;
pub(crate) use settings::{
    DrainSettings, LogFormat, LogSettings, RestoreSettings, Settings, StartSettings,
    TarballSettings,
};
pub(crate) use show::{one_line, shared_hash, toml_text};
pub(crate) use validate::cluster::cluster_id;
pub(crate) use validate::validate;

/// Heads every complaint about a configuration with which a node was to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Misconfigured;

impl fmt::Display for Misconfigured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the configuration is wrong")
    }
}

//! The configuration: defaults, then a TOML file, then `CRATEKEEPER_SECTION__KEY`, then `--set`; judged once, here, and plain
//! values from then on. `file` documents every key, `settings` is what the rest of the server sees.

mod backup;
mod file;
mod layers;
mod secret;
mod settings;
mod show;
mod validate;

pub(crate) use file::ConfigFile;
pub(crate) use layers::{Sources, load, snippet};
pub(crate) use settings::{
    DrainSettings, LogFormat, LogSettings, RestoreSettings, Settings, StartSettings,
    TarballSettings,
};
pub(crate) use show::{one_line, toml_text};
pub(crate) use validate::validate;

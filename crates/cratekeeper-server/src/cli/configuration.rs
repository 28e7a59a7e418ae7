//! `cratekeeper config …`, and how every command that runs a node reads its configuration.

use anyhow::Context;
use clap::Subcommand;

use super::{ConfigurationArguments, Output, print};
use crate::config::{ConfigFile, Misconfigured, Settings, Sources, load, toml_text, validate};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with a configuration, or that nothing is.
    Check(ConfigurationArguments),
    /// Print what file, environment and defaults come to, without secrets.
    Show(ConfigurationArguments),
}

pub(super) fn run(command: ConfigCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check(arguments) => {
            read(arguments)?;
            print::line("the configuration is good");
        }
        ConfigCommand::Show(arguments) => {
            let config = load(&Sources::new(arguments.config, arguments.set))?;
            match output {
                Output::Text => print::line(toml_text(&config)?.trim_end()),
                Output::Json => print::json(&serde_json::to_value(&config)?),
            }
        }
    }
    Ok(())
}

pub(super) fn read(arguments: ConfigurationArguments) -> anyhow::Result<(ConfigFile, Settings)> {
    let config = load(&Sources::new(arguments.config, arguments.set)).context(Misconfigured)?;
    let settings = validate(&config).context(Misconfigured)?;
    Ok((config, settings))
}

//! `cratekeeper config …`, and how every command that runs a node reads its configuration.

use clap::Subcommand;

use super::{ConfigurationArguments, Output, print};
use crate::config::{ConfigFile, Settings, Sources, commented, load, toml_text, validate};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with a configuration, or that nothing is.
    Check(ConfigurationArguments),
    /// Print every key with its default and what it means, commented out, as the beginning of a configuration file.
    Init,
    /// Print what file, environment and defaults come to, without secrets.
    Show(ConfigurationArguments),
}

pub(super) fn run(command: ConfigCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Init => print::line(commented().trim_end()),
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
    let config = load(&Sources::new(arguments.config, arguments.set))?;
    let settings = validate(&config)?;
    Ok((config, settings))
}

//! The command line. Whatever changes or asks the registry goes through its API, so that scripts can do the same.

mod accounts;
mod api;
mod backup;
mod backup_api;
mod certs;
mod cluster;
mod configuration;
mod events;
mod expiry;
mod manual;
mod ops;
mod owners;
pub(crate) mod print;
mod rebuild;
mod recover;
mod restore;
mod smoke;
mod tokens;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::api::Api;
pub(crate) use self::api::{Unreachable, client as probe_client};
pub(crate) use self::backup_api::BackupApi;
use crate::dev;
use crate::observe::{self, LevelSwitch};
use crate::serve;

const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed; 2 not understood; 3 the registry could not be reached; 70 a node stopped because Raft or the storage below it did; 78 the configuration is wrong.";

/// A private cargo registry that stays up: replicated by Raft, tarballs in S3, no external database.
#[derive(Debug, Parser)]
#[command(name = "cratekeeper", version, propagate_version = true, after_long_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Where the registry is and who asks; ignored by commands that do not ask it.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The registry's URL.
    #[arg(
        long,
        global = true,
        env = "CRATEKEEPER_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    server: String,
    /// File with the token to show; the token itself may be in CRATEKEEPER_TOKEN instead.
    #[arg(
        long,
        global = true,
        env = "CRATEKEEPER_TOKEN_FILE",
        value_name = "FILE"
    )]
    token_file: Option<PathBuf>,
    /// PEM file with the authorities to trust instead of the system's, for a registry with a certificate of one's own.
    #[arg(long, global = true, env = "CRATEKEEPER_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Tables to read, or the API's JSON as it is.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it on this machine: no TLS, tarballs on disk, everything in one directory.
    Dev(dev::DevArguments),
    /// Run a node.
    Serve(ServeArguments),
    /// Accounts of people and machines.
    #[command(subcommand)]
    Account(accounts::AccountCommand),
    /// Tokens of an account.
    #[command(subcommand)]
    Token(tokens::TokenCommand),
    /// Owners of a crate.
    #[command(subcommand)]
    Owner(owners::OwnerCommand),
    /// The nodes and what they agree on.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Make the node on this machine ready to stop: not ready, the others able to agree without it, leadership handed over.
    Drain(ops::DrainArguments),
    /// Ask the node on this machine whether it is ready; the exit code says it.
    Healthcheck(ops::HealthcheckArguments),
    /// Copies of the history outside of the cluster.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Make the first node of a cluster of a backup and an empty data directory.
    Restore(restore::RestoreArguments),
    /// Fold the history of a stopped node anew, and compare or replace what is derived from it.
    Rebuild(rebuild::RebuildArguments),
    /// See whether the registry works: publish a tiny crate, fetch it, and yank it.
    Smoke(smoke::SmokeArguments),
    /// The history of the registry.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// The configuration of a node.
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Print the reference of the metrics that a node exports.
    Metrics,
    /// Certificates for nodes, where nobody else issues them.
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Print the description of the HTTP API, as OpenAPI 3.1; a running node has it at `/api/openapi.json`.
    Openapi,
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write one for each command into a directory.
    Man {
        /// Write `cratekeeper.1`, `cratekeeper-serve.1` and so on here, instead of printing the first.
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
    /// Stop when standard input ends (for a parent process that must not leave nodes behind).
    #[arg(long, hide = true)]
    stop_with_input: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigurationArguments {
    /// Default: /etc/cratekeeper/cratekeeper.toml, if it is there.
    #[arg(long, env = "CRATEKEEPER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key over file and environment; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigurationArguments {
    fn file(config: Option<PathBuf>) -> ConfigurationArguments {
        ConfigurationArguments {
            config,
            set: Vec::new(),
        }
    }
}

/// Does what the command line says.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { global, command } = arguments;
    let api = || Api::new(&global);
    match command {
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Serve(arguments) => Box::pin(serve(arguments)).await,
        Command::Account(command) => accounts::run(command, &api()?).await,
        Command::Token(command) => tokens::run(command, &global).await,
        Command::Owner(command) => owners::run(command, &api()?).await,
        Command::Cluster(command) => cluster::run(command, &api()?).await,
        Command::Events(command) => events::run(command, &api()?).await,
        Command::Smoke(arguments) => smoke::run(arguments, &api()?).await,
        Command::Drain(arguments) => ops::drain(arguments).await,
        Command::Healthcheck(arguments) => ops::healthcheck(arguments).await,
        Command::Backup(command) => Box::pin(backup::run(command, &global)).await,
        Command::Restore(arguments) => Box::pin(restore::run(arguments, global.output)).await,
        Command::Rebuild(arguments) => rebuild::run(arguments, global.output).await,
        Command::Config(command) => configuration::run(command, global.output),
        Command::Metrics => {
            match global.output {
                Output::Text => print::line(observe::metrics_markdown().trim_end()),
                Output::Json => print::json(&observe::metrics_json()),
            }
            Ok(())
        }
        Command::Certs(command) => certs::run(command),
        Command::Openapi => {
            print::json(&crate::http::document());
            Ok(())
        }
        Command::Completions { shell } => {
            print::line(manual::completions(shell));
            Ok(())
        }
        Command::Man { to } => manual::pages(to.as_deref()),
    }
}

async fn serve(arguments: ServeArguments) -> anyhow::Result<()> {
    let (config, settings) = configuration::read(arguments.configuration.clone())?;
    let observed = observe::install(&config, &settings)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = crate::config::one_line(&config)?,
        "starting"
    );
    let mut stop = serve::Stop::on_signals(serve::Handover::Lead)?;
    if arguments.stop_with_input {
        stop = stop.or_end_of_input();
    }
    let level = observed.level.clone();
    tokio::spawn(async move { follow_level(arguments.configuration, level).await });
    let outcome = serve::run(settings, observed.metrics.clone(), stop).await;
    observed.stop().await;
    outcome
}

/// `log.level` as the configuration has it whenever SIGHUP comes; everything else of it needs a restart.
async fn follow_level(arguments: ConfigurationArguments, level: LevelSwitch) {
    let hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    let Ok(mut hangups) = hangups else { return };
    while hangups.recv().await.is_some() {
        let read = configuration::read(arguments.clone());
        let changed = read.and_then(|(_, settings)| {
            level.set(&settings.log.level)?;
            Ok(settings.log.level)
        });
        match changed {
            Ok(level) => tracing::warn!(level, "the level of the log was read again"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the log stays as it is");
            }
        }
    }
}

//! The command line. Whatever changes or asks the registry goes through its API, so that scripts can do the same.

mod accounts;
mod api;
mod backup;
mod backup_api;
mod cluster;
mod configuration;
mod events;
mod expiry;
mod ops;
mod owners;
pub(crate) mod print;
mod rebuild;
mod restore;
mod smoke;
mod tokens;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use self::api::Api;
pub(crate) use self::api::client as probe_client;
pub(crate) use self::backup_api::BackupApi;
use crate::dev;
use crate::serve;

/// A private cargo registry that stays up: replicated by Raft, tarballs in S3, no external database.
#[derive(Debug, Parser)]
#[command(name = "cratekeeper", version, propagate_version = true)]
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
    /// Make the node on this machine ready to stop: no new requests, leadership handed over.
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
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
    /// Stop when standard input ends (for a parent process that must not leave nodes behind).
    #[arg(long, hide = true)]
    stop_with_input: bool,
}

#[derive(Debug, Args)]
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
        Command::Token(command) => tokens::run(command, &api()?).await,
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
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "cratekeeper", &mut script);
            print::line(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
    }
}

async fn serve(arguments: ServeArguments) -> anyhow::Result<()> {
    let (config, settings) = configuration::read(arguments.configuration)?;
    crate::observe::install_logs(&settings.log)?;
    let metrics = crate::observe::install_metrics()?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = crate::config::one_line(&config)?,
        "starting"
    );
    let mut stop = serve::Stop::on_signals(serve::Handover::Lead)?;
    if arguments.stop_with_input {
        stop = stop.or_end_of_input();
    }
    serve::run(settings, metrics, stop).await
}

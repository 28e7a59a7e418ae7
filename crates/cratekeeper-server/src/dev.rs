//! `cratekeeper dev`: a registry on this machine in one command. One node runs in this process; several are child processes
//! that end with it. Everything is in one directory, and the same directory again continues where it was.

mod children;
mod directory;
mod greeting;
mod node_config;
mod plan;
mod ready;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use self::children::Children;
use self::directory::{Directory, NodeEntry};
use crate::config::{ConfigFile, Settings, Sources, load, validate};
use crate::observe;
use crate::serve::{self, Handover, Stop};

#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// Where everything is kept; a directory used before continues where it was.
    #[arg(long, default_value = "./cratekeeper-data", value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// Where the (first) node listens; port 0 means any.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    http: SocketAddr,
    /// How many nodes, each a process of its own if there are several. Default: as many as the directory has, or 1.
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// Where clients reach the registry, if not at the first node (a load balancer before several nodes).
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Set a key of every node's configuration; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Show more than warnings.
    #[arg(long, short)]
    verbose: bool,
}

pub(crate) async fn run(arguments: DevArguments) -> anyhow::Result<()> {
    let directory = Directory::open(&arguments.data_dir)?;
    let kept = directory.nodes()?;
    let count = count(&arguments, kept.len())?;
    let mut entries = plan::entries(&directory, arguments.http, count, &kept)?;
    let public_url = match &arguments.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => plan::public_url(entries[0].http),
    };
    let mut settings = Vec::new();
    for entry in &entries {
        node_config::write(&directory, entry, &entries, &public_url, &arguments)?;
        settings.push(read(entry)?);
    }
    let greeting = greeting::text(
        &directory,
        &entries,
        &public_url,
        arguments.public_url.is_some(),
    );
    if count == 1 {
        let settings = settings.remove(0);
        run_here(&directory, &mut entries, settings, &greeting).await
    } else {
        run_children(&directory, entries, &greeting).await
    }
}

fn count(arguments: &DevArguments, kept: usize) -> anyhow::Result<u32> {
    let kept = u32::try_from(kept).context("count the nodes of the directory")?;
    let count = arguments.nodes.unwrap_or(kept.max(1));
    ensure!(
        (1..=9).contains(&count),
        "--nodes is {count}; 1 to 9 nodes can run on one machine"
    );
    ensure!(
        count >= kept,
        "{} has {kept} nodes and fewer might not agree on anything; use --nodes {kept} or another --data-dir",
        arguments.data_dir.display()
    );
    Ok(count)
}

/// What the node itself will read, so that a wrong `--set` is said here and not in a log.
fn read(entry: &NodeEntry) -> anyhow::Result<(ConfigFile, Settings)> {
    let config = load(&Sources::new(Some(entry.config.clone()), Vec::new()))?;
    let settings = validate(&config)?;
    Ok((config, settings))
}

/// One node, in this process.
async fn run_here(
    directory: &Directory,
    entries: &mut [NodeEntry],
    (config, settings): (ConfigFile, Settings),
    greeting: &str,
) -> anyhow::Result<()> {
    let observed = observe::install(&config, &settings)?;
    entries[0].pid = Some(std::process::id());
    directory.write_nodes(entries)?;

    let stop = Stop::on_signals(Handover::Nothing)?;
    let mut node = Box::pin(serve::run(settings, observed.metrics.clone(), stop));
    let outcome = tokio::select! {
        ended = &mut node => ended,
        ready = Box::pin(ready::all(directory, entries)) => match ready {
            Ok(()) => {
                crate::cli::print::line(greeting);
                node.await
            }
            Err(error) => Err(error),
        },
    };
    observed.stop().await;
    entries[0].pid = None;
    directory.write_nodes(entries)?;
    outcome
}

/// Several nodes, each in a process of its own. A node that ends is not started again.
async fn run_children(
    directory: &Directory,
    entries: Vec<NodeEntry>,
    greeting: &str,
) -> anyhow::Result<()> {
    let mut stop = Stop::on_signals(Handover::Nothing)?;
    let waiting = entries.clone();
    let mut children = Children::start(directory, entries)?;
    tokio::select! {
        ready = Box::pin(ready::all(directory, &waiting)) => match ready {
            Ok(()) => crate::cli::print::line(greeting),
            Err(error) => {
                children.stop().await?;
                return Err(error);
            }
        },
        ended = children.next_end() => {
            children.stop().await?;
            anyhow::bail!("{}", ended?);
        }
        _ = stop.asked() => return children.stop().await,
    }
    loop {
        tokio::select! {
            ended = children.next_end() => crate::cli::print::note(ended?),
            _ = stop.asked() => return children.stop().await,
        }
        ensure!(children.any_left(), "no node is left");
    }
}

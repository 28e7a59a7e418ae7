//! `cratekeeper rebuild`: the history of a stopped node, folded anew.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use cratekeeper_cluster::Rebuilt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Output, print};

/// Differences that are named; the rest is counted.
const NAMED_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct RebuildArguments {
    /// The node's data directory.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// Only compare; change nothing.
    #[arg(long)]
    verify: bool,
}

pub(super) async fn run(arguments: RebuildArguments, output: Output) -> anyhow::Result<()> {
    let verify = arguments.verify;
    let rebuilt = tokio::task::spawn_blocking(move || rebuild(&arguments))
        .await
        .context("fold the history")??;
    match output {
        Output::Json => print::json(&json!({
            "events": rebuilt.events,
            "chain": rebuilt.chain,
            "differences": rebuilt.differences,
        })),
        Output::Text => text(&rebuilt),
    }
    if verify && !rebuilt.differences.is_empty() {
        bail!(
            "{} entries differ from what the history says; run `cratekeeper rebuild` without --verify to replace them",
            rebuilt.differences.len()
        );
    }
    Ok(())
}

fn rebuild(arguments: &RebuildArguments) -> anyhow::Result<Rebuilt> {
    let bar = bar()?;
    let mut progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let rebuilt =
        cratekeeper_cluster::rebuild(&arguments.data_dir, !arguments.verify, &mut progress)?;
    bar.finish_and_clear();
    Ok(rebuilt)
}

/// Shown on a terminal only.
fn bar() -> anyhow::Result<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} events, {eta} left")?;
    Ok(ProgressBar::new(0).with_style(style))
}

fn text(rebuilt: &Rebuilt) {
    print::line(format!(
        "{} events, chain {}",
        rebuilt.events, rebuilt.chain
    ));
    for difference in rebuilt.differences.iter().take(NAMED_MAX) {
        print::line(format!("differs: {difference}"));
    }
    let more = rebuilt.differences.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        print::line(format!("and {more} more"));
    }
    if rebuilt.differences.is_empty() {
        print::line("everything derived from the history is as it should be");
    }
}

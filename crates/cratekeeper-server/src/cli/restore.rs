//! `cratekeeper restore`: an empty data directory becomes the first node of a cluster with the history of a backup.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::backup::{Progress, S3Arguments, place_settings};
use super::{ConfigurationArguments, Output, configuration, print};
use crate::backup::{Archive, Until, order, target};
use crate::config::Settings;
use crate::serve::{self, TakeOver};

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// The backup: a directory, or `s3://bucket/prefix`.
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// With this event as the last one. Default: everything.
    #[arg(long, value_name = "SEQUENCE")]
    until_sequence: Option<u64>,
    /// With the last event that happened at this time (RFC 3339) or before.
    #[arg(long, value_name = "TIME", conflicts_with = "until_sequence", value_parser = parse_time)]
    until_time: Option<OffsetDateTime>,
    /// The tarball store still belongs to the cluster whose backup this is: it is gone for good, take its store over.
    #[arg(long)]
    take_over_store: bool,
    /// Also issue a new administrator's token (for `cluster.admin_login`) and write it to this new file.
    #[arg(long, value_name = "FILE")]
    new_admin_token_file: Option<PathBuf>,
    #[command(flatten)]
    s3: S3Arguments,
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) async fn run(arguments: RestoreArguments, output: Output) -> anyhow::Result<()> {
    let (config, settings) = configuration::read(arguments.configuration)?;
    let observed = crate::observe::install(&config, &settings)?;
    let until = match (arguments.until_sequence, arguments.until_time) {
        (Some(sequence), _) => Until::Sequence(sequence),
        (None, Some(time)) => Until::Time(time),
        (None, None) => Until::End,
    };
    let place = place_settings(&arguments.from, arguments.s3, Some(&settings.tarballs))?;
    let archive = Archive::open(&place.open().await?).await?;
    let target = target(&archive, until).await?;
    let progress = Progress::show("restoring", 0, target.sequence)?;
    let at = progress.at.clone();
    let tell = Arc::new(move |done| at.store(done, Ordering::Relaxed));
    let take_over = if arguments.take_over_store {
        TakeOver::Asked
    } else {
        TakeOver::No
    };
    let tarballs = serve::open_tarballs(&settings.tarballs).await?;
    let claim = serve::claim_for(&archive, target, tarballs.clone(), take_over);
    let mut order = order(archive, target, claim, tell);
    if let Some(file) = &arguments.new_admin_token_file {
        order.admin_token = Some(new_admin_token(&settings, file)?);
    }
    let began = Instant::now();
    let options = serve::restore_options(&settings, &tarballs, order)?;
    let restored = cratekeeper_cluster::restore(options).await?;
    drop(progress);
    let seconds = began.elapsed().as_secs_f64();
    match output {
        Output::Json => print::json(&json!({
            "cluster": restored.now.cluster,
            "history": restored.now.history,
            "node": restored.node,
            "events": target.sequence,
            "chain": hex::encode(target.chain),
            "sequence": restored.now.sequence,
            "seconds": seconds,
        })),
        Output::Text => {
            print::line(format!(
                "{} events restored, chain {} ({seconds:.1} s)",
                target.sequence,
                hex::encode(target.chain)
            ));
            print::line(format!(
                "{} is node {} of the cluster {} with the new history {}; start it with `cratekeeper serve`, and others with empty data directories to join it",
                settings.data_dir.display(),
                restored.node,
                restored.now.cluster,
                restored.now.history
            ));
        }
    }
    observed.stop().await;
    Ok(())
}

fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "write it as in RFC 3339, for example `2027-01-31T00:00:00Z`".to_owned())
}

/// On disk before anything is restored, so that it cannot be lost afterwards.
fn new_admin_token(
    settings: &Settings,
    file: &std::path::Path,
) -> anyhow::Result<(
    cratekeeper_domain::Login,
    cratekeeper_domain::TokenId,
    cratekeeper_domain::TokenHash,
)> {
    anyhow::ensure!(
        !file.exists(),
        "{} exists already; name a new file for the new token",
        file.display()
    );
    let token = serve::new_token()?;
    serve::write_secret(file, token.as_str())
        .with_context(|| format!("write {}", file.display()))?;
    Ok((
        serve::founding_admin(settings)?,
        serve::token_id()?,
        token.hash(),
    ))
}

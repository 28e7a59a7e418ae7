//! `cratekeeper backup …`: a copy of the history outside of the cluster.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use cratekeeper_cluster::StoppedNode;
use cratekeeper_tarballs::{Shelf, Tarballs};
use cratekeeper_wire::backup::Manifest;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::api::Api;
use super::backup_api::BackupApi;
use super::{ConfigurationArguments, Global, Output, configuration, print};
use crate::backup::{
    Archive, CheckTarballs, Checked, Created, PlaceSettings, S3Access, Source, Verified, create,
    place, verify,
};
use crate::config::TarballSettings;
use crate::serve::open_tarballs;

const BAR_REFRESH: Duration = Duration::from_millis(100);
const MISSING_NAMED: usize = 50;

#[derive(Debug, Subcommand)]
pub(super) enum BackupCommand {
    /// Back up all events that the place does not have yet, from a running registry or the volume of a stopped node.
    Create(CreateArguments),
    /// Prove a backup without a registry: every hash, the whole chain, every event.
    Verify(VerifyArguments),
    /// Show what a backup holds.
    Show(ShowArguments),
}

/// How to reach S3, where the place is `s3://bucket/prefix`. Default: as the configuration's tarballs, else as the environment of
/// the S3 client says.
#[derive(Debug, Args)]
pub(super) struct S3Arguments {
    /// URL of an S3-compatible store.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    #[arg(long)]
    region: Option<String>,
    /// The bucket in the path instead of in the host name.
    #[arg(long)]
    path_style: bool,
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// A directory, or `s3://bucket/prefix`.
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Read the volume of a stopped node instead of asking a registry.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Look whether the tarballs are there that the events name. A stopped node needs --config to know where.
    #[arg(long, value_enum, default_value_t = CheckTarballs::New)]
    check_tarballs: CheckTarballs,
    /// A node's configuration, for its tarball store and how to reach S3.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    s3: S3Arguments,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// A directory, or `s3://bucket/prefix`.
    place: String,
    /// Also look for each tarball in the store of the configuration.
    #[arg(long, requires = "config")]
    tarballs: bool,
    /// A node's configuration, for its tarball store and how to reach S3.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    s3: S3Arguments,
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// A directory, or `s3://bucket/prefix`.
    place: String,
    /// A node's configuration, for how to reach S3.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    s3: S3Arguments,
}

pub(super) async fn run(command: BackupCommand, global: &Global) -> anyhow::Result<()> {
    match command {
        BackupCommand::Create(arguments) => create_one(arguments, global).await,
        BackupCommand::Verify(arguments) => verify_one(arguments, global.output).await,
        BackupCommand::Show(arguments) => show_one(arguments, global.output).await,
    }
}

async fn create_one(arguments: CreateArguments, global: &Global) -> anyhow::Result<()> {
    let store = store_settings(arguments.config)?;
    let shelf = open_place(&arguments.to, arguments.s3, store.as_ref()).await?;
    let source = match &arguments.data_dir {
        None => Source::Api(BackupApi::new(Api::new(global)?)),
        Some(directory) => {
            let directory = directory.clone();
            let opened = tokio::task::spawn_blocking(move || StoppedNode::open(&directory));
            let tarballs = match &store {
                Some(store) => Some(open_tarballs(store).await?),
                None => None,
            };
            Source::Stopped(
                Arc::new(opened.await.context("open the volume")??),
                tarballs,
            )
        }
    };
    let known = Archive::find(&shelf).await?;
    let known = known.map_or(0, |archive| archive.manifest.last_sequence);
    let until = source.position(0).await?.head.sequence;
    let progress = Progress::show("backing up", known, until)?;
    let created = create(&source, &shelf, arguments.check_tarballs, &progress.at).await?;
    drop(progress);
    match global.output {
        Output::Json => print::json(&created_json(&created)?),
        Output::Text => created_text(&created, &shelf),
    }
    must_be_complete(created.tarballs.as_ref())
}

async fn verify_one(arguments: VerifyArguments, output: Output) -> anyhow::Result<()> {
    let store = store_settings(arguments.config)?;
    let shelf = open_place(&arguments.place, arguments.s3, store.as_ref()).await?;
    let tarballs: Option<Tarballs> = match (&store, arguments.tarballs) {
        (Some(store), true) => Some(open_tarballs(store).await?),
        _ => None,
    };
    let until = Archive::open(&shelf).await?.manifest.last_sequence;
    let progress = Progress::show("verifying", 0, until)?;
    let verified = verify(&shelf, tarballs.as_ref(), &progress.at).await?;
    drop(progress);
    match output {
        Output::Json => print::json(&verified_json(&verified)),
        Output::Text => verified_text(&verified),
    }
    must_be_complete(verified.tarballs.as_ref())
}

async fn show_one(arguments: ShowArguments, output: Output) -> anyhow::Result<()> {
    let store = store_settings(arguments.config)?;
    let shelf = open_place(&arguments.place, arguments.s3, store.as_ref()).await?;
    let manifest = Archive::open(&shelf).await?.manifest;
    match output {
        Output::Json => print::json(&serde_json::to_value(&manifest)?),
        Output::Text => show(&manifest),
    }
    Ok(())
}

/// The tarball store of a configuration; nothing else of it matters to a backup.
pub(super) fn store_settings(config: Option<PathBuf>) -> anyhow::Result<Option<TarballSettings>> {
    if config.is_none() {
        return Ok(None);
    }
    let (_, settings) = configuration::read(ConfigurationArguments::file(config))?;
    Ok(Some(settings.tarballs))
}

pub(super) fn place_settings(
    text: &str,
    s3: S3Arguments,
    store: Option<&TarballSettings>,
) -> anyhow::Result<PlaceSettings> {
    let access = match store {
        Some(TarballSettings::S3(options)) => S3Access::like(options),
        Some(TarballSettings::Disk(_)) | None => S3Access::default(),
    };
    let access = S3Access {
        endpoint: s3.endpoint.or(access.endpoint),
        region: s3.region.or(access.region),
        path_style: s3.path_style || access.path_style,
        credentials: access.credentials,
    };
    place(text, access)
}

async fn open_place(
    text: &str,
    s3: S3Arguments,
    store: Option<&TarballSettings>,
) -> anyhow::Result<Shelf> {
    place_settings(text, s3, store)?.open().await
}

/// A bar on a terminal, and nothing elsewhere; it goes when it is dropped.
pub(super) struct Progress {
    pub(super) at: Arc<AtomicU64>,
    bar: ProgressBar,
    _refreshing: AbortOnDropHandle<()>,
}

impl Progress {
    /// From event `from` to event `to`.
    pub(super) fn show(what: &'static str, from: u64, to: u64) -> anyhow::Result<Progress> {
        let bar = if std::io::stderr().is_terminal() {
            let template = "{prefix} {bar:40} {pos} of {len} events, {per_sec}, {eta} left";
            let bar = ProgressBar::new(to).with_style(ProgressStyle::with_template(template)?);
            bar.set_prefix(what);
            bar.set_position(from);
            bar.reset_eta();
            bar
        } else {
            ProgressBar::hidden()
        };
        let at = Arc::new(AtomicU64::new(from));
        let (moving, position) = (bar.clone(), at.clone());
        let refreshing = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(BAR_REFRESH);
            loop {
                ticks.tick().await;
                moving.set_position(position.load(Ordering::Relaxed));
            }
        });
        Ok(Progress {
            at,
            bar,
            _refreshing: AbortOnDropHandle::new(refreshing),
        })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn created_json(created: &Created) -> anyhow::Result<Value> {
    let manifest = &created.manifest;
    Ok(json!({
        "cluster": manifest.owner.cluster,
        "history": manifest.owner.history,
        "events": created.events,
        "record_bytes": created.record_bytes,
        "sequence": manifest.last_sequence,
        "chain": hex::encode(manifest.chain),
        "seconds": created.took.as_secs_f64(),
        "tarballs": serde_json::to_value(&created.tarballs)?,
    }))
}

fn created_text(created: &Created, shelf: &Shelf) {
    let manifest = &created.manifest;
    print::line(format!(
        "{} new events of {} in {}: {} events of cluster {}, chain {}",
        created.events,
        size(created.record_bytes),
        shelf.describe(),
        manifest.last_sequence,
        manifest.owner.cluster,
        hex::encode(manifest.chain)
    ));
    tarballs_text(created.tarballs.as_ref());
}

fn verified_json(verified: &Verified) -> Value {
    let manifest = &verified.manifest;
    json!({
        "cluster": manifest.owner.cluster,
        "history": manifest.owner.history,
        "sequence": manifest.last_sequence,
        "chain": hex::encode(manifest.chain),
        "totals": manifest.totals,
        "segments": manifest.segments.len(),
        "seconds": verified.took.as_secs_f64(),
        "tarballs": verified.tarballs,
    })
}

fn verified_text(verified: &Verified) {
    let (manifest, seconds) = (&verified.manifest, verified.took.as_secs_f64());
    print::line(format!(
        "{} events in {} segments are whole, chain {}",
        manifest.last_sequence,
        manifest.segments.len(),
        hex::encode(manifest.chain)
    ));
    print::line(format!(
        "{} crates, {} versions; {:.1} s, {:.0} events/s",
        manifest.totals.crates,
        manifest.totals.versions,
        seconds,
        manifest.last_sequence as f64 / seconds.max(0.001)
    ));
    tarballs_text(verified.tarballs.as_ref());
}

fn tarballs_text(tarballs: Option<&Checked>) {
    let Some(tarballs) = tarballs else {
        print::line("tarballs were not looked for");
        return;
    };
    print::line(format!(
        "{} tarballs looked for, {} missing",
        tarballs.checked,
        tarballs.missing.len()
    ));
    for missing in tarballs.missing.iter().take(MISSING_NAMED) {
        print::line(format!("missing: {missing}"));
    }
    let more = tarballs.missing.len().saturating_sub(MISSING_NAMED);
    if more > 0 {
        print::line(format!("and {more} more"));
    }
}

fn must_be_complete(tarballs: Option<&Checked>) -> anyhow::Result<()> {
    match tarballs.map_or(0, |it| it.missing.len()) {
        0 => Ok(()),
        missing => {
            bail!("the events are complete, but {missing} tarballs are missing in the store")
        }
    }
}

fn show(manifest: &Manifest) {
    let totals = &manifest.totals;
    let lines = [
        ("cluster", manifest.owner.cluster.clone()),
        ("history", manifest.owner.history.clone()),
        ("begun", time(manifest.created_at)),
        ("last", time(manifest.updated_at)),
        ("release", manifest.release.clone()),
        ("events", totals.events.to_string()),
        ("records", size(totals.record_bytes)),
        ("chain", hex::encode(manifest.chain)),
        ("crates", totals.crates.to_string()),
        (
            "versions",
            format!(
                "{} published, {} removed; their tarballs have {}",
                totals.versions,
                totals.versions_removed,
                size(totals.tarball_bytes)
            ),
        ),
    ];
    for (name, value) in lines {
        print::line(format!("{name:<9} {value}"));
    }
    print::line("");
    print::table(
        ["FIRST", "LAST", "UNTIL", "BYTES", "FILE"],
        manifest.segments.iter().map(|segment| {
            [
                segment.first.to_string(),
                segment.last.to_string(),
                time(segment.last_time),
                segment.bytes.to_string(),
                segment.file.clone(),
            ]
        }),
    );
}

fn time(time: time::OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_else(|_| time.to_string())
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

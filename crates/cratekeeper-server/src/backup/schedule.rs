//! Backups that the cluster makes by itself: whoever leads makes them. When another node leads, it goes on where the backup ends;
//! two that believe to lead cannot harm it, because the manifest is replaced conditionally.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cratekeeper_cluster::Cluster;
use cratekeeper_tarballs::{Shelf, Tarballs};
use time::OffsetDateTime;

use super::archive::Archive;
use super::create::{Created, create};
use super::place::PlaceSettings;
use super::source::Source;
use super::tarballs::CheckTarballs;

/// How often a node looks whether it leads and a backup is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a failure, unless the next one is due earlier.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
const MISSING_NAMED: usize = 10;

#[derive(Clone)]
pub(crate) struct BackupSettings {
    pub(crate) to: PlaceSettings,
    pub(crate) every: Duration,
}

/// Runs until it is aborted; an aborted backup is gone on with by the next.
pub(crate) async fn keep_backed_up(settings: BackupSettings, cluster: Cluster, tarballs: Tarballs) {
    let shelf = match settings.to.open().await {
        Ok(shelf) => shelf,
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "there will be no backups");
            return;
        }
    };
    // So that both are there to be alerted on before anything has happened.
    metrics::counter!("cratekeeper_backup_failures_total").increment(0);
    metrics::counter!("cratekeeper_backup_events_total").increment(0);
    let source = Source::Here(cluster.clone(), tarballs);
    let mut ticks = tokio::time::interval(LOOK_EVERY.min(settings.every));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut due = Due::default();
    loop {
        ticks.tick().await;
        if !leads(&cluster).await {
            // What another node does meanwhile is only known from the manifest.
            due = Due::default();
            continue;
        }
        if due.is_now(&shelf, settings.every).await {
            due = back_up(&source, &shelf, settings.every).await;
        }
    }
}

async fn leads(cluster: &Cluster) -> bool {
    let status = cluster.status().await;
    status.is_ok_and(|status| status.leader == Some(status.node)) && cluster.readiness().ready
}

/// When the next backup is to be made; unknown to a node that has just begun to lead.
#[derive(Default)]
struct Due(Option<OffsetDateTime>);

impl Due {
    async fn is_now(&mut self, shelf: &Shelf, every: Duration) -> bool {
        if self.0.is_none() {
            // What is wrong with it is told by the backup itself.
            let last = match Archive::find(shelf).await {
                Ok(Some(archive)) => archive.manifest.updated_at,
                Ok(None) | Err(_) => OffsetDateTime::UNIX_EPOCH,
            };
            self.0 = Some(last + every);
            if last > OffsetDateTime::UNIX_EPOCH {
                succeeded_at(last);
            }
        }
        self.0.is_some_and(|due| due <= OffsetDateTime::now_utc())
    }
}

async fn back_up(source: &Source, shelf: &Shelf, every: Duration) -> Due {
    let created = create(source, shelf, CheckTarballs::New, &AtomicU64::new(0)).await;
    let now = OffsetDateTime::now_utc();
    match created {
        Ok(created) => {
            tell(&created, shelf);
            Due(Some(now + every))
        }
        Err(error) => {
            metrics::counter!("cratekeeper_backup_failures_total").increment(1);
            tracing::error!(place = shelf.describe(), error = %format!("{error:#}"), "the backup failed");
            Due(Some(now + every.min(AGAIN_AFTER)))
        }
    }
}

fn tell(created: &Created, shelf: &Shelf) {
    succeeded_at(created.manifest.updated_at);
    metrics::histogram!("cratekeeper_backup_duration_seconds").record(created.took.as_secs_f64());
    metrics::counter!("cratekeeper_backup_events_total").increment(created.events);
    let missing = created.tarballs.iter().flat_map(|it| &it.missing);
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    if !missing.is_empty() {
        metrics::counter!("cratekeeper_backup_failures_total").increment(1);
        let named = &missing[..missing.len().min(MISSING_NAMED)];
        tracing::error!(
            missing = missing.len(),
            named = named.join("; "),
            "the events are backed up, but the store lacks tarballs that they name"
        );
    }
    tracing::info!(
        place = shelf.describe(),
        events = created.events,
        sequence = created.manifest.last_sequence,
        chain = hex::encode(created.manifest.chain),
        ms = created.took.as_millis(),
        "backed up"
    );
}

fn succeeded_at(time: OffsetDateTime) {
    let seconds = time.unix_timestamp_nanos() as f64 / 1e9;
    metrics::gauge!("cratekeeper_backup_last_success_timestamp_seconds").set(seconds);
}

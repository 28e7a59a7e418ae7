//! Where events to be backed up come from: this node, a registry through its API, or the volume of a stopped node.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use cratekeeper_cluster::{Cluster, HistoryHead, StoppedNode};
use cratekeeper_tarballs::Tarballs;
use tokio::sync::mpsc;

use super::tarballs::{Checked, Wanted, check_events, check_wanted};
use crate::cli::BackupApi;

/// Read at once; two such batches wait at most.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;
const BATCHES_WAITING: usize = 2;

pub(crate) enum Source {
    /// A node in this process, with its tarball store.
    Here(Cluster, Tarballs),
    Api(BackupApi),
    /// With a tarball store to look into, if it is known.
    Stopped(Arc<StoppedNode>, Option<Tarballs>),
}

/// Where the history stands, and whether it contains that of a backup.
pub(crate) struct Position {
    pub(crate) head: HistoryHead,
    /// The chain hash at the sequence that was asked for; nothing if the history is not there yet.
    pub(crate) chain_there: Option<[u8; 32]>,
}

pub(crate) type Batches = mpsc::Receiver<anyhow::Result<Vec<Bytes>>>;

impl Source {
    pub(crate) async fn position(&self, at: u64) -> anyhow::Result<Position> {
        match self {
            Source::Here(cluster, _) => Ok(Position {
                head: cluster.history()?,
                chain_there: cluster.chain_hash_at(at)?,
            }),
            Source::Api(api) => api.position(at).await,
            Source::Stopped(node, _) => Ok(Position {
                head: node.history().clone(),
                chain_there: node.chain_at(at)?,
            }),
        }
    }

    /// The records behind `after` up to `until`, as they are read; slow readers hold it up.
    pub(crate) fn records(&self, after: u64, until: u64) -> Batches {
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
        match self {
            Source::Here(cluster, _) => {
                let cluster = cluster.clone();
                pump(sender, after, until, move |after| {
                    Ok(cluster.records(after, until, BATCH_BYTES)?)
                });
            }
            Source::Stopped(node, _) => {
                let node = node.clone();
                pump(sender, after, until, move |after| {
                    Ok(node.records(after, until, BATCH_BYTES)?)
                });
            }
            Source::Api(api) => {
                let api = api.clone();
                tokio::spawn(async move {
                    if let Err(error) = api.records(after, until, &sender).await {
                        let _ = sender.send(Err(error)).await;
                    }
                });
            }
        }
        receiver
    }

    /// Whether the tarballs named by the events behind `after` up to `until` are there; nothing where this source has no store.
    pub(crate) async fn check_tarballs(
        &self,
        after: u64,
        until: u64,
    ) -> anyhow::Result<Option<Checked>> {
        let mut all = Checked::default();
        let mut after = after;
        while after < until {
            let page = match self {
                Source::Here(cluster, tarballs) => {
                    check_events(cluster, tarballs, after, until).await?
                }
                Source::Api(api) => api.check_tarballs(after, until).await?,
                Source::Stopped(_, Some(tarballs)) => {
                    let mut wanted = Wanted::default();
                    let mut batches = self.records(after, until);
                    while let Some(batch) = batches.recv().await {
                        wanted.note(&batch?)?;
                    }
                    return check_wanted(wanted, tarballs).await.map(Some);
                }
                Source::Stopped(_, None) => return Ok(None),
            };
            if page.next <= after {
                break;
            }
            after = page.next;
            all.add(page);
        }
        Ok(Some(all))
    }
}

/// Reads on a thread of its own until everything is read or nobody listens any more.
fn pump(
    sender: mpsc::Sender<anyhow::Result<Vec<Bytes>>>,
    mut after: u64,
    until: u64,
    read: impl Fn(u64) -> anyhow::Result<Vec<Bytes>> + Send + 'static,
) {
    tokio::task::spawn_blocking(move || {
        while after < until {
            let batch = read(after).and_then(|records| match records.len() {
                0 => Err(anyhow!("the history ends at {after}, before {until}")),
                _ => Ok(records),
            });
            let failed = batch.is_err();
            after += batch.as_ref().map_or(0, |records| records.len() as u64);
            let sent = sender
                .blocking_send(batch.context("read the history"))
                .is_ok();
            if failed || !sent {
                return;
            }
        }
    });
}

//! One node, from its first open file to its last: starts everything in order, owns every task, stops in reverse order.

mod closing;
mod founding;
mod restoring;
mod signals;
mod store;
mod streams;
mod supervisor;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use cratekeeper_cluster::{Cluster, NodeOptions, Restore, Start};
use cratekeeper_tarballs::Tarballs;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use founding::{new_token, token_id, write_secret};
pub(crate) use restoring::{claim_for, founding_admin, restore_options};
pub(crate) use signals::Stop;
pub(crate) use store::TakeOver;

use crate::app::{App, router};
use crate::backup::keep_backed_up;
use crate::config::{Settings, StartSettings, TarballSettings};
use crate::drain::Drain;
use crate::listen::{ListenSettings, Listener};
use crate::ops::{self, Ops};
use crate::search::Search;

/// How long running requests may take to finish once the node stops.
const FINISH_GRACE: Duration = Duration::from_secs(20);
/// A drained node rarely leads again before it stops; then it hands over once more.
const STEP_ASIDE_WITHIN: Duration = Duration::from_secs(3);
/// The ops port has short answers only.
const OPS_GRACE: Duration = Duration::from_secs(1);
const OPS_CONNECTIONS_MAX: usize = 256;
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A running node.
pub(crate) struct Node {
    cluster: Cluster,
    drain: Arc<Drain>,
    public: Running,
    ops: Running,
    background: Vec<JoinHandle<()>>,
}

/// A port being served.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(listener: Listener, router: axum::Router, grace: Duration) -> Running {
        let stop = CancellationToken::new();
        let router = streams::end_at(stop.clone(), router);
        let task = tokio::spawn(listener.serve(router, stop.clone(), grace));
        Running { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a listener ended badly");
        }
    }
}

impl Node {
    /// Ports first, so that a wrong address is found before anything is written; then tarballs, cluster, search; then requests.
    pub(crate) async fn start(
        settings: Settings,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Node> {
        let listener = Listener::bind(&settings.listen).await?;
        let ops_listener = Listener::bind(&ops_settings(&settings)).await?;
        tokio::fs::create_dir_all(&settings.data_dir)
            .await
            .with_context(|| {
                format!("create the data directory {}", settings.data_dir.display())
            })?;
        let tarballs = open_tarballs(&settings.tarballs).await?;
        let restore = restoring::configured(&settings, &tarballs).await?;
        let cluster = Cluster::start(node_options(&settings, &tarballs, restore)?).await?;
        let search = Search::open(settings.data_dir.join("search"), cluster.clone()).await?;
        tracing::info!(
            http = %settings.listen.listen,
            peer = %settings.peer_listen,
            ops = %settings.ops_listen,
            tarballs = tarballs.describe(),
            "the node runs"
        );

        let backups = settings.backup.map(|backup| {
            let backups = keep_backed_up(backup, cluster.clone(), tarballs.clone());
            tokio::spawn(backups)
        });
        let app = Arc::new(App {
            cluster: cluster.clone(),
            tarballs,
            search,
            settings: settings.http,
        });
        let drain = Arc::new(Drain::new(cluster.clone(), settings.drain));
        let ops = ops::router(Ops {
            cluster: cluster.clone(),
            metrics: metrics.clone(),
            drain: drain.clone(),
            data_dir: settings.data_dir.clone(),
        });
        let follower = app.clone();
        Ok(Node {
            drain,
            ops: Running::start(ops_listener, ops, OPS_GRACE),
            public: Running::start(
                listener,
                closing::while_draining(cluster.clone(), router(app)),
                FINISH_GRACE,
            ),
            background: vec![
                tokio::spawn(async move { follower.search.follow().await }),
                tokio::spawn(keep_up(metrics)),
                tokio::spawn(supervisor::tell(cluster.clone())),
            ]
            .into_iter()
            .chain(backups)
            .collect(),
            cluster,
        })
    }

    /// Until asked to stop, or until the node cannot go on, which is an error. A second signal while it stops ends it at once.
    pub(crate) async fn run(self, mut stop: Stop) -> anyhow::Result<()> {
        let cluster = self.cluster.clone();
        let handover = tokio::select! {
            handover = stop.asked() => handover,
            failure = cluster.failed() => {
                // What runs cannot be finished without the cluster; whoever is connected goes to another node.
                return Err(anyhow::Error::new(failure).context("the node cannot go on"));
            }
        };
        tracing::info!("stopping");
        tokio::select! {
            () = self.stop(handover) => Ok(()),
            _ = stop.asked() => bail!("stopped at once, as the second signal asked"),
        }
    }

    /// Reverse order of the start. Without `Handover::Lead` nobody waits for another leader: all nodes stop together.
    async fn stop(self, handover: Handover) {
        supervisor::stopping();
        match handover {
            // What there is to say about it was logged.
            Handover::Lead => drop(self.drain.begin(None).await),
            Handover::Nothing => self.cluster.begin_drain(),
        }
        self.public.stop().await;
        if handover == Handover::Lead {
            let deadline = Instant::now() + STEP_ASIDE_WITHIN;
            if let Err(error) = self.cluster.step_aside(deadline).await {
                tracing::warn!(%error, "the leadership was not handed over");
            }
        }
        for task in self.background {
            task.abort();
        }
        self.ops.stop().await;
        self.cluster.shutdown().await;
        tracing::info!("stopped");
    }
}

/// A node from start to stop.
pub(crate) async fn run(
    settings: Settings,
    metrics: PrometheusHandle,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let node = tokio::select! {
        node = Box::pin(Node::start(settings, metrics)) => node?,
        _ = stop.asked() => bail!("stopped while it was starting"),
    };
    node.run(stop).await
}

/// Whether leadership is given to another node before this one stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handover {
    Lead,
    Nothing,
}

fn ops_settings(settings: &Settings) -> ListenSettings {
    ListenSettings {
        listen: settings.ops_listen,
        tls: None,
        connections_max: OPS_CONNECTIONS_MAX,
        header_timeout: settings.listen.header_timeout,
    }
}

pub(crate) async fn open_tarballs(settings: &TarballSettings) -> anyhow::Result<Tarballs> {
    let tarballs = match settings {
        TarballSettings::Disk(directory) => Tarballs::disk(directory.clone()).await,
        TarballSettings::S3(options) => Tarballs::s3(options.clone()).await,
    };
    tarballs.context("open the tarball store")
}

fn node_options(
    settings: &Settings,
    tarballs: &Tarballs,
    restore: Option<Restore>,
) -> anyhow::Result<NodeOptions> {
    Ok(NodeOptions {
        data_dir: settings.data_dir.clone(),
        peer_listen: settings.peer_listen,
        peer_address: settings.peer_address.clone(),
        name: settings.name.clone(),
        role: settings.role,
        feature_level_max: settings.feature_level_max,
        snapshot_bytes_per_second: settings.snapshot_bytes_per_second,
        tls: settings.peer_tls.clone(),
        start: start(settings, restore.is_some())?,
        claim_store: store::claim_store(tarballs.clone()),
        check_store: store::check_store(tarballs.clone()),
        confirm_store: store::confirm_store(tarballs.clone()),
        restore,
        policy: settings.policy.clone(),
        raft: settings.raft.clone(),
        folded_crates_max: settings.folded_crates_max,
        index_cache_bytes: settings.index_cache_bytes,
    })
}

/// `restores`: whoever administered the old history administers the new one, so no token is made up.
fn start(settings: &Settings, restores: bool) -> anyhow::Result<Start> {
    match &settings.start {
        StartSettings::Join { cluster, peers } => Ok(Start::Join {
            cluster: cluster.clone(),
            peers: peers.clone(),
        }),
        StartSettings::Found {
            cluster,
            peers,
            admin,
            admin_token,
        } => {
            let token = match admin_token {
                Some(token) => token.clone(),
                None if restores => new_token()?,
                None => founding::admin_token(&settings.data_dir)?,
            };
            Ok(Start::Found {
                cluster: cluster.clone(),
                peers: peers.clone(),
                admin: admin.clone(),
                admin_token: token_id()?,
                admin_token_hash: token.hash(),
            })
        }
    }
}

/// Histograms are folded from time to time, or they would grow while nobody scrapes.
async fn keep_up(metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

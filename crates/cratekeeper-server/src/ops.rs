//! The port of probes and metrics. None of the probes a kubelet restarts a pod for looks at quorum, leader or peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cratekeeper_cluster::Cluster;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

/// Below the usual probe timeouts' patience with several tries, above any pause that is not a hang.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const DRAIN_SECONDS_DEFAULT: u64 = 30;
const DRAIN_SECONDS_MAX: u64 = 600;

#[derive(Clone)]
pub(crate) struct Ops {
    pub(crate) cluster: Cluster,
    pub(crate) metrics: PrometheusHandle,
    /// Set when the node begins to stop.
    pub(crate) stopping: Arc<AtomicBool>,
}

pub(crate) fn router(ops: Ops) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/write", get(readyz_write))
        .route("/metrics", get(metrics))
        .route("/drain", post(drain))
        .with_state(ops)
}

/// The Raft core turns and the storage answers.
async fn livez(State(ops): State<Ops>) -> Response {
    match timeout(ALIVE_TIMEOUT, ops.cluster.alive()).await {
        Ok(Ok(())) => ok(),
        Ok(Err(reason)) => unavailable(reason),
        Err(_) => unavailable("the node did not answer itself within 5 s".to_owned()),
    }
}

/// May take reads, and writes to forward.
async fn readyz(State(ops): State<Ops>) -> Response {
    let readiness = ops.cluster.readiness();
    answer(&ops, readiness.ready, readiness.reason)
}

/// Writes would succeed.
async fn readyz_write(State(ops): State<Ops>) -> Response {
    let readiness = ops.cluster.readiness();
    answer(&ops, readiness.write_ready, readiness.reason)
}

fn answer(ops: &Ops, ready: bool, reason: String) -> Response {
    if ops.stopping.load(Ordering::Relaxed) {
        return unavailable("the node is drained or stopping".to_owned());
    }
    if ready { ok() } else { unavailable(reason) }
}

fn ok() -> Response {
    "ok\n".into_response()
}

fn unavailable(reason: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

async fn metrics(State(ops): State<Ops>) -> Response {
    let readiness = ops.cluster.readiness();
    let flag = |value: bool| if value { 1.0 } else { 0.0 };
    metrics::gauge!("cratekeeper_ready").set(flag(readiness.ready));
    metrics::gauge!("cratekeeper_write_ready").set(flag(readiness.write_ready));
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], ops.metrics.render()).into_response()
}

#[derive(Deserialize)]
struct DrainQuery {
    timeout_seconds: Option<u64>,
}

/// Not ready from now on, leadership handed over; only for whoever is on this machine.
async fn drain(
    State(ops): State<Ops>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(query): Query<DrainQuery>,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        let sentence =
            "a node is drained from its own machine only; run `cratekeeper drain` there\n";
        return (StatusCode::FORBIDDEN, sentence).into_response();
    }
    ops.stopping.store(true, Ordering::Relaxed);
    let seconds = query.timeout_seconds.unwrap_or(DRAIN_SECONDS_DEFAULT);
    let deadline = Instant::now() + Duration::from_secs(seconds.min(DRAIN_SECONDS_MAX));
    tracing::info!("draining, as asked");
    match ops.cluster.drain(deadline).await {
        Ok(()) => ok(),
        Err(error) => unavailable(format!("{error}")),
    }
}

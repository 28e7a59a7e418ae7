//! The port of probes and metrics. None of the probes a kubelet restarts a pod for looks at quorum, leader or peers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cratekeeper_cluster::{Check, Cluster, RELEASE};
use cratekeeper_domain::NEWEST_LEVEL;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::drain::Drain;
use crate::recover;

use crate::observe::scrape;

/// Below the usual probe timeouts' patience with several tries, above any pause that is not a hang.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// No grace period is longer.
const DRAIN_SECONDS_MAX: u64 = 3600;

#[derive(Clone)]
pub(crate) struct Ops {
    pub(crate) cluster: Cluster,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) drain: Arc<Drain>,
    pub(crate) data_dir: PathBuf,
}

pub(crate) fn router(ops: Ops) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/healthz", get(livez))
        .route("/readyz", get(readyz))
        .route("/readyz/write", get(readyz_write))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/drain", post(drain))
        .route("/admin-token", post(admin_token))
        .with_state(ops)
}

/// `?verbose` prints every question with what was found, a line each.
#[derive(Deserialize)]
struct ProbeQuery {
    verbose: Option<String>,
}

/// The Raft core turns and the storage answers.
async fn livez(State(ops): State<Ops>, Query(query): Query<ProbeQuery>) -> Response {
    let alive = match timeout(ALIVE_TIMEOUT, ops.cluster.alive()).await {
        Ok(alive) => alive,
        Err(_) => Err("the node did not answer itself within 5 s".to_owned()),
    };
    let check = Check {
        name: "alive",
        passed: alive.is_ok(),
        found: match alive {
            Ok(()) => "Raft and the storage answer".to_owned(),
            Err(why) => why,
        },
    };
    let reason = check.found.clone();
    answer(check.passed, &reason, &[check], &query)
}

/// May take reads, and writes to forward.
async fn readyz(State(ops): State<Ops>, Query(query): Query<ProbeQuery>) -> Response {
    let readiness = ops.cluster.readiness();
    // The last question is about writes.
    let reads = readiness.checks.len().saturating_sub(1);
    let checks = &readiness.checks[..reads];
    answer(readiness.ready, &readiness.reason, checks, &query)
}

/// Writes would succeed.
async fn readyz_write(State(ops): State<Ops>, Query(query): Query<ProbeQuery>) -> Response {
    let readiness = ops.cluster.readiness_for_writes().await;
    let passed = readiness.write_ready;
    answer(passed, &readiness.reason, &readiness.checks, &query)
}

fn answer(passed: bool, reason: &str, checks: &[Check], query: &ProbeQuery) -> Response {
    let status = if passed {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let text = match (&query.verbose, passed) {
        (None, true) => "ok\n".to_owned(),
        (None, false) => format!("{reason}\n"),
        (Some(_), _) => verbose(checks, passed),
    };
    (status, text).into_response()
}

fn verbose(checks: &[Check], passed: bool) -> String {
    let mut text = String::new();
    for Check {
        name,
        passed,
        found,
    } in checks
    {
        let sign = if *passed { '+' } else { '-' };
        text.push_str(&format!("[{sign}]{name}: {found}\n"));
    }
    text.push_str(if passed { "passed\n" } else { "failed\n" });
    text
}

/// What runs here, for whoever has to know before asking more.
async fn version() -> Response {
    let version = json!({ "release": RELEASE, "feature_level_max": NEWEST_LEVEL });
    axum::Json(version).into_response()
}

async fn metrics(State(ops): State<Ops>) -> Response {
    let text = scrape(&ops.metrics, &ops.cluster).await;
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

#[derive(Deserialize)]
struct DrainQuery {
    timeout_seconds: Option<u64>,
}

/// Everything but the stop; only for whoever is on this machine.
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
    tracing::info!("draining, as asked");
    let within = query
        .timeout_seconds
        .map(|seconds| Duration::from_secs(seconds.min(DRAIN_SECONDS_MAX)));
    let draining = ops.drain.begin(within);
    let longest = within.unwrap_or(Duration::from_secs(DRAIN_SECONDS_MAX));
    match timeout(longest, draining).await {
        Ok(Ok(())) => "drained\n".into_response(),
        Ok(Err(why)) => format!("drained, but {why}\n").into_response(),
        Err(_) => {
            let seconds = longest.as_secs();
            let sentence = format!("not drained within {seconds} s; it goes on\n");
            (StatusCode::SERVICE_UNAVAILABLE, sentence).into_response()
        }
    }
}

#[derive(Deserialize)]
struct AdminTokenQuery {
    login: String,
}

/// Issues the token that lies in the data directory: whoever could put it there owns this node's data anyway.
async fn admin_token(
    State(ops): State<Ops>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Query(query): Query<AdminTokenQuery>,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        let sentence = "run `cratekeeper token recover` on the node's own machine\n";
        return (StatusCode::FORBIDDEN, sentence).into_response();
    }
    match recover::issue(&ops.cluster, &ops.data_dir, &query.login).await {
        Ok(()) => "issued\n".into_response(),
        Err(why) => (StatusCode::CONFLICT, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_probes_name_every_question() {
        let check = |name, passed, found: &str| Check {
            name,
            passed,
            found: found.to_owned(),
        };
        let checks = [
            check("draining", true, "this node is not draining"),
            check("lag", false, "this node is 9000 log entries behind"),
        ];
        insta::assert_snapshot!(verbose(&checks, false), @r"
        [+]draining: this node is not draining
        [-]lag: this node is 9000 log entries behind
        failed
        ");
    }
}

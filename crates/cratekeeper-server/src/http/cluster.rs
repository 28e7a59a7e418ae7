//! `/api/v1/cluster`: members, leader, membership, snapshots; for administrators.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_cluster::{MemberRole, MemberStatus};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::body::{parse_json, read_json, read_small};
use super::caller::Admin;
use super::error::ApiError;
use super::limits::MEMBERSHIP_TIME_MAX;
use crate::app::App;

pub(crate) async fn status(
    State(app): State<Arc<App>>,
    _admin: Admin,
) -> Result<Json<Value>, ApiError> {
    let status = app.cluster.status().await?;
    Ok(Json(json!({
        "cluster": status.cluster,
        "history": status.history,
        "node": status.node,
        "leader": status.leader,
        "term": status.term,
        "sequence": status.sequence,
        "chain": status.chain,
        "feature_level": status.feature_level,
        "last_log": status.last_log,
        "applied": status.applied,
        "snapshot": status.snapshot,
        "purged": status.purged,
        "object_store": app.tarballs.describe(),
        "members": status.members.iter().map(member_json).collect::<Vec<_>>(),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invitation {
    address: String,
}

pub(crate) async fn invite(
    State(app): State<Arc<App>>,
    _admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let asked: Invitation = read_json(&headers, body, app.settings.body_idle_timeout).await?;
    let deadline = Instant::now() + MEMBERSHIP_TIME_MAX;
    let node = app.cluster.invite(&asked.address, deadline).await?;
    Ok(Json(json!({ "node": node })))
}

pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    _admin: Admin,
    Path(node): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = node.parse().map_err(|_| {
        ApiError::invalid(format!(
            "`{node}` is not a node id; `cratekeeper cluster status` shows them"
        ))
    })?;
    let deadline = Instant::now() + MEMBERSHIP_TIME_MAX;
    app.cluster.remove(node, deadline).await?;
    Ok(Json(json!({ "ok": true })))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Successor {
    node: Option<u64>,
}

/// An empty body leaves the choice to the cluster.
pub(crate) async fn transfer_leader(
    State(app): State<Arc<App>>,
    _admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = read_small(&headers, body, app.settings.body_idle_timeout).await?;
    let asked: Successor = if bytes.is_empty() {
        Successor::default()
    } else {
        parse_json(&bytes)?
    };
    let deadline = Instant::now() + app.settings.publish_deadline;
    let leader = app.cluster.transfer_leader(asked.node, deadline).await?;
    Ok(Json(json!({ "leader": leader })))
}

pub(crate) async fn snapshot(
    State(app): State<Arc<App>>,
    _admin: Admin,
) -> Result<Json<Value>, ApiError> {
    let index = app.cluster.snapshot().await?;
    Ok(Json(json!({ "index": index })))
}

fn member_json(member: &MemberStatus) -> Value {
    json!({
        "node": member.node,
        "name": member.name,
        "address": member.address,
        "role": match member.role {
            MemberRole::Voter => "voter",
            MemberRole::Learner => "learner",
            MemberRole::Reader => "reader",
        },
        "leader": member.leader,
        "this_node": member.this_node,
        "sequence": member.sequence,
        "lag_entries": member.lag_entries,
        "ready": member.ready,
        "draining": member.draining,
        "release": member.release,
        "feature_level_max": member.feature_level_max,
    })
}

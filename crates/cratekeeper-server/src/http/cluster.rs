//! `/api/v1/cluster`: members, leader, membership, snapshots; for administrators.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_cluster::{ClusterStatus, MemberRole, MemberStatus};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::body::{parse_json, read_json, read_small};
use super::caller::Admin;
use super::document::Done;
use super::error::ApiError;
use super::limits::MEMBERSHIP_TIME_MAX;
use crate::app::App;

/// The cluster as the answering node knows it.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterStatus)]
pub(crate) struct ShownCluster {
    /// Identity of the cluster, chosen when it was founded.
    cluster: String,
    /// Identity of its history.
    history: String,
    /// Id of the node that answers.
    node: u64,
    /// Id of the node that leads; null while there is none.
    leader: Option<u64>,
    term: u64,
    /// Of the newest event applied here.
    sequence: u64,
    /// SHA-256 over all events up to `sequence`, in hex; equal on every node at the same sequence.
    chain: String,
    feature_level: u32,
    /// Index of the newest log entry here.
    last_log: u64,
    /// Index of the newest log entry applied here.
    applied: u64,
    /// Index of the log entry up to which there is a snapshot.
    snapshot: Option<u64>,
    /// Index of the log entry up to which the log was dropped.
    purged: Option<u64>,
    /// Where tarballs are kept.
    object_store: String,
    members: Vec<Member>,
}

#[derive(Serialize, ToSchema)]
struct Member {
    node: u64,
    name: String,
    /// `host:port` at which the others reach it.
    address: String,
    /// `voter`; `learner`, until it has caught up and votes; or `reader`, which never does.
    role: &'static str,
    leader: bool,
    /// Whether it is the node that answers.
    this_node: bool,
    /// Of the newest event applied there; null where that is not known.
    sequence: Option<u64>,
    /// Log entries it lacks; null where that is not known.
    lag_entries: Option<u64>,
    /// Whether it answers requests; null where that is not known.
    ready: Option<bool>,
    /// Whether it is about to stop.
    draining: bool,
    /// What it runs; null where that is not known.
    release: Option<String>,
    /// The highest feature level it takes; null where that is not known.
    feature_level_max: Option<u32>,
}

/// Look at the cluster.
///
/// Needs the scope `admin`.
#[utoipa::path(
    get, path = "/api/v1/cluster", operation_id = "get_cluster", tag = "cluster",
    responses(
        (status = 200, description = "Members, leader, progress.", body = ShownCluster),
        (status = 403, description = "The token does not have the scope `admin`."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    _admin: Admin,
) -> Result<Json<ShownCluster>, ApiError> {
    let status = app.cluster.status().await?;
    Ok(Json(shown(status, app.tarballs.describe())))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"address": "cratekeeper-3.example.org:8081"}))]
struct Invitation {
    /// `host:port`, its `peer.advertise`.
    address: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Invited {
    /// The id it was given.
    node: u64,
}

/// Invite a node.
///
/// It waits with an empty data directory; this answers when it has received everything and votes, after 120 seconds at most.
/// Needs the scope `admin`.
#[utoipa::path(
    post, path = "/api/v1/cluster/members", operation_id = "invite_node", tag = "cluster",
    request_body = Invitation,
    responses(
        (status = 200, description = "It is a member.", body = Invited),
        (status = 400, description = "The body is not the JSON expected."),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 408, description = "The body stopped arriving."),
        (status = 409, description = "The node cannot become a member; the detail says why."),
        (status = 413, description = "The body is larger than 64 KiB."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn invite(
    State(app): State<Arc<App>>,
    _admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Invited>, ApiError> {
    let asked: Invitation = read_json(&headers, body, app.settings.body_idle_timeout).await?;
    let deadline = Instant::now() + MEMBERSHIP_TIME_MAX;
    let node = app.cluster.invite(&asked.address, deadline).await?;
    Ok(Json(Invited { node }))
}

/// Remove a node for ever.
///
/// Its id is never used again. Answers within 120 seconds. Needs the scope `admin`.
#[utoipa::path(
    delete, path = "/api/v1/cluster/members/{node}", operation_id = "remove_node", tag = "cluster",
    params(("node" = u64, Path, description = "Id of the node.")),
    responses(
        (status = 200, description = "It is no member.", body = Done),
        (status = 400, description = "That cannot be the id of a node."),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 409, description = "The node cannot be removed; the detail says why."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    _admin: Admin,
    Path(node): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let node = node.parse().map_err(|_| {
        ApiError::invalid(format!(
            "`{node}` is not a node id; `cratekeeper cluster status` shows them"
        ))
    })?;
    let deadline = Instant::now() + MEMBERSHIP_TIME_MAX;
    app.cluster.remove(node, deadline).await?;
    Ok(Json(Done::DONE))
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
struct Successor {
    /// Id of a voter; left out for the one that is farthest.
    node: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Leader {
    /// Id of the node that leads now.
    leader: u64,
}

/// Hand leadership to another node.
///
/// An empty body leaves the choice to the cluster. Needs the scope `admin`.
#[utoipa::path(
    post, path = "/api/v1/cluster/leader", operation_id = "transfer_leader", tag = "cluster",
    request_body(content = Option<Successor>, description = "Who shall lead; may be left out."),
    responses(
        (status = 200, description = "Who leads now.", body = Leader),
        (status = 400, description = "The body is not the JSON expected."),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 408, description = "The body stopped arriving."),
        (status = 409, description = "Leadership cannot go there; the detail says why."),
        (status = 413, description = "The body is larger than 64 KiB."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn transfer_leader(
    State(app): State<Arc<App>>,
    _admin: Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Leader>, ApiError> {
    let bytes = read_small(&headers, body, app.settings.body_idle_timeout).await?;
    let asked: Successor = if bytes.is_empty() {
        Successor::default()
    } else {
        parse_json(&bytes)?
    };
    let deadline = Instant::now() + app.settings.publish_deadline;
    let leader = app.cluster.transfer_leader(asked.node, deadline).await?;
    Ok(Json(Leader { leader }))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SnapshotTaken {
    /// Index of the newest log entry in it.
    index: u64,
}

/// Take a snapshot on the answering node.
///
/// And drop the log before it, but for what other nodes may still ask for. Needs the scope `admin`.
#[utoipa::path(
    post, path = "/api/v1/cluster/snapshot", operation_id = "take_snapshot", tag = "cluster",
    responses(
        (status = 200, description = "It is taken.", body = SnapshotTaken),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 409, description = "There can be none now; the detail says why."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn snapshot(
    State(app): State<Arc<App>>,
    _admin: Admin,
) -> Result<Json<SnapshotTaken>, ApiError> {
    let index = app.cluster.snapshot().await?;
    Ok(Json(SnapshotTaken { index }))
}

fn shown(status: ClusterStatus, object_store: String) -> ShownCluster {
    ShownCluster {
        cluster: status.cluster,
        history: status.history,
        node: status.node,
        leader: status.leader,
        term: status.term,
        sequence: status.sequence,
        chain: status.chain,
        feature_level: status.feature_level,
        last_log: status.last_log,
        applied: status.applied,
        snapshot: status.snapshot,
        purged: status.purged,
        object_store,
        members: status.members.into_iter().map(member).collect(),
    }
}

fn member(member: MemberStatus) -> Member {
    Member {
        node: member.node,
        name: member.name,
        address: member.address,
        role: match member.role {
            MemberRole::Voter => "voter",
            MemberRole::Learner => "learner",
            MemberRole::Reader => "reader",
        },
        leader: member.leader,
        this_node: member.this_node,
        sequence: member.sequence,
        lag_entries: member.lag_entries,
        ready: member.ready,
        draining: member.draining,
        release: member.release,
        feature_level_max: member.feature_level_max,
    }
}

//! `cratekeeper cluster …`.

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::print::{cell, line, rows, table};

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the members, who leads, and how far each one is.
    Status,
    /// Invite the node that waits with an empty data directory at this peer address (`host:port`).
    Join { address: String },
    /// Remove a node for ever; its id is never used again.
    Remove { node: u64 },
    /// Hand leadership to a node, or to the most caught-up one.
    TransferLeader { node: Option<u64> },
    /// Take a snapshot now and drop the log before it.
    Snapshot,
}

pub(super) async fn run(command: ClusterCommand, api: &Api) -> anyhow::Result<()> {
    match command {
        ClusterCommand::Status => {
            let status = api.get(&["cluster"]).await?;
            api.print(&status, show);
        }
        ClusterCommand::Join { address } => {
            let body = json!({ "address": address });
            let answer = api
                .send(Method::POST, &["cluster", "members"], Some(body))
                .await?;
            api.print(&answer, |answer| {
                line(format!("{address} is node {}", cell(answer, "node")))
            });
        }
        ClusterCommand::Remove { node } => {
            let path = ["cluster", "members", &node.to_string()];
            let answer = api.send(Method::DELETE, &path, None).await?;
            api.print(&answer, |_| line(format!("removed node {node}")));
        }
        ClusterCommand::TransferLeader { node } => {
            let body = node.map_or_else(|| json!({}), |node| json!({ "node": node }));
            let answer = api
                .send(Method::POST, &["cluster", "leader"], Some(body))
                .await?;
            api.print(&answer, |answer| {
                line(format!("node {} leads", cell(answer, "leader")))
            });
        }
        ClusterCommand::Snapshot => {
            let answer = api
                .send(Method::POST, &["cluster", "snapshot"], None)
                .await?;
            api.print(&answer, |answer| {
                line(format!("snapshot at log entry {}", cell(answer, "index")))
            });
        }
    }
    Ok(())
}

fn readiness(member: &Value) -> &'static str {
    match (&member["ready"], &member["draining"]) {
        (_, Value::Bool(true)) => "draining",
        (Value::Bool(true), _) => "yes",
        (Value::Bool(false), _) => "no",
        _ => "-",
    }
}

fn show(status: &Value) {
    line(format!("cluster   {}", cell(status, "cluster")));
    line(format!(
        "leader    {} (term {})",
        cell(status, "leader"),
        cell(status, "term")
    ));
    line(format!(
        "history   sequence {}, chain {}",
        cell(status, "sequence"),
        cell(status, "chain")
    ));
    line(format!(
        "log       last {}, applied {}, snapshot {}, purged {}",
        cell(status, "last_log"),
        cell(status, "applied"),
        cell(status, "snapshot"),
        cell(status, "purged")
    ));
    line(format!("features  level {}", cell(status, "feature_level")));
    line(format!("tarballs  {}", cell(status, "object_store")));
    line("");
    table(
        [
            "NODE", "NAME", "ADDRESS", "ROLE", "RELEASE", "READY", "SEQUENCE", "LAG",
        ],
        rows(status, "members").map(|member| {
            let role = if member["leader"] == true {
                "leader".to_owned()
            } else {
                cell(member, "role")
            };
            let here = if member["this_node"] == true {
                " (answers)"
            } else {
                ""
            };
            [
                cell(member, "node"),
                format!("{}{here}", cell(member, "name")),
                cell(member, "address"),
                role,
                cell(member, "release"),
                readiness(member).to_owned(),
                cell(member, "sequence"),
                cell(member, "lag_entries"),
            ]
        }),
    );
}

//! Waits until nodes are ready, as any probe would: by their ops ports.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::directory::{Directory, NodeEntry};
use crate::cli::probe_client;

const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_PROBES: Duration = Duration::from_millis(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns when every node takes writes and has a vote, so that any of several may be killed; an error names the one that does
/// not, and why.
pub(super) async fn all(directory: &Directory, entries: &[NodeEntry]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for entry in entries {
        let url = Url::parse(&format!("http://{}/readyz/write", entry.ops))?;
        let probe = probe_client(&url)?.get(url).timeout(PROBE_TIMEOUT);
        while let Err(reason) = ready(&probe).await {
            if Instant::now() > deadline {
                bail!(
                    "node {} is not ready after {} s: {reason}; its log is {}",
                    entry.node,
                    PATIENCE.as_secs(),
                    entry.log().display()
                );
            }
            tokio::time::sleep(BETWEEN_PROBES).await;
        }
    }
    let url = Url::parse(&format!(
        "{}/api/v1/cluster",
        super::plan::public_url(entries[0].http)
    ))?;
    let token = std::fs::read_to_string(directory.admin_token_file())
        .context("read the administrator's token")?;
    let question = probe_client(&url)?
        .get(url)
        .header("authorization", token.trim())
        .timeout(PROBE_TIMEOUT);
    while voters(&question).await < entries.len() {
        if Instant::now() > deadline {
            bail!("some nodes had no vote after {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(BETWEEN_PROBES).await;
    }
    Ok(())
}

async fn ready(probe: &RequestBuilder) -> Result<(), String> {
    let probe = probe.try_clone().ok_or("the probe has a body")?;
    let answer = probe.send().await;
    let answer = answer.map_err(|error| error.without_url().to_string())?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(answer.text().await.unwrap_or_default().trim().to_owned())
}

/// How many members have a vote, as far as can be seen.
async fn voters(question: &RequestBuilder) -> usize {
    let status: Option<Value> = async {
        let answer = question.try_clone()?.send().await.ok()?;
        answer.json().await.ok()
    }
    .await;
    let members = status
        .as_ref()
        .and_then(|status| status["members"].as_array());
    members
        .into_iter()
        .flatten()
        .filter(|member| member["role"] == "voter")
        .count()
}

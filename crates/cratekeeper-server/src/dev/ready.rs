//! Waits until nodes are ready, as any probe would: by their ops ports.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;
use url::Url;

use super::directory::NodeEntry;
use crate::cli::probe_client;

const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_PROBES: Duration = Duration::from_millis(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns when every node takes writes; an error names the one that does not, and why.
pub(super) async fn all(entries: &[NodeEntry]) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for entry in entries {
        let url = Url::parse(&format!("http://{}/readyz/write", entry.ops))?;
        let client = probe_client(&url)?;
        loop {
            let reason = match client.get(url.clone()).timeout(PROBE_TIMEOUT).send().await {
                Ok(answer) if answer.status().is_success() => break,
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.without_url().to_string(),
            };
            if Instant::now() > deadline {
                bail!(
                    "node {} is not ready after {} s: {}; its log is {}",
                    entry.node,
                    PATIENCE.as_secs(),
                    reason.trim(),
                    entry.log().display()
                );
            }
            tokio::time::sleep(BETWEEN_PROBES).await;
        }
    }
    Ok(())
}

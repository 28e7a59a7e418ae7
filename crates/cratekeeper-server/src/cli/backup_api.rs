//! What a backup asks of a running registry.

use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use cratekeeper_cluster::HistoryHead;
use cratekeeper_wire::backup::RecordFrames;
use serde_json::Value;
use tokio::sync::mpsc;

use super::api::Api;
use crate::backup::{Checked, Position};

#[derive(Clone)]
pub(crate) struct BackupApi(Arc<Api>);

impl BackupApi {
    pub(super) fn new(api: Api) -> BackupApi {
        BackupApi(Arc::new(api))
    }

    pub(crate) async fn position(&self, at: u64) -> anyhow::Result<Position> {
        let answer = self
            .0
            .get_with(&["backup"], &[("at", at.to_string())])
            .await?;
        let text = |field: &str| {
            let text = answer[field].as_str().map(str::to_owned);
            text.with_context(|| format!("the registry did not say its {field}"))
        };
        let there = &answer["at"]["chain"];
        Ok(Position {
            head: HistoryHead {
                cluster: text("cluster")?,
                history: text("history")?,
                sequence: answer["sequence"]
                    .as_u64()
                    .context("the registry did not say its sequence")?,
                chain: hash(&answer["chain"])?,
            },
            chain_there: match there {
                Value::Null => None,
                there => Some(hash(there)?),
            },
        })
    }

    /// Sends what comes, in order, until `until` was among it.
    pub(crate) async fn records(
        &self,
        after: u64,
        until: u64,
        to: &mpsc::Sender<anyhow::Result<Vec<Bytes>>>,
    ) -> anyhow::Result<()> {
        let query = [("after", after.to_string()), ("until", until.to_string())];
        let mut body = self.0.download(&["backup", "records"], &query).await?;
        let mut frames = RecordFrames::default();
        let mut reached = after;
        while let Some(chunk) = body.chunk().await.context("read the history")? {
            frames.push(&chunk);
            let mut batch = Vec::new();
            loop {
                match frames.next_record() {
                    Ok(Some(record)) => batch.push(record),
                    Ok(None) => break,
                    Err(length) => bail!(
                        "the registry sent a record of {length} bytes behind sequence {reached}"
                    ),
                }
            }
            reached += batch.len() as u64;
            if !batch.is_empty() && to.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        if reached < until {
            bail!(
                "the registry broke off behind sequence {reached} of {until}; run the same again"
            );
        }
        Ok(())
    }

    pub(crate) async fn check_tarballs(&self, after: u64, until: u64) -> anyhow::Result<Checked> {
        let query = [("after", after.to_string()), ("until", until.to_string())];
        let answer = self.0.get_with(&["backup", "tarballs"], &query).await?;
        serde_json::from_value(answer).context("understand what the registry says about tarballs")
    }
}

fn hash(value: &Value) -> anyhow::Result<[u8; 32]> {
    let mut hash = [0; 32];
    let text = value.as_str().unwrap_or_default();
    hex::decode_to_slice(text, &mut hash)
        .with_context(|| format!("`{text}` is not a chain hash"))?;
    Ok(hash)
}

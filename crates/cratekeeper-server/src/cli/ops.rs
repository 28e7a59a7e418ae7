//! `cratekeeper drain` and `cratekeeper healthcheck`: a node on this machine, by its ops port, without a token.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use url::Url;

use super::{api, print};

/// Over the time the node was given, so that its own answer comes first.
const DRAIN_SLACK: Duration = Duration::from_secs(5);
/// No node is configured to take longer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2 * 3600);
/// A command is held that long while there is no leader.
const ASK_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct OpsAddress {
    /// The node's ops address.
    #[arg(
        long,
        env = "CRATEKEEPER_OPS",
        default_value = "http://127.0.0.1:9090",
        value_name = "URL"
    )]
    ops: Url,
}

#[derive(Debug, Args)]
pub(super) struct DrainArguments {
    #[command(flatten)]
    address: OpsAddress,
    /// How long all of it may take, in seconds. Default: what the node is configured for.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct HealthcheckArguments {
    #[command(flatten)]
    address: OpsAddress,
    /// Ask only whether the process works, not whether it is ready.
    #[arg(long)]
    live: bool,
    /// Ask whether writes would succeed, too.
    #[arg(long, conflicts_with = "live")]
    write: bool,
}

pub(super) async fn drain(arguments: DrainArguments) -> anyhow::Result<()> {
    let mut url = path(&arguments.address, "drain")?;
    let mut timeout = DRAIN_TIMEOUT;
    if let Some(seconds) = arguments.timeout {
        url.query_pairs_mut()
            .append_pair("timeout_seconds", &seconds.to_string());
        timeout = Duration::from_secs(seconds) + DRAIN_SLACK;
    }
    let request = api::client(&url)?.post(url).timeout(timeout);
    print::line(expect_ok(request).await?.trim());
    Ok(())
}

pub(super) async fn healthcheck(arguments: HealthcheckArguments) -> anyhow::Result<()> {
    let probe = match (arguments.live, arguments.write) {
        (true, _) => "livez",
        (_, true) => "readyz/write",
        _ => "readyz",
    };
    let url = path(&arguments.address, probe)?;
    let request = api::client(&url)?.get(url).timeout(PROBE_TIMEOUT);
    expect_ok(request).await?;
    print::line("ok");
    Ok(())
}

/// Has something done by the node on this machine, within half a minute.
pub(super) async fn ask(
    address: &OpsAddress,
    call: &str,
    query: &[(&str, &str)],
) -> anyhow::Result<()> {
    let mut url = path(address, call)?;
    url.query_pairs_mut().extend_pairs(query);
    let request = api::client(&url)?.post(url).timeout(ASK_TIMEOUT);
    expect_ok(request).await.map(drop)
}

fn path(address: &OpsAddress, path: &str) -> anyhow::Result<Url> {
    address
        .ops
        .join(path)
        .with_context(|| format!("`{}` is no address of a node", address.ops))
}

/// What it says.
async fn expect_ok(request: reqwest::RequestBuilder) -> anyhow::Result<String> {
    let answer = request
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .context("ask the node (another one: --ops, or CRATEKEEPER_OPS)")?;
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    if !status.is_success() {
        bail!("{}", text.trim());
    }
    Ok(text)
}

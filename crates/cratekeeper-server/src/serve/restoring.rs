//! Founding with the history of a backup: what the configuration asks for at the first start of a node, and what
//! `cratekeeper restore` needs of a configuration.

use std::sync::Arc;

use anyhow::{Context, bail};
use cratekeeper_cluster::{HistoryHead, NodeOptions, Restore, StoreCheck, has_node};
use cratekeeper_domain::Login;
use cratekeeper_tarballs::Tarballs;

use super::node_options;
use super::store::{TakeOver, claim_restored};
use crate::backup::{Archive, Target, order, target};
use crate::config::{RestoreSettings, Settings, StartSettings};

/// What a node that founds begins with, if the configuration says so and it is no node yet.
pub(super) async fn configured(
    settings: &Settings,
    tarballs: &Tarballs,
) -> anyhow::Result<Option<Restore>> {
    let (Some(RestoreSettings { from, until }), StartSettings::Found { .. }) =
        (&settings.restore, &settings.start)
    else {
        return Ok(None);
    };
    if has_node(&settings.data_dir).context("read the file NODE")? {
        tracing::warn!(
            "cluster.restore_from is still set; it does nothing on a node that has a history, and would bring the backup back if all nodes lost theirs: remove it"
        );
        return Ok(None);
    }
    let archive = Archive::open(&from.open().await?)
        .await
        .context("cluster.restore_from")?;
    let target = target(&archive, *until)
        .await
        .context("cluster.restore_until")?;
    tracing::warn!(
        place = archive.shelf.describe(),
        cluster = archive.manifest.owner.cluster,
        events = target.sequence,
        "if no peer is in a cluster, one is founded with the history of this backup"
    );
    let claim = claim_for(&archive, target, tarballs.clone(), TakeOver::Configured);
    Ok(Some(order(archive, target, claim, Arc::new(|_| {}))))
}

/// How the store is handed on from the cluster whose backup it is.
pub(crate) fn claim_for(
    archive: &Archive,
    target: Target,
    tarballs: Tarballs,
    take_over: TakeOver,
) -> StoreCheck {
    let owner = archive.manifest.owner.clone();
    let from = HistoryHead {
        cluster: owner.cluster,
        history: owner.history,
        sequence: target.sequence,
        chain: target.chain,
    };
    claim_restored(tarballs, from, take_over)
}

pub(crate) fn restore_options(
    settings: &Settings,
    tarballs: &Tarballs,
    restore: Restore,
) -> anyhow::Result<NodeOptions> {
    node_options(settings, tarballs, Some(restore))
}

/// Whom a configuration calls the first administrator.
pub(crate) fn founding_admin(settings: &Settings) -> anyhow::Result<Login> {
    match &settings.start {
        StartSettings::Found { admin, .. } => Ok(admin.clone()),
        StartSettings::Join { .. } => {
            bail!("cluster.start is `join`; only a node that founds can begin with a backup")
        }
    }
}

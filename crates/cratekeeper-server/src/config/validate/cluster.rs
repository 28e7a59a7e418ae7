//! Judges how a node finds its cluster, what it is there, and how it leaves.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cratekeeper_cluster::{NodeRole, RaftOptions};
use cratekeeper_domain::{Login, NEWEST_LEVEL, TokenText};

use super::{host_and_port, secret};
use crate::config::file::{Cluster, Node, Peer};
use crate::config::settings::{DrainSettings, StartSettings};

/// Longer than any grace period a supervisor gives.
const DRAIN_SECONDS_MAX: u64 = 3600;
/// A chunk then takes 16 s, and a receiver gives up after 30 s without one.
const SNAPSHOT_RATE_MIN: u64 = 64 * 1024;

pub(super) fn role(node: &Node) -> anyhow::Result<NodeRole> {
    match node.role.as_str() {
        "voter" => Ok(NodeRole::Voter),
        "reader" => Ok(NodeRole::Reader),
        other => bail!("node.role is `{other}`; write `voter` or `reader`"),
    }
}

pub(super) fn drain(node: &Node) -> anyhow::Result<DrainSettings> {
    let seconds = |key: &str, value: u64| {
        ensure!(
            value <= DRAIN_SECONDS_MAX,
            "{key} is {value}; write 0 to {DRAIN_SECONDS_MAX} seconds"
        );
        Ok(Duration::from_secs(value))
    };
    Ok(DrainSettings {
        wait: seconds("node.drain_wait_seconds", node.drain_wait_seconds)?,
        linger: seconds("node.drain_linger_seconds", node.drain_linger_seconds)?,
    })
}

pub(super) fn feature_level_max(cluster: &Cluster) -> anyhow::Result<Option<u32>> {
    if let Some(level) = cluster.feature_level_max {
        ensure!(
            (1..=NEWEST_LEVEL).contains(&level),
            "cluster.feature_level_max is {level}; write 1 to {NEWEST_LEVEL}, or leave it out"
        );
    }
    Ok(cluster.feature_level_max)
}

pub(super) fn snapshot_rate(peer: &Peer) -> anyhow::Result<Option<u64>> {
    if let Some(rate) = peer.snapshot_bytes_per_second {
        ensure!(
            SNAPSHOT_RATE_MIN <= rate,
            "peer.snapshot_bytes_per_second is {rate}; write at least {SNAPSHOT_RATE_MIN}, or leave it out"
        );
    }
    Ok(peer.snapshot_bytes_per_second)
}

pub(super) fn start(
    cluster: &Cluster,
    name: &str,
    role: NodeRole,
) -> anyhow::Result<StartSettings> {
    for peer in &cluster.peers {
        host_and_port("cluster.peers", peer)?;
    }
    match (cluster.start.as_str(), role) {
        ("join", _) => join(cluster, cluster.id.as_deref()),
        ("found", NodeRole::Voter) => found(cluster),
        ("found", NodeRole::Reader) => bail!(
            "node.role is `reader`, and a reader cannot found a cluster: set cluster.start to `join` or `ordinal`"
        ),
        ("ordinal", role) => {
            let id = cluster_id(cluster.id.as_deref())?;
            let number = ordinal(name)?;
            if number == 0 && role == NodeRole::Voter {
                found(cluster)
            } else {
                join(cluster, Some(&id))
            }
        }
        (other, _) => bail!("cluster.start is `{other}`; write `found`, `join` or `ordinal`"),
    }
}

/// The number a name such as `cratekeeper-12` ends in.
fn ordinal(name: &str) -> anyhow::Result<u64> {
    let number = name.rsplit_once('-').and_then(|(_, number)| {
        let digits = number.bytes().all(|letter| letter.is_ascii_digit());
        digits.then(|| number.parse().ok()).flatten()
    });
    number.with_context(|| {
        format!("cluster.start is `ordinal`, but the name of this node, `{name}`, does not end in a number such as `-0`; set node.name, or use `found` and `join`")
    })
}

fn found(cluster: &Cluster) -> anyhow::Result<StartSettings> {
    Ok(StartSettings::Found {
        cluster: cluster_id(cluster.id.as_deref())?,
        peers: cluster.peers.clone(),
        admin: Login::parse(&cluster.admin_login).context("cluster.admin_login")?,
        admin_token: admin_token(cluster)?,
    })
}

fn join(cluster: &Cluster, id: Option<&str>) -> anyhow::Result<StartSettings> {
    Ok(StartSettings::Join {
        cluster: id.map(|id| cluster_id(Some(id))).transpose()?,
        peers: cluster.peers.clone(),
    })
}

pub(crate) fn cluster_id(id: Option<&str>) -> anyhow::Result<String> {
    let Some(id) = id else {
        bail!(
            "cluster.id is not set; to found a cluster, choose a name for it once and keep it (a UUID is a good one)"
        );
    };
    let fits = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.".contains(letter)
    };
    ensure!(
        (1..=64).contains(&id.len()) && id.chars().all(fits),
        "cluster.id is `{id}`; write 1 to 64 of `a-z 0-9 - _ .`"
    );
    Ok(id.to_owned())
}

fn admin_token(cluster: &Cluster) -> anyhow::Result<Option<TokenText>> {
    let text = secret(
        "cluster.admin_token",
        cluster.admin_token.as_ref(),
        cluster.admin_token_file.as_deref(),
    )?;
    text.map(|text| TokenText::parse(&text).context("cluster.admin_token"))
        .transpose()
}

pub(super) fn raft(cluster: &Cluster) -> anyhow::Result<RaftOptions> {
    ensure!(
        0 < cluster.heartbeat_ms
            && cluster.heartbeat_ms * 2 <= cluster.election_min_ms
            && cluster.election_min_ms < cluster.election_max_ms,
        "cluster.heartbeat_ms, election_min_ms and election_max_ms are {}, {} and {}; at least two heartbeats must fit into the shortest election timeout, and the longest must be longer",
        cluster.heartbeat_ms,
        cluster.election_min_ms,
        cluster.election_max_ms
    );
    ensure!(
        cluster.snapshot_entries > 0,
        "cluster.snapshot_entries is 0; write how many log entries lie between snapshots"
    );
    Ok(RaftOptions {
        heartbeat: Duration::from_millis(cluster.heartbeat_ms),
        election_min: Duration::from_millis(cluster.election_min_ms),
        election_max: Duration::from_millis(cluster.election_max_ms),
        snapshot_entries: cluster.snapshot_entries,
        keep_entries: cluster.keep_entries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn started(name: &str, role: NodeRole) -> String {
        let set = ["cluster.id=example", "cluster.start=ordinal"];
        let set = set.map(str::to_owned).to_vec();
        let sources = Sources {
            set,
            ..Sources::default()
        };
        let config = load(&sources).expect("it can be read");
        match start(&config.cluster, name, role) {
            Ok(StartSettings::Found { cluster, .. }) => format!("founds {cluster}"),
            Ok(StartSettings::Join { cluster, .. }) => format!("joins {cluster:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn by_its_ordinal_the_first_voter_founds_and_everybody_else_joins() {
        assert_eq!(started("cratekeeper-0", NodeRole::Voter), "founds example");
        for (name, role) in [
            ("cratekeeper-1", NodeRole::Voter),
            ("cratekeeper-10", NodeRole::Voter),
            ("cratekeeper-reader-0", NodeRole::Reader),
        ] {
            assert_eq!(started(name, role), "joins Some(\"example\")", "{name}");
        }
        for name in [
            "cratekeeper",
            "cratekeeper-",
            "cratekeeper-x",
            "cratekeeper-+1",
            "0",
        ] {
            let said = started(name, NodeRole::Voter);
            assert!(said.contains(&format!("`{name}`")), "{said}");
        }
    }
}

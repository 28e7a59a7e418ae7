//! A node that was away too long comes back by snapshot; being killed in the middle of one leaves nothing to repair by hand.

use std::path::Path;
use std::time::{Duration, Instant};

use cratekeeper_tests::{Cluster, Node, Setup, figure, wait_until};
use serde_json::Value;

use crate::workload::{Workload, assert_nothing_lost};

fn setup() -> Setup {
    Setup::nodes(3)
        .balanced()
        .set("cluster.snapshot_entries", 50)
        .set("cluster.keep_entries", 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_away_comes_back_by_snapshot() {
    let mut cluster = setup().start("away_and_back").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, 4);
    workload.progress(20).await;
    let away = a_follower(&cluster).await;
    let seen = applied(&cluster, away).await;
    cluster.nodes[away].kill();
    workload.progress(200).await;
    let acknowledged = workload.finish().await;
    purge_beyond(&cluster, seen).await;

    let leader = cluster.leader().await;
    let snapshots = cluster.nodes[leader].directory.join("snapshots");
    figure("snapshot on disk, KiB", bytes_below(&snapshots) >> 10);
    let begin = Instant::now();
    cluster.nodes[away].start_and_wait().await;
    figure(
        "from start to ready by snapshot, ms",
        begin.elapsed().as_millis(),
    );
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_it_receives_a_snapshot_starts_cleanly() {
    let mut cluster = setup().start("killed_while_receiving").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, 4);
    let away = a_follower(&cluster).await;
    for round in 0..6 {
        let seen = applied(&cluster, away).await;
        cluster.nodes[away].kill();
        workload.progress(150).await;
        purge_beyond(&cluster, seen).await;
        kill_in_the_middle(&mut cluster.nodes[away], round % 2 == 0);
        cluster.nodes[away].start_and_wait().await;
        workload.progress(10).await;
    }
    let acknowledged = workload.finish().await;
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
}

/// Starts the node and kills it as soon as pieces of a snapshot arrive, or (`late`) as soon as one is put in place.
fn kill_in_the_middle(node: &mut Node, late: bool) {
    let incoming = node.directory.join("incoming");
    let generations = node.directory.join("state");
    let (pieces, places) = (names_in(&incoming), names_in(&generations));
    node.start();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let receiving = names_in(&incoming) != pieces;
        let installing = names_in(&generations) != places;
        if installing || (receiving && !late) {
            break;
        }
        assert!(Instant::now() < deadline, "no snapshot arrives");
        std::thread::yield_now();
    }
    node.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_while_it_makes_a_snapshot_starts_cleanly() {
    let mut cluster = setup().start("killed_while_building").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, 4);
    for _ in 0..4 {
        workload.progress(30).await;
        let leader = cluster.leader().await;
        let snapshots = cluster.nodes[leader].directory.join("snapshots");
        let before = names_in(&snapshots);
        let deadline = Instant::now() + Duration::from_secs(30);
        // Snapshots come every 50 entries: the workload makes the next one due soon.
        while names_in(&snapshots) == before && Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
        cluster.nodes[leader].kill();
        cluster.nodes[leader].start_and_wait().await;
    }
    let acknowledged = workload.finish().await;
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
}

async fn a_follower(cluster: &Cluster) -> usize {
    (cluster.leader().await + 1) % cluster.nodes.len()
}

async fn applied(cluster: &Cluster, node: usize) -> u64 {
    let state = cluster.admin_at(node).cluster().await;
    state["applied"]
        .as_u64()
        .expect("the state says what is applied")
}

/// Makes snapshots until the leader's log no longer reaches back to `index`.
async fn purge_beyond(cluster: &Cluster, index: u64) {
    wait_until("the log is purged", Duration::from_secs(60), async || {
        cluster.command(&["cluster", "snapshot"]).await;
        let leader = cluster.leader().await;
        let state: Value = cluster.admin_at(leader).cluster().await;
        state["purged"]
            .as_u64()
            .is_some_and(|purged| purged > index)
    })
    .await;
}

fn names_in(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

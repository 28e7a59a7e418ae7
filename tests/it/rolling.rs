//! Nodes are restarted one after the other, with the same release and with another one, while cargo, readers and publishers are at
//! work behind a load balancer: no request fails.

use std::path::Path;
use std::time::{Duration, Instant};

use cratekeeper_tests::{Balance, Cluster, Setup, figure, previous_release, wait_until};

use crate::traffic::Traffic;
use crate::workload::CargoAtWork;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_behind_a_stock_load_balancer_fails_no_request() {
    let setup = Setup::nodes(3).behind(Balance::Stock);
    // As it comes: the balancer needs about three seconds to notice.
    let setup = setup.set("node.drain_linger_seconds", 5);
    let mut cluster = setup.start("rolling_restart").await;
    let publisher = cluster.admin().publisher("steady").await;
    let traffic = Traffic::start(&publisher).await;
    let cargo = CargoAtWork::start(&cluster);
    let began = Instant::now();
    // Whoever leads is the second one, so that leadership moves in the middle of it.
    let leader = cluster.leader().await;
    for place in [(leader + 1) % 3, leader, (leader + 2) % 3] {
        let stopping = cluster.nodes[place].stop().await;
        let starting = Instant::now();
        cluster.nodes[place].start_and_wait().await;
        figure(
            "a node's polite stop, s",
            format!("{:.1}", stopping.as_secs_f64()),
        );
        figure(
            "a node's start until it is ready, ms",
            starting.elapsed().as_millis(),
        );
    }
    figure(
        "rolling restart of three nodes, s a node",
        format!("{:.1}", began.elapsed().as_secs_f64() / 3.0),
    );
    let commands = cargo.finish().await;
    figure(
        "cargo commands during a rolling restart, none failed",
        commands,
    );
    traffic.finish("a rolling restart").await;
    cluster.one_history().await;
}

/// The previous release closes its port at once when it stops, so this balancer sends a refused connection to another node.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_upgrade_back_and_forward_again_fails_no_request() {
    let Some(previous) = previous_release() else {
        return;
    };
    let setup = Setup::nodes(3).balanced().binary(previous);
    let mut cluster = setup.start("rolling_upgrade").await;
    let publisher = cluster.admin().publisher("steady").await;
    let traffic = Traffic::start(&publisher).await;
    let cargo = CargoAtWork::start(&cluster);

    let began = Instant::now();
    change(&mut cluster, 0, None).await;
    // This one loses its volume on the way, and is let in anew by whichever release leads.
    cluster.nodes[1].stop().await;
    cluster.nodes[1].wipe();
    cluster.nodes[1].use_binary(None);
    cluster.nodes[1].start_and_wait().await;
    cluster.wait_voters(3).await;
    // As long as one node is of the previous release, the level is the previous one, and going back is possible.
    assert_eq!(feature_level(&cluster).await, 1);
    for place in [1, 0] {
        change(&mut cluster, place, Some(previous)).await;
    }
    for place in [0, 1, 2] {
        if place == 2 {
            cluster.nodes[2].set("cluster.feature_level_max", 1);
        }
        change(&mut cluster, place, None).await;
    }
    // All know the next level, and one holds it back.
    assert_eq!(feature_level(&cluster).await, 1);
    cluster.nodes[2].unset("cluster.feature_level_max");
    change(&mut cluster, 2, None).await;
    wait_until(
        "the feature level rises",
        Duration::from_secs(20),
        async || feature_level(&cluster).await == 2,
    )
    .await;
    figure(
        "upgrade, back, and upgrade again of three nodes, s a restart",
        format!("{:.1}", began.elapsed().as_secs_f64() / 8.0),
    );

    refuses_the_previous_release(&mut cluster, previous).await;
    let commands = cargo.finish().await;
    figure(
        "cargo commands during rolling upgrades, none failed",
        commands,
    );
    traffic.finish("rolling upgrades").await;
    cluster.one_history().await;
}

/// Stops the node and starts it with another binary.
async fn change(cluster: &mut Cluster, place: usize, binary: Option<&Path>) {
    let node = &mut cluster.nodes[place];
    node.stop().await;
    node.use_binary(binary);
    node.start_and_wait().await;
    // A node of the previous release says so before the balancer has looked again.
    cluster.wait_voters(3).await;
}

async fn refuses_the_previous_release(cluster: &mut Cluster, previous: &Path) {
    cluster.nodes[1].stop().await;
    cluster.nodes[1].use_binary(Some(previous));
    cluster.nodes[1].start();
    let ended = cluster.nodes[1].ended(Duration::from_secs(20)).await;
    assert!(!ended.success(), "the previous release started: {ended}");
    let said = cluster.nodes[1].said();
    assert!(
        said.contains("this release reads format 1"),
        "it does not say why:\n{said}"
    );
    // Nor as a new node: the cluster says why.
    let joining = cluster.add_node();
    joining.use_binary(Some(previous));
    joining.start();
    let ended = joining.ended(Duration::from_secs(20)).await;
    assert!(!ended.success(), "the previous release joined: {ended}");
    let said = joining.said();
    assert!(
        said.contains("knows feature levels up to 1, and this cluster is at level 2"),
        "{said}"
    );
    cluster.nodes.truncate(3);
    cluster.nodes[1].use_binary(None);
    cluster.nodes[1].start_and_wait().await;
}

async fn feature_level(cluster: &Cluster) -> u64 {
    let state = cluster.admin().cluster().await;
    state["feature_level"].as_u64().expect("a level")
}

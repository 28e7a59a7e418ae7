//! Nodes are killed without warning while clients publish: nobody loses anything, and cargo does not notice.

use cratekeeper_tests::{Setup, figure};

use crate::workload::{CargoAtWork, Workload, assert_nothing_lost, longest_gap};

const CLIENTS: usize = 4;
const PUBLISHES_BETWEEN: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn killing_each_node_in_turn_loses_nothing_and_cargo_does_not_notice() {
    let setup = Setup::nodes(3).balanced();
    let mut cluster = setup.start("killing_each_node").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, CLIENTS);
    let cargo = CargoAtWork::start(&cluster);

    workload.progress(PUBLISHES_BETWEEN).await;
    for round in 0..2 {
        for place in 0..3 {
            // In the second round whoever leads dies three times.
            let place = if round == 0 {
                place
            } else {
                cluster.leader().await
            };
            cluster.nodes[place].kill();
            workload.progress(PUBLISHES_BETWEEN).await;
            cluster.nodes[place].start_and_wait().await;
            workload.progress(PUBLISHES_BETWEEN).await;
        }
    }
    let commands = cargo.finish().await;
    let acknowledged = workload.finish().await;
    figure(
        "publishes acknowledged while each node was killed twice",
        acknowledged.len(),
    );
    figure("cargo commands that ran meanwhile, none failed", commands);
    let gap = longest_gap(&acknowledged);
    figure(
        "longest gap between two acknowledged publishes, ms",
        gap.as_millis(),
    );
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
    assert!(gap.as_secs() < 10, "publishing stood still for {gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_nodes_at_once_loses_nothing() {
    let mut cluster = Setup::nodes(3).balanced().start("killing_all_nodes").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, CLIENTS);
    for _ in 0..2 {
        workload.progress(PUBLISHES_BETWEEN).await;
        for node in &mut cluster.nodes {
            node.kill();
        }
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.wait_voters(3).await;
    }
    workload.progress(PUBLISHES_BETWEEN).await;
    let acknowledged = workload.finish().await;
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_politely_hands_over_without_a_gap() {
    let mut cluster = Setup::nodes(3).balanced().start("polite_stop").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, CLIENTS);
    workload.progress(PUBLISHES_BETWEEN).await;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        cluster.nodes[leader].stop().await;
        workload.progress(PUBLISHES_BETWEEN).await;
        cluster.nodes[leader].start_and_wait().await;
    }
    let acknowledged = workload.finish().await;
    let gap = longest_gap(&acknowledged);
    figure(
        "longest gap while leaders stop by SIGTERM, ms",
        gap.as_millis(),
    );
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
}

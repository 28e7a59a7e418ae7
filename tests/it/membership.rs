//! Nodes come and go by the command line, and a node that lost its volume comes back as a new member.

use std::time::Duration;

use cratekeeper_tests::{Cluster, Package, Setup, wait_until};
use serde_json::Value;

use crate::workload::{Workload, assert_nothing_lost};

#[tokio::test(flavor = "multi_thread")]
async fn one_node_grows_to_five_and_shrinks_again() {
    let mut cluster = Setup::nodes(1).start("one_to_five").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, 2);
    workload.progress(20).await;
    for count in 2..=5 {
        let address = {
            let node = cluster.add_node();
            node.set("cluster.peers", toml::Value::Array(Vec::new()));
            node.start();
            node.wait_alive().await;
            node.peer.to_string()
        };
        cluster.command(&["cluster", "join", &address]).await;
        cluster.wait_voters(count).await;
        workload.progress(20).await;
    }
    let acknowledged = workload.finish().await;
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;

    // The first node stays: it is the one that the public URL names.
    for count in [4, 3, 2, 1] {
        let id = id_of(&cluster, &cluster.nodes[count].name).await;
        cluster
            .command(&["cluster", "remove", &id.to_string()])
            .await;
        cluster.nodes[count].kill();
        cluster.nodes.truncate(count);
        cluster.wait_voters(count).await;
    }
    let answer = cluster
        .admin()
        .publish(&Package::new("alone-again", "1.0.0"))
        .await;
    answer.expect_ok("a publish on the node that is left");
    assert_nothing_lost(&cluster, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_everything_but_the_store_does_not_begin_an_empty_history_over_it() {
    let mut cluster = Setup::nodes(1).start("everything_lost").await;
    let answer = cluster
        .admin()
        .publish(&Package::new("precious", "1.0.0"))
        .await;
    answer.expect_ok("a publish");
    let node = &mut cluster.nodes[0];
    node.stop().await;
    node.start_and_wait().await;
    node.stop().await;
    node.wipe();
    node.start();
    wait_until("it refuses", Duration::from_secs(20), async || {
        node.exited().is_some()
    })
    .await;
    let said = node.said();
    for part in ["founded before", "cratekeeper restore", "empty store"] {
        assert!(said.contains(part), "it did not say {part:?}:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_directory_is_deleted_comes_back_under_a_new_id() {
    let mut cluster = Setup::nodes(3).balanced().start("volume_lost").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, 2);
    workload.progress(20).await;
    let mut ids: Vec<u64> = ids(&cluster).await;
    for place in [2, 0] {
        cluster.nodes[place].kill();
        cluster.nodes[place].wipe();
        // The founder must not found again: its disk is empty, but the cluster is not gone.
        let others: Vec<String> = (0..3)
            .filter(|other| *other != place)
            .map(|other| cluster.nodes[other].peer.to_string())
            .collect();
        cluster.nodes[place].set("cluster.peers", others);
        cluster.nodes[place].set("cluster.start", "join");
        cluster.nodes[place].start_and_wait().await;
        cluster.wait_voters(3).await;
        let id = id_of(&cluster, &cluster.nodes[place].name).await;
        assert!(
            !ids.contains(&id),
            "the id {id} was given out before: {ids:?}"
        );
        ids.push(id);
        workload.progress(20).await;
    }
    let acknowledged = workload.finish().await;
    cluster.one_history().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_with_an_empty_disk_does_not_found_a_second_cluster() {
    let mut cluster = Setup::nodes(1).start("no_second_founding").await;
    let answer = cluster
        .admin()
        .publish(&Package::new("once", "1.0.0"))
        .await;
    answer.expect_ok("a publish");
    cluster.nodes[0].kill();
    cluster.nodes[0].wipe();
    cluster.nodes[0].set("cluster.id", "another");
    cluster.nodes[0].start();
    let ended = cratekeeper_tests::wait_for(
        "the node refuses to found",
        Duration::from_secs(20),
        async || cluster.nodes[0].exited(),
    )
    .await;
    assert!(!ended.success());
    let said = cluster.nodes[0].said();
    assert!(
        said.contains("tests"),
        "it names the cluster that the tarballs belong to:\n{said}"
    );
}

async fn members(cluster: &Cluster) -> Vec<Value> {
    let place = cluster.leader().await;
    let state = cluster.admin_at(place).cluster().await;
    state["members"]
        .as_array()
        .cloned()
        .expect("a list of members")
}

async fn ids(cluster: &Cluster) -> Vec<u64> {
    let members = members(cluster).await;
    members
        .iter()
        .filter_map(|member| member["node"].as_u64())
        .collect()
}

async fn id_of(cluster: &Cluster, name: &str) -> u64 {
    let members = members(cluster).await;
    let named = members.iter().find(|member| member["name"] == name);
    named
        .and_then(|member| member["node"].as_u64())
        .expect("a member of that name")
}

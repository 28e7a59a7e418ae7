//! Read replicas: they have and serve everything, forward writes, and are never counted.

use std::time::Duration;

use cratekeeper_tests::{Cluster, Package, Setup, wait_until};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_serves_everything_and_is_never_counted() {
    let mut cluster = Setup::nodes(3).start("reader").await;
    let publisher = cluster.admin().publisher("steady").await;
    publisher
        .publish(&Package::new("before", "1.0.0"))
        .await
        .expect_ok("a publish");
    cluster.add_reader().start();
    cluster.wait_members(3, 1).await;

    // What was there before, what comes through the reader, and what comes through others is served by it at once.
    let reader = cluster.nodes[3].client(publisher.token());
    assert_eq!(reader.index_lines("before").await.len(), 1);
    reader
        .publish(&Package::new("through-it", "1.0.0"))
        .await
        .expect_ok("a publish");
    publisher
        .publish(&Package::new("elsewhere", "1.0.0"))
        .await
        .expect_ok("a publish");
    for name in ["through-it", "elsewhere"] {
        assert_eq!(reader.index_lines(name).await.len(), 1, "{name}");
        reader.download(name, "1.0.0").await.expect_ok(name);
    }
    wait_until(
        "the reader's search knows it",
        Duration::from_secs(10),
        async || {
            reader
                .get("/api/v1/crates?q=elsewhere")
                .await
                .text()
                .contains("elsewhere")
        },
    )
    .await;

    // If it voted, two of four would be no majority.
    let leader = cluster.leader().await;
    cluster.nodes[(leader + 1) % 3].kill();
    cluster.nodes[3].kill();
    let client = cluster.nodes[leader].client(publisher.token());
    client
        .publish(&Package::new("two-of-three", "1.0.0"))
        .await
        .expect_ok("a publish");

    // And with it there, one voter alone still cannot agree to anything; it goes on serving what it has.
    cluster.nodes[3].start_and_wait().await;
    cluster.nodes[(leader + 2) % 3].kill();
    let ready = cluster.nodes[3].ready().await;
    assert!(ready, "losing the majority does not take a reader out");
    let reader = cluster.nodes[3].client(publisher.token());
    assert_eq!(reader.index_lines("two-of-three").await.len(), 1);
    let wait = Duration::from_secs(15);
    wait_until("no writes are promised", wait, async || {
        !cluster.nodes[3].probe("/readyz/write").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_lost_its_volume_takes_its_old_place() {
    let mut cluster = Setup::nodes(1).start("reader_volume").await;
    let publisher = cluster.admin().publisher("steady").await;
    publisher
        .publish(&Package::new("kept", "1.0.0"))
        .await
        .expect_ok("a publish");
    cluster.add_reader().start();
    cluster.wait_members(1, 1).await;
    let before = reader_id(&cluster).await;
    cluster.nodes[1].kill();
    cluster.nodes[1].wipe();
    cluster.nodes[1].start_and_wait().await;
    cluster.wait_members(1, 1).await;
    let after = reader_id(&cluster).await;
    assert!(before < after, "it is a new node: {before}, {after}");
    let reader = cluster.nodes[1].client(publisher.token());
    assert_eq!(reader.index_lines("kept").await.len(), 1);

    // Away for good: an administrator removes it.
    cluster.nodes[1].kill();
    cluster
        .command(&["cluster", "remove", &after.to_string()])
        .await;
    cluster.nodes.truncate(1);
    cluster.wait_members(1, 0).await;
}

async fn reader_id(cluster: &Cluster) -> u64 {
    let state: Value = cluster.admin().cluster().await;
    let members = state["members"].as_array().expect("a list of members");
    let readers = members.iter().filter(|member| member["role"] == "reader");
    let ids: Vec<u64> = readers
        .filter_map(|member| member["node"].as_u64())
        .collect();
    let [id] = ids.as_slice() else {
        panic!("one reader: {state}");
    };
    *id
}

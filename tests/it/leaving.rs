//! How nodes find together by one configuration, how they leave, and how they end when they cannot go on.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use cratekeeper_tests::{Package, Process, Setup, cratekeeper, figure, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_stops_at_once_on_one_node() {
    let setup = Setup::nodes(1).set("node.drain_linger_seconds", 30);
    let mut cluster = setup.start("single_stop").await;
    let stopping = cluster.nodes[0].stop().await;
    figure("a single node's stop, ms", stopping.as_millis());
    assert!(stopping < Duration::from_secs(3), "it took {stopping:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_what_they_found_on_one_node() {
    let cluster = Setup::nodes(1).start("probes").await;
    let ops = cluster.nodes[0].ops_client();
    let ready = ops.get("/readyz?verbose").await.expect_ok("readyz");
    let text = ready.text();
    for line in [
        "[+]draining: this node is not draining",
        "[+]raft: Raft runs",
        "[+]membership: this node is a voter",
        "[+]caught-up: this node has caught up with the cluster since it started",
        "[+]lag: this node is 0 log entries behind",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.ends_with("passed\n"), "{text}");
    let write = ops
        .get("/readyz/write?verbose")
        .await
        .expect_ok("readyz/write");
    assert!(
        write.text().contains("[+]leader: node 1 leads"),
        "{}",
        write.text()
    );
    for path in ["/livez", "/livez?verbose", "/healthz"] {
        ops.get(path).await.expect_ok(path);
    }
    let version = ops.get("/version").await.expect_ok("version").json();
    assert_eq!(version["feature_level_max"], 2);
    let metrics = ops.get("/metrics").await.text();
    assert!(
        metrics.contains("\ncratekeeper_feature_level 2"),
        "{metrics}"
    );
    assert!(metrics.contains("\ncratekeeper_draining 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_with_leaving_until_the_others_can_agree_without_it() {
    let setup = Setup::nodes(3).set("node.drain_wait_seconds", 60);
    let mut cluster = setup.start("drain_guard").await;
    let leader = cluster.leader().await;
    let (away, leaving) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[away].kill();

    // With two left, none can be spared.
    let mut drain = cluster.nodes[leaving]
        .command(&["drain"])
        .spawn()
        .expect("it starts");
    let wait = Duration::from_secs(10);
    wait_until("it is not ready", wait, async || {
        !cluster.nodes[leaving].ready().await
    })
    .await;
    let again = cluster.nodes[leaving]
        .command(&["drain", "--timeout", "1"])
        .output()
        .await;
    let again = again.expect("it starts");
    assert!(!again.status.success(), "it drained at once");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        said.contains("not drained within 1 s; it goes on"),
        "{said}"
    );
    // It still takes and forwards writes.
    let client = cluster.admin_at(leaving);
    client
        .publish(&Package::new("while-draining", "1.0.0"))
        .await
        .expect_ok("a publish");

    cluster.nodes[away].start_and_wait().await;
    let drained = tokio::time::timeout(wait, drain.wait()).await;
    assert!(drained.expect("it ends").expect("it ends").success());
    // What is drained stops without doing it again.
    let stopping = cluster.nodes[leaving].stop().await;
    assert!(stopping < Duration::from_secs(5), "it took {stopping:?}");
    let said = cluster.nodes[leaving].said();
    assert_eq!(
        said.matches("draining: not ready any more").count(),
        1,
        "{said}"
    );
    let client = cluster.admin_at(leader);
    client
        .publish(&Package::new("without-it", "1.0.0"))
        .await
        .expect_ok("a publish");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_needed_leaves_when_it_may_wait_no_longer() {
    let setup = Setup::nodes(3).set("node.drain_wait_seconds", 2);
    let mut cluster = setup.start("drain_bound").await;
    let leader = cluster.leader().await;
    cluster.nodes[(leader + 1) % 3].kill();
    let stopping = cluster.nodes[leader].stop().await;
    assert!(Duration::from_secs(2) <= stopping, "it took {stopping:?}");
    let said = cluster.nodes[leader].said();
    let warning = "only 1 of 3 voters are ready, and 2 must be";
    assert!(said.contains(warning), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_supervisor_is_told_on_one_node() {
    let mut cluster = Setup::nodes(1).start("supervised").await;
    cluster.nodes[0].stop().await;
    let path = cluster.scratch.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a short path");
    let patience = Duration::from_secs(20);
    socket.set_read_timeout(Some(patience)).expect("a timeout");

    let log = cluster.scratch.log("supervised");
    let binary = cratekeeper();
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    let config = cluster.nodes[0].config().to_owned();
    let mut process = Process::start(
        "supervised",
        Path::new("env"),
        [
            notify.as_ref(),
            "WATCHDOG_USEC=900000".as_ref(),
            binary.as_os_str(),
            "serve".as_ref(),
            "--config".as_ref(),
            config.as_os_str(),
        ],
        &log,
    );
    let mut told = String::new();
    let mut wait_told = |what: &str| {
        let mut buffer = [0; 4096];
        while !told.contains(what) {
            let length = socket.recv(&mut buffer);
            let length =
                length.unwrap_or_else(|error| panic!("{what} is not told ({error}): {told}"));
            told.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    wait_told("READY=1");
    wait_told("STATUS=ready");
    wait_told("WATCHDOG=1");
    process.signal("TERM");
    wait_told("STOPPING=1");
    assert!(process.ended(patience).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_raft_stops_ends_with_an_exit_code_of_its_own_on_one_node() {
    let mut cluster = Setup::nodes(1).start("raft_stops").await;
    // The storage below Raft fails: where snapshots go is no directory any more.
    let snapshots = cluster.nodes[0].directory.join("snapshots");
    std::fs::remove_dir_all(&snapshots).expect("it can go");
    std::fs::write(&snapshots, "in the way").expect("it is writable");
    let admin = cluster.admin();
    let asking = tokio::spawn(async move {
        let path = "/api/v1/cluster/snapshot";
        let _ = admin.try_send(reqwest::Method::POST, path, None, &[]).await;
    });
    let ended = cluster.nodes[0].ended(Duration::from_secs(20)).await;
    asking.abort();
    let said = cluster.nodes[0].said();
    assert_eq!(ended.code(), Some(70), "{ended}: {said}");
    assert!(
        said.contains("the node cannot go on: Raft stopped"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_configuration_find_together_by_their_names() {
    let cluster = Setup::nodes(3).by_ordinal().start("by_ordinal").await;
    let names: Vec<&str> = cluster
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(names, ["node-0", "node-1", "node-2"]);
    cluster.one_history().await;
}

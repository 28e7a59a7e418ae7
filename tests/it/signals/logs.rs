//! One line a request, with what an operator looks for and without what nobody may see; and the request's id in what cargo shows.

use std::time::Duration;

use cratekeeper_tests::{Cluster, Node, Package, Setup, wait_for, wait_until};
use serde_json::Value;

/// The line about a request, as soon as it is written.
async fn line_about(node: &Node, request: &str) -> Value {
    wait_for("the request's line", Duration::from_secs(10), async || {
        let said = node.said();
        let mut lines = said
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.find(|line: &Value| line["message"] == "answered" && line["request"] == request)
    })
    .await
}

async fn one_node(test: &str) -> Cluster {
    Setup::nodes(1).set("log.format", "json").start(test).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_one_line_with_its_id_on_one_node() {
    let cluster = one_node("log_lines").await;
    let admin = cluster.admin();
    let package = Package::new("logged", "1.0.0");
    let frame = package.frame();
    let length = frame.len();
    let published = admin.publish_frame(frame).await.expect_ok("a publish");
    let id = published.header("x-request-id").expect("an id").to_owned();
    let line = line_about(&cluster.nodes[0], &id).await;
    assert_eq!(line["method"], "PUT");
    assert_eq!(line["route"], "/api/v1/crates/new");
    assert_eq!(line["status"], 200);
    assert_eq!(line["login"], "admin");
    assert_eq!(line["received_bytes"], length);
    assert_eq!(line["sent_bytes"], published.body.len());
    assert!(
        line["duration_ms"].as_f64().is_some_and(|it| it > 0.0),
        "{line}"
    );

    let query = "/api/v1/crates?q=secret-word&per_page=5";
    let found = admin.get(query).await.expect_ok("a search");
    let id = found.header("x-request-id").expect("an id").to_owned();
    assert_eq!(
        line_about(&cluster.nodes[0], &id).await["route"],
        "/api/v1/crates"
    );
    let said = cluster.nodes[0].said();
    assert!(
        !said.contains(&cluster.admin_token),
        "a token is in the log"
    );
    assert!(!said.contains("secret-word"), "a query is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_names_its_request_to_cargo_and_a_refusal_only_in_a_header_on_one_node() {
    let cluster = one_node("request_ids").await;
    let admin = cluster.admin();
    let missing = admin.download("nothing", "1.0.0").await;
    assert_eq!(missing.status, 404);
    let id = missing.header("x-request-id").expect("an id");
    assert!(!missing.detail().contains(id), "{}", missing.detail());

    let package = Package::new("lost", "1.0.0");
    admin.publish(&package).await.expect_ok("a publish");
    std::fs::remove_dir_all(cluster.scratch.path().join("tarballs")).expect("the store can go");
    let fault = admin.download("lost", "1.0.0").await;
    assert!(fault.status >= 500, "{}", fault.status);
    let id = fault.header("x-request-id").expect("an id");
    let named = format!("(request {id})");
    assert!(fault.detail().ends_with(&named), "{}", fault.detail());
    let said = cluster.nodes[0].said();
    let told = said
        .lines()
        .any(|line| line.contains("\"ERROR\"") && line.contains(id));
    assert!(told, "the fault is in the log under the same id");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_of_the_log_changes_without_a_restart_on_one_node() {
    let mut cluster = one_node("log_level").await;
    for (level, shown) in [("warn", false), ("info", true)] {
        cluster.nodes[0].set("log.level", level);
        cluster.nodes[0].write_config();
        let node = &cluster.nodes[0];
        let told = |said: &str| said.matches("the level of the log was read again").count();
        let before = told(&node.said());
        node.process().signal("HUP");
        wait_until("the new level", Duration::from_secs(10), async || {
            told(&node.said()) > before
        })
        .await;
        let answer = cluster.admin().get("/api/v1/cluster").await;
        let id = answer.header("x-request-id").expect("an id").to_owned();
        if shown {
            line_about(node, &id).await;
        }
        assert!(
            shown || !node.said().contains(&id),
            "{level} shows requests"
        );
    }
}

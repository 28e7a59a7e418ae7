//! OpenTelemetry: one trace from the client over the node it asked to the leader, and no harm where the collector is away.

use std::time::{Duration, Instant};

use cratekeeper_tests::{Cluster, Collector, Package, Setup, Told, figure, free_port, wait_for};
use reqwest::Method;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Three nodes that export as `tell` says for each.
async fn traced(test: &str, tell: impl Fn(usize) -> (&'static str, String)) -> Cluster {
    let mut cluster = Setup::nodes(3).set("log.format", "json").start(test).await;
    for (place, node) in cluster.nodes.iter_mut().enumerate() {
        let (protocol, endpoint) = tell(place);
        node.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        node.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        node.env("OTEL_SERVICE_NAME", "registry-under-test");
        node.env("OTEL_BSP_SCHEDULE_DELAY", "100");
    }
    for place in 0..3 {
        cluster.nodes[place].stop().await;
        cluster.nodes[place].start_and_wait().await;
        cluster.wait_voters(3).await;
    }
    cluster
}

fn find<'t>(spans: &'t [Told], node: &str, name: &str) -> Option<&'t Told> {
    spans
        .iter()
        .find(|told| told.node == node && told.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_spans_the_node_that_was_asked_and_the_leader() {
    let collector = Collector::start().await;
    let cluster = traced("traces", |place| match place {
        0 => ("grpc", format!("http://{}", collector.grpc)),
        _ => ("http/protobuf", format!("http://{}", collector.http)),
    })
    .await;
    let leader = cluster.leader().await;
    let asked = (leader + 1) % 3;
    let (leader, follower) = (&cluster.nodes[leader], &cluster.nodes[asked]);

    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("traceparent", traceparent.as_str())];
    let frame = Package::new("traced", "1.0.0").frame();
    let sent = cluster
        .admin_at(asked)
        .try_send(Method::PUT, "/api/v1/crates/new", Some(frame), &headers)
        .await;
    let answer = sent.expect("an answer").expect_ok("a publish");

    let wanted = [
        (follower, "PUT /api/v1/crates/new"),
        (follower, "tarball store"),
        (follower, "forward"),
        (leader, "Execute"),
        (leader, "decide"),
        (leader, "propose"),
        (follower, "wait until applied here"),
    ];
    let spans = wait_for("the whole trace", Duration::from_secs(20), async || {
        let spans = collector.spans_of(TRACE);
        let there = |(node, name): &(&cratekeeper_tests::Node, &str)| {
            find(&spans, &node.name, name).is_some()
        };
        wanted.iter().all(there).then_some(spans)
    })
    .await;
    let of = |(node, name): (&cratekeeper_tests::Node, &str)| {
        find(&spans, &node.name, name).expect("it was just there")
    };
    let request = of(wanted[0]);
    assert_eq!(request.parent, CALLER, "the client's span is the parent");
    assert_eq!(request.service, "registry-under-test");
    assert_eq!(request.attributes["http.response.status_code"], "200");
    assert_eq!(of(wanted[3]).parent, of(wanted[2]).span, "over the hop");
    figure("spans of a forwarded publish", spans.len());

    let id = answer.header("x-request-id").expect("an id").to_owned();
    wait_for(
        "the line with the trace",
        Duration::from_secs(10),
        async || {
            let said = follower.said();
            let mut lines = said.lines().filter(|line| line.contains("\"answered\""));
            let line = lines.find(|line| line.contains(&id))?;
            line.contains(TRACE).then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_spans_and_no_request() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let mut cluster = traced("no_collector", |place| {
        let protocol = if place == 0 { "grpc" } else { "http/protobuf" };
        (protocol, nobody.clone())
    })
    .await;
    let begin = Instant::now();
    for number in 0..20 {
        let package = Package::new("unseen", &format!("1.0.{number}"));
        let client = cluster.admin_at(number % 3);
        client.publish(&package).await.expect_ok("a publish");
    }
    figure(
        "20 publishes without a collector, ms",
        begin.elapsed().as_millis(),
    );
    for node in &cluster.nodes {
        wait_for("a word about it", Duration::from_secs(20), async || {
            let said = node.said();
            said.contains("traces cannot be exported").then_some(())
        })
        .await;
        let metrics = node.metrics().await;
        let failed = "cratekeeper_trace_spans_total{outcome=\"failed\"}";
        assert!(metrics.contains(failed), "lost spans are counted");
    }
    let begin = Instant::now();
    cluster.nodes[2].stop().await;
    let took = begin.elapsed();
    figure("stop without a collector, ms", took.as_millis());
    assert!(took < Duration::from_secs(20), "stopping took {took:?}");
}

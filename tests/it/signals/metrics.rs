//! A cluster that has done some work exports what the catalogue says, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_tests::{
    Cluster, NO_TOKEN, Package, Setup, figure, promtool, wait_until, workspace,
};
use reqwest::Method;

use super::{Metric, catalogue, command};
use crate::workload::Workload;

/// What counts trouble that this test does not make: there, but 0.
const QUIET: [&str; 3] = [
    "cratekeeper_tarball_streams_failed_total",
    "cratekeeper_rocksdb_background_errors_total",
    "cratekeeper_snapshot_received_bytes_total",
];

/// One scrape, taken apart.
#[derive(Default)]
struct Scrape {
    /// Type and help by name.
    described: BTreeMap<String, (String, String)>,
    /// Name as in the line, labels without `le`, value.
    samples: Vec<(String, BTreeSet<String>, f64)>,
}

fn parse(text: &str) -> Scrape {
    let mut scrape = Scrape::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help");
            let entry = scrape.described.entry(name.to_owned()).or_default();
            assert!(entry.1.is_empty(), "{name} is described twice");
            help.clone_into(&mut entry.1);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            let entry = scrape.described.entry(name.to_owned()).or_default();
            assert!(entry.0.is_empty(), "{name} has two types");
            kind.clone_into(&mut entry.0);
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let value = value.parse().expect("a value is a number");
            scrape
                .samples
                .push((name.to_owned(), label_names(labels), value));
        }
    }
    scrape
}

/// `a="x",b="y"}`: a and b. No value of ours has a quote in it.
fn label_names(labels: &str) -> BTreeSet<String> {
    let outside = labels.split('"').step_by(2);
    let names = outside.filter_map(|text| text.strip_suffix('='));
    let names = names.map(|name| name.trim_start_matches(',').to_owned());
    names.filter(|name| name != "le").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_worked_exports_the_whole_catalogue_and_nothing_else() {
    let mut cluster = Setup::nodes(3)
        .set("cluster.snapshot_entries", 30)
        .set("cluster.keep_entries", 5)
        .start("metrics")
        .await;
    work(&mut cluster).await;

    let catalogue = catalogue();
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for node in &cluster.nodes {
        let text = node.metrics().await;
        promtool(&["check", "metrics"], &workspace(), &text);
        let scrape = parse(&text);
        assert_described(&scrape, &catalogue);
        for (series, labels, value) in scrape.samples {
            let name = name_of(&series, &catalogue);
            let metric = &catalogue[&name];
            assert_eq!(labels, metric.labels, "the labels of {series}");
            *sums.entry(name.clone()).or_default() += value;
            seen.insert(name);
        }
    }
    for (name, metric) in &catalogue {
        let expected = metric
            .only
            .as_deref()
            .is_none_or(|when| when == "on the leader");
        assert!(!expected || seen.contains(name), "{name} is not exported");
        let counts = metric.kind != "gauge" && expected && !QUIET.contains(&name.as_str());
        assert!(!counts || sums[name] > 0.0, "nothing was counted in {name}");
    }
    assert_values(&cluster, &sums).await;
    figure("metrics in the catalogue", catalogue.len());
}

/// Types and help are the catalogue's.
fn assert_described(scrape: &Scrape, catalogue: &BTreeMap<String, Metric>) {
    for (name, (kind, help)) in &scrape.described {
        let metric = catalogue.get(name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        assert_eq!(*kind, metric.kind, "{name}");
        assert_eq!(*help, metric.help, "{name}");
    }
}

/// The metric that a series belongs to.
fn name_of(series: &str, catalogue: &BTreeMap<String, Metric>) -> String {
    let ends = ["", "_bucket", "_sum", "_count"];
    let names = ends.iter().filter_map(|end| series.strip_suffix(end));
    let mut known = names.filter(|name| catalogue.contains_key(*name));
    let name = known
        .next()
        .unwrap_or_else(|| panic!("{series} is not in the catalogue"));
    name.to_owned()
}

/// A few that are known exactly.
async fn assert_values(cluster: &Cluster, sums: &BTreeMap<String, f64>) {
    let (sequence, _) = cluster.wait_converged().await;
    for (name, sum) in [
        ("cratekeeper_raft_is_leader", 1.0),
        ("cratekeeper_raft_is_voter", 3.0),
        ("cratekeeper_raft_members", 9.0),
        ("cratekeeper_ready", 3.0),
        ("cratekeeper_raft_peer_connected", 2.0),
        ("cratekeeper_events_sequence", 3.0 * sequence as f64),
        ("cratekeeper_raft_apply_lag_entries", 0.0),
    ] {
        assert!((sums[name] - sum).abs() < 0.5, "{name}: {}", sums[name]);
    }
}

/// Something for every metric: publishes and refusals everywhere, reads of every outcome, a snapshot that is sent, another leader.
async fn work(cluster: &mut Cluster) {
    let admin = cluster.admin();
    for (place, name) in ["first", "second", "third"].into_iter().enumerate() {
        let publisher = cluster.admin_at(place);
        let package = Package::new(name, "1.0.0");
        publisher.publish(&package).await.expect_ok("a publish");
        publisher.publish(&package).await.expect_ok("the same");
        let other = package.source("//! Different.\n");
        assert_eq!(publisher.publish(&other).await.status, 409);
        read(cluster, place, name).await;
    }
    let garbage = admin.publish_frame(Bytes::from_static(b"garbage")).await;
    assert_eq!(garbage.status, 413, "its lengths make no sense");
    let stranger = admin.with_token("ck_0000000000000000000000000000000000000000000");
    assert_eq!(
        stranger.publish(&Package::new("no", "1.0.0")).await.status,
        401
    );
    let yanked = admin.delete("/api/v1/crates/first/1.0.0/yank").await;
    yanked.expect_ok("a yank");
    lose_and_regain_a_follower(cluster).await;
    cluster.command(&["cluster", "transfer-leader"]).await;
    let leader = cluster.leader().await;
    cluster
        .admin_at(leader)
        .publish(&Package::new("last", "1.0.0"))
        .await
        .expect_ok("a publish after the change");
    cluster.wait_converged().await;
    settled(cluster).await;
}

async fn read(cluster: &Cluster, place: usize, name: &str) {
    let reader = cluster.nodes[place].client(NO_TOKEN);
    let path = format!("/index/{}/{}/{name}", &name[..2], &name[2..4]);
    let file = reader.get(&path).await.expect_ok("an index file");
    let etag = file.header("etag").expect("an ETag").to_owned();
    let headers = [("if-none-match", etag.as_str())];
    let again = reader.try_send(Method::GET, &path, None, &headers).await;
    assert_eq!(again.expect("an answer").status, 304);
    assert_eq!(reader.get("/index/ab/se/absent").await.status, 404);
    reader.download(name, "1.0.0").await.expect_ok("a download");
}

/// It is away until the log is purged, and so comes back by snapshot.
async fn lose_and_regain_a_follower(cluster: &mut Cluster) {
    let away = (cluster.leader().await + 1) % 3;
    let there = (away + 1) % 3;
    let index = |state: &serde_json::Value, key: &str| state[key].as_u64().unwrap_or(0);
    let seen = index(&cluster.admin_at(away).cluster().await, "last_log");
    cluster.nodes[away].kill();
    let publisher = cluster.admin_at(there).publisher("steady").await;
    let workload = Workload::start(&publisher, 2);
    workload.progress(40).await;
    workload.finish().await;
    wait_until("the log is purged", Duration::from_secs(60), async || {
        let leader = cluster.admin_at(cluster.leader().await);
        let empty = serde_json::json!({});
        leader.post("/api/v1/cluster/snapshot", &empty).await;
        index(&leader.cluster().await, "purged") > seen
    })
    .await;
    cluster.nodes[away].start_and_wait().await;
    cluster.wait_voters(3).await;
}

/// The leader has heard from both others, and search has taken in everything.
async fn settled(cluster: &Cluster) {
    let leader = cluster.leader().await;
    wait_until("all is settled", Duration::from_secs(30), async || {
        let text = cluster.nodes[leader].metrics().await;
        let scrape = parse(&text);
        let value = |name: &str| {
            let of = scrape.samples.iter().filter(|(series, ..)| series == name);
            of.map(|(.., value)| *value).sum::<f64>()
        };
        (value("cratekeeper_raft_peer_connected") - 2.0).abs() < 0.1
            && value("cratekeeper_raft_apply_lag_entries") < 0.1
            && (value("cratekeeper_search_sequence") - value("cratekeeper_events_sequence")).abs()
                < 0.1
    })
    .await;
}

#[test]
fn the_reference_of_metrics_is_what_the_binary_prints() {
    let printed = command(&["metrics"]);
    let path = workspace().join("docs/metrics.md");
    let page = std::fs::read_to_string(&path).expect("docs/metrics.md is there");
    assert!(
        page == printed,
        "docs/metrics.md is not what `cratekeeper metrics` prints: write it anew"
    );
}

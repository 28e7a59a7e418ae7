//! Backups and what they are for: everything lost, everything back; and nothing believed that was changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cratekeeper_tests::{
    Client, Cluster, Garage, Node, Outcome, Package, Scratch, Setup, Store, cratekeeper, figure,
    wait_for, wait_until,
};
use serde_json::Value;

use crate::workload::{Workload, assert_nothing_lost};

/// Runs `cratekeeper` as an administrator would.
async fn run(cluster: &Cluster, arguments: &[&str]) -> Outcome {
    let output = tokio::process::Command::new(cratekeeper())
        .args(arguments)
        .args(["--server", &cluster.public_url, "--token-file"])
        .arg(cluster.scratch.path().join("admin-token"))
        .kill_on_drop(true)
        .output()
        .await
        .expect("the binary starts");
    Outcome {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--output", "json"]].concat();
    let outcome = run(cluster, &arguments).await;
    assert!(outcome.success, "{arguments:?}: {}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).expect("JSON")
}

/// What it says when it must not succeed.
async fn refused(cluster: &Cluster, arguments: &[&str]) -> String {
    let outcome = run(cluster, arguments).await;
    assert!(!outcome.success, "{arguments:?}: {}", outcome.stdout);
    outcome.stderr
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's path is UTF-8")
}

async fn chain_at(client: &Client, sequence: u64) -> Value {
    let answer = client.get(&format!("/api/v1/backup?at={sequence}")).await;
    answer.expect_ok("the backup's position").json()["at"]["chain"].clone()
}

fn lose_everything(cluster: &mut Cluster) {
    for node in &mut cluster.nodes {
        node.kill();
        node.wipe();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lost_every_volume_comes_back_from_its_backup() {
    let mut cluster = Setup::nodes(3).balanced().start("lost_and_restored").await;
    let place = cluster.scratch.path().join("backup");
    let publisher = cluster.admin().publisher("steady").await;
    let consumer = consumer(&cluster).await;

    let workload = Workload::start(&publisher, 3);
    workload.progress(30).await;
    let first = json(&cluster, &["backup", "create", "--to", text(&place)]).await;
    workload.progress(30).await;
    let acknowledged = workload.finish().await;
    let second = json(&cluster, &["backup", "create", "--to", text(&place)]).await;
    let sequence = second["sequence"].as_u64().expect("a sequence");
    assert!(first["sequence"].as_u64() < Some(sequence));
    let added = sequence - first["sequence"].as_u64().expect("a sequence");
    assert_eq!(second["events"], added, "the second one brings what is new");
    assert_eq!(
        second["tarballs"]["missing"].as_array().map(Vec::len),
        Some(0)
    );
    let verified = run(&cluster, &["backup", "verify", text(&place)]).await;
    assert!(verified.success, "{}", verified.stderr);

    // A volume that was set aside before the loss, and must not be brought back after it.
    let aside = cluster.scratch.path().join("aside");
    cluster.nodes[2].kill();
    copy(&cluster.nodes[2].directory, &aside);
    cluster.nodes[2].start();
    lose_everything(&mut cluster);

    let config = cluster.nodes[0].config().to_owned();
    let restore = ["restore", "--from", text(&place), "--config", text(&config)];
    let said = refused(&cluster, &restore).await;
    assert!(said.contains("add --take-over-store"), "{said}");
    let began = Instant::now();
    let restored = json(&cluster, &[&restore[..], &["--take-over-store"]].concat()).await;
    figure("restore of a small backup, ms", began.elapsed().as_millis());
    assert_eq!(restored["events"], sequence);
    assert_eq!(restored["chain"], second["chain"]);
    let again = refused(&cluster, &[&restore[..], &["--take-over-store"]].concat()).await;
    assert!(again.contains("is a node of a cluster already"), "{again}");

    cluster.nodes[0].start_and_wait().await;
    cluster.nodes[1].start();
    cluster.nodes[2].start();
    cluster.wait_voters(3).await;
    assert_eq!(
        chain_at(&cluster.admin_at(1), sequence).await,
        second["chain"]
    );
    assert_nothing_lost(&cluster, &acknowledged).await;
    consumer.cargo.forget();
    consumer
        .cargo
        .ok(&consumer.directory, &["fetch", "--locked"])
        .await;
    let package = Package::new("after-all", "1.0.0");
    publisher
        .publish(&package)
        .await
        .expect_ok("publishing goes on");
    let history = cluster.one_history().await;
    let restored = usize::try_from(sequence).expect("small");
    let kinds: Vec<&str> = history[restored..restored + 3]
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert!(kinds.contains(&"history_restored"), "{kinds:?}");

    let third = json(&cluster, &["backup", "create", "--to", text(&place)]).await;
    assert!(
        third["sequence"].as_u64() > Some(sequence),
        "it goes on where it was"
    );
    old_volume_is_refused(&mut cluster, &aside).await;
}

async fn old_volume_is_refused(cluster: &mut Cluster, aside: &Path) {
    let node = &mut cluster.nodes[2];
    node.kill();
    node.wipe();
    copy(aside, &node.directory);
    node.start();
    ends(node).await;
    let said = node.said();
    assert!(said.contains("was restored from a backup"), "{said}");
}

async fn ends(node: &mut Node) {
    wait_until("the node ends", Duration::from_secs(30), async || {
        node.exited().is_some()
    })
    .await;
    node.kill();
}

struct Consumer {
    cargo: cratekeeper_tests::Cargo,
    directory: PathBuf,
}

/// Somebody with a lock file that names a crate of this registry.
async fn consumer(cluster: &Cluster) -> Consumer {
    let cargo = cluster.cargo("consumer");
    let library = cargo.library("library", "1.2.0", "");
    cargo
        .ok(&library, &["publish", "--registry", "mine", "--no-verify"])
        .await;
    let dependency = "library = { version = \"1\", registry = \"mine\" }";
    let directory = cargo.library("consumer", "0.1.0", dependency);
    cargo.ok(&directory, &["generate-lockfile"]).await;
    Consumer { cargo, directory }
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .args(["-a", text(from), text(to)])
        .status()
        .expect("cp starts");
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_backs_up_to_s3_and_a_configuration_restores_it() {
    let scratch = Scratch::new("scheduled_backups");
    let garage = Garage::start(&scratch).await;
    let store = Store::S3 {
        endpoint: garage.endpoint(),
        region: garage.region(),
        bucket: garage.bucket(),
        key_id: garage.key_id(),
        secret: garage.secret(),
    };
    let setup = Setup::nodes(3)
        .balanced()
        .store(store)
        .set("backup.to", "s3://crates/backups/mine")
        .set("backup.every", "1s");
    let mut cluster = setup.start_in(scratch).await;
    let publisher = cluster.admin().publisher("steady").await;
    publish(&publisher, "before", 3).await;
    backed_up(&cluster).await;
    let leader = cluster.leader().await;
    assert!(
        metric(
            &cluster.nodes[leader],
            "cratekeeper_backup_last_success_timestamp_seconds"
        )
        .await
            > 1.7e9
    );
    assert!(metric(&cluster.nodes[leader], "cratekeeper_backup_events_total").await >= 9.0);

    // The next leader goes on with it.
    cluster.nodes[leader].kill();
    publish(&publisher, "after", 3).await;
    let (sequence, chain) = backed_up(&cluster).await;
    cluster.nodes[leader].start_and_wait().await;
    let config = cluster.nodes[0].config().to_owned();
    let place = ["s3://crates/backups/mine", "--config", text(&config)];
    let verified = json(
        &cluster,
        &[&["backup", "verify", "--tarballs"], &place[..]].concat(),
    )
    .await;
    assert_eq!(verified["tarballs"]["checked"], 6);
    assert_eq!(verified["tarballs"]["missing"], serde_json::json!([]));

    lose_everything(&mut cluster);
    for node in &mut cluster.nodes {
        node.set("cluster.restore_from", "s3://crates/backups/mine");
    }
    cluster.nodes[0].start();
    cluster.nodes[1].start();
    cluster.nodes[2].start();
    cluster.wait_voters(3).await;
    assert_eq!(chain_at(&cluster.admin_at(2), sequence).await, chain);
    assert_eq!(cluster.admin().index_lines("after").await.len(), 3);
    publish(&publisher, "at-last", 1).await;
    assert!(backed_up(&cluster).await.0 > sequence);
}

/// Publishes versions of a crate and waits for each.
async fn publish(publisher: &Client, name: &str, versions: usize) {
    for minor in 0..versions {
        let package = Package::new(name, &format!("1.{minor}.0"));
        publisher.publish(&package).await.expect_ok("publishing");
    }
}

/// Waits until the backup has everything; gives the sequence and the chain hash there.
async fn backed_up(cluster: &Cluster) -> (u64, Value) {
    let config = cluster.nodes[0].config().to_owned();
    let show = [
        "backup",
        "show",
        "s3://crates/backups/mine",
        "--config",
        text(&config),
    ];
    let show = [&show[..], &["--output", "json"]].concat();
    let (sequence, _) = cluster.wait_converged().await;
    wait_for("a complete backup", Duration::from_secs(60), async || {
        let shown = run(cluster, &show).await;
        let manifest: Value = serde_json::from_str(&shown.stdout).ok()?;
        let there = manifest["last_sequence"].as_u64()?;
        (there >= sequence).then(|| (there, manifest["chain"].clone()))
    })
    .await
}

async fn metric(node: &Node, name: &str) -> f64 {
    let client = Client::new(&format!("http://{}", node.ops), cratekeeper_tests::NO_TOKEN);
    let text = client.get("/metrics").await.text();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split(' ').next_back());
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// A version whose event is large, so that few of them make a segment.
fn large(version: usize) -> Package {
    use std::fmt::Write;
    let mut features = "[features]\n".to_owned();
    for number in 0..2400 {
        let value = "x".repeat(90);
        let _ = writeln!(
            features,
            "feature-{version}-{number} = []\n{value}-{number} = []"
        );
    }
    Package::new("large", &format!("1.{version}.0")).tables(&features)
}

struct Backup {
    cluster: Cluster,
    place: PathBuf,
    /// First and last sequence, and path, of each segment.
    segments: Vec<(u64, u64, PathBuf)>,
}

/// One node, and a backup of it in three segments.
async fn backup_in_segments(test: &str) -> Backup {
    let cluster = Setup::nodes(1).start(test).await;
    let place = cluster.scratch.path().join("backup");
    let admin = cluster.admin();
    for round in 0..3 {
        for version in 0..5 {
            let package = large(round * 5 + version);
            admin.publish(&package).await.expect_ok("publishing");
        }
        json(&cluster, &["backup", "create", "--to", text(&place)]).await;
    }
    let shown = json(&cluster, &["backup", "show", text(&place)]).await;
    let segments = shown["segments"].as_array().expect("segments").iter();
    let segments: Vec<_> = segments
        .map(|segment| {
            let number = |field: &str| segment[field].as_u64().expect("a number");
            let file = place.join(segment["file"].as_str().expect("a name"));
            (number("first"), number("last"), file)
        })
        .collect();
    assert_eq!(segments.len(), 3);
    Backup {
        cluster,
        place,
        segments,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampered_backup_is_refused_where_it_breaks() {
    let Backup {
        cluster,
        place,
        segments,
    } = backup_in_segments("tampered_backup").await;
    let (first, _, second) = &segments[1];
    let breaks = format!("the backup breaks at sequence {first}:");
    let whole = std::fs::read(second).expect("a segment");
    let verify = ["backup", "verify", text(&place)];
    let must_break = async |how: &str| {
        let said = refused(&cluster, &verify).await;
        assert!(said.contains(&breaks), "{how}: {said}");
    };
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    write(second, &flipped);
    must_break("a flipped byte").await;
    write(second, &whole[..whole.len() - 100]);
    must_break("cut off").await;
    write(second, &std::fs::read(&segments[2].2).expect("a segment"));
    must_break("another segment").await;
    std::fs::remove_file(second).expect("it is there");
    must_break("no file").await;
    write(second, &whole);

    let manifest = place.join("manifest.json");
    let good = std::fs::read(&manifest).expect("a manifest");
    let changed = |change: fn(&mut Value)| {
        let mut json: Value = serde_json::from_slice(&good).expect("JSON");
        change(&mut json);
        write(&manifest, json.to_string().as_bytes());
    };
    changed(|it| drop(segments_of(it).remove(1)));
    must_break("a segment dropped from the manifest").await;
    changed(|it| segments_of(it).swap(1, 2));
    must_break("segments in another order").await;
    changed(|it| it["segments"][1]["chain_after"] = it["segments"][0]["chain_after"].clone());
    let said = refused(&cluster, &verify).await;
    assert!(said.contains("breaks at sequence"), "{said}");
    let config = cluster.nodes[0].config().to_owned();
    let restore = ["restore", "--from", text(&place), "--config", text(&config)];
    let said = refused(&cluster, &restore).await;
    assert!(said.contains("breaks at sequence"), "{said}");

    write(&manifest, &good);
    let verified = json(&cluster, &verify).await;
    assert_eq!(verified["sequence"], segments[2].1);
    let said = refused(&cluster, &[&restore[..], &["--take-over-store"]].concat()).await;
    assert!(said.contains("is a node of a cluster already"), "{said}");
    missing_tarball_is_told(&cluster, &place).await;
}

fn segments_of(manifest: &mut Value) -> &mut Vec<Value> {
    let segments = manifest["segments"].as_array_mut();
    segments.expect("a manifest has segments")
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the test's directory is writable");
}

async fn missing_tarball_is_told(cluster: &Cluster, place: &Path) {
    let package = Package::new("gone", "1.0.0");
    cluster.admin().publish(&package).await.expect_ok("publish");
    let checksum = cratekeeper_domain::Checksum::of(&package.tarball()).to_string();
    let tarballs = cluster.scratch.path().join("tarballs");
    let file = tarballs.join(&checksum[..2]).join(&checksum[2..4]);
    std::fs::remove_file(file.join(format!("{checksum}.crate"))).expect("it was stored");
    let create = ["backup", "create", "--to", text(place)];
    let outcome = run(cluster, &create).await;
    assert!(!outcome.success);
    assert!(
        outcome.stdout.contains("missing: gone 1.0.0"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stderr.contains("the events are complete"),
        "{}",
        outcome.stderr
    );
    let again = json(cluster, &create).await;
    assert_eq!(again["events"], 0, "the events were backed up all the same");
    let all = refused(
        cluster,
        &[&create[..], &["--check-tarballs", "all"]].concat(),
    )
    .await;
    assert!(all.contains("1 tarballs are missing"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_ends_where_it_is_told_and_starts_over_after_a_crash() {
    let Backup {
        mut cluster,
        place,
        segments,
    } = backup_in_segments("until_and_crash").await;
    let history = cluster.admin().history().await;
    lose_everything(&mut cluster);
    let config = cluster.nodes[0].config().to_owned();
    let restore = [
        "restore",
        "--from",
        text(&place),
        "--config",
        text(&config),
        "--take-over-store",
    ];

    // Killed in the middle, it does not serve, and the same command starts over.
    let directory = cluster.nodes[0].directory.clone();
    let mut child = tokio::process::Command::new(cratekeeper())
        .args(restore)
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let restoring = directory.join("RESTORING");
    wait_until("the restore begins", Duration::from_secs(30), async || {
        restoring.exists()
    })
    .await;
    child.kill().await.expect("it can be killed");
    assert!(restoring.exists(), "it was killed too late to say anything");
    cluster.nodes[0].start();
    ends(&mut cluster.nodes[0]).await;
    let said = cluster.nodes[0].said();
    assert!(said.contains("was interrupted: run the same"), "{said}");

    // The first version of `large` is made by one request: its crate, its owner and itself.
    let first = history
        .iter()
        .position(|event| event["type"] == "crate_created");
    let first = first.expect("it was published") + 1;
    let middle = ["--until-sequence", &first.to_string()];
    let said = refused(&cluster, &[&restore[..], &middle].concat()).await;
    assert!(said.contains("belong together"), "{said}");
    let too_far = refused(
        &cluster,
        &[&restore[..], &["--until-sequence", "9999"]].concat(),
    )
    .await;
    assert!(too_far.contains("no event 9999"), "{too_far}");

    let until = segments[1].1;
    let sequence = ["--until-sequence", &until.to_string()];
    let restored = json(&cluster, &[&restore[..], &sequence].concat()).await;
    assert_eq!(restored["events"], until);
    cluster.nodes[0].start_and_wait().await;
    assert_eq!(cluster.admin().index_lines("large").await.len(), 10);
    // Another history from there on: the same place cannot go on with it.
    let said = refused(&cluster, &["backup", "create", "--to", text(&place)]).await;
    assert!(
        said.contains("is of another history") || said.contains("has only"),
        "{said}"
    );

    lose_everything(&mut cluster);
    let last = usize::try_from(until).expect("small") - 2;
    let time = history[last]["time"].as_str().expect("a time");
    let token = cluster.scratch.path().join("new-token");
    let new = ["--until-time", time, "--new-admin-token-file", text(&token)];
    let restored = json(&cluster, &[&restore[..], &new].concat()).await;
    assert_eq!(restored["events"], until - 1);
    cluster.nodes[0].start_and_wait().await;
    let token = std::fs::read_to_string(&token).expect("it was written");
    let client = cluster.admin().with_token(token.trim());
    assert_eq!(client.index_lines("large").await.len(), 9);
    client
        .publish(&large(20))
        .await
        .expect_ok("with the new token");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_volume_that_is_left_is_enough() {
    let mut cluster = Setup::nodes(3).start("one_volume_left").await;
    let publisher = cluster.admin().publisher("steady").await;
    let workload = Workload::start(&publisher, 3);
    workload.progress(40).await;
    let leader = cluster.leader().await;
    let left = (leader + 1) % 3;
    // All at once, in the middle of publishing.
    for node in &mut cluster.nodes {
        node.kill();
    }
    let place = cluster.scratch.path().join("backup");
    let volume = cluster.nodes[left].directory.clone();
    let config = cluster.nodes[0].config().to_owned();
    let create = [
        "backup",
        "create",
        "--to",
        text(&place),
        "--data-dir",
        text(&volume),
    ];
    let create = [&create[..], &["--config", text(&config)]].concat();
    let created = json(&cluster, &create).await;
    assert_eq!(created["tarballs"]["missing"], serde_json::json!([]));
    for node in &mut cluster.nodes {
        node.wipe();
    }
    let restore = [
        "restore",
        "--from",
        text(&place),
        "--config",
        text(&config),
        "--take-over-store",
    ];
    json(&cluster, &restore).await;
    cluster.nodes[0].start_and_wait().await;
    let acknowledged = workload.finish().await;
    assert_nothing_lost(&cluster, &acknowledged).await;
    let sequence = created["sequence"].as_u64().expect("a sequence");
    assert_eq!(
        chain_at(&cluster.admin_at(0), sequence).await,
        created["chain"]
    );
}

//! The registry hosts every crate that it is built from, says of each what the public registry says, and cargo can build from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cratekeeper_tests::{
    Cargo, Client, Cluster, Difference, LockedCrate, Scratch, Setup, compare, fetch_locked, figure,
    frame, locked_crates, manifest_of, metadata, public_index_line, wait_until, workspace,
};
use futures::StreamExt;

use crate::object_store_away::garage_store;

const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn it_hosts_what_it_is_built_from() {
    fetch_locked();
    let crates = locked_crates();
    let scratch = Scratch::new("hosts_what_it_is_built_from");
    let (_garage, store) = garage_store(&scratch).await;
    let setup = Setup::nodes(3).balanced().store(store);
    let mut cluster = setup.start_in(scratch).await;
    let publisher = cluster.admin().publisher("builder").await;

    publish_all(&publisher, &crates).await;
    compare_all(&cluster, &crates).await;
    fetch(&cluster, "calm").await;
    fetch_while_the_leader_dies(&mut cluster, crates.len()).await;
    cluster.wait_converged().await;
    let peak = cluster
        .nodes
        .iter()
        .map(|node| node.process().peak_memory())
        .max();
    figure(
        "peak memory of a node that took all crates, MiB",
        peak.unwrap_or(0) >> 20,
    );
}

async fn publish_all(publisher: &Client, crates: &[LockedCrate]) {
    let begin = Instant::now();
    let publishes = crates.iter().cloned().map(|krate| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            let frame = frame_of(&krate);
            let bytes = frame.len();
            let answer = publisher.publish_frame(frame).await;
            assert_eq!(
                answer.status,
                200,
                "{} {}: {}",
                krate.name,
                krate.version,
                answer.text()
            );
            bytes
        })
    });
    let sizes: Vec<_> = futures::stream::iter(publishes)
        .buffer_unordered(CLIENTS)
        .collect()
        .await;
    let mut bytes = 0;
    let mut refused = Vec::new();
    for size in sizes {
        match size {
            Ok(size) => bytes += size,
            Err(panic) => refused.push(panic.into_panic().downcast_ref::<String>().cloned()),
        }
    }
    assert!(
        refused.is_empty(),
        "{} refused: {refused:#?}",
        refused.len()
    );
    figure("crates published by 8 clients", crates.len());
    figure("their size, MiB", bytes >> 20);
    figure("time to publish them, s", begin.elapsed().as_secs());
}

/// As cargo would publish it: the same tarball, and the JSON that follows from its manifest.
fn frame_of(krate: &LockedCrate) -> Bytes {
    let (manifest, readme) = manifest_of(krate);
    let readme = readme
        .as_ref()
        .map(|(file, text)| (file.as_str(), text.as_str()));
    let json = metadata(&manifest, "", readme).to_string();
    let tarball = std::fs::read(&krate.tarball).expect("a cached tarball can be read");
    frame(json.as_bytes(), &tarball)
}

async fn compare_all(cluster: &Cluster, crates: &[LockedCrate]) {
    let mut kinds: BTreeMap<Difference, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (place, krate) in crates.iter().enumerate() {
        // Every node in turn: they must all say the same.
        let node = cluster.admin_at(place % cluster.nodes.len());
        let lines = node.index_lines(&krate.name).await;
        let ours = lines
            .iter()
            .find(|line| line["vers"] == krate.version.as_str());
        let ours = ours.unwrap_or_else(|| panic!("{} {} is lost", krate.name, krate.version));
        assert_eq!(
            ours["cksum"],
            krate.checksum.as_str(),
            "{} {}",
            krate.name,
            krate.version
        );
        let public = public_index_line(krate);
        let public = public.unwrap_or_else(|| panic!("cargo's index cache lacks {}", krate.name));
        match compare(ours, &public) {
            Ok(explained) => explained
                .into_iter()
                .for_each(|kind| *kinds.entry(kind).or_default() += 1),
            Err(differences) => wrong.push((&krate.name, &krate.version, differences)),
        }
    }
    figure(
        "versions compared with the public registry's own lines",
        crates.len(),
    );
    for (kind, count) in &kinds {
        figure(&format!("explained difference {kind:?}, lines"), count);
    }
    assert!(wrong.is_empty(), "{} lines differ: {wrong:#?}", wrong.len());
}

async fn fetch(cluster: &Cluster, who: &str) {
    let begin = Instant::now();
    let cargo = Cargo::replacing_crates_io(&cluster.scratch, who, &cluster.index());
    cargo.ok(&workspace(), &["fetch", "--locked"]).await;
    figure(
        "cargo fetch --locked from the cluster, s",
        begin.elapsed().as_secs(),
    );
}

async fn fetch_while_the_leader_dies(cluster: &mut Cluster, crates: usize) {
    let cargo = Cargo::replacing_crates_io(&cluster.scratch, "unlucky", &cluster.index());
    let cache = cargo.home().join("registry/cache");
    let leader = cluster.leader().await;
    let root = workspace();
    let fetched = tokio::spawn(async move { cargo.run(&root, &["fetch", "--locked"]).await });
    wait_until(
        "half of the crates have come",
        Duration::from_secs(120),
        async || files_below(&cache) > crates / 2 || fetched.is_finished(),
    )
    .await;
    cluster.nodes[leader].kill();
    assert!(
        !fetched.is_finished(),
        "the fetch was over before the leader could be killed"
    );
    let outcome = fetched.await.expect("cargo runs");
    assert!(
        outcome.success,
        "the fetch noticed that a node died: {}",
        outcome.stderr
    );
    cluster.nodes[leader].start_and_wait().await;
}

fn files_below(directory: &Path) -> usize {
    let registries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files = registries.filter_map(|registry| std::fs::read_dir(registry.path()).ok());
    files.map(Iterator::count).sum()
}

//! Certificates in real processes: what nodes and clients refuse, and that changing files under load fails no request.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cratekeeper_tests::{
    Authority, CertificateFiles, Client, Cluster, Leaf, NO_TOKEN, Node, Package, Setup, figure,
    wait_for, wait_until,
};
use reqwest::{Method, Version};
use serde_json::json;
use tokio::task::JoinHandle;

/// Of every cluster of the harness.
const CLUSTER: &str = "tests";
const SOON: Duration = Duration::from_secs(20);

fn peer_ip(place: usize) -> IpAddr {
    let last = u8::try_from(place + 2).expect("few nodes");
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A node on an address of its own, with a certificate for it.
fn secure_peers(
    node: &mut Node,
    place: usize,
    authority: &Authority,
    at: &Path,
) -> CertificateFiles {
    let files = CertificateFiles::in_directory(&at.join(format!("{}-peer", node.name)));
    files.issue(&good(place), authority);
    files.trust(&[authority]);
    node.listen_to_peers_at(peer_ip(place));
    node.secure_peers(&files);
    node.set("peer.require_cluster_in_certificate", true);
    files
}

fn good(place: usize) -> Leaf {
    Leaf::of(&peer_ip(place).to_string()).cluster(CLUSTER)
}

async fn publish_kept(client: &Client, version: &str) {
    let answer = client.publish(&Package::new("kept", version)).await;
    answer.expect_ok(version);
}

async fn wait_said(node: &Node, sentence: &str) {
    let what = format!("{} says: {sentence}", node.name);
    wait_until(&what, SOON, async || node.said().contains(sentence)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_certificates_form_a_cluster_and_whoever_has_a_wrong_one_stays_outside() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let mut cluster = Setup::nodes(3)
        .start_with("wrong_certificates", |cluster| {
            let at = cluster.scratch.path().to_owned();
            for (place, node) in cluster.nodes.iter_mut().enumerate() {
                secure_peers(node, place, &ours, &at);
            }
        })
        .await;
    publish_kept(&cluster.admin(), "1.0.0").await;

    let at = cluster.scratch.path().to_owned();
    let node = cluster.add_node();
    let files = secure_peers(node, 3, &ours, &at);
    // What it could know better, so that it is the others who have to refuse it.
    node.unset("cluster.id");
    node.set("peer.require_cluster_in_certificate", false);
    let wrong = [
        (
            good(3).valid(-2, -1),
            &ours,
            "shows a certificate that expired on",
        ),
        (
            good(3).valid(1, 2),
            &ours,
            "shows a certificate that is not valid before",
        ),
        (
            good(3),
            &others,
            "shows a certificate that is signed by no authority in",
        ),
        (
            Leaf::of("127.0.0.5").cluster("another"),
            &ours,
            "shows a certificate that is for the cluster `another`, not for `tests`",
        ),
        (
            Leaf::of("127.0.0.5"),
            &ours,
            "shows a certificate that names no cluster",
        ),
        (
            Leaf::of("elsewhere.example.org").cluster(CLUSTER),
            &ours,
            "the certificate shown is for `elsewhere.example.org`, not for `127.0.0.5`",
        ),
        (
            good(3).only_for_servers(),
            &ours,
            "may not be used to call others: its extended key usage lacks clientAuth",
        ),
    ];
    for (leaf, signer, sentence) in wrong {
        files.issue(&leaf, signer);
        cluster.nodes[3].start();
        wait_said(&cluster.nodes[0], sentence).await;
        leave(&mut cluster.nodes[3]);
    }
    refused_without_certificate(&mut cluster, &files, &ours).await;
    refused_when_invited(&mut cluster, &files, &ours).await;
    cluster.nodes.truncate(3);
    cluster.wait_voters(3).await;
    publish_kept(&cluster.admin(), "1.1.0").await;
    cluster.one_history().await;
    cluster.assert_all_run();

    removed_for_good(&mut cluster).await;
}

fn leave(node: &mut Node) {
    node.kill();
    node.wipe();
}

/// With TLS but no certificate, and without TLS; nodes and others.
async fn refused_without_certificate(
    cluster: &mut Cluster,
    files: &CertificateFiles,
    ours: &Authority,
) {
    let first = &cluster.nodes[0];
    let caller = Client::trusting(&format!("https://{}", first.peer), NO_TOKEN, &ours.pem);
    let called = caller.try_send(Method::GET, "/", None, &[]).await;
    assert!(called.is_err(), "{called:?}");
    wait_said(first, "shows no certificate").await;

    let node = &mut cluster.nodes[3];
    node.set("peer.insecure", true);
    for key in ["tls_certificate", "tls_key", "tls_ca"] {
        node.unset(&format!("peer.{key}"));
    }
    node.start();
    wait_said(
        &cluster.nodes[0],
        "speaks plain text, while this one demands TLS",
    )
    .await;
    wait_said(
        &cluster.nodes[3],
        "speaks plain text, while this one demands TLS",
    )
    .await;
    let node = &mut cluster.nodes[3];
    leave(node);
    node.secure_peers(files);
}

/// Here the good nodes are those who dial.
async fn refused_when_invited(cluster: &mut Cluster, files: &CertificateFiles, ours: &Authority) {
    files.issue(&Leaf::of("127.0.0.9").cluster(CLUSTER), ours);
    let node = &mut cluster.nodes[3];
    node.set("cluster.peers", toml::Value::Array(Vec::new()));
    node.start();
    node.wait_alive().await;
    let body = json!({"address": node.peer.to_string()});
    let answer = cluster.admin().post("/api/v1/cluster/members", &body).await;
    let sentence = "shows a certificate that is for `127.0.0.9`, not for `127.0.0.5`";
    assert!(answer.text().contains(sentence), "{}", answer.text());
    leave(&mut cluster.nodes[3]);
}

/// The authority still signs its certificate, and everything else about it was right.
async fn removed_for_good(cluster: &mut Cluster) {
    let leader = cluster.leader().await;
    let place = (leader + 1) % 3;
    let state = cluster.admin_at(leader).cluster().await;
    let members = state["members"].as_array().expect("members");
    let name = cluster.nodes[place].name.clone();
    let id = members
        .iter()
        .find(|member| member["name"] == name.as_str())
        .and_then(|member| member["node"].as_u64())
        .expect("a member of that name");
    cluster.nodes[place].kill();
    let answer = cluster
        .admin_at(leader)
        .delete(&format!("/api/v1/cluster/members/{id}"))
        .await;
    assert!(answer.status < 300, "{}", answer.text());
    cluster.nodes[place].start();
    let ended = wait_for("the removed node stops", SOON, async || {
        cluster.nodes[place].exited()
    });
    assert!(!ended.await.success());
    wait_said(
        &cluster.nodes[place],
        "this node was removed from its cluster",
    )
    .await;
    let refusal = format!("node {id} is not a member of this cluster any more");
    let refused = |node: &Node| node.said().contains(&refusal);
    let others = cluster.nodes.iter().filter(|node| node.name != name);
    assert!(others.clone().any(refused), "nobody says: {refusal}");
}

/// Requests over TLS that must all succeed the first time, at every node.
struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &Cluster, publisher: &str, trusted: &str) -> Load {
        let (stop, requests) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut workers = Vec::new();
        for (place, node) in cluster.nodes.iter().enumerate() {
            let reading = read(
                node.url(),
                trusted.to_owned(),
                stop.clone(),
                requests.clone(),
            );
            workers.push(tokio::spawn(reading));
            let writer = node.client(publisher);
            let writing = publish(writer, place, stop.clone(), requests.clone());
            workers.push(tokio::spawn(writing));
        }
        Load {
            stop,
            requests,
            workers,
        }
    }

    /// Waits for `more` further answers, so that something happens between two changes.
    async fn progress(&self, more: u64) {
        let goal = self.requests.load(Ordering::Relaxed) + more;
        let what = format!("{more} further requests");
        wait_until(&what, SOON * 3, async || {
            let failed = self.workers.iter().any(JoinHandle::is_finished);
            assert!(!failed, "a request failed");
            goal <= self.requests.load(Ordering::Relaxed)
        })
        .await;
    }

    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.expect("no request failed");
        }
        self.requests.load(Ordering::Relaxed)
    }
}

/// With a new connection now and then, which sees the newest certificate.
async fn read(url: String, trusted: String, stop: Arc<AtomicBool>, requests: Arc<AtomicU64>) {
    let mut reader = Client::trusting(&url, NO_TOKEN, &trusted);
    for number in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if number.is_multiple_of(50) {
            reader = Client::trusting(&url, NO_TOKEN, &trusted);
        }
        let answer = reader.get("/index/ke/pt/kept").await;
        assert_eq!(answer.version, Version::HTTP_2);
        answer.expect_ok("an index file");
        requests.fetch_add(1, Ordering::Relaxed);
    }
}

async fn publish(writer: Client, place: usize, stop: Arc<AtomicBool>, requests: Arc<AtomicU64>) {
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("load-{place}-{}", number / 20);
        let package = Package::new(&name, &format!("1.{}.0", number % 20));
        writer.publish(&package).await.expect_ok("a publish");
        requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// The files of every node's two ports.
struct Installed {
    public: Vec<CertificateFiles>,
    peers: Vec<CertificateFiles>,
}

impl Installed {
    fn issue_public(&self, authority: &Authority) {
        for files in &self.public {
            files.issue(&Leaf::of("127.0.0.1"), authority);
        }
    }

    fn issue_peers(&self, authority: &Authority) {
        for (place, files) in self.peers.iter().enumerate() {
            files.issue(&good(place), authority);
        }
    }

    fn trust(&self, authorities: &[&Authority]) {
        for files in &self.peers {
            files.trust(authorities);
        }
    }
}

async fn reloads(node: &Node, port: &str, outcome: &str) -> u64 {
    let name = format!("cratekeeper_tls_reloads_total{{port=\"{port}\",outcome=\"{outcome}\"}}");
    // A count well below what a float holds exactly.
    node.metric(&name).await.map_or(0, |count| count as u64)
}

/// Makes a change to files and waits until every node has taken it, with the load going on.
async fn change(cluster: &Cluster, load: &Load, (port, outcome): (&str, &str), make: impl Fn()) {
    let mut before = Vec::new();
    for node in &cluster.nodes {
        before.push(reloads(node, port, outcome).await);
    }
    make();
    for (node, before) in cluster.nodes.iter().zip(before) {
        let what = format!("{} has {outcome} the changed files of {port}", node.name);
        wait_until(&what, SOON, async || {
            before < reloads(node, port, outcome).await
        })
        .await;
    }
    load.progress(150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_under_load_and_no_request_fails() {
    let [public, public_next, old, new] =
        ["public", "next public", "old", "new"].map(Authority::new);
    let trusted = format!("{}{}", public.pem, public_next.pem);
    let mut installed = Installed {
        public: Vec::new(),
        peers: Vec::new(),
    };
    let cluster = Setup::nodes(3)
        .start_with("certificates_change", |cluster| {
            let at = cluster.scratch.path().to_owned();
            for (place, node) in cluster.nodes.iter_mut().enumerate() {
                installed.peers.push(secure_peers(node, place, &old, &at));
                let files = CertificateFiles::in_directory(&at.join(format!("{}-http", node.name)));
                files.issue(&Leaf::of("127.0.0.1"), &public);
                node.secure(&files, &trusted);
                installed.public.push(files);
            }
        })
        .await;
    let publisher = cluster.admin().publisher("steady").await;
    publish_kept(&publisher, "1.0.0").await;
    let load = Load::start(&cluster, publisher.token(), &trusted);
    load.progress(100).await;
    let begun = Instant::now();

    let half = || {
        for files in &installed.public {
            let whole = fs::read(&files.certificate).expect("it is there");
            fs::write(&files.certificate, &whole[..whole.len() / 2]).expect("it can be written");
        }
    };
    change(&cluster, &load, ("http", "refused"), half).await;
    let shown = certificates(&cluster, &trusted).await;
    change(&cluster, &load, ("http", "loaded"), || {
        installed.issue_public(&public_next);
    })
    .await;
    let next = certificates(&cluster, &trusted).await;
    assert!(shown.iter().zip(&next).all(|(old, new)| old != new));

    let peers = ("peer", "loaded");
    change(&cluster, &load, peers, || installed.issue_peers(&old)).await;
    change(&cluster, &load, peers, || installed.trust(&[&old, &new])).await;
    change(&cluster, &load, peers, || installed.issue_peers(&new)).await;
    change(&cluster, &load, peers, || installed.trust(&[&new])).await;
    let requests = load.finish().await;
    figure(
        "requests while certificate files changed six times",
        requests,
    );
    figure("of them failed", 0);
    figure("seconds for all changes", begun.elapsed().as_secs());

    left_behind(&cluster, &installed, &old).await;
}

/// What each node shows to a new client.
async fn certificates(cluster: &Cluster, trusted: &str) -> Vec<Vec<u8>> {
    let mut shown = Vec::new();
    for node in &cluster.nodes {
        let client = Client::trusting(&node.url(), NO_TOKEN, trusted);
        let answer = client.get("/index/config.json").await;
        shown.push(answer.certificate.expect("a connection with TLS"));
    }
    shown
}

/// A node that still has what only the old authority signed is cut off, though its connections were open.
async fn left_behind(cluster: &Cluster, installed: &Installed, old: &Authority) {
    let leader = cluster.leader().await;
    let place = (leader + 1) % 3;
    let (node, files) = (&cluster.nodes[place], &installed.peers[place]);
    files.issue(&good(place), old);
    files.trust(&[old]);
    wait_said(&cluster.nodes[leader], "is signed by no authority in").await;
    let sequence = async |place: usize| cluster.admin_at(place).sequence().await;
    publish_kept(&cluster.admin_at(leader), "2.0.0").await;
    assert!(
        sequence(place).await < sequence(leader).await,
        "{} still hears",
        node.name
    );
}

//! Steady publishing while something happens: several clients, each version retried until it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cratekeeper_tests::{Cargo, Client, Cluster, Package};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One publish that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) checksum: String,
    pub(crate) at: Instant,
}

/// Clients at work until [`Workload::finish`].
pub(crate) struct Workload {
    stop: Arc<AtomicBool>,
    count: watch::Sender<usize>,
    clients: Vec<JoinHandle<Vec<Acknowledged>>>,
}

impl Workload {
    pub(crate) fn start(publisher: &Client, clients: usize) -> Workload {
        let stop = Arc::new(AtomicBool::new(false));
        let count = watch::Sender::new(0);
        let clients = (0..clients)
            .map(|number| {
                tokio::spawn(work(publisher.clone(), number, stop.clone(), count.clone()))
            })
            .collect();
        Workload {
            stop,
            count,
            clients,
        }
    }

    /// Waits until `more` further publishes have been acknowledged.
    pub(crate) async fn progress(&self, more: usize) {
        let mut count = self.count.subscribe();
        let goal = *count.borrow() + more;
        let reached = count.wait_for(|count| *count >= goal);
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        assert!(reached.is_ok(), "no {more} further publishes in a minute");
    }

    /// Stops the clients; everything acknowledged, in order of time.
    pub(crate) async fn finish(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await.expect("a client ends without a complaint"));
        }
        all.sort_by_key(|one| one.at);
        all
    }
}

async fn work(
    publisher: Client,
    number: usize,
    stop: Arc<AtomicBool>,
    count: watch::Sender<usize>,
) -> Vec<Acknowledged> {
    let mut done = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        // A new crate now and then, and more versions of it.
        let name = format!("load-{number}-{}", done.len() / 20);
        let version = format!("1.{}.0", done.len() % 20);
        let package = Package::new(&name, &version);
        let checksum = hex::encode(Sha256::digest(package.tarball()));
        publish_until_acknowledged(&publisher, &package).await;
        done.push(Acknowledged {
            name,
            version,
            checksum,
            at: Instant::now(),
        });
        count.send_modify(|count| *count += 1);
    }
    done
}

/// No answer, or a 503, leaves the outcome open: the same publish again settles it. Anything else must not happen.
async fn publish_until_acknowledged(publisher: &Client, package: &Package) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match publisher.try_publish(package.frame()).await {
            Ok(answer) if answer.status == 200 => return,
            Ok(answer) => assert!(
                [502, 503, 504].contains(&answer.status),
                "{} {}: {} {}",
                package.name,
                package.version,
                answer.status,
                answer.text()
            ),
            Err(_) => {}
        }
        assert!(
            Instant::now() < deadline,
            "{} {} is never acknowledged",
            package.name,
            package.version
        );
        tokio::task::yield_now().await;
    }
}

pub(crate) fn longest_gap(acknowledged: &[Acknowledged]) -> Duration {
    let times = acknowledged.windows(2).map(|pair| pair[1].at - pair[0].at);
    times.max().unwrap_or_default()
}

/// Everything acknowledged is in the index of every running node with its checksum, and can be downloaded.
pub(crate) async fn assert_nothing_lost(cluster: &Cluster, acknowledged: &[Acknowledged]) {
    let mut names: Vec<&str> = acknowledged.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for (place, node) in cluster.nodes.iter().enumerate() {
        if !node.running() {
            continue;
        }
        let client = cluster.admin_at(place);
        for name in &names {
            let lines = client.index_lines(name).await;
            for one in acknowledged.iter().filter(|one| one.name == *name) {
                let line = lines
                    .iter()
                    .find(|line| line["vers"] == one.version.as_str());
                let line = line.unwrap_or_else(|| panic!("{} lacks {one:?}", node.name));
                assert_eq!(
                    line["cksum"],
                    one.checksum.as_str(),
                    "{}: {one:?}",
                    node.name
                );
            }
        }
    }
    for (place, one) in acknowledged.iter().enumerate().step_by(7) {
        let running: Vec<usize> = (0..cluster.nodes.len())
            .filter(|node| cluster.nodes[*node].running())
            .collect();
        let client = cluster.admin_at(running[place % running.len()]);
        let answer = client
            .download(&one.name, &one.version)
            .await
            .expect_ok(&one.name);
        assert_eq!(
            hex::encode(Sha256::digest(&answer.body)),
            one.checksum,
            "{one:?}"
        );
    }
}

/// Real cargo commands, one after the other; each must succeed.
pub(crate) struct CargoAtWork {
    stop: Arc<AtomicBool>,
    running: JoinHandle<usize>,
}

impl CargoAtWork {
    pub(crate) fn start(cluster: &Cluster) -> CargoAtWork {
        let stop = Arc::new(AtomicBool::new(false));
        let cargo = cluster.cargo("busy");
        let running = tokio::spawn(publish_and_fetch(cargo, stop.clone()));
        CargoAtWork { stop, running }
    }

    /// How many commands have run.
    pub(crate) async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.expect("no cargo command failed")
    }
}

async fn publish_and_fetch(cargo: Cargo, stop: Arc<AtomicBool>) -> usize {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let version = format!("0.{rounds}.0");
        let library = cargo.library("busy-library", &version, "");
        cargo
            .ok(&library, &["publish", "--no-verify", "--registry", "mine"])
            .await;
        let requirement =
            format!("busy-library = {{ version = \"{version}\", registry = \"mine\" }}");
        let user = cargo.library("busy-user", "0.1.0", &requirement);
        cargo.forget();
        cargo.ok(&user, &["update"]).await;
        cargo.ok(&user, &["fetch", "--locked"]).await;
        rounds += 1;
    }
    rounds * 3
}

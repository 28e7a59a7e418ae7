//! Traffic of which every request counts: raw reads of index files and publishes, each sent once, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cratekeeper_tests::{Client, Package, figure};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// So that two cores are left for the nodes; still a request is always under way.
const BETWEEN_READS: Duration = Duration::from_millis(4);
const BETWEEN_PUBLISHES: Duration = Duration::from_millis(40);

/// Readers and publishers at work until [`Traffic::finish`].
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    reads: Arc<Mutex<Tally>>,
    publishes: Arc<Mutex<Tally>>,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) sent: usize,
    /// What was wrong with each one that failed.
    pub(crate) failed: Vec<String>,
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Tally {
    fn count(&mut self, outcome: Result<u16, String>) {
        self.sent += 1;
        match outcome {
            Ok(200) => {
                let now = Instant::now();
                let gap = self.last.replace(now).map(|last| now - last);
                self.longest_gap = self.longest_gap.max(gap.unwrap_or_default());
            }
            Ok(status) => self.failed.push(format!("status {status}")),
            Err(why) => self.failed.push(why),
        }
    }
}

impl Traffic {
    /// `publisher` goes through the balancer.
    pub(crate) async fn start(publisher: &Client) -> Traffic {
        let first = publisher
            .publish(&Package::new("read-often", "1.0.0"))
            .await;
        first.expect_ok("the crate that is read");
        let stop = Arc::new(AtomicBool::new(false));
        let (reads, publishes) = (
            Arc::<Mutex<Tally>>::default(),
            Arc::<Mutex<Tally>>::default(),
        );
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(tokio::spawn(read(
                publisher.clone(),
                stop.clone(),
                reads.clone(),
            )));
        }
        for number in 0..2 {
            let (publisher, stop) = (publisher.clone(), stop.clone());
            clients.push(tokio::spawn(publish(
                publisher,
                number,
                stop,
                publishes.clone(),
            )));
        }
        Traffic {
            stop,
            clients,
            reads,
            publishes,
        }
    }

    /// Stops the clients, prints what became of their requests, and panics if one failed.
    pub(crate) async fn finish(self, during: &str) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client ends without a complaint");
        }
        let mut failed = Vec::new();
        for (what, tally) in [("index reads", self.reads), ("publishes", self.publishes)] {
            let tally = std::mem::take(&mut *tally.lock());
            figure(
                &format!("{what} that failed during {during}"),
                format!("{} of {}", tally.failed.len(), tally.sent),
            );
            figure(
                &format!("longest gap between {what} during {during}, ms"),
                tally.longest_gap.as_millis(),
            );
            failed.extend(tally.failed.into_iter().map(|why| format!("{what}: {why}")));
        }
        assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    }
}

async fn read(client: Client, stop: Arc<AtomicBool>, tally: Arc<Mutex<Tally>>) {
    while !stop.load(Ordering::Relaxed) {
        let path = "/index/re/ad/read-often";
        let answer = client.try_send(reqwest::Method::GET, path, None, &[]).await;
        let outcome = answer.map(|answer| answer.status);
        tally
            .lock()
            .count(outcome.map_err(|error| format!("{error:?}")));
        tokio::time::sleep(BETWEEN_READS).await;
    }
}

async fn publish(client: Client, number: usize, stop: Arc<AtomicBool>, tally: Arc<Mutex<Tally>>) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let version = format!("1.{round}.0");
        let package = Package::new(&format!("traffic-{number}-{}", round / 50), &version);
        let answer = client.try_publish(package.frame()).await;
        let outcome = match answer {
            Ok(answer) if answer.status != 200 => {
                Err(format!("{} {}", answer.status, answer.text()))
            }
            Ok(answer) => Ok(answer.status),
            Err(error) => Err(format!("{error:?}")),
        };
        tally.lock().count(outcome);
        round += 1;
        tokio::time::sleep(BETWEEN_PUBLISHES).await;
    }
}

//! Steady reading while something happens: how many reads failed is what tests want to be zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cratekeeper_tests::{Client, NO_TOKEN};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const CLIENTS: usize = 4;

/// Clients at work until [`Reads::finish`].
pub(crate) struct Reads {
    stop: Arc<AtomicBool>,
    done: watch::Sender<usize>,
    clients: Vec<JoinHandle<usize>>,
}

impl Reads {
    /// Each client asks for `path` again and again; only 200 is no failure.
    pub(crate) fn start(url: &str, path: &str) -> Reads {
        let stop = Arc::new(AtomicBool::new(false));
        let done = watch::Sender::new(0);
        let clients = (0..CLIENTS).map(|_| {
            let client = Client::new(url, NO_TOKEN);
            tokio::spawn(read(client, path.to_owned(), stop.clone(), done.clone()))
        });
        Reads {
            clients: clients.collect(),
            stop,
            done,
        }
    }

    /// Waits until `more` further reads are done.
    pub(crate) async fn progress(&self, more: usize) {
        let mut done = self.done.subscribe();
        let goal = *done.borrow() + more;
        let reached =
            tokio::time::timeout(Duration::from_secs(60), done.wait_for(|done| *done >= goal));
        assert!(reached.await.is_ok(), "no {more} further reads in a minute");
    }

    /// How many failed.
    pub(crate) async fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = 0;
        for client in self.clients {
            failed += client.await.expect("a client only counts");
        }
        failed
    }
}

async fn read(
    client: Client,
    path: String,
    stop: Arc<AtomicBool>,
    done: watch::Sender<usize>,
) -> usize {
    let mut failed = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = client
            .try_send(reqwest::Method::GET, &path, None, &[])
            .await;
        failed += usize::from(!answer.is_ok_and(|answer| answer.status == 200));
        done.send_modify(|done| *done += 1);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    failed
}

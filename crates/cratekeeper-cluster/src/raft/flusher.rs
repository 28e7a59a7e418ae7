//! One thread that makes the Raft log durable: it takes everything written so far, syncs once, and reports to all who wait.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use rocksdb::DB;
use tokio::sync::oneshot;

use super::types::TypeConfig;

enum Waiting {
    Raft(IOFlushed<TypeConfig>),
    Caller(oneshot::Sender<()>),
}

/// Dropping it syncs what is queued and joins the thread.
pub(crate) struct Flusher {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Flusher {
    pub(crate) fn start(db: Arc<DB>) -> io::Result<Flusher> {
        let (queue, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("raft-log-flush".into())
            .spawn(move || run(&db, &waiting))?;
        Ok(Flusher {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// `callback` fires when everything written before this call is on disk.
    pub(crate) fn flush(&self, callback: IOFlushed<TypeConfig>) {
        self.send(Waiting::Raft(callback));
    }

    /// Returns when everything written before this call is on disk.
    pub(crate) async fn flushed(&self) -> io::Result<()> {
        let (done, waiting) = oneshot::channel();
        self.send(Waiting::Caller(done));
        waiting
            .await
            .map_err(|_| io::Error::other("the log flusher has stopped"))
    }

    fn send(&self, waiting: Waiting) {
        if let Some(queue) = self.queue.lock().as_ref() {
            // The receiver only goes away when this does; the waiting one would see its channel closed.
            let _ = queue.send(waiting);
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

fn run(db: &DB, waiting: &mpsc::Receiver<Waiting>) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        group.extend(waiting.try_iter());
        let started = Instant::now();
        if let Err(error) = db.flush_wal(true) {
            // What the kernel dropped after a failed sync is unknown: going on would acknowledge what may be lost.
            tracing::error!(%error, "the Raft log could not be synced; the process stops");
            std::process::abort();
        }
        metrics::histogram!("cratekeeper_raft_log_sync_duration_seconds")
            .record(started.elapsed().as_secs_f64());
        metrics::histogram!("cratekeeper_raft_log_sync_writes").record(group.len() as f64);
        for waiting in group {
            match waiting {
                Waiting::Raft(callback) => callback.io_completed(Ok(())),
                Waiting::Caller(done) => drop(done.send(())),
            }
        }
    }
}

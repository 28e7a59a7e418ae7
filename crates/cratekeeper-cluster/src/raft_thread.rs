//! The runtime Raft and the peer service run on, apart from the one that serves clients: a flood of requests must not cost an election.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Ends with its last handle.
pub(crate) struct RaftThread {
    handle: Handle,
    stop: CancellationToken,
}

impl RaftThread {
    pub(crate) fn start() -> io::Result<RaftThread> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(3)
            .thread_name("raft")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        // A runtime must not be dropped inside another one, so it lives and dies on a thread of its own.
        std::thread::Builder::new()
            .name("raft-runtime".into())
            .spawn(move || {
                runtime.block_on(stopped.cancelled());
                runtime.shutdown_background();
            })?;
        Ok(RaftThread { handle, stop })
    }

    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }
}

impl Drop for RaftThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

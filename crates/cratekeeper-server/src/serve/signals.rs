//! What asks a node to stop: SIGTERM, SIGINT, or, for a child of `cratekeeper dev`, the end of its standard input.

use std::io::Read;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::Handover;

/// Heard from the moment it exists.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    input_ended: Option<oneshot::Receiver<()>>,
    /// What a signal asks for.
    handover: Handover,
}

impl Stop {
    pub(crate) fn on_signals(handover: Handover) -> anyhow::Result<Stop> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            input_ended: None,
            handover,
        })
    }

    /// Standard input ends however the parent ends, so that no node outlives it.
    pub(crate) fn or_end_of_input(self) -> Stop {
        let (sender, receiver) = oneshot::channel();
        // A thread of its own, because the runtime would wait for a read that never returns.
        std::thread::spawn(move || {
            let mut ignored = [0; 64];
            while let Ok(1..) = std::io::stdin().read(&mut ignored) {}
            let _ = sender.send(());
        });
        Stop {
            input_ended: Some(receiver),
            ..self
        }
    }

    /// Resolves when somebody asks, each time once.
    pub(crate) async fn asked(&mut self) -> Handover {
        tokio::select! {
            _ = self.terminate.recv() => self.handover,
            _ = self.interrupt.recv() => self.handover,
            () = ended(&mut self.input_ended) => Handover::Nothing,
        }
    }
}

/// The parent stops all nodes at once: nobody is left to lead.
async fn ended(input: &mut Option<oneshot::Receiver<()>>) {
    match input {
        Some(receiver) => {
            let _ = receiver.await;
            *input = None;
        }
        None => std::future::pending().await,
    }
}

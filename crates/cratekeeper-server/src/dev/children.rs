//! The child processes of `cratekeeper dev`: started, watched, stopped. Each one's standard input is a pipe from here, and a
//! node stops when it ends, so that no child outlives this process however it ends.

use std::fs::{File, OpenOptions};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::directory::{Directory, NodeEntry};

/// How long children may take to stop before they are killed.
const STOP_GRACE: Duration = Duration::from_secs(30);

pub(super) struct Children<'a> {
    directory: &'a Directory,
    entries: Vec<NodeEntry>,
    inputs: Vec<ChildStdin>,
    ends: mpsc::Receiver<End>,
    /// Dropping it kills what still runs.
    watches: JoinSet<()>,
}

/// The end of one child.
struct End {
    node: u32,
    status: std::io::Result<ExitStatus>,
}

impl<'a> Children<'a> {
    /// Starts a process per entry and lists them in `nodes.json`.
    pub(super) fn start(
        directory: &'a Directory,
        entries: Vec<NodeEntry>,
    ) -> anyhow::Result<Children<'a>> {
        let (sender, ends) = mpsc::channel(entries.len().max(1));
        let mut children = Children {
            directory,
            entries,
            inputs: Vec::new(),
            ends,
            watches: JoinSet::new(),
        };
        for entry in &mut children.entries {
            let mut child = command(entry)?
                .spawn()
                .with_context(|| format!("start node {}", entry.node))?;
            entry.pid = child.id();
            // Waiting for a child would close its input, so the input is kept apart.
            children.inputs.extend(child.stdin.take());
            let (node, sender) = (entry.node, sender.clone());
            children.watches.spawn(async move {
                let status = child.wait().await;
                let _ = sender.send(End { node, status }).await;
            });
        }
        children.write_down()?;
        Ok(children)
    }

    /// Waits for the end of any child, and says what happened and how to start it again.
    pub(super) async fn next_end(&mut self) -> anyhow::Result<String> {
        let Some(End { node, status }) = self.ends.recv().await else {
            return std::future::pending().await;
        };
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.node == node)
            .context("a child that was never started ended")?;
        entry.pid = None;
        let sentence = format!(
            "node {node} ended ({status}); its log is {}; start it again with: cratekeeper serve --config {}",
            entry.log().display(),
            entry.config.display()
        );
        self.write_down()?;
        Ok(sentence)
    }

    pub(super) fn any_left(&self) -> bool {
        self.entries.iter().any(|entry| entry.pid.is_some())
    }

    /// Asks all children to stop, waits, and kills those that do not.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.inputs.clear();
        let all = async { while self.watches.join_next().await.is_some() {} };
        let stopped = tokio::time::timeout(STOP_GRACE, all).await.is_ok();
        self.watches.shutdown().await;
        for entry in &mut self.entries {
            entry.pid = None;
        }
        self.write_down()?;
        anyhow::ensure!(stopped, "some nodes did not stop in time and were killed");
        Ok(())
    }

    fn write_down(&self) -> anyhow::Result<()> {
        self.directory.write_nodes(&self.entries)
    }
}

fn command(entry: &NodeEntry) -> anyhow::Result<Command> {
    let log = log(entry)?;
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--stop-with-input", "--config"])
        .arg(&entry.config)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().context("open the log twice")?)
        .stderr(log)
        // A group of its own: Ctrl-C reaches this process alone, which then stops the nodes in order.
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}

fn log(entry: &NodeEntry) -> anyhow::Result<File> {
    let path = entry.log();
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))
}

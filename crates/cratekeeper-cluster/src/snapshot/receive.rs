//! Takes in a snapshot that the leader sends: whatever of it is there already is not sent again.

mod inbox;

use std::path::{Path, PathBuf};
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::snapshot_part::Part;
use cratekeeper_wire::pb::peer::snapshot_reply::Reply;
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::timeout;
use tonic::Status;

use self::inbox::{Inbox, Refusal};
use super::manifest::{SnapshotManifest, meta};
use super::send::STALL;
use crate::raft::convert::{vote_from_pb, vote_to_pb};
use crate::raft::types::{Snapshot, Vote};

const ACKNOWLEDGE_BYTES: u64 = 4 * 1024 * 1024;
/// While a blocking step takes its time, the sender is told so.
const STILL_WORKING: Duration = Duration::from_secs(5);

/// What this node takes.
pub(crate) struct Intake {
    /// `data/incoming`.
    pub(crate) incoming: PathBuf,
    pub(crate) cluster: String,
    /// The newest form of state this node reads.
    pub(crate) state_format: u32,
    /// Held until this snapshot is installed or given up.
    pub(crate) turn: OwnedMutexGuard<()>,
}

/// Runs until the snapshot is installed or the transfer has failed, and tells the sender which; `install` hands the finished
/// directory to Raft and returns this node's vote, or why Raft did not take it.
pub(crate) async fn receive_snapshot<S, I, F>(
    parts: S,
    replies: mpsc::Sender<Result<pb::SnapshotReply, Status>>,
    intake: Intake,
    install: I,
) where
    S: Stream<Item = Result<pb::SnapshotPart, Status>> + Unpin,
    I: FnOnce(Vote, Snapshot) -> F,
    F: Future<Output = Result<Vote, String>>,
{
    let mut reception = Reception {
        parts,
        replies,
        stored: 0,
    };
    let reply = match reception.run(&intake, install).await {
        Ok(vote) => Reply::Installed(vote_to_pb(&vote)),
        Err(refusal) => {
            let Refusal { reason, resumable } = refusal;
            tracing::warn!(reason, "an incoming snapshot was not taken");
            Reply::Failure(pb::SnapshotFailure { reason, resumable })
        }
    };
    // Whoever asks next must not find the turn taken after hearing that this one is over.
    drop(intake);
    reception.reply(reply).await;
}

struct Reception<S> {
    parts: S,
    replies: mpsc::Sender<Result<pb::SnapshotReply, Status>>,
    /// Bytes of chunks since Begin.
    stored: u64,
}

impl<S> Reception<S>
where
    S: Stream<Item = Result<pb::SnapshotPart, Status>> + Unpin,
{
    async fn run<I, F>(&mut self, intake: &Intake, install: I) -> Result<Vote, Refusal>
    where
        I: FnOnce(Vote, Snapshot) -> F,
        F: Future<Output = Result<Vote, String>>,
    {
        let Part::Begin(begin) = self.part().await? else {
            return Err(Refusal::new("a transfer begins with a manifest"));
        };
        let vote = begin.vote.as_ref().map(vote_from_pb);
        let vote = vote.ok_or_else(|| Refusal::new("a transfer begins with a vote"))?;
        let manifest = begin.manifest.unwrap_or_default();
        check(&manifest, intake)?;
        let meta = meta(&manifest).map_err(|error| Refusal::new(error.to_string()))?;

        let incoming = intake.incoming.clone();
        let inbox = self
            .blocking(move || open_inbox(&incoming, manifest))
            .await?;
        let have = inbox.have();
        self.reply(Reply::Have(pb::SnapshotHave { bytes: have }))
            .await;
        let inbox = self.take_chunks(inbox).await?;
        let snapshot = self.blocking(move || inbox.finish()).await?;
        let installing = install(vote, Snapshot { meta, snapshot });
        self.while_working(installing).await.map_err(Refusal::new)
    }

    /// Until End.
    async fn take_chunks(&mut self, mut inbox: Inbox) -> Result<Inbox, Refusal> {
        let mut acknowledged = 0;
        loop {
            match self.part().await? {
                Part::Chunk(chunk) => {
                    let bytes = chunk.data.len() as u64;
                    inbox = self
                        .blocking(move || {
                            inbox.store(&chunk)?;
                            Ok(inbox)
                        })
                        .await?;
                    self.stored += bytes;
                }
                Part::End(_) => return Ok(inbox),
                Part::Begin(_) => return Err(Refusal::new("a transfer begins only once")),
            }
            if self.stored - acknowledged >= ACKNOWLEDGE_BYTES {
                acknowledged = self.stored;
                self.acknowledge().await;
            }
        }
    }

    async fn part(&mut self) -> Result<Part, Refusal> {
        let part = timeout(STALL, self.parts.next()).await;
        let part = part.map_err(|_| Refusal::new("the sender has stalled"))?;
        match part {
            Some(Ok(pb::SnapshotPart { part: Some(part) })) => Ok(part),
            Some(Ok(_)) => Err(Refusal::new(
                "the sender is of a release this node does not know",
            )),
            Some(Err(status)) => Err(Refusal::new(format!("the transfer broke: {status}"))),
            None => Err(Refusal::new("the transfer ended early")),
        }
    }

    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let work = tokio::task::spawn_blocking(work);
        match self.while_working(work).await {
            Ok(done) => done,
            Err(join) => Err(Refusal::new(format!("storing the snapshot failed: {join}"))),
        }
    }

    async fn while_working<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            match timeout(STILL_WORKING, work.as_mut()).await {
                Ok(done) => return done,
                Err(_) => self.acknowledge().await,
            }
        }
    }

    async fn acknowledge(&mut self) {
        self.reply(Reply::Ack(pb::SnapshotAck { bytes: self.stored }))
            .await;
    }

    /// A sender that has gone away is noticed by its parts ending.
    async fn reply(&mut self, reply: Reply) {
        let reply = pb::SnapshotReply { reply: Some(reply) };
        let _ = timeout(STALL, self.replies.send(Ok(reply))).await;
    }
}

fn check(manifest: &SnapshotManifest, intake: &Intake) -> Result<(), Refusal> {
    if manifest.cluster != intake.cluster {
        return Err(Refusal::new(format!(
            "the snapshot is of cluster `{}`, this node belongs to `{}`",
            manifest.cluster, intake.cluster
        )));
    }
    if manifest.min_reader_format > intake.state_format {
        return Err(Refusal::new(format!(
            "the snapshot (format {}, RocksDB {}) needs a reader of format {}, this node reads up to {}: upgrade it first",
            manifest.state_format,
            manifest.rocksdb,
            manifest.min_reader_format,
            intake.state_format
        )));
    }
    Ok(())
}

fn open_inbox(incoming: &Path, manifest: SnapshotManifest) -> Result<Inbox, Refusal> {
    std::fs::create_dir_all(incoming)?;
    Inbox::open(incoming, manifest)
}

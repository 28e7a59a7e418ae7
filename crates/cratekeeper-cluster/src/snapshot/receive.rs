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
    #[expect(dead_code, reason = "held, not read")]
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
                    metrics::counter!("cratekeeper_snapshot_received_bytes_total").increment(bytes);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cratekeeper_wire::pb::peer::SnapshotFile;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::snapshot::manifest::{SnapshotDirectory, describe_file};
    use crate::snapshot::send::{SendFailure, Transfer};

    const MIB: usize = 1024 * 1024;

    /// A sender with a snapshot, and the place where it is to arrive.
    struct Pair {
        source: tempfile::TempDir,
        incoming: tempfile::TempDir,
        turn: Arc<tokio::sync::Mutex<()>>,
    }

    struct Attempt {
        outcome: Result<Vote, SendFailure>,
        chunk_bytes: usize,
        installed: Option<SnapshotDirectory>,
    }

    impl Pair {
        fn new() -> Pair {
            let pair = Pair {
                source: tempfile::tempdir().unwrap(),
                incoming: tempfile::tempdir().unwrap(),
                turn: Arc::default(),
            };
            pair.write("000007.sst", &vec![1; 3 * MIB + 17]);
            pair.write("000009.sst", &vec![2; 2 * MIB]);
            pair.write("CURRENT", b"MANIFEST-000005\n");
            pair.write("EMPTY", b"");
            pair
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.source.path().join(name), bytes).unwrap();
        }

        fn snapshot(&self) -> SnapshotDirectory {
            let file = |name: &&str| describe_file(self.source.path(), name).unwrap();
            let names = ["000007.sst", "000009.sst", "CURRENT", "EMPTY"];
            let files: Vec<SnapshotFile> = names.iter().map(file).collect();
            let manifest = SnapshotManifest {
                cluster: "c1".into(),
                membership: Some(pb::StoredMembership::default()),
                min_reader_format: 1,
                files,
                ..SnapshotManifest::default()
            };
            SnapshotDirectory::new(self.source.path().to_owned(), manifest)
        }

        /// `meddle` sees every part on its way; `None` breaks the connection.
        async fn send(
            &self,
            snapshot: &SnapshotDirectory,
            mut meddle: impl FnMut(pb::SnapshotPart) -> Option<pb::SnapshotPart> + Send + 'static,
        ) -> Attempt {
            let (parts, mut on_the_way) = mpsc::channel::<pb::SnapshotPart>(1);
            let (arriving, arrived) = mpsc::channel(1);
            let (replies, answers) = mpsc::channel(4);
            let meddler = tokio::spawn(async move {
                let mut chunk_bytes = 0;
                while let Some(part) = on_the_way.recv().await {
                    let Some(part) = meddle(part) else { break };
                    if let Some(Part::Chunk(chunk)) = &part.part {
                        chunk_bytes += chunk.data.len();
                    }
                    if arriving.send(Ok(part)).await.is_err() {
                        break;
                    }
                }
                chunk_bytes
            });
            let intake = Intake {
                incoming: self.incoming.path().to_owned(),
                cluster: "c1".to_owned(),
                state_format: 1,
                turn: self.turn.clone().lock_owned().await,
            };
            let mut installed = None;
            let install = |_, snapshot: Snapshot| {
                installed = Some(snapshot.snapshot);
                futures::future::ready(Ok(Vote::new(9, 2)))
            };
            let receiving =
                receive_snapshot(ReceiverStream::new(arrived), replies, intake, install);
            let transfer = Transfer {
                parts,
                replies: ReceiverStream::new(answers),
                acknowledged: 0,
                sent: 0,
                pace: None,
            };
            let sending = transfer.run(Vote::new_committed(3, 1), snapshot.clone());
            let ((), outcome) = tokio::join!(receiving, sending);
            Attempt {
                outcome,
                chunk_bytes: meddler.await.unwrap(),
                installed,
            }
        }

        fn assert_arrived(&self, attempt: &Attempt) {
            assert_eq!(attempt.outcome, Ok(Vote::new(9, 2)));
            let there = attempt.installed.as_ref().unwrap();
            for file in &there.manifest.files {
                let (sent, arrived) = (self.source.path(), there.path.as_path());
                let read = |directory: &Path| std::fs::read(directory.join(&file.name)).unwrap();
                assert!(read(sent) == read(arrived), "{}", file.name);
            }
            let reopened = SnapshotDirectory::open(there.path.clone()).unwrap();
            assert_eq!(reopened.manifest, there.manifest);
        }
    }

    /// Breaks the connection at the chunk of this number, counted from 0.
    fn until(chunk: usize) -> impl FnMut(pb::SnapshotPart) -> Option<pb::SnapshotPart> + Send {
        let mut seen = 0;
        move |part| {
            seen += usize::from(matches!(part.part, Some(Part::Chunk(_))));
            (seen <= chunk).then_some(part)
        }
    }

    #[tokio::test]
    async fn a_snapshot_arrives_whole() {
        let pair = Pair::new();
        let attempt = pair.send(&pair.snapshot(), Some).await;
        pair.assert_arrived(&attempt);
        assert_eq!(attempt.chunk_bytes, 5 * MIB + 17 + 16);
    }

    #[tokio::test]
    async fn a_broken_transfer_goes_on_where_it_broke() {
        let pair = Pair::new();
        let snapshot = pair.snapshot();
        let broken = pair.send(&snapshot, until(5)).await;
        assert!(broken.outcome.is_err() && broken.installed.is_none());
        let resumed = pair.send(&snapshot, Some).await;
        pair.assert_arrived(&resumed);
        assert_eq!(broken.chunk_bytes + resumed.chunk_bytes, 5 * MIB + 17 + 16);
        // The answer was lost: everything is there, and it is only installed again.
        let again = pair.send(&snapshot, Some).await;
        pair.assert_arrived(&again);
        assert_eq!(again.chunk_bytes, 0);
    }

    #[tokio::test]
    async fn a_chunk_damaged_on_the_way_is_not_stored_and_sent_again() {
        let pair = Pair::new();
        let snapshot = pair.snapshot();
        let mut seen = 0;
        let damaged = pair
            .send(&snapshot, move |mut part| {
                if let Some(Part::Chunk(chunk)) = &mut part.part {
                    seen += 1;
                    if seen == 3 {
                        let mut data = chunk.data.to_vec();
                        data[4711] ^= 1;
                        chunk.data = data.into();
                    }
                }
                Some(part)
            })
            .await;
        let failure = damaged.outcome.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "`000007.sst` was damaged on the way at 2097152"
        );
        assert!(failure.resumable());
        let resumed = pair.send(&snapshot, Some).await;
        pair.assert_arrived(&resumed);
        assert_eq!(resumed.chunk_bytes, 3 * MIB + 17 + 16);
    }

    #[tokio::test]
    async fn what_rots_in_the_inbox_is_found_out() {
        let pair = Pair::new();
        let snapshot = pair.snapshot();
        // One file is complete and one begun when the transfer breaks; then both rot on this disk.
        pair.send(&snapshot, until(5)).await;
        let inbox = std::fs::read_dir(pair.incoming.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        for name in ["000007.sst", "000009.sst"] {
            let mut bytes = std::fs::read(inbox.path().join(name)).unwrap();
            bytes[0] ^= 1;
            std::fs::write(inbox.path().join(name), bytes).unwrap();
        }
        let attempt = pair.send(&snapshot, Some).await;
        let failure = attempt.outcome.unwrap_err();
        assert_eq!(
            failure.to_string(),
            "`000009.sst` is not what was announced"
        );
        let attempt = pair.send(&snapshot, Some).await;
        pair.assert_arrived(&attempt);
    }

    #[tokio::test]
    async fn a_newer_snapshot_takes_over_the_files_that_are_the_same() {
        let pair = Pair::new();
        pair.send(&pair.snapshot(), until(6)).await;
        pair.write("CURRENT", b"MANIFEST-000031\n");
        pair.write("000009.sst", &vec![3; 2 * MIB]);
        let attempt = pair.send(&pair.snapshot(), Some).await;
        pair.assert_arrived(&attempt);
        assert_eq!(attempt.chunk_bytes, 2 * MIB + 16);
        let left = std::fs::read_dir(pair.incoming.path()).unwrap().count();
        assert_eq!(left, 1);
    }

    #[tokio::test]
    async fn a_foreign_or_too_new_snapshot_is_refused_before_anything_is_sent() {
        let pair = Pair::new();
        let refused = async |change: fn(&mut SnapshotManifest)| {
            let mut manifest = pair.snapshot().manifest.as_ref().clone();
            change(&mut manifest);
            let path = pair.source.path().to_owned();
            let attempt = pair
                .send(&SnapshotDirectory::new(path, manifest), Some)
                .await;
            assert_eq!(attempt.chunk_bytes, 0);
            let failure = attempt.outcome.unwrap_err();
            assert!(!failure.resumable());
            failure.to_string()
        };
        assert_eq!(
            refused(|manifest| manifest.cluster = "c2".into()).await,
            "the snapshot is of cluster `c2`, this node belongs to `c1`"
        );
        assert_eq!(
            refused(|manifest| manifest.min_reader_format = 2).await,
            "the snapshot (format 0, RocksDB ) needs a reader of format 2, this node reads up to 1: upgrade it first"
        );
        assert_eq!(
            refused(|manifest| manifest.files[0].name = "../NODE".into()).await,
            "a file name in the snapshot manifest is malformed"
        );
    }
}

//! Sends a snapshot to a follower, going on from what it already has. The frames are in `peer.proto`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_wire::pb::peer as pb;
use cratekeeper_wire::pb::peer::peer_client::PeerClient;
use cratekeeper_wire::pb::peer::snapshot_part::Part;
use cratekeeper_wire::pb::peer::snapshot_reply::Reply;
use futures::{Stream, StreamExt};
use openraft::errors::{NetworkError, StreamingError, Unreachable};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::manifest::SnapshotDirectory;
use crate::peer::Stamp;
use crate::raft::convert::{vote_from_pb, vote_to_pb};
use crate::raft::types::{TypeConfig, Vote};

/// Of one chunk.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;
/// Sent and not yet acknowledged.
const WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// Without a byte or a sign of life for so long, the transfer is given up; the next attempt resumes it.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// Why a snapshot did not arrive.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct SendFailure {
    reason: String,
    /// Trying again at once may succeed.
    resumable: bool,
}

impl SendFailure {
    fn later(reason: impl Into<String>) -> SendFailure {
        SendFailure {
            reason: reason.into(),
            resumable: false,
        }
    }
}

#[cfg(test)]
impl SendFailure {
    pub(super) fn resumable(&self) -> bool {
        self.resumable
    }
}

impl From<Status> for SendFailure {
    fn from(status: Status) -> SendFailure {
        SendFailure::later(format!("{}: {}", status.code(), status.message()))
    }
}

impl From<io::Error> for SendFailure {
    fn from(error: io::Error) -> SendFailure {
        SendFailure::later(format!("the snapshot cannot be read: {error}"))
    }
}

impl From<SendFailure> for StreamingError<TypeConfig> {
    fn from(failure: SendFailure) -> StreamingError<TypeConfig> {
        if failure.resumable {
            StreamingError::Network(NetworkError::from_string(failure))
        } else {
            StreamingError::Unreachable(Unreachable::from_string(failure))
        }
    }
}

/// Returns the receiver's vote when it has installed the snapshot or has no need of it; sends at most `rate` bytes a second. Dropping the future ends the transfer.
pub(crate) async fn send_snapshot(
    mut client: PeerClient<Channel>,
    stamp: &Stamp,
    vote: Vote,
    snapshot: SnapshotDirectory,
    rate: Option<u64>,
) -> Result<Vote, SendFailure> {
    let (parts, outgoing) = mpsc::channel(2);
    let mut call = Request::new(ReceiverStream::new(outgoing));
    stamp.put(call.metadata_mut());
    let replies = timeout(STALL, client.snapshot(call)).await;
    let replies = replies.map_err(|_| SendFailure::later("no answer in time"))??;
    let transfer = Transfer {
        parts,
        replies: replies.into_inner(),
        acknowledged: 0,
        sent: 0,
        pace: rate.map(Pace::new),
    };
    transfer.run(vote, snapshot).await
}

/// One attempt, over any pair of streams.
pub(super) struct Transfer<S> {
    pub(super) parts: mpsc::Sender<pb::SnapshotPart>,
    pub(super) replies: S,
    pub(super) acknowledged: u64,
    pub(super) sent: u64,
    pub(super) pace: Option<Pace>,
}

/// Keeps a transfer from taking the whole network from those who are served meanwhile.
pub(super) struct Pace {
    began: Instant,
    bytes_per_second: u64,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Pace {
        Pace {
            began: Instant::now(),
            bytes_per_second,
        }
    }

    /// Returns when `sent` bytes may have been sent since the beginning.
    async fn keep(&self, sent: u64) {
        let seconds = sent as f64 / self.bytes_per_second as f64;
        sleep_until(self.began + Duration::from_secs_f64(seconds)).await;
    }
}

enum Heard {
    Have(Vec<u64>),
    Progress,
    Installed(Vote),
}

impl<S> Transfer<S>
where
    S: Stream<Item = Result<pb::SnapshotReply, Status>> + Unpin,
{
    pub(super) async fn run(
        mut self,
        vote: Vote,
        snapshot: SnapshotDirectory,
    ) -> Result<Vote, SendFailure> {
        let begin = pb::SnapshotBegin {
            vote: Some(vote_to_pb(&vote)),
            manifest: Some(snapshot.manifest.as_ref().clone()),
        };
        self.send(Part::Begin(begin)).await?;
        let have = loop {
            match self.hear().await? {
                Heard::Have(have) => break have,
                Heard::Progress => {}
                Heard::Installed(vote) => return Ok(vote),
            }
        };
        if have.len() != snapshot.manifest.files.len() {
            return Err(SendFailure::later(
                "the receiver answers for another snapshot",
            ));
        }
        for (place, file) in snapshot.manifest.files.iter().enumerate() {
            let path = snapshot.path.join(&file.name);
            self.send_file(place, path, have[place], file.size).await?;
        }
        self.send(Part::End(pb::SnapshotEnd {})).await?;
        loop {
            if let Heard::Installed(vote) = self.hear().await? {
                return Ok(vote);
            }
        }
    }

    async fn send_file(
        &mut self,
        place: usize,
        path: PathBuf,
        mut offset: u64,
        size: u64,
    ) -> Result<(), SendFailure> {
        if offset >= size {
            return Ok(());
        }
        let mut file = blocking(move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        })
        .await?;
        while offset < size {
            while self.sent.saturating_sub(self.acknowledged) >= WINDOW_BYTES {
                self.hear().await?;
            }
            let wanted = (size - offset).min(CHUNK_BYTES as u64) as usize;
            let (same_file, data) = blocking(move || {
                let mut data = vec![0; wanted];
                file.read_exact(&mut data)?;
                Ok((file, Bytes::from(data)))
            })
            .await?;
            file = same_file;
            let chunk = pb::SnapshotChunk {
                file: place as u32,
                offset,
                crc32c: crc32c::crc32c(&data),
                data,
            };
            self.send(Part::Chunk(chunk)).await?;
            offset += wanted as u64;
            metrics::counter!("cratekeeper_snapshot_sent_bytes_total").increment(wanted as u64);
            self.sent += wanted as u64;
            if let Some(pace) = &self.pace {
                pace.keep(self.sent).await;
            }
        }
        Ok(())
    }

    async fn send(&mut self, part: Part) -> Result<(), SendFailure> {
        let part = pb::SnapshotPart { part: Some(part) };
        match timeout(STALL, self.parts.send(part)).await {
            Ok(Ok(())) => Ok(()),
            // The receiver has said why before it hung up.
            Ok(Err(_)) => loop {
                self.hear().await?;
            },
            Err(_) => Err(SendFailure::later("the receiver takes no more")),
        }
    }

    async fn hear(&mut self) -> Result<Heard, SendFailure> {
        let reply = timeout(STALL, self.replies.next()).await;
        let reply = reply.map_err(|_| SendFailure::later("the receiver gives no sign of life"))?;
        let reply = reply.ok_or_else(|| SendFailure::later("the receiver closed the transfer"))?;
        match reply?.reply {
            Some(Reply::Have(have)) => Ok(Heard::Have(have.bytes)),
            Some(Reply::Ack(ack)) => {
                self.acknowledged = ack.bytes;
                Ok(Heard::Progress)
            }
            Some(Reply::Installed(vote)) => Ok(Heard::Installed(vote_from_pb(&vote))),
            Some(Reply::Failure(failure)) => Err(SendFailure {
                reason: failure.reason,
                resumable: failure.resumable,
            }),
            None => Ok(Heard::Progress),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(join) => Err(io::Error::other(join)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_transfer_keeps_its_pace() {
        let began = Instant::now();
        let pace = Pace::new(1_000_000);
        pace.keep(3_000_000).await;
        let took = began.elapsed().as_millis();
        assert!((3_000..3_010).contains(&took), "{took}");
        // What took longer by itself is not held up.
        pace.keep(2_000_000).await;
        assert_eq!(began.elapsed().as_millis(), took);
    }
}

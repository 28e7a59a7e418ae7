//! Reads that must not be older than what somebody has seen: index files behind a client's ETag, and ReadIndex over the leader.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::api::{IndexFile, ReadError};
use crate::node::Node;
use crate::peer::{Asked, NoQuorum};
use crate::store::StorageError;

/// A follower is rarely further behind than this; asking the leader comes after it.
const SOON: Duration = Duration::from_millis(100);
const BARRIER_WITHIN: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

impl Node {
    /// See `Cluster::index_file`.
    pub(crate) async fn index_file(
        &self,
        lower_name: &str,
        known_position: Option<u64>,
    ) -> Result<Option<Arc<IndexFile>>, ReadError> {
        if !self.caught_up.load(Ordering::Acquire) {
            return Err(ReadError::NotReady);
        }
        let is_fresh = |file: &Option<Arc<IndexFile>>| match (known_position, file) {
            (None, _) => true,
            (Some(known), Some(file)) => known <= file.position,
            (Some(_), None) => false,
        };
        let file = self.state.index_file(lower_name)?;
        if is_fresh(&file) {
            return Ok(file);
        }
        let mut progress = self.state.progress();
        let soon = Instant::now() + SOON;
        while tokio::time::timeout_at(soon, progress.changed())
            .await
            .is_ok_and(|changed| changed.is_ok())
        {
            let file = self.state.index_file(lower_name)?;
            if is_fresh(&file) {
                return Ok(file);
            }
        }
        // If it is older even behind the barrier, the client's ETag is from another history.
        self.barrier(Instant::now() + BARRIER_WITHIN).await?;
        Ok(self.state.index_file(lower_name)?)
    }

    /// Everything acknowledged before this call is applied here when it returns.
    pub(crate) async fn barrier(&self, deadline: Instant) -> Result<(), ReadError> {
        let index = self
            .read_index(deadline)
            .await
            .map_err(|NoQuorum| ReadError::Behind)?;
        if self.wait_applied(index, deadline).await {
            Ok(())
        } else {
            Err(ReadError::Behind)
        }
    }

    /// The log index everything acknowledged before is at or below, from the leader wherever it is.
    pub(crate) async fn read_index(&self, deadline: Instant) -> Result<u64, NoQuorum> {
        while Instant::now() < deadline {
            let Some(member) = self.member() else {
                return Err(NoQuorum);
            };
            let asked = match member.leader() {
                Some((leader, _)) if leader == member.identity.node => {
                    member.read_index(deadline).await
                }
                Some((leader, at)) => member.network.read_index(leader, &at, deadline).await,
                None => Err(Asked::NotLeader(None)),
            };
            if let Ok(index) = asked {
                return Ok(index);
            }
            sleep_until(deadline.min(Instant::now() + PAUSE)).await;
        }
        Err(NoQuorum)
    }
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> ReadError {
        ReadError::Storage(Box::new(error))
    }
}

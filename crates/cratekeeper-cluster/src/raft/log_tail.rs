//! The end of the log in memory: what is known of it without reading the disk, and its newest entries.

use std::collections::VecDeque;

use super::types::{Entry, LogId, Vote};

/// The newest entries stay in memory, so that replication and apply do not read the disk; bounded by both.
const CACHED_ENTRIES_MAX: usize = 16 * 1024;
const CACHED_BYTES_MAX: usize = 64 << 20;

/// What is known of the log without reading it.
pub(super) struct Tail {
    pub(super) vote: Option<Vote>,
    pub(super) last_purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    cached: VecDeque<Entry>,
    cached_bytes: usize,
}

impl Tail {
    pub(super) fn new(vote: Option<Vote>, last_purged: Option<LogId>, last: Option<LogId>) -> Tail {
        Tail {
            vote,
            last_purged,
            last,
            cached: VecDeque::new(),
            cached_bytes: 0,
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.last = Some(entry.log_id);
        self.cached_bytes += weight(&entry);
        self.cached.push_back(entry);
        while self.cached.len() > CACHED_ENTRIES_MAX || self.cached_bytes > CACHED_BYTES_MAX {
            self.pop_oldest();
        }
    }

    pub(super) fn purge(&mut self, log_id: LogId) {
        self.last_purged = Some(log_id);
        self.last = self.last.max(Some(log_id));
        while self
            .cached
            .front()
            .is_some_and(|entry| entry.log_id.index <= log_id.index)
        {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(entry) = self.cached.pop_front() {
            self.cached_bytes -= weight(&entry);
        }
    }

    pub(super) fn truncate_after(&mut self, index: Option<u64>) {
        while self
            .cached
            .back()
            .is_some_and(|entry| index.is_none_or(|index| index < entry.log_id.index))
        {
            if let Some(entry) = self.cached.pop_back() {
                self.cached_bytes -= weight(&entry);
            }
        }
    }

    /// The entries of `[start, end)` if all that exist of them are cached, bounded by bytes.
    pub(super) fn read(&self, start: u64, end: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.cached.front()?.log_id.index;
        if start < first {
            return None;
        }
        let skip = usize::try_from(start - first).ok()?;
        let take = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let within = self
            .cached
            .iter()
            .skip(skip)
            .take(take)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += weight(entry);
                first || bytes <= bytes_max
            });
        Some(within.cloned().collect())
    }
}

pub(super) fn weight(entry: &Entry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(proposal) => proposal.bytes.len() + 128,
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => 256,
    }
}

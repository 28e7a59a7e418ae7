//! Every limit of the HTTP side that is not configured, with its reason.

use std::time::Duration;

/// JSON bodies other than a publish: owner lists and administration. A list of a hundred logins is 7 KB.
pub(crate) const JSON_BODY_BYTES_MAX: usize = 64 * 1024;

/// A refused upload is read to its end, because cargo only looks at the answer after it has sent everything; but not for ever.
pub(crate) const DRAIN_BYTES_MAX: u64 = 256 * 1024 * 1024;
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// A whole upload, however steadily it trickles: it holds one of few places.
pub(crate) const UPLOAD_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// Waiting for one of those places; cargo gives up after 30 s of silence, so the refusal has to come before.
pub(crate) const PUBLISH_WAIT_MAX: Duration = Duration::from_secs(10);

/// cargo tries an index file or a download four times and obeys this up to 10 s: three pauses of 5 s outlast a restart and an
/// election without making a short trouble long.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 5;

/// cargo's own range and default for `cargo search --limit`.
pub(crate) const SEARCH_PER_PAGE_MAX: usize = 100;
pub(crate) const SEARCH_PER_PAGE_DEFAULT: usize = 10;
/// A page costs as much as all pages before it; nobody reads further than this.
pub(crate) const SEARCH_RESULTS_MAX: usize = 10_000;
/// Each word is several passes over the terms of the search index.
pub(crate) const SEARCH_WORDS_MAX: usize = 8;
pub(crate) const SEARCH_WORD_CHARS_MAX: usize = 64;

/// Lists of accounts and events, per answer.
pub(crate) const LIST_ITEMS_MAX: usize = 1000;
pub(crate) const LIST_ITEMS_DEFAULT: usize = 100;

/// Open event streams on one node: each is a task and a connection that stays.
pub(crate) const EVENT_STREAMS_MAX: usize = 64;
/// An open stream looks this often whether its token is still good: reads stop within a second of a revocation.
pub(crate) const EVENT_STREAM_RECHECK: Duration = Duration::from_secs(1);
/// Events read at once for an open stream.
pub(crate) const EVENT_STREAM_BATCH: usize = 100;

/// Backups being read from one node; each holds a batch of records in memory.
pub(crate) const BACKUP_STREAMS_MAX: usize = 4;
pub(crate) const BACKUP_BATCH_BYTES: usize = 256 * 1024;

/// Adding or removing a node: a new one first receives a snapshot of everything.
pub(crate) const MEMBERSHIP_TIME_MAX: Duration = Duration::from_secs(120);

/// A request id of the client's, kept in our log line beside ours.
pub(crate) const CLIENT_REQUEST_ID_CHARS_MAX: usize = 64;

/// Clients whose rate is counted apart; some 10 MB. Beyond it those without a token share one bucket.
pub(crate) const RATE_LIMIT_KEYS_MAX: usize = 100_000;
/// Requests between two looks for clients that can be forgotten: often enough to bound them, too seldom to be felt.
pub(crate) const RATE_LIMIT_SWEEP_REQUESTS: u64 = 4096;
/// cargo obeys no longer `retry-after`.
pub(crate) const RATE_LIMIT_PAUSE_SECONDS_MAX: u32 = 10;

/// Asking the leader whether a token unknown here exists: a few at once, briefly.
pub(crate) const TOKEN_CONFIRMATIONS_MAX: usize = 8;
pub(crate) const TOKEN_CONFIRMATION_TIME_MAX: Duration = Duration::from_secs(1);

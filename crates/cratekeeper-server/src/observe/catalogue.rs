//! Every metric a node exports: the one list that `/metrics`, the reference for users and the tests go by.
//! Whoever records a new one adds a row here; a test scrapes a cluster and finds those that were forgotten.

use std::fmt::Write;

use metrics::Unit;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
    /// Where it is not on every node of a cluster: when it is there.
    pub(crate) only: Option<&'static str>,
}

impl Metric {
    const fn new(
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Metric {
        Metric {
            name,
            kind,
            labels,
            help,
            only: None,
        }
    }

    const fn only(mut self, when: &'static str) -> Metric {
        self.only = Some(when);
        self
    }

    pub(crate) fn kind_word(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }

    /// Told by the end of the name, as Prometheus wants it.
    pub(crate) fn unit(&self) -> Unit {
        let base = self.name.trim_end_matches("_total");
        if base.ends_with("_seconds") {
            Unit::Seconds
        } else if base.ends_with("_bytes") {
            Unit::Bytes
        } else {
            Unit::Count
        }
    }
}

/// From a point read in memory to a publish that waits for a new leader.
const SECONDS: Kind = Kind::Histogram(&[
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
]);
/// From a small snapshot to many gigabytes over a slow link.
const LONG_SECONDS: Kind = Kind::Histogram(&[
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
]);
/// How many things were done at once.
const AT_ONCE: Kind = Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]);

const LEADER: &str = "on the leader";
const TRACES: &str = "where traces are exported";
const TLS: &str = "where TLS is on";
const BACKUP: &str = "where backups are scheduled";
const LIMIT: &str = "where requests are limited";

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric::new(Kind::Counter, name, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric::new(Kind::Gauge, name, labels, help)
}

const fn histogram(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric::new(kind, name, labels, help)
}

/// Sections of the reference, each with its rows.
pub(crate) const CATALOGUE: &[(&str, &[Metric])] = &[
    ("The node", NODE),
    ("HTTP", HTTP),
    ("The registry", REGISTRY),
    ("Raft", RAFT),
    ("Snapshots", SNAPSHOTS),
    ("Storage", STORAGE),
    ("Tarball store", TARBALLS),
    ("Operation", OPERATION),
    ("The process", PROCESS),
];

const NODE: &[Metric] = &[
    gauge(
        "cratekeeper_build_info",
        &["version"],
        "1; the label says which release runs.",
    ),
    gauge(
        "cratekeeper_config_info",
        &["hash"],
        "1; the label is a hash of the settings that all nodes of a cluster should share.",
    ),
    gauge(
        "cratekeeper_ready",
        &[],
        "1 if the node takes reads and writes to forward, as /readyz says.",
    ),
    gauge(
        "cratekeeper_write_ready",
        &[],
        "1 if writes would succeed, as /readyz/write says.",
    ),
    gauge(
        "cratekeeper_draining",
        &[],
        "1 from the moment the node is drained or stops.",
    ),
    gauge(
        "cratekeeper_feature_level",
        &[],
        "What the cluster may decide by; it is raised when all members can.",
    ),
];

const HTTP: &[Metric] = &[
    counter(
        "cratekeeper_http_requests_total",
        &["method", "route", "status"],
        "Requests answered; status `none`: the client hung up before there was an answer.",
    ),
    histogram(
        SECONDS,
        "cratekeeper_http_request_duration_seconds",
        &["method", "route"],
        "From the head of a request to the head of its answer.",
    ),
    counter(
        "cratekeeper_http_request_bytes_total",
        &["method", "route"],
        "Bytes of request bodies received.",
    ),
    counter(
        "cratekeeper_http_response_bytes_total",
        &["method", "route"],
        "Bytes of response bodies sent, compressed where they were.",
    ),
    gauge(
        "cratekeeper_http_requests_in_flight",
        &[],
        "Requests whose answer is not sent completely, open event streams included.",
    ),
];

const REGISTRY: &[Metric] = &[
    counter(
        "cratekeeper_index_requests_total",
        &["outcome"],
        "Index files asked for: `sent`, `unchanged` (304), `missing` (404), `failed`.",
    ),
    counter(
        "cratekeeper_publishes_total",
        &["outcome"],
        "Publishes: `accepted`, `already` (the same bytes were there), a kind of rejection (`invalid`, `too_large`, `unauthenticated`, `forbidden`, `missing`, `conflict`), `too_slow`, `unknown` (may have happened), `unavailable`, `fault`, `abandoned` (the client hung up).",
    ),
    histogram(
        SECONDS,
        "cratekeeper_publish_duration_seconds",
        &[],
        "Of a publish, with its upload.",
    ),
    counter(
        "cratekeeper_downloads_total",
        &["source"],
        "Tarballs handed out: `stream` by this node, or `redirect` to the store.",
    ),
    counter(
        "cratekeeper_download_bytes_total",
        &[],
        "Bytes of tarballs streamed to clients.",
    ),
    counter(
        "cratekeeper_token_checks_total",
        &["outcome"],
        "Tokens presented: `accepted`, `refused` (revoked, expired, account disabled), `unknown`, `malformed`, `failed` (could not be looked up).",
    ),
    gauge(
        "cratekeeper_events_sequence",
        &[],
        "Sequence of the newest event applied on this node.",
    ),
    counter(
        "cratekeeper_events_applied_total",
        &["type"],
        "Events applied by this node since it started, those of its log included.",
    ),
    gauge(
        "cratekeeper_search_sequence",
        &[],
        "Sequence of the newest event that the search index has taken in.",
    ),
];

const RAFT: &[Metric] = &[
    gauge("cratekeeper_raft_term", &[], "The current term."),
    gauge(
        "cratekeeper_raft_leader_known",
        &[],
        "1 if the node knows a leader.",
    ),
    gauge("cratekeeper_raft_is_leader", &[], "1 on the leader."),
    gauge(
        "cratekeeper_raft_is_voter",
        &[],
        "1 on a node that has a vote.",
    ),
    gauge(
        "cratekeeper_raft_members",
        &["role"],
        "Members of the cluster by role, as this node knows it.",
    ),
    counter(
        "cratekeeper_raft_leader_changes_total",
        &[],
        "Leaders this node has seen, its first one included.",
    ),
    counter(
        "cratekeeper_raft_elections_total",
        &[],
        "Elections in which this node stood.",
    ),
    gauge(
        "cratekeeper_raft_last_log_index",
        &[],
        "Index of the newest entry of the log.",
    ),
    gauge(
        "cratekeeper_raft_committed_index",
        &[],
        "Index up to which the log is committed, as far as this node knows.",
    ),
    gauge(
        "cratekeeper_raft_applied_index",
        &[],
        "Index of the newest entry applied.",
    ),
    gauge(
        "cratekeeper_raft_apply_lag_entries",
        &[],
        "Entries committed and not yet applied here.",
    ),
    gauge(
        "cratekeeper_raft_snapshot_index",
        &[],
        "Index of the newest entry in the newest snapshot.",
    ),
    gauge(
        "cratekeeper_raft_purged_index",
        &[],
        "Index of the newest entry that was dropped from the log.",
    ),
    gauge(
        "cratekeeper_raft_quorum_ack_age_seconds",
        &[],
        "Since a majority last confirmed this leader.",
    )
    .only(LEADER),
    gauge(
        "cratekeeper_raft_peer_lag_entries",
        &["peer"],
        "Entries that the peer (a node id) is not known to have.",
    )
    .only(LEADER),
    gauge(
        "cratekeeper_raft_peer_heard_age_seconds",
        &["peer"],
        "Since the peer last answered.",
    )
    .only(LEADER),
    gauge(
        "cratekeeper_raft_peer_connected",
        &["peer"],
        "1 if the peer reports on an open append stream.",
    )
    .only(LEADER),
    counter(
        "cratekeeper_raft_proposals_total",
        &["outcome"],
        "Proposals of this node while it led: `stored`, `conflict` (decided again), `not_leader`, `unknown` (no answer in time), `fault`.",
    ),
    histogram(
        SECONDS,
        "cratekeeper_raft_proposal_duration_seconds",
        &[],
        "From a proposal to its application on the leader.",
    )
    .only(LEADER),
    counter(
        "cratekeeper_commands_forwarded_total",
        &["outcome"],
        "Commands passed to the leader: `answered`, `not_leader`, `unknown`.",
    ),
    histogram(
        SECONDS,
        "cratekeeper_raft_log_append_duration_seconds",
        &[],
        "Of handing entries to the log's database; they are not yet durable.",
    ),
    histogram(
        AT_ONCE,
        "cratekeeper_raft_log_append_entries",
        &[],
        "Entries appended at once.",
    ),
    histogram(
        SECONDS,
        "cratekeeper_raft_log_sync_duration_seconds",
        &[],
        "Of one fsync of the log.",
    ),
    histogram(
        AT_ONCE,
        "cratekeeper_raft_log_sync_writes",
        &[],
        "Writes made durable by one fsync.",
    ),
    histogram(
        SECONDS,
        "cratekeeper_raft_apply_duration_seconds",
        &[],
        "Of applying one batch of entries.",
    ),
    histogram(
        AT_ONCE,
        "cratekeeper_raft_apply_entries",
        &[],
        "Entries applied in one batch.",
    ),
];

const SNAPSHOTS: &[Metric] = &[
    gauge(
        "cratekeeper_snapshot_bytes",
        &[],
        "Size of the newest snapshot.",
    ),
    histogram(
        LONG_SECONDS,
        "cratekeeper_snapshot_build_duration_seconds",
        &[],
        "Of hashing and publishing a snapshot.",
    ),
    histogram(
        LONG_SECONDS,
        "cratekeeper_snapshot_install_duration_seconds",
        &[],
        "Of installing a snapshot that was received whole.",
    ),
    histogram(
        LONG_SECONDS,
        "cratekeeper_snapshot_send_duration_seconds",
        &[],
        "Of sending a snapshot until the other node has installed it.",
    )
    .only(LEADER),
    counter(
        "cratekeeper_snapshot_sends_total",
        &["outcome"],
        "Snapshots sent: `delivered`, `failed`.",
    )
    .only(LEADER),
    counter(
        "cratekeeper_snapshot_sent_bytes_total",
        &[],
        "Bytes of snapshots sent.",
    )
    .only(LEADER),
    counter(
        "cratekeeper_snapshot_received_bytes_total",
        &[],
        "Bytes of snapshots received.",
    ),
];

const STORAGE: &[Metric] = &[
    gauge(
        "cratekeeper_data_disk_size_bytes",
        &[],
        "Size of the file system of the data directory.",
    ),
    gauge(
        "cratekeeper_data_disk_free_bytes",
        &[],
        "What is free on it.",
    ),
    gauge(
        "cratekeeper_data_bytes",
        &["part"],
        "Bytes of files of the data directory, by directory; snapshots share files with the state, which count in both.",
    ),
    gauge(
        "cratekeeper_rocksdb_block_cache_bytes",
        &["db"],
        "Memory of the block cache; db is `state` or `raftlog`.",
    ),
    gauge(
        "cratekeeper_rocksdb_memtable_bytes",
        &["db"],
        "Memory of what is written and not yet flushed.",
    ),
    gauge(
        "cratekeeper_rocksdb_table_bytes",
        &["db"],
        "Bytes of table files.",
    ),
    gauge(
        "cratekeeper_rocksdb_table_files",
        &["db"],
        "Live table files.",
    ),
    gauge(
        "cratekeeper_rocksdb_pending_compaction_bytes",
        &["db"],
        "What compaction still has to rewrite, estimated.",
    ),
    gauge(
        "cratekeeper_rocksdb_running_compactions",
        &["db"],
        "Compactions under way.",
    ),
    gauge(
        "cratekeeper_rocksdb_running_flushes",
        &["db"],
        "Flushes under way.",
    ),
    counter(
        "cratekeeper_rocksdb_background_errors_total",
        &["db"],
        "Flushes and compactions that failed since the database was opened.",
    ),
    gauge(
        "cratekeeper_rocksdb_writes_stopped",
        &["db"],
        "1 while writes wait for compaction.",
    ),
    gauge(
        "cratekeeper_rocksdb_delayed_write_rate_bytes",
        &["db"],
        "What writes are slowed down to, in bytes a second; 0: they are not.",
    ),
];

const TARBALLS: &[Metric] = &[
    counter(
        "cratekeeper_tarball_store_requests_total",
        &["store", "operation", "outcome"],
        "Calls to the tarball store: `ok`, `absent`, `corrupt`, `unavailable`; store is `s3` or `disk`.",
    ),
    histogram(
        SECONDS,
        "cratekeeper_tarball_store_request_duration_seconds",
        &["store", "operation"],
        "Of a call; for `get` until the first bytes.",
    ),
    counter(
        "cratekeeper_tarball_store_written_bytes_total",
        &[],
        "Bytes of tarballs stored, those that were there already included.",
    ),
    counter(
        "cratekeeper_tarball_store_read_bytes_total",
        &[],
        "Bytes of tarballs read.",
    ),
    counter(
        "cratekeeper_tarball_streams_failed_total",
        &["outcome"],
        "Tarballs that could not be read to their end: `corrupt` (not what the checksum says), `broken`.",
    ),
];

const OPERATION: &[Metric] = &[
    counter(
        "cratekeeper_trace_spans_total",
        &["outcome"],
        "Spans exported: `sent`, `failed`.",
    )
    .only(TRACES),
    gauge(
        "cratekeeper_tls_certificate_expiry_timestamp_seconds",
        &["port"],
        "When the certificate of the port (`http`, `peer`) ends, in seconds since 1970.",
    )
    .only(TLS),
    counter(
        "cratekeeper_tls_reloads_total",
        &["port", "outcome"],
        "Certificates read again because their files had changed: `loaded`, `refused` (the ones from before stay in use).",
    )
    .only(TLS),
    gauge(
        "cratekeeper_backup_last_success_timestamp_seconds",
        &[],
        "When the newest backup was complete, in seconds since 1970.",
    )
    .only(BACKUP),
    histogram(
        LONG_SECONDS,
        "cratekeeper_backup_duration_seconds",
        &[],
        "Of a backup.",
    )
    .only(BACKUP),
    counter("cratekeeper_backup_events_total", &[], "Events backed up.").only(BACKUP),
    counter(
        "cratekeeper_backup_failures_total",
        &[],
        "Backups that failed.",
    )
    .only(BACKUP),
    counter(
        "cratekeeper_rate_limited_requests_total",
        &["client"],
        "Requests refused because their sender, a `token` or an `address`, asked too often.",
    )
    .only(LIMIT),
];

const PROCESS: &[Metric] = &[
    counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time, user and system.",
    ),
    gauge("process_open_fds", &[], "Open file descriptors."),
    gauge("process_max_fds", &[], "The most there may be."),
    gauge("process_virtual_memory_bytes", &[], "Virtual memory."),
    gauge("process_resident_memory_bytes", &[], "Resident memory."),
    gauge(
        "process_start_time_seconds",
        &[],
        "When the process started, in seconds since 1970.",
    ),
    gauge("process_threads", &[], "Threads."),
];

pub(crate) fn all() -> impl Iterator<Item = &'static Metric> {
    CATALOGUE.iter().flat_map(|(_, metrics)| metrics.iter())
}

pub(crate) fn find(name: &str) -> Option<&'static Metric> {
    all().find(|metric| metric.name == name)
}

/// The reference for users.
pub(crate) fn markdown() -> String {
    let mut text = "# Metrics\n\nWhat `GET /metrics` on the ops port shows, in the text format of Prometheus. Printed by \
        `cratekeeper metrics`.\n"
        .to_owned();
    for (section, metrics) in CATALOGUE {
        let _ = write!(
            text,
            "\n## {section}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"
        );
        for metric in *metrics {
            let labels: Vec<String> = metric
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let only = metric
                .only
                .map(|when| format!(" Only {when}."))
                .unwrap_or_default();
            let (name, kind) = (metric.name, metric.kind_word());
            let _ = writeln!(
                text,
                "| `{name}` | {kind} | {} | {}{only} |",
                labels.join(", "),
                metric.help
            );
        }
    }
    text
}

pub(crate) fn json() -> Value {
    let rows = all().map(|metric| {
        json!({
            "name": metric.name,
            "type": metric.kind_word(),
            "unit": metric.unit().as_str(),
            "labels": metric.labels,
            "help": metric.help,
            "only": metric.only,
        })
    });
    json!({ "metrics": rows.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in all() {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(
                name.starts_with("cratekeeper_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            assert!(!name.contains("_ms") && !name.contains("_kib"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
            assert!(
                !metric.labels.contains(&"crate"),
                "{name} has a label without bound"
            );
        }
    }
}

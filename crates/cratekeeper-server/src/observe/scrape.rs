//! `/metrics`: what was recorded as it happened, and what is read from the node now.

use cratekeeper_cluster::{Cluster, DatabaseGauges, Gauges, MemberRole, RaftGauges};
use metrics_exporter_prometheus::PrometheusHandle;

use super::samples::Samples;

/// Everything, as text.
pub(crate) async fn scrape(recorded: &PrometheusHandle, cluster: &Cluster) -> String {
    let mut samples = Samples::default();
    let readiness = cluster.readiness();
    samples.put("cratekeeper_ready", flag(readiness.ready));
    samples.put("cratekeeper_write_ready", flag(readiness.write_ready));
    samples.put("cratekeeper_draining", flag(cluster.is_draining()));
    if let Ok(level) = cluster.feature_level() {
        samples.put("cratekeeper_feature_level", f64::from(level));
    }
    node(&mut samples, &cluster.gauges().await);
    process(&mut samples);
    let mut text = recorded.render();
    samples.render(&mut text);
    text
}

fn node(samples: &mut Samples, gauges: &Gauges) {
    samples.put("cratekeeper_events_sequence", gauges.sequence as f64);
    if let Some(gauges) = &gauges.raft {
        raft(samples, gauges);
    }
    for gauges in &gauges.databases {
        database(samples, gauges);
    }
    if let Some(disk) = gauges.disk {
        samples.put("cratekeeper_data_disk_size_bytes", disk.size_bytes as f64);
        samples.put("cratekeeper_data_disk_free_bytes", disk.free_bytes as f64);
    }
    for (part, bytes) in &gauges.directories {
        samples.put_with("cratekeeper_data_bytes", &[("part", part)], *bytes as f64);
    }
}

fn raft(samples: &mut Samples, raft: &RaftGauges) {
    samples.put("cratekeeper_raft_term", raft.term as f64);
    samples.put("cratekeeper_raft_leader_known", flag(raft.leader_known));
    samples.put("cratekeeper_raft_is_leader", flag(raft.is_leader));
    samples.put("cratekeeper_raft_is_voter", flag(raft.is_voter));
    for (role, count) in &raft.members {
        let role = match role {
            MemberRole::Voter => "voter",
            MemberRole::Learner => "learner",
            MemberRole::Reader => "reader",
        };
        samples.put_with("cratekeeper_raft_members", &[("role", role)], *count as f64);
    }
    samples.put("cratekeeper_raft_last_log_index", raft.last_log as f64);
    samples.put("cratekeeper_raft_committed_index", raft.committed as f64);
    samples.put("cratekeeper_raft_applied_index", raft.applied as f64);
    let lag = raft.committed.saturating_sub(raft.applied);
    samples.put("cratekeeper_raft_apply_lag_entries", lag as f64);
    samples.put("cratekeeper_raft_snapshot_index", raft.snapshot as f64);
    samples.put("cratekeeper_raft_purged_index", raft.purged as f64);
    if !raft.is_leader {
        return;
    }
    if let Some(age) = raft.quorum_ack_age {
        samples.put("cratekeeper_raft_quorum_ack_age_seconds", age.as_secs_f64());
    }
    for peer in &raft.peers {
        let id = peer.node.to_string();
        let of = [("peer", id.as_str())];
        samples.put_with("cratekeeper_raft_peer_lag_entries", &of, peer.lag as f64);
        samples.put_with("cratekeeper_raft_peer_connected", &of, flag(peer.connected));
        if let Some(heard) = peer.heard {
            let age = heard.as_secs_f64();
            samples.put_with("cratekeeper_raft_peer_heard_age_seconds", &of, age);
        }
    }
}

fn database(samples: &mut Samples, gauges: &DatabaseGauges) {
    for (name, value) in [
        (
            "cratekeeper_rocksdb_block_cache_bytes",
            gauges.block_cache_bytes,
        ),
        ("cratekeeper_rocksdb_memtable_bytes", gauges.memtable_bytes),
        ("cratekeeper_rocksdb_table_bytes", gauges.table_bytes),
        ("cratekeeper_rocksdb_table_files", gauges.table_files),
        (
            "cratekeeper_rocksdb_pending_compaction_bytes",
            gauges.pending_compaction_bytes,
        ),
        (
            "cratekeeper_rocksdb_running_compactions",
            gauges.running_compactions,
        ),
        (
            "cratekeeper_rocksdb_running_flushes",
            gauges.running_flushes,
        ),
        (
            "cratekeeper_rocksdb_background_errors_total",
            gauges.background_errors,
        ),
        (
            "cratekeeper_rocksdb_writes_stopped",
            u64::from(gauges.writes_stopped),
        ),
        (
            "cratekeeper_rocksdb_delayed_write_rate_bytes",
            gauges.delayed_write_rate,
        ),
    ] {
        samples.put_with(name, &[("db", gauges.name)], value as f64);
    }
}

fn process(samples: &mut Samples) {
    let process = metrics_process::collector::collect();
    let count = |value: Option<u64>| value.map(|value| value as f64);
    for (name, value) in [
        ("process_cpu_seconds_total", process.cpu_seconds_total),
        ("process_open_fds", count(process.open_fds)),
        ("process_max_fds", count(process.max_fds)),
        (
            "process_virtual_memory_bytes",
            count(process.virtual_memory_bytes),
        ),
        (
            "process_resident_memory_bytes",
            count(process.resident_memory_bytes),
        ),
        (
            "process_start_time_seconds",
            count(process.start_time_seconds),
        ),
        ("process_threads", count(process.threads)),
    ] {
        if let Some(value) = value {
            samples.put(name, value);
        }
    }
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

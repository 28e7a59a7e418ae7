//! Is this node fit to be asked? What probes and load balancers are told, question by question. Never about quorum: every node
//! can serve the index and tarballs without one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use crate::api::{Check, NodeRole, Readiness};
use crate::node::{Member, Node};
use crate::raft::types::Raft;

/// A node that knows of more log than this beyond what it has applied stops being ready, and is again below the second.
const LAG_ENTRIES_MAX: u64 = 5_000;
const LAG_ENTRIES_AGAIN: u64 = 500;

const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

type Metrics = openraft::RaftMetrics<crate::raft::types::TypeConfig>;

impl Node {
    pub(crate) fn readiness(&self) -> Readiness {
        let mut checks = vec![check(
            "draining",
            !self.draining.load(Ordering::Acquire),
            "this node is not draining",
            "this node is draining",
        )];
        match self.member() {
            None => checks.push(check(
                "membership",
                false,
                "",
                "this node is not in a cluster yet",
            )),
            Some(member) => checks.extend(self.checks_of(member)),
        }
        let write = self.write_check();
        let failed = checks.iter().find(|check| !check.passed);
        let ready = failed.is_none();
        let reason = match failed {
            Some(failed) => failed.found.clone(),
            None if write.passed => "ready".to_owned(),
            None => format!("ready for reads; {}", write.found),
        };
        let write_ready = ready && write.passed;
        checks.push(write);
        Readiness {
            ready,
            write_ready,
            reason,
            checks,
        }
    }

    /// See `Cluster::readiness_for_writes`: a leader that lost its majority does not know, nor does who still hears it.
    pub(crate) async fn readiness_for_writes(&self) -> Readiness {
        let mut readiness = self.readiness();
        let deadline = tokio::time::Instant::now() + CONFIRM_WITHIN;
        if readiness.write_ready && self.read_index(deadline).await.is_err() {
            readiness.write_ready = false;
            readiness.reason = "ready for reads; no majority follows the leader".to_owned();
            readiness.checks.pop();
            let unled = check("leader", false, "", "no majority follows the leader");
            readiness.checks.push(unled);
        }
        readiness
    }

    fn checks_of(&self, member: &Member) -> [Check; 4] {
        // Cloned: holding what it lends while Raft wants to write stops Raft.
        let metrics = metrics_of(&member.raft);
        let caught_up = self.caught_up.load(Ordering::Acquire);
        let lag = lag_of(&metrics);
        let lagging = match self.lagging.load(Ordering::Acquire) {
            false => LAG_ENTRIES_MAX < lag,
            true => LAG_ENTRIES_AGAIN < lag,
        };
        self.lagging.store(lagging, Ordering::Release);
        [
            check(
                "raft",
                metrics.running_state.is_ok(),
                "Raft runs",
                "Raft has stopped on this node",
            ),
            membership(member.identity.node, &metrics),
            check(
                "caught-up",
                caught_up,
                "this node has caught up with the cluster since it started",
                "this node has not caught up with the cluster since it started",
            ),
            Check {
                name: "lag",
                passed: !lagging,
                found: format!("this node is {lag} log entries behind"),
            },
        ]
    }

    /// As far as this node knows by itself.
    fn write_check(&self) -> Check {
        let no = |found: &str| check("leader", false, "", found);
        let Some(member) = self.member() else {
            return no("no leader is known");
        };
        let metrics = metrics_of(&member.raft);
        let Some(leader) = metrics.current_leader else {
            return no("no leader is known");
        };
        Check {
            name: "leader",
            passed: true,
            found: format!("node {leader} leads"),
        }
    }
}

fn metrics_of(raft: &Raft) -> Metrics {
    raft.metrics().borrow_watched().clone()
}

/// Entries that are known to exist, here or in the cluster, and are not applied.
fn lag_of(metrics: &Metrics) -> u64 {
    let applied = metrics.last_applied.map_or(0, |id| id.index);
    let committed = metrics.cluster_committed.map_or(0, |id| id.index);
    let known = metrics.last_log_index.unwrap_or(0).max(committed);
    known.saturating_sub(applied)
}

/// A node that is to vote is no full member before it does: during a rolling restart the next one must not go.
fn membership(node: u64, metrics: &Metrics) -> Check {
    let committed = metrics.committed_membership_config.membership();
    let found = match committed.get_node(&node) {
        None => "this node is not a member of the cluster",
        Some(_) if committed.voter_ids().any(|voter| voter == node) => {
            return check("membership", true, "this node is a voter", "");
        }
        Some(at) if at.role == NodeRole::Reader => {
            return check("membership", true, "this node is a reader", "");
        }
        Some(_) => "this node is not a voter yet",
    };
    check("membership", false, "", found)
}

fn check(name: &'static str, passed: bool, yes: &str, no: &str) -> Check {
    Check {
        name,
        passed,
        found: if passed { yes } else { no }.to_owned(),
    }
}

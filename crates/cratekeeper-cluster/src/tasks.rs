//! What runs beside Raft on a member: catching up once after the start, reporting progress, watching for the end,
//! and on the leader making voters of learners that have caught up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::api::Failure;
use crate::elections;
use crate::node::{Member, Node};

/// One try to learn from the leader how far there is to go.
const CATCH_UP_TRY: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
/// How often the leader looks for learners to promote, and a node whether it still is a member.
const LOOK_EVERY: Duration = Duration::from_millis(300);
const STORAGE_EVERY: Duration = Duration::from_secs(2);
/// Looks between two comparisons of the history with the leader's: about ten seconds.
const COMPARE_EVERY: u64 = 33;

pub(crate) fn start(node: &Arc<Node>, _member: &Member) {
    node.thread.spawn(catch_up(node.clone()));
    node.thread.spawn(report(node.clone()));
    node.thread.spawn(watch_raft(node.clone()));
    node.thread.spawn(look_after_membership(node.clone()));
    node.thread.spawn(watch_storage(node.clone()));
    node.thread.spawn(elections::count(node.clone()));
}

/// Until once everything acknowledged before has been applied here: only then is "no such crate" known to be true.
async fn catch_up(node: Arc<Node>) {
    while !node.stopping.is_cancelled() {
        let deadline = Instant::now() + CATCH_UP_TRY;
        if let Ok(index) = node.read_index(deadline).await
            && node.wait_applied(index, deadline).await
            && node.compare_history().await
            // A founder is a cluster of its own before the founding is in the history.
            && node.feature_level().is_ok_and(|level| 0 < level)
        {
            node.caught_up.store(true, Ordering::Release);
            node.report();
            warn_of_another_role(&node);
            return;
        }
        sleep_until(Instant::now() + PAUSE).await;
    }
}

/// Roles are given when a node joins; a changed configuration does not change them.
fn warn_of_another_role(node: &Node) {
    let Some(member) = node.member() else { return };
    let me = member.identity.node;
    let here = member.members().into_iter().find(|(node, _)| *node == me);
    if let Some((_, here)) = here
        && here.role != node.options.role
    {
        tracing::warn!(
            joined = ?here.role,
            configured = ?node.options.role,
            "node.role is not what this node joined as, and has no effect; to change it, remove the node and let it join with an empty data directory"
        );
    }
}

async fn report(node: Arc<Node>) {
    let Some(member) = node.member() else { return };
    let (mut progress, mut metrics) = (node.state.progress(), member.raft.server_metrics());
    loop {
        node.report();
        let changed = async {
            tokio::select! {
                changed = progress.changed() => changed.is_ok(),
                changed = metrics.changed() => changed.is_ok(),
            }
        };
        tokio::select! {
            () = node.stopping.cancelled() => return,
            changed = changed => if !changed { return },
        }
    }
}

/// The process ends with Raft: a node that cannot apply must not look alive.
async fn watch_raft(node: Arc<Node>) {
    let Some(member) = node.member() else { return };
    let mut metrics = member.raft.metrics();
    loop {
        let stopped = metrics
            .borrow_and_update()
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string);
        if let Some(why) = stopped {
            if !node.stopping.is_cancelled() {
                node.fail(Failure::Broken(format!("Raft stopped: {why}")));
            }
            return;
        }
        tokio::select! {
            () = node.stopping.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() {
                if !node.stopping.is_cancelled() {
                    node.fail(Failure::Broken("Raft stopped".to_owned()));
                }
                return;
            },
        }
    }
}

/// RocksDB goes on reading after a flush or compaction has failed, and would lose what comes.
async fn watch_storage(node: Arc<Node>) {
    let mut ticks = interval(STORAGE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = node.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let errors = node.state.live().background_errors();
        let errors = errors.map(|errors| errors + (node.log_errors)());
        let why = match errors {
            Ok(0) => continue,
            Ok(errors) => format!("RocksDB reports {errors} background errors"),
            Err(error) => format!("RocksDB cannot be asked: {error}"),
        };
        node.fail(Failure::Broken(why));
        return;
    }
}

async fn look_after_membership(node: Arc<Node>) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1_u64.. {
        tokio::select! {
            () = node.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        node.promote_learners().await;
        node.raise_feature_level().await;
        if tick.is_multiple_of(COMPARE_EVERY) {
            node.compare_history().await;
        }
        node.ask_whether_removed().await;
        if node.was_removed().await {
            node.note_removal();
            return;
        }
    }
}

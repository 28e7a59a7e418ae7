//! What the leader has heard from the others: which of them answer clients, and how far each has applied the log.
//! It lets a write wait, for a bounded time, until whichever node the client asks next has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cratekeeper_domain::FIRST_LEVEL;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// A lagging peer is waited for again once it applies within this time what others already wait for.
const CAUGHT_UP: Duration = Duration::from_millis(200);

/// How far a node has applied the log; what it reports about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AppliedReport {
    /// Index of the newest log entry applied.
    pub(crate) applied_index: u64,
    /// Of the newest event.
    pub(crate) sequence: u64,
    /// It answers clients.
    pub(crate) ready: bool,
    /// It is about to stop.
    pub(crate) draining: bool,
}

/// What runs on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) release: String,
    /// The highest feature level it takes.
    pub(crate) feature_level_max: u32,
}

impl About {
    /// Release 0.1.0 does not say it.
    fn unsaid() -> About {
        About {
            release: FIRST_LEVEL.since.to_owned(),
            feature_level_max: FIRST_LEVEL.level,
        }
    }
}

/// One peer as last heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerReport {
    pub(crate) report: AppliedReport,
    pub(crate) heard: Instant,
    /// An append stream to it is open.
    pub(crate) connected: bool,
    /// It missed a deadline and has not caught up since: writes do not wait for it.
    pub(crate) lagging: bool,
}

#[derive(Debug)]
struct Peer {
    /// `None` until it has reported on the present stream.
    report: Option<PeerReport>,
    connection: Option<u64>,
    /// As said on the present stream.
    about: Option<About>,
    /// While lagging: what it has to reach, and when that was set.
    goal: Option<(u64, Instant)>,
}

#[derive(Debug, Default)]
struct Table {
    peers: BTreeMap<u64, Peer>,
    connections: u64,
    /// The highest index a write has waited for.
    awaited: u64,
}

/// The table; one per node, fed by the append streams it opens while it leads.
#[derive(Debug)]
pub(crate) struct Peers {
    table: Mutex<Table>,
    /// The least index applied among the peers that are waited for; `u64::MAX` while there are none.
    everywhere: watch::Sender<u64>,
}

impl Peers {
    pub(crate) fn new() -> Arc<Peers> {
        Arc::new(Peers {
            table: Mutex::default(),
            everywhere: watch::Sender::new(u64::MAX),
        })
    }

    /// An append stream to `node` was opened. The peer counts from its first report until the connection is dropped.
    pub(crate) fn connect(self: &Arc<Peers>, node: u64) -> Connection {
        let mut table = self.table.lock();
        table.connections += 1;
        let connection = table.connections;
        let peer = table.peers.entry(node).or_insert(Peer {
            report: None,
            connection: None,
            about: None,
            goal: None,
        });
        peer.connection = Some(connection);
        peer.about = None;
        Connection {
            peers: self.clone(),
            node,
            connection,
        }
    }

    pub(crate) fn get(&self, node: u64) -> Option<PeerReport> {
        self.table.lock().peers.get(&node)?.report
    }

    /// What runs there; `None` while it is not connected or has not reported yet.
    pub(crate) fn about(&self, node: u64) -> Option<About> {
        let table = self.table.lock();
        let peer = table.peers.get(&node)?;
        let connected = peer.report.is_some_and(|report| report.connected);
        connected.then(|| peer.about.clone().unwrap_or_else(About::unsaid))
    }

    fn introduce(&self, node: u64, connection: u64, about: About) {
        if let Some(peer) = self.table.lock().peers.get_mut(&node)
            && peer.connection == Some(connection)
        {
            peer.about = Some(about);
        }
    }

    /// A removed node: nothing about it is kept.
    pub(crate) fn forget(&self, node: u64) {
        let mut table = self.table.lock();
        table.peers.remove(&node);
        self.publish(&table);
    }

    /// Returns when every connected, ready peer that keeps up has applied `index`, or at `deadline`. Those that missed it are
    /// lagging from then on. True if nobody missed it.
    pub(crate) async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        {
            let mut table = self.table.lock();
            table.awaited = table.awaited.max(index);
        }
        let mut everywhere = self.everywhere.subscribe();
        let reached = everywhere.wait_for(|least| *least >= index);
        if tokio::time::timeout_at(deadline, reached).await.is_ok() {
            return true;
        }
        self.give_up_on_those_behind(index);
        false
    }

    fn give_up_on_those_behind(&self, index: u64) {
        let mut table = self.table.lock();
        let goal = (table.awaited, Instant::now());
        for (node, peer) in &mut table.peers {
            let Some(report) = peer.report.as_mut().filter(|report| counts(report)) else {
                continue;
            };
            if report.report.applied_index < index {
                report.lagging = true;
                peer.goal = Some(goal);
                let behind = index - report.report.applied_index;
                tracing::warn!(node, behind, "writes no longer wait for a peer that lags");
            }
        }
        self.publish(&table);
    }

    fn report(&self, node: u64, connection: u64, report: AppliedReport, now: Instant) {
        let mut table = self.table.lock();
        let awaited = table.awaited;
        let Some(peer) = table.peers.get_mut(&node) else {
            return;
        };
        if peer.connection != Some(connection) {
            return;
        }
        if let Some((goal, since)) = peer.goal
            && report.applied_index >= goal
        {
            let in_time = now.duration_since(since) <= CAUGHT_UP;
            peer.goal = (!in_time).then_some((awaited, now));
        }
        peer.report = Some(PeerReport {
            report,
            heard: now,
            connected: true,
            lagging: peer.goal.is_some(),
        });
        self.publish(&table);
    }

    fn disconnect(&self, node: u64, connection: u64) {
        let mut table = self.table.lock();
        let Some(peer) = table.peers.get_mut(&node) else {
            return;
        };
        if peer.connection != Some(connection) {
            return;
        }
        peer.connection = None;
        if let Some(report) = &mut peer.report {
            report.connected = false;
        }
        self.publish(&table);
    }

    fn publish(&self, table: &Table) {
        let reports = table.peers.values().filter_map(|peer| peer.report.as_ref());
        let least = reports
            .filter(|report| counts(report))
            .map(|report| report.report.applied_index)
            .min()
            .unwrap_or(u64::MAX);
        self.everywhere.send_if_modified(|published| {
            let moved = *published != least;
            *published = least;
            moved
        });
    }
}

fn counts(report: &PeerReport) -> bool {
    report.connected && report.report.ready && !report.lagging
}

/// An open append stream to a peer; dropping it takes the peer out of what writes wait for, at once.
#[derive(Debug)]
pub(crate) struct Connection {
    peers: Arc<Peers>,
    node: u64,
    connection: u64,
}

impl Connection {
    pub(crate) fn introduce(&self, about: About) {
        self.peers.introduce(self.node, self.connection, about);
    }

    pub(crate) fn report(&self, report: AppliedReport) {
        self.peers
            .report(self.node, self.connection, report, Instant::now());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.peers.disconnect(self.node, self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(applied_index: u64, ready: bool) -> AppliedReport {
        AppliedReport {
            applied_index,
            sequence: applied_index,
            ready,
            draining: false,
        }
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn nobody_connected_means_nobody_to_wait_for() {
        assert!(Peers::new().wait_applied(7, late()).await);
    }

    #[tokio::test]
    async fn a_write_waits_for_the_slowest_ready_peer() {
        let peers = Peers::new();
        let (two, three, joining) = (peers.connect(2), peers.connect(3), peers.connect(4));
        two.report(at(7, true));
        three.report(at(6, true));
        joining.report(at(0, false));
        let waiting = tokio::spawn({
            let peers = peers.clone();
            async move { peers.wait_applied(7, late()).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        three.report(at(7, true));
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_broken_stream_ends_the_wait_but_an_older_one_does_not_count() {
        let peers = Peers::new();
        let old = peers.connect(2);
        let new = peers.connect(2);
        new.report(at(6, true));
        drop(old);
        assert!(peers.get(2).unwrap().connected);
        let waiting = tokio::spawn({
            let peers = peers.clone();
            async move { peers.wait_applied(7, late()).await }
        });
        tokio::task::yield_now().await;
        drop(new);
        assert!(waiting.await.unwrap());
        assert!(!peers.get(2).unwrap().connected);
    }

    #[tokio::test]
    async fn a_peer_that_says_nothing_about_itself_is_of_the_first_release() {
        let peers = Peers::new();
        let two = peers.connect(2);
        assert_eq!(peers.about(2), None);
        two.report(at(1, true));
        assert_eq!(peers.about(2), Some(About::unsaid()));
        let newer = About {
            release: "9.0.0".to_owned(),
            feature_level_max: 9,
        };
        two.introduce(newer.clone());
        assert_eq!(peers.about(2), Some(newer));
        // It may come back with an older release.
        let again = peers.connect(2);
        drop(two);
        again.report(at(1, true));
        assert_eq!(peers.about(2), Some(About::unsaid()));
    }

    #[tokio::test]
    async fn a_peer_that_misses_the_deadline_is_waited_for_again_when_it_keeps_up() {
        let peers = Peers::new();
        let two = peers.connect(2);
        two.report(at(6, true));
        assert!(!peers.wait_applied(7, Instant::now()).await);
        assert!(peers.get(2).unwrap().lagging);

        // Nobody waits for it now, and reaching the old goal late only sets it a new one.
        assert!(peers.wait_applied(9, late()).await);
        let later = Instant::now() + Duration::from_secs(1);
        peers.report(2, two.connection, at(8, true), later);
        assert!(peers.get(2).unwrap().lagging);
        peers.report(2, two.connection, at(9, true), later + CAUGHT_UP);
        assert!(!peers.get(2).unwrap().lagging);
        assert!(!peers.wait_applied(10, Instant::now()).await);
    }
}

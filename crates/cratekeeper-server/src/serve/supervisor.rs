//! What the node tells the supervisor that started it (systemd, by `NOTIFY_SOCKET`): when it is ready, how it is, that it lives,
//! that it stops. Without one it says nothing.

use std::time::Duration;

use cratekeeper_cluster::Cluster;
use sd_notify::NotifyState;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Catching up may take long, and is not a hang: each look asks for this much more time to start.
const STILL_STARTING: Duration = Duration::from_secs(30);

/// Until it is dropped.
pub(super) async fn tell(cluster: Cluster) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(LOOK_EVERY, |patience| LOOK_EVERY.min(patience / 3));
    let mut ticks = tokio::time::interval(every);
    let (mut was_ready, mut status) = (false, String::new());
    loop {
        ticks.tick().await;
        let readiness = cluster.readiness();
        let mut news = Vec::new();
        if readiness.ready && !was_ready {
            was_ready = true;
            news.push(NotifyState::Ready);
        }
        if !was_ready {
            let more = u32::try_from(STILL_STARTING.as_micros()).unwrap_or(u32::MAX);
            news.push(NotifyState::ExtendTimeoutUsec(more));
        }
        if watchdog.is_some() && cluster.alive().await.is_ok() {
            news.push(NotifyState::Watchdog);
        }
        if status != readiness.reason {
            status = readiness.reason;
            news.push(NotifyState::Status(&status));
        }
        send(&news);
    }
}

pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}

//! How a node leaves without anybody noticing: not ready at once, the others able to agree without it, leadership handed over, and
//! served on until load balancers have looked. Once in a process, whoever asks first: SIGTERM or `cratekeeper drain`.

use std::time::Duration;

use cratekeeper_cluster::Cluster;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::config::DrainSettings;

/// How long handing over the leadership may take.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(10);

/// What there is to say about a node that has left: nothing, or why the others may miss it.
pub(crate) type Left = Result<(), String>;

pub(crate) struct Drain {
    cluster: Cluster,
    settings: DrainSettings,
    begun: Mutex<Option<Shared<BoxFuture<'static, Left>>>>,
}

impl Drain {
    pub(crate) fn new(cluster: Cluster, settings: DrainSettings) -> Drain {
        Drain {
            cluster,
            settings,
            begun: Mutex::new(None),
        }
    }

    /// The one drain of this process; begun now unless it is under way or over. It goes on if the future is dropped. `within` is
    /// for all of it, where the caller has less time than is configured.
    pub(crate) fn begin(&self, within: Option<Duration>) -> Shared<BoxFuture<'static, Left>> {
        let mut begun = self.begun.lock();
        if let Some(under_way) = &*begun {
            return under_way.clone();
        }
        let mut settings = self.settings;
        if let Some(within) = within {
            let rest = within.saturating_sub(settings.linger + HAND_OVER_WITHIN / 2);
            settings.wait = settings.wait.min(rest);
        }
        let leaving = tokio::spawn(leave(self.cluster.clone(), settings));
        let left = async move { leaving.await.unwrap_or_else(|error| Err(error.to_string())) };
        begun.insert(left.boxed().shared()).clone()
    }
}

async fn leave(cluster: Cluster, settings: DrainSettings) -> Left {
    let unready = Instant::now();
    cluster.begin_drain();
    if cluster.is_alone() {
        return Ok(());
    }
    tracing::info!("draining: not ready any more");
    let mut left = cluster.wait_dispensable(unready + settings.wait).await;
    if let Err(why) = &left {
        tracing::warn!(
            why,
            "the others may not be able to agree without this node, which leaves all the same"
        );
    }
    if let Err(error) = cluster.step_aside(Instant::now() + HAND_OVER_WITHIN).await {
        tracing::warn!(%error, "the leadership was not handed over");
        left = left.and(Err(format!("the leadership was not handed over: {error}")));
    }
    sleep_until(unready + settings.linger).await;
    tracing::info!(seconds = unready.elapsed().as_secs_f64(), "drained");
    left
}

//! Waiting: for a condition, with a deadline, in one place.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(40);

/// Polls `probe` until it gives a value; panics, naming `what`, when `within` has passed without one.
pub async fn wait_for<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {within:?} in vain: {what}"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Polls `holds` until it is true; panics, naming `what`, when `within` has passed.
pub async fn wait_until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    wait_for(what, within, async || holds().await.then_some(())).await;
}

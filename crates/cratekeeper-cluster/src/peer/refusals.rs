//! What was refused, and why, in the log: once a minute for the same node and reason, because nodes try again and again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Beyond this, everything is forgotten and told anew.
const KNOWN_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: Mutex<HashMap<(String, String), Instant>>,
}

impl Refusals {
    /// `why` continues "the other node …".
    pub(super) fn tell(&self, node: &str, why: &str) {
        if self.is_news(node, why) {
            tracing::warn!(
                node,
                "a connection between nodes is refused: the other node {why}"
            );
        }
    }

    fn is_news(&self, node: &str, why: &str) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock();
        if told.len() >= KNOWN_MAX {
            told.clear();
        }
        let last = told.insert((node.to_owned(), why.to_owned()), now);
        if let Some(last) = last
            && now.duration_since(last) < AGAIN_AFTER
        {
            told.insert((node.to_owned(), why.to_owned()), last);
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_a_minute() {
        let refusals = Refusals::default();
        assert!(refusals.is_news("a", "is late"));
        assert!(!refusals.is_news("a", "is late"));
        assert!(refusals.is_news("b", "is late"));
        assert!(refusals.is_news("a", "is another"));
        tokio::time::advance(AGAIN_AFTER).await;
        assert!(refusals.is_news("a", "is late"));
    }
}

//! Search over crate names, descriptions and keywords: an index of this node's own, folded from the history as it grows.
//! It may lag behind for a moment and can be deleted at any time; it is then built again.

mod documents;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cratekeeper_cluster::{Cluster, VersionSummary};
use cratekeeper_domain::{CanonicalName, StreamId};
use parking_lot::RwLock;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use documents::{Document, Documents, Writer};

pub(crate) use documents::Found;

/// Events folded into one commit, at most: a rebuild of a long history stays bounded in memory.
const EVENTS_PER_COMMIT: usize = 1000;
/// Between two commits, each of which syncs files: a burst of publishes becomes a few of them.
const COMMIT_PAUSE: Duration = Duration::from_millis(200);
/// After trouble with the disk or before the node has joined.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The search index of this node; cheap to clone.
#[derive(Clone)]
pub(crate) struct Search {
    cluster: Cluster,
    dir: PathBuf,
    documents: Arc<RwLock<Arc<Documents>>>,
}

impl Search {
    /// Opens the index in `dir`; one that is missing, damaged or of another schema starts empty.
    pub(crate) async fn open(dir: PathBuf, cluster: Cluster) -> anyhow::Result<Search> {
        let opened = dir.clone();
        let documents = spawn_blocking(move || Documents::open_or_create(&opened))
            .await?
            .with_context(|| format!("open the search index in {}", dir.display()))?;
        Ok(Search {
            cluster,
            dir,
            documents: Arc::new(RwLock::new(Arc::new(documents))),
        })
    }

    /// Follows the history for as long as it is polled; it never returns.
    pub(crate) async fn follow(&self) {
        loop {
            match self.follow_until_trouble().await {
                Ok(never) => match never {},
                Err(Trouble::Cluster(reason)) => tracing::debug!(reason, "search waits"),
                Err(Trouble::Index(error)) => {
                    tracing::error!(error = format!("{error:#}"), "search index is built again");
                    self.start_over().await;
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Crates that match all words of `query`, best first; all crates by name if it has no words. `page` counts from 1.
    pub(crate) fn find(&self, query: &str, per_page: usize, page: usize) -> anyhow::Result<Found> {
        let documents = Arc::clone(&self.documents.read());
        Ok(documents.find(query, per_page, page.saturating_sub(1) * per_page)?)
    }

    async fn follow_until_trouble(&self) -> Result<Infallible, Trouble> {
        let mut newest = self.cluster.sequence();
        let search = self.clone();
        let mut folding = spawn_blocking(move || Folding::start(&search)).await??;
        loop {
            if *newest.borrow_and_update() > folding.after {
                folding = spawn_blocking(move || folding.step()).await??;
                sleep(COMMIT_PAUSE).await;
            } else if newest.changed().await.is_err() {
                return Err(Trouble::Cluster("the node is stopping".to_owned()));
            }
        }
    }

    async fn start_over(&self) {
        let search = self.clone();
        let replaced = spawn_blocking(move || {
            Documents::create(&search.dir).map(|fresh| *search.documents.write() = Arc::new(fresh))
        });
        match replaced.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "search index cannot be created"),
            Err(error) => tracing::error!(%error, "search index cannot be created"),
        }
    }
}

/// Why following stopped.
enum Trouble {
    /// The history cannot be read now; wait.
    Cluster(String),
    /// The index itself failed; build it again.
    Index(anyhow::Error),
}

impl From<cratekeeper_cluster::ReadError> for Trouble {
    fn from(error: cratekeeper_cluster::ReadError) -> Trouble {
        Trouble::Cluster(error.to_string())
    }
}

impl From<tantivy::TantivyError> for Trouble {
    fn from(error: tantivy::TantivyError) -> Trouble {
        Trouble::Index(error.into())
    }
}

impl From<tokio::task::JoinError> for Trouble {
    fn from(error: tokio::task::JoinError) -> Trouble {
        Trouble::Index(error.into())
    }
}

fn measure(folded: u64) {
    metrics::gauge!("cratekeeper_search_sequence").set(folded as f64);
}

/// The one writer, and how far it has folded.
struct Folding {
    cluster: Cluster,
    writer: Writer,
    after: u64,
}

impl Folding {
    /// Continues where the last commit ended, if that is still a place in this history: after a restore it may not be.
    fn start(search: &Search) -> Result<Folding, Trouble> {
        let documents = Arc::clone(&search.documents.read());
        let cluster = search.cluster.clone();
        let mut writer = documents.writer()?;
        let after = match documents.folded()? {
            Some(folded) if cluster.chain_at(folded.sequence)?.as_ref() == Some(&folded.chain) => {
                folded.sequence
            }
            None => 0,
            Some(_) => {
                writer.clear()?;
                0
            }
        };
        measure(after);
        Ok(Folding {
            cluster,
            writer,
            after,
        })
    }

    /// Writes anew every crate that the next events touch, and commits. What it reads of a crate may be newer than those events;
    /// then the events that follow change nothing.
    fn step(mut self) -> Result<Folding, Trouble> {
        let events = self.cluster.events(self.after, EVENTS_PER_COMMIT)?;
        let Some(last) = events.last() else {
            return Ok(self);
        };
        let touched: BTreeSet<&CanonicalName> = events
            .iter()
            .filter_map(|recorded| match &recorded.stream {
                StreamId::Crate(name) => Some(name),
                StreamId::Account(_) | StreamId::Installation => None,
            })
            .collect();
        for name in touched {
            match self.document(name)? {
                Some(document) => self.writer.put(&document)?,
                None => self.writer.delete(name.as_str()),
            }
        }
        let chain = self.cluster.chain_at(last.sequence)?.unwrap_or_default();
        self.writer.commit(last.sequence, &chain)?;
        self.after = last.sequence;
        measure(self.after);
        Ok(self)
    }

    /// What search knows of a crate; nothing of one whose versions are all yanked.
    fn document(&self, name: &CanonicalName) -> Result<Option<Document>, Trouble> {
        let Some(krate) = self.cluster.krate(name)? else {
            return Ok(None);
        };
        let Some(newest) = max_version(&krate.versions) else {
            return Ok(None);
        };
        let Some((_, facts)) = self.cluster.version(name, &newest.version)? else {
            return Ok(None);
        };
        Ok(Some(Document {
            canonical: name.as_str().to_owned(),
            name: krate.name.as_str().to_owned(),
            max_version: newest.version.to_string(),
            description: facts.description,
            keywords: facts.keywords,
        }))
    }
}

/// The version that stands for a crate: the highest release, else the highest pre-release; yanked and removed ones never.
pub(crate) fn max_version(versions: &[VersionSummary]) -> Option<&VersionSummary> {
    versions
        .iter()
        .filter(|version| !version.yanked && !version.removed)
        .max_by_key(|version| {
            let semver = version.version.semver();
            (semver.pre.is_empty(), semver)
        })
}

#[cfg(test)]
mod tests {
    use cratekeeper_domain::{Checksum, Version};

    use super::*;

    fn version(text: &str, yanked: bool) -> VersionSummary {
        VersionSummary {
            version: Version::parse(text).expect("a version"),
            checksum: Checksum([0; 32]),
            tarball_bytes: 1,
            yanked,
            removed: false,
            published_at_ms: 0,
            published_by: None,
        }
    }

    #[test]
    fn the_highest_release_that_is_not_yanked_stands_for_the_crate() {
        let shown = |versions: &[VersionSummary]| {
            max_version(versions).map(|version| version.version.to_string())
        };
        let all = [
            version("1.9.0", false),
            version("1.10.0", false),
            version("2.0.0", true),
            version("3.0.0-rc.1", false),
        ];
        assert_eq!(shown(&all).as_deref(), Some("1.10.0"));
        let only_pre = [version("1.0.0-a", false), version("1.0.0-b", false)];
        assert_eq!(shown(&only_pre).as_deref(), Some("1.0.0-b"));
        assert_eq!(shown(&[version("1.0.0", true)]), None);
    }
}

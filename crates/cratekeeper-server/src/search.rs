//! Search over crate names, descriptions and keywords: an index beside the cluster's state, folded from its events.

use std::path::PathBuf;

use cratekeeper_cluster::Cluster;

/// The search index of this node. It may lag behind the history for a moment and can always be deleted.
pub(crate) struct Search {
    _cluster: Cluster,
}

impl Search {
    /// Opens the index in `dir`; a missing or damaged one, or one of another schema, starts empty.
    pub(crate) async fn open(_dir: PathBuf, cluster: Cluster) -> anyhow::Result<Search> {
        Ok(Search { _cluster: cluster })
    }

    /// Follows the history for as long as it is polled; it never returns.
    pub(crate) async fn follow(&self) {
        std::future::pending::<()>().await;
    }
}

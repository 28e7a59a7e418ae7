//! Feature levels of the cluster: which one is in force, raising it once every member takes the next one, and refusing to run below it.

use std::sync::Arc;

use cratekeeper_domain::{Command, FIRST_LEVEL, NEWEST_LEVEL, StreamId, StreamState};
use cratekeeper_wire::pb::peer as pb;

use crate::RELEASE;
use crate::api::{NodeOptions, StartError};
use crate::node::{Node, storage};
use crate::peer::About;
use crate::store::{State, StorageError};

/// The highest level this node takes: all it knows, unless the operator holds it back.
pub(crate) fn taken(options: &NodeOptions) -> u32 {
    options
        .feature_level_max
        .map_or(NEWEST_LEVEL, |max| max.min(NEWEST_LEVEL))
}

/// What an older release is told where it meets a newer history.
pub(crate) fn too_new(level: u32) -> String {
    format!(
        "the cluster is at feature level {level}, and release {RELEASE} knows levels up to {NEWEST_LEVEL}: \
         the level never goes back, so start this node with the release that the others run"
    )
}

/// Before anything else reads the state.
pub(crate) fn check(state: &State, options: &NodeOptions) -> Result<(), StartError> {
    let level = level_of(state).map_err(|error| storage("read the feature level", error))?;
    if NEWEST_LEVEL < level {
        return Err(StartError::Refused(too_new(level)));
    }
    if taken(options) < level {
        tracing::warn!(
            level,
            "cluster.feature_level_max is below the level in force, which never goes back; remove it"
        );
    }
    Ok(())
}

/// Why a node that asks to join cannot be a member of a cluster at `level`.
pub(crate) fn refusal(join: &pb::JoinRequest, level: u32) -> Option<String> {
    let known = join.feature_level_max.unwrap_or(FIRST_LEVEL.level);
    (known < level).then(|| {
        format!(
            "the node {} (release {}) knows feature levels up to {known}, and this cluster is at level {level}, which never goes back: start it with release {RELEASE}",
            join.name, join.release
        )
    })
}

fn level_of(state: &State) -> Result<u32, StorageError> {
    let folded = state.folded(&StreamId::Installation)?;
    Ok(match &*folded.state {
        StreamState::Installation(Some(installation)) => installation.feature_level,
        StreamState::Installation(None) | StreamState::Crate(_) | StreamState::Account(_) => 0,
    })
}

impl Node {
    /// In force, as applied here; 0 before the founding.
    pub(crate) fn feature_level(&self) -> Result<u32, StorageError> {
        level_of(&self.state)
    }

    pub(crate) fn about(&self) -> About {
        About {
            release: RELEASE.to_owned(),
            feature_level_max: taken(&self.options),
        }
    }

    /// On the leader: the highest level that all members take comes into force, while all of them are connected.
    pub(crate) async fn raise_feature_level(self: &Arc<Node>) {
        let Some(member) = self.member().filter(|member| member.raft.is_leader()) else {
            return;
        };
        let Ok(now @ 1..) = self.feature_level() else {
            return;
        };
        let mut all = taken(&self.options);
        for (node, _) in member.members() {
            if node == member.identity.node {
                continue;
            }
            // Whoever is away may come back with an older release.
            let Some(about) = member.peers.about(node) else {
                return;
            };
            all = all.min(about.feature_level_max);
        }
        if all <= now {
            return;
        }
        let raise = Command::RaiseFeatureLevel { level: all };
        match self.execute_for_the_cluster(raise).await {
            Ok(()) => tracing::info!(
                from = now,
                to = all,
                "all nodes take a higher feature level, and it is in force; an older release cannot be started any more"
            ),
            Err(error) => {
                tracing::warn!(%error, "the feature level was not raised; it will be tried again");
            }
        }
    }
}

//! The installation as its events say it is: its identity, the node ids given out, its feature level.

use crate::{Event, Recorded};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub cluster: String,
    pub history: String,
    /// In the order they were given out.
    pub nodes: Vec<AdmittedNode>,
    pub feature_level: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedNode {
    pub node: u64,
    pub incarnation: String,
}

impl Installation {
    pub(crate) fn fold(installation: &mut Option<Installation>, recorded: &Recorded) {
        if let Event::ClusterFounded { cluster, history } = &recorded.event {
            *installation = Some(Installation {
                cluster: cluster.clone(),
                history: history.clone(),
                nodes: Vec::new(),
                feature_level: 0,
            });
            return;
        }
        let Some(installation) = installation else {
            return;
        };
        match &recorded.event {
            Event::NodeAdmitted { node, incarnation } => installation.nodes.push(AdmittedNode {
                node: *node,
                incarnation: incarnation.clone(),
            }),
            Event::FeatureLevelRaised { level } => installation.feature_level = *level,
            // The node ids stay given out: a volume of the old history must never fit one of the new.
            Event::HistoryRestored {
                cluster, history, ..
            } => {
                installation.cluster.clone_from(cluster);
                installation.history.clone_from(history);
            }
            _ => {}
        }
    }
}

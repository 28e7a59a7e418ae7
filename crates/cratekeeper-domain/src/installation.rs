//! The installation as its events say it is: its identity, the node ids given out, its feature level.

use crate::Recorded;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub cluster: String,
    pub history: String,
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
        todo!("{installation:?} {recorded:?}")
    }
}

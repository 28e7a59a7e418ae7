//! `data/NODE`: which node of which cluster this volume is. Written when it founds or joins a cluster, and the same ever after.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::peer::Identity;
use crate::store::write_durably;

const FILE_NAME: &str = "NODE";

/// A volume gets its incarnation before it is admitted, so that asking again is the same asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeFile {
    format: u32,
    pub(crate) incarnation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<u64>,
    /// Removed from its cluster: it must never speak for this id again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) removed: bool,
}

impl NodeFile {
    /// Reads it, or writes a fresh one with an incarnation of its own.
    pub(crate) fn open(data_dir: &Path) -> io::Result<NodeFile> {
        match std::fs::read(data_dir.join(FILE_NAME)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let incarnation = uuid::Uuid::new_v4().simple().to_string();
                let file = NodeFile {
                    format: 1,
                    incarnation,
                    cluster: None,
                    node: None,
                    removed: false,
                };
                file.write(data_dir)?;
                Ok(file)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the directory is a node's; false if there is no directory.
    pub(crate) fn has_node(data_dir: &Path) -> io::Result<bool> {
        match std::fs::read(data_dir.join(FILE_NAME)) {
            Ok(bytes) => {
                let file: NodeFile = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
                Ok(file.node.is_some())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// From here on this volume is that node, for ever.
    pub(crate) fn become_node(
        &mut self,
        data_dir: &Path,
        cluster: &str,
        node: u64,
    ) -> io::Result<()> {
        self.cluster = Some(cluster.to_owned());
        self.node = Some(node);
        self.write(data_dir)
    }

    /// On disk when it returns.
    pub(crate) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        write_durably(&data_dir.join(FILE_NAME), &text)
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        let (cluster, node) = (self.cluster.clone()?, self.node?);
        Some(Identity {
            cluster,
            node,
            incarnation: self.incarnation.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_keeps_its_incarnation_and_becomes_a_node_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut file = NodeFile::open(directory.path()).expect("opens");
        assert_eq!(file.identity(), None);
        assert_eq!(NodeFile::open(directory.path()).expect("opens"), file);
        file.cluster = Some("c1".to_owned());
        file.node = Some(3);
        file.write(directory.path()).expect("writes");
        let again = NodeFile::open(directory.path()).expect("opens");
        assert_eq!(
            again.identity().map(|it| (it.cluster, it.node)),
            Some(("c1".to_owned(), 3))
        );
    }

    #[test]
    fn what_an_older_release_wrote_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let written = r#"{ "format": 1, "incarnation": "v", "cluster": "c1", "node": 3 }"#;
        std::fs::write(directory.path().join(FILE_NAME), written).expect("writes");
        let file = NodeFile::open(directory.path()).expect("opens");
        assert_eq!((file.node, file.removed), (Some(3), false));
    }
}

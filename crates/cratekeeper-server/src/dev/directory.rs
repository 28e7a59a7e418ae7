//! The directory of `cratekeeper dev`: what is in it besides the nodes' own directories, and that only one process uses it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::serve::{new_token, write_secret};

/// One node as `nodes.json` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct NodeEntry {
    /// 1, 2, …
    pub(super) node: u32,
    pub(super) name: String,
    /// `None` while it does not run.
    pub(super) pid: Option<u32>,
    pub(super) http: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) ops: SocketAddr,
    /// The node's data directory.
    pub(super) directory: PathBuf,
    pub(super) config: PathBuf,
}

impl NodeEntry {
    pub(super) fn log(&self) -> PathBuf {
        self.config.with_file_name("log")
    }
}

pub(super) struct Directory {
    path: PathBuf,
    /// Held as long as this process lives.
    _lock: File,
}

impl Directory {
    /// Creates the directory if it is not there. Only one process can have it open.
    pub(super) fn open(path: &Path) -> anyhow::Result<Directory> {
        let path = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        let lock = File::create(path.join("lock"))
            .with_context(|| format!("write in {}", path.display()))?;
        if lock.try_lock().is_err() {
            bail!(
                "another `cratekeeper dev` uses {}; stop it, or use another --data-dir",
                path.display()
            );
        }
        Ok(Directory { path, _lock: lock })
    }

    pub(super) fn tarballs(&self) -> PathBuf {
        self.path.join("tarballs")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `node-<i>/`, with the node's configuration, log and data.
    pub(super) fn node(&self, node: u32) -> PathBuf {
        self.path.join(format!("node-{node}"))
    }

    pub(super) fn admin_token_file(&self) -> PathBuf {
        self.path.join("admin-token")
    }

    /// The cluster's id, chosen at the first start.
    pub(super) fn cluster_id(&self) -> anyhow::Result<String> {
        let file = self.path.join("cluster-id");
        if !file.exists() {
            replace(&file, &format!("{}\n", uuid::Uuid::new_v4()))?;
        }
        let id = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(id.trim().to_owned())
    }

    /// The administrator's token, made at the first start.
    pub(super) fn ensure_admin_token(&self) -> anyhow::Result<()> {
        let file = self.admin_token_file();
        if file.exists() {
            return Ok(());
        }
        write_secret(&file, new_token()?.as_str())
            .with_context(|| format!("write {}", file.display()))
    }

    /// The nodes of former starts; none in a new directory.
    pub(super) fn nodes(&self) -> anyhow::Result<Vec<NodeEntry>> {
        let file = self.path.join("nodes.json");
        if !file.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| {
            format!(
                "read {}; delete it and the nodes get new ports",
                file.display()
            )
        })
    }

    pub(super) fn write_nodes(&self, nodes: &[NodeEntry]) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(nodes).context("write down the nodes")?;
        replace(&self.path.join("nodes.json"), &format!("{text}\n"))
    }
}

/// Writes a file so that readers find the old text or the new one, never half of it.
pub(super) fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, text)
        .and_then(|()| fs::rename(&unfinished, file))
        .with_context(|| format!("write {}", file.display()))
}

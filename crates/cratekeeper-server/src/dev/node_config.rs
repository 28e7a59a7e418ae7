//! The configuration that `cratekeeper dev` writes for a node.

use anyhow::Context;
use toml::{Table, Value};

use super::DevArguments;
use super::directory::{Directory, NodeEntry, replace};
use crate::config::snippet;

const HEAD: &str = "# Written by `cratekeeper dev` at every start; change something with `--set section.key=value`.\n\n";

/// Writes `node-<i>/cratekeeper.toml`, and the cluster's id and administrator's token if they are not there yet.
pub(super) fn write(
    directory: &Directory,
    entry: &NodeEntry,
    entries: &[NodeEntry],
    public_url: &str,
    arguments: &DevArguments,
) -> anyhow::Result<()> {
    let home = directory.node(entry.node);
    std::fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    directory.ensure_admin_token()?;
    let quiet = entries.len() == 1 && !arguments.verbose;
    let mut config = render(directory, entry, entries, public_url, quiet)?;
    for assignment in &arguments.set {
        merge(&mut config, snippet(assignment)?.parse()?);
    }
    replace(&entry.config, &format!("{HEAD}{config}"))
}

fn render(
    directory: &Directory,
    entry: &NodeEntry,
    entries: &[NodeEntry],
    public_url: &str,
    quiet: bool,
) -> anyhow::Result<Table> {
    let founder = entry.node == 1;
    let others = entries.iter().filter(|other| other.node != entry.node);
    let peers: Vec<Value> = others.map(|other| other.peer.to_string().into()).collect();
    let path = |path: &std::path::Path| -> anyhow::Result<Value> {
        let text = path
            .to_str()
            .with_context(|| format!("{} is not valid UTF-8", path.display()))?;
        Ok(text.into())
    };

    let mut cluster = section([
        ("start", if founder { "found" } else { "join" }.into()),
        ("id", directory.cluster_id()?.into()),
        ("peers", peers.into()),
    ]);
    if founder {
        cluster.insert(
            "admin_token_file".to_owned(),
            path(&directory.admin_token_file())?,
        );
    }
    Ok(section([
        (
            "node",
            section([
                ("data_dir", path(&entry.directory)?),
                ("name", entry.name.as_str().into()),
            ])
            .into(),
        ),
        (
            "http",
            section([
                ("listen", entry.http.to_string().into()),
                ("public_url", public_url.into()),
            ])
            .into(),
        ),
        (
            "peer",
            section([
                ("listen", entry.peer.to_string().into()),
                ("advertise", entry.peer.to_string().into()),
            ])
            .into(),
        ),
        (
            "ops",
            section([("listen", entry.ops.to_string().into())]).into(),
        ),
        ("cluster", cluster.into()),
        (
            "tarballs",
            section([
                ("kind", "disk".into()),
                ("directory", path(&directory.tarballs())?),
            ])
            .into(),
        ),
        (
            "log",
            section([("level", if quiet { "warn" } else { "info" }.into())]).into(),
        ),
    ]))
}

fn section<const N: usize>(keys: [(&str, Value); N]) -> Table {
    keys.into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Sets the keys of `over` in `config`, section by section.
fn merge(config: &mut Table, over: Table) {
    for (key, value) in over {
        match (config.get_mut(&key), value) {
            (Some(Value::Table(section)), Value::Table(over)) => section.extend(over),
            (_, value) => {
                config.insert(key, value);
            }
        }
    }
}

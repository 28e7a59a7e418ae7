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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load, validate};
    use crate::dev::plan;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        dev: DevArguments,
    }

    /// Plans and writes the nodes of `arguments` as a start does.
    fn start(path: &std::path::Path, arguments: &[&str]) -> Vec<NodeEntry> {
        let line = std::iter::once("dev").chain(arguments.iter().copied());
        let arguments = Line::parse_from(line).dev;
        let directory = Directory::open(path).expect("nobody else uses it");
        let kept = directory.nodes().expect("nodes can be read");
        let count = arguments.nodes.unwrap_or(1);
        let entries =
            plan::entries(&directory, arguments.http, count, &kept).expect("ports are free");
        let url = plan::public_url(entries[0].http);
        for entry in &entries {
            write(&directory, entry, &entries, &url, &arguments).expect("it can be written");
        }
        directory.write_nodes(&entries).expect("it can be written");
        entries
    }

    fn text(path: &std::path::Path, entry: &NodeEntry, entries: &[NodeEntry]) -> String {
        let mut text = std::fs::read_to_string(&entry.config).expect("it was written");
        for entry in entries {
            for (name, address) in [
                ("HTTP", entry.http),
                ("PEER", entry.peer),
                ("OPS", entry.ops),
            ] {
                text = text.replace(&address.to_string(), &format!("{name}-{}", entry.node));
            }
        }
        let id = std::fs::read_to_string(path.join("cluster-id")).expect("it was written");
        text.replace(id.trim(), "CLUSTER")
            .replace(&path.display().to_string(), "DIR")
    }

    #[test]
    fn the_first_node_founds_and_the_others_join() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let entries = start(
            scratch.path(),
            &[
                "--nodes",
                "2",
                "--http",
                "127.0.0.1:0",
                "--set",
                "registry.read_access=authenticated",
            ],
        );
        insta::assert_snapshot!(text(scratch.path(), &entries[0], &entries), @r##"
        # Written by `cratekeeper dev` at every start; change something with `--set section.key=value`.

        [cluster]
        admin_token_file = "DIR/admin-token"
        id = "CLUSTER"
        peers = ["PEER-2"]
        start = "found"

        [http]
        listen = "HTTP-1"
        public_url = "http://HTTP-1"

        [log]
        level = "info"

        [node]
        data_dir = "DIR/node-1/data"
        name = "node-1"

        [ops]
        listen = "OPS-1"

        [peer]
        advertise = "PEER-1"
        listen = "PEER-1"

        [registry]
        read_access = "authenticated"

        [tarballs]
        directory = "DIR/tarballs"
        kind = "disk"
        "##);
        let second = text(scratch.path(), &entries[1], &entries);
        let own: Vec<&str> = second
            .lines()
            .filter(|line| line.contains("-2") || line.contains("start") || line.contains("PEER-1"))
            .collect();
        insta::assert_snapshot!(own.join("\n"), @r#"
        # Written by `cratekeeper dev` at every start; change something with `--set section.key=value`.
        peers = ["PEER-1"]
        start = "join"
        listen = "HTTP-2"
        data_dir = "DIR/node-2/data"
        name = "node-2"
        listen = "OPS-2"
        advertise = "PEER-2"
        listen = "PEER-2"
        "#);
        assert!(
            !second.contains("admin_token"),
            "only the founder needs the token"
        );
        for entry in &entries {
            let sources = Sources {
                file: Some(entry.config.clone()),
                ..Sources::default()
            };
            let config = load(&sources).expect("it has known keys only");
            validate(&config).expect("it is good");
        }
    }

    #[test]
    fn the_same_directory_again_keeps_ports_identity_and_token() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let read =
            |name| std::fs::read_to_string(scratch.path().join(name)).expect("it was written");
        let first = start(scratch.path(), &["--http", "127.0.0.1:0"]);
        let (id, token) = (read("cluster-id"), read("admin-token"));
        let second = start(scratch.path(), &["--http", "127.0.0.1:0", "--nodes", "3"]);
        assert_eq!(second[..1], first[..]);
        assert_eq!((read("cluster-id"), read("admin-token")), (id, token));
    }

    #[test]
    fn only_the_owner_reads_the_administrators_token() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().expect("a temporary directory");
        start(scratch.path(), &["--http", "127.0.0.1:0"]);
        let token = std::fs::metadata(scratch.path().join("admin-token")).expect("it was written");
        assert_eq!(token.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_port_that_was_taken_meanwhile_is_replaced() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let first = start(scratch.path(), &["--http", "127.0.0.1:0"]);
        let _taken = std::net::TcpListener::bind(first[0].peer).expect("it was free");
        let second = start(scratch.path(), &["--http", "127.0.0.1:0"]);
        assert_ne!(second[0].peer, first[0].peer);
        assert_eq!(second[0].ops, first[0].ops);
    }
}

//! What `cratekeeper dev` says when the registry is ready: where it is, and what to paste.

use super::directory::{Directory, NodeEntry};

pub(super) fn text(
    directory: &Directory,
    entries: &[NodeEntry],
    public_url: &str,
    balanced: bool,
) -> String {
    let data = directory.path().display();
    let token = directory.admin_token_file();
    let token = token.display();
    format!(
        r#"Cratekeeper is ready: {public_url}
Everything is in {data}; Ctrl-C stops it, and the same --data-dir continues.
{nodes}
For cargo, in ~/.cargo/config.toml or a project's .cargo/config.toml:

    [registry]
    global-credential-providers = ["cargo:token"]

    [registries.dev]
    index = "sparse+{public_url}/index/"

Then:

    cargo login --registry dev < {token}
    cargo publish --registry dev
    cargo add --registry dev some-crate

And to administer it:

    export CRATEKEEPER_SERVER={public_url} CRATEKEEPER_TOKEN_FILE={token}
    cratekeeper account create alice
    cratekeeper token create alice --name laptop
    cratekeeper cluster status
"#,
        nodes = nodes(entries, balanced)
    )
}

fn nodes(entries: &[NodeEntry], balanced: bool) -> String {
    if entries.len() == 1 {
        return String::new();
    }
    let mut text = String::new();
    for entry in entries {
        text.push_str(&format!(
            "  {}  http://{}  log {}\n",
            entry.name,
            entry.http,
            entry.log().display()
        ));
    }
    if !balanced {
        text.push_str(
            "Every node serves every request; clients of the URL above only know the first. Put a load balancer in front and name it with --public-url.\n",
        );
    }
    text
}

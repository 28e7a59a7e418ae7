//! `cratekeeper token recover`: the way back in for whoever runs a node and has lost every administrator's token.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::ops::{OpsAddress, ask};
use super::print;
use crate::recover;
use crate::serve::{new_token, write_secret};

#[derive(Debug, Args)]
pub(super) struct RecoverArguments {
    /// The administrator who gets it.
    #[arg(default_value = "admin")]
    login: String,
    /// The running node's data directory; only its user and root may do this.
    #[arg(
        long,
        env = "CRATEKEEPER_NODE__DATA_DIR",
        default_value = "/var/lib/cratekeeper",
        value_name = "DIRECTORY"
    )]
    data_dir: PathBuf,
    #[command(flatten)]
    address: OpsAddress,
}

pub(super) async fn run(arguments: RecoverArguments) -> anyhow::Result<()> {
    let token = new_token()?;
    let file = recover::file(&arguments.data_dir);
    write_secret(&file, token.as_str()).with_context(|| {
        let file = file.display();
        format!("write {file} (as the node's user, beside the running node; --data-dir names its directory)")
    })?;
    let asked = ask(
        &arguments.address,
        "admin-token",
        &[("login", &arguments.login)],
    )
    .await;
    std::fs::remove_file(&file).with_context(|| format!("delete {}", file.display()))?;
    asked?;
    print::note(format!(
        "a new token of {} with every scope; it is not shown again, and the history tells of it:",
        arguments.login
    ));
    print::line(token.as_str());
    Ok(())
}

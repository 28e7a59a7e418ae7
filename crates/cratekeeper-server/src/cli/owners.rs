//! `cratekeeper owner …`: what `cargo owner` does, without a checkout.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::api::Api;
use super::print::{cell, line, rows, table};

#[derive(Debug, Subcommand)]
pub(super) enum OwnerCommand {
    /// Show who owns a crate.
    List {
        #[arg(value_name = "CRATE")]
        krate: String,
    },
    /// Let more accounts publish a crate.
    Add {
        #[arg(value_name = "CRATE")]
        krate: String,
        #[arg(required = true, value_name = "LOGIN")]
        logins: Vec<String>,
    },
    /// Take a crate from accounts; one owner must stay.
    Remove {
        #[arg(value_name = "CRATE")]
        krate: String,
        #[arg(required = true, value_name = "LOGIN")]
        logins: Vec<String>,
    },
}

pub(super) async fn run(command: OwnerCommand, api: &Api) -> anyhow::Result<()> {
    match command {
        OwnerCommand::List { krate } => {
            let owners = api.get(&["crates", &krate, "owners"]).await?;
            api.print(&owners, |owners| {
                table(
                    ["LOGIN", "NAME"],
                    rows(owners, "users").map(|owner| [cell(owner, "login"), cell(owner, "name")]),
                );
            });
            Ok(())
        }
        OwnerCommand::Add { krate, logins } => change(Method::PUT, &krate, &logins, api).await,
        OwnerCommand::Remove { krate, logins } => {
            change(Method::DELETE, &krate, &logins, api).await
        }
    }
}

async fn change(method: Method, krate: &str, logins: &[String], api: &Api) -> anyhow::Result<()> {
    let body = json!({ "users": logins });
    let answer = api
        .send(method, &["crates", krate, "owners"], Some(body))
        .await?;
    api.print(&answer, |answer| {
        line(answer["msg"].as_str().unwrap_or("done"))
    });
    Ok(())
}

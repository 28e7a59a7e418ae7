//! `cratekeeper token …`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Global;
use super::api::Api;
use super::expiry::{self, Expiry};
use super::print::{cell, line, note, rows, table};
use super::recover::{self, RecoverArguments};

/// What somebody who publishes needs.
const PUBLISHER_SCOPES: [&str; 5] = [
    "publish-new",
    "publish-update",
    "yank",
    "change-owners",
    "read",
];

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Issue a token; it is shown once, on standard output, and never again.
    Create(CreateArguments),
    /// Show the tokens of an account, without their secrets.
    List { login: String },
    /// Revoke a token by its id: from now on no node accepts it.
    Revoke { id: String },
    /// Issue a new administrator's token without having one, on the machine of a running node and as its user.
    Recover(RecoverArguments),
}

#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// The account it belongs to.
    login: String,
    /// What it is for, such as `ci` or `laptop`.
    #[arg(long)]
    name: String,
    /// publish-new, publish-update, yank, change-owners, read or admin; may be repeated. Default: all but admin.
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// A crate name, or a prefix with `*`; may be repeated. Default: every crate.
    #[arg(long = "crate", value_name = "PATTERN", value_delimiter = ',')]
    crates: Vec<String>,
    /// `90d`, `12h`, `8w`, a date, or a date and time with offset. Default: never.
    #[arg(long)]
    expires: Option<Expiry>,
}

pub(super) async fn run(command: TokenCommand, global: &Global) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(arguments) => create(arguments, &Api::new(global)?).await?,
        TokenCommand::List { login } => {
            let api = Api::new(global)?;
            let tokens = api.get(&["accounts", &login, "tokens"]).await?;
            api.print(&tokens, list);
        }
        TokenCommand::Recover(arguments) => recover::run(arguments).await?,
        TokenCommand::Revoke { id } => {
            let api = Api::new(global)?;
            let answer = api.send(Method::DELETE, &["tokens", &id], None).await?;
            api.print(&answer, |_| line(format!("revoked {id}")));
        }
    }
    Ok(())
}

async fn create(arguments: CreateArguments, api: &Api) -> anyhow::Result<()> {
    let CreateArguments {
        login,
        name,
        scopes,
        crates,
        expires,
    } = arguments;
    let scopes = if scopes.is_empty() {
        PUBLISHER_SCOPES.map(str::to_owned).to_vec()
    } else {
        scopes
    };
    let mut body = json!({ "name": name, "scopes": scopes });
    if !crates.is_empty() {
        body["crates"] = crates.into();
    }
    if let Some(expires) = expires {
        body["expires_at"] = expires.rfc3339()?.into();
    }
    let answer = api
        .send(Method::POST, &["accounts", &login, "tokens"], Some(body))
        .await?;
    api.print(&answer, |answer| {
        // Only the secret on standard output, so that it can be piped where it belongs.
        note(format!(
            "token {} of {login}; it is not shown again:",
            cell(answer, "id")
        ));
        line(cell(answer, "token"));
    });
    Ok(())
}

fn list(tokens: &Value) {
    table(
        [
            "ID", "NAME", "SCOPES", "CRATES", "CREATED", "EXPIRES", "STATE",
        ],
        rows(tokens, "tokens").map(|token| {
            let state = if token["revoked"] == true {
                "revoked"
            } else if token["expires_at"].as_str().is_some_and(expiry::is_past) {
                "expired"
            } else {
                "active"
            };
            [
                cell(token, "id"),
                cell(token, "name"),
                cell(token, "scopes"),
                cell(token, "crates"),
                cell(token, "created_at"),
                cell(token, "expires_at"),
                state.to_owned(),
            ]
        }),
    );
}

//! `cratekeeper account …`.

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::api::Api;
use super::print::{cell, line, rows, table};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Create an account; it has no token yet (see `token create`).
    Create {
        login: String,
        /// What its tokens may do at most.
        #[arg(long, value_enum, default_value_t = Role::Publisher)]
        role: Role,
        /// The name shown beside the login.
        #[arg(long)]
        name: Option<String>,
    },
    /// Show all accounts.
    List,
    /// Refuse every token of an account from now on. Its past stays.
    Disable { login: String },
    /// Undo `disable`.
    Enable { login: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    Admin,
    Publisher,
    Reader,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Publisher => "publisher",
            Role::Reader => "reader",
        }
    }
}

pub(super) async fn run(command: AccountCommand, api: &Api) -> anyhow::Result<()> {
    match command {
        AccountCommand::Create { login, role, name } => {
            let mut body = json!({ "login": login, "role": role.as_str() });
            if let Some(name) = name {
                body["name"] = name.into();
            }
            let account = api.send(Method::POST, &["accounts"], Some(body)).await?;
            api.print(&account, |account| {
                line(format!(
                    "created {} ({})",
                    cell(account, "login"),
                    cell(account, "role")
                ));
            });
        }
        AccountCommand::List => {
            let accounts = api.all(&["accounts"], "accounts").await?;
            api.print(&accounts, list);
        }
        AccountCommand::Disable { login } => {
            let answer = api
                .send(Method::DELETE, &["accounts", &login], None)
                .await?;
            api.print(&answer, |_| line(format!("disabled {login}")));
        }
        AccountCommand::Enable { login } => {
            let answer = api
                .send(Method::PUT, &["accounts", &login, "enable"], None)
                .await?;
            api.print(&answer, |_| line(format!("enabled {login}")));
        }
    }
    Ok(())
}

fn list(accounts: &Value) {
    table(
        ["LOGIN", "ROLE", "NAME", "STATE", "CREATED"],
        rows(accounts, "accounts").map(|account| {
            let state = if account["disabled"] == true {
                "disabled"
            } else {
                "active"
            };
            [
                cell(account, "login"),
                cell(account, "role"),
                cell(account, "name"),
                state.to_owned(),
                cell(account, "created_at"),
            ]
        }),
    );
}

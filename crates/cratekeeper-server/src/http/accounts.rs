//! `/api/v1/accounts`: who exists, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Account, Command, Login, Role};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::read_json;
use super::caller::Admin;
use super::error::ApiError;
use super::page::{limit, parameter};
use super::time::rfc3339;
use crate::app::App;

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _admin: Admin,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let limit = limit(uri.query())?;
    let after = parameter(uri.query(), "after")
        .filter(|after| !after.is_empty())
        .map(|after| Login::parse(&after))
        .transpose()?;
    let mut accounts = app.cluster.accounts(after.as_ref(), limit + 1)?;
    let more = accounts.len() > limit;
    accounts.truncate(limit);
    let next = accounts
        .last()
        .filter(|_| more)
        .map(|account| account.login.as_str().to_owned());
    let accounts: Vec<Value> = accounts
        .iter()
        .map(|account| account_json(account))
        .collect();
    Ok(Json(json!({ "accounts": accounts, "next": next })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    login: String,
    name: Option<String>,
    role: String,
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let new: NewAccount = read_json(&headers, body, app.settings.body_idle_timeout).await?;
    let login = Login::parse(&new.login)?;
    let command = Command::CreateAccount {
        login: login.clone(),
        name: new.name,
        role: Role::parse(&new.role)?,
    };
    caller.execute(&app, command).await?;
    Ok(Json(account_json(&*account(&app, &login)?)))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _admin: Admin,
    Path(login): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let login = Login::parse(&login)?;
    Ok(Json(account_json(&*account(&app, &login)?)))
}

/// `DELETE`: the account can do nothing from now on; what it did stays its own.
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(login): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let login = Login::parse(&login)?;
    let command = Command::DisableAccount {
        login: login.clone(),
    };
    caller.execute(&app, command).await?;
    Ok(Json(account_json(&*account(&app, &login)?)))
}

pub(crate) async fn enable(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(login): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let login = Login::parse(&login)?;
    let command = Command::EnableAccount {
        login: login.clone(),
    };
    caller.execute(&app, command).await?;
    Ok(Json(account_json(&*account(&app, &login)?)))
}

/// The account, or a refusal that names it.
pub(crate) fn account(app: &App, login: &Login) -> Result<Arc<Account>, ApiError> {
    app.cluster
        .account(login)?
        .ok_or_else(|| ApiError::missing(format!("there is no account `{}`", login.as_str())))
}

pub(crate) fn account_json(account: &Account) -> Value {
    json!({
        "login": account.login.as_str(),
        "id": account.id,
        "name": account.name,
        "role": account.role.as_str(),
        "disabled": account.disabled,
        "created_at": rfc3339(account.created_at_ms),
    })
}

//! `/api/v1/accounts`: who exists, for administrators.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Account, Command, Login, Role};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::read_json;
use super::caller::Admin;
use super::document::LoginPath;
use super::error::ApiError;
use super::page::{ListQuery, limit, parameter};
use super::time::rfc3339;
use crate::app::App;

/// One page of accounts, by login.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountList {
    accounts: Vec<ShownAccount>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// An account of a person or a machine.
#[derive(Serialize, ToSchema)]
#[schema(as = Account, example = json!({"login": "alice", "id": 2, "name": "Alice", "role": "publisher", "disabled": false, "created_at": "2026-11-21T12:00:00Z"}))]
pub(crate) struct ShownAccount {
    login: String,
    /// A number that fits 32 bits, as cargo wants it; never given to another account.
    id: u32,
    /// Shown in lists of owners.
    name: Option<String>,
    role: RoleName,
    /// A disabled account can do nothing; what it did stays its own.
    disabled: bool,
    #[schema(format = DateTime)]
    created_at: String,
}

/// An admin may do everything, a publisher publish and own crates, a reader only read.
#[derive(Serialize, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Admin,
    Publisher,
    Reader,
}

impl ShownAccount {
    pub(crate) fn new(account: &Account) -> ShownAccount {
        ShownAccount {
            login: account.login.as_str().to_owned(),
            id: account.id,
            name: account.name.clone(),
            role: match account.role {
                Role::Admin => RoleName::Admin,
                Role::Publisher => RoleName::Publisher,
                Role::Reader => RoleName::Reader,
            },
            disabled: account.disabled,
            created_at: rfc3339(account.created_at_ms),
        }
    }
}

/// List accounts.
///
/// In the order of their logins. Needs the scope `admin`.
#[utoipa::path(
    get, path = "/api/v1/accounts", operation_id = "list_accounts", tag = "accounts",
    params(ListQuery, ("after" = Option<String>, Query, description = "Begin behind this login.")),
    responses(
        (status = 200, description = "One page of accounts.", body = AccountList),
        (status = 400, description = "`limit` or `after` is malformed."),
        (status = 403, description = "The token does not have the scope `admin`."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _admin: Admin,
    uri: Uri,
) -> Result<Json<AccountList>, ApiError> {
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
    let accounts = accounts.iter().map(|account| ShownAccount::new(account));
    Ok(Json(AccountList {
        accounts: accounts.collect(),
        next,
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"login": "alice", "name": "Alice", "role": "publisher"}))]
struct NewAccount {
    /// For ever; of `a-z 0-9 - _ .`, starting with a letter or digit.
    #[schema(max_length = 64)]
    login: String,
    /// Shown in lists of owners and kept in the history for ever; better left out for persons.
    #[schema(max_length = 128)]
    name: Option<String>,
    /// `admin`, `publisher` or `reader`.
    role: String,
}

/// Create an account.
///
/// To repeat the call with the same role and name is a success. Needs the scope `admin`.
#[utoipa::path(
    post, path = "/api/v1/accounts", operation_id = "create_account", tag = "accounts",
    request_body = NewAccount,
    responses(
        (status = 200, description = "The account.", body = ShownAccount),
        (status = 400, description = "Login, name or role is not allowed, or the body is not the JSON expected."),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 408, description = "The body stopped arriving."),
        (status = 409, description = "The login is taken by another account."),
        (status = 413, description = "The body is larger than 64 KiB."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ShownAccount>, ApiError> {
    let new: NewAccount = read_json(&headers, body, app.settings.body_idle_timeout).await?;
    let login = Login::parse(&new.login)?;
    let command = Command::CreateAccount {
        login: login.clone(),
        name: new.name,
        role: Role::parse(&new.role)?,
    };
    caller.execute(&app, command).await?;
    Ok(Json(ShownAccount::new(&*account(&app, &login)?)))
}

/// Look at an account.
///
/// Needs the scope `admin`.
#[utoipa::path(
    get, path = "/api/v1/accounts/{login}", operation_id = "get_account", tag = "accounts",
    params(LoginPath),
    responses(
        (status = 200, description = "The account.", body = ShownAccount),
        (status = 400, description = "That cannot be a login."),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 404, description = "There is no such account."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _admin: Admin,
    Path(login): Path<String>,
) -> Result<Json<ShownAccount>, ApiError> {
    let login = Login::parse(&login)?;
    Ok(Json(ShownAccount::new(&*account(&app, &login)?)))
}

/// Disable an account.
///
/// It can do nothing from now on; what it did stays its own, and its login is not given to anybody else. Needs the scope `admin`.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{login}", operation_id = "disable_account", tag = "accounts",
    params(LoginPath),
    responses(
        (status = 200, description = "The account.", body = ShownAccount),
        (status = 400, description = "That cannot be a login."),
        (status = 403, description = "The token does not have the scope `admin`, or it is the caller's own account."),
        (status = 404, description = "There is no such account."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(login): Path<String>,
) -> Result<Json<ShownAccount>, ApiError> {
    let login = Login::parse(&login)?;
    let command = Command::DisableAccount {
        login: login.clone(),
    };
    caller.execute(&app, command).await?;
    Ok(Json(ShownAccount::new(&*account(&app, &login)?)))
}

/// Enable a disabled account again.
///
/// Its tokens work as before. Needs the scope `admin`.
#[utoipa::path(
    put, path = "/api/v1/accounts/{login}/enable", operation_id = "enable_account", tag = "accounts",
    params(LoginPath),
    responses(
        (status = 200, description = "The account.", body = ShownAccount),
        (status = 400, description = "That cannot be a login."),
        (status = 403, description = "The token does not have the scope `admin`."),
        (status = 404, description = "There is no such account."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn enable(
    State(app): State<Arc<App>>,
    Admin(caller): Admin,
    Path(login): Path<String>,
) -> Result<Json<ShownAccount>, ApiError> {
    let login = Login::parse(&login)?;
    let command = Command::EnableAccount {
        login: login.clone(),
    };
    caller.execute(&app, command).await?;
    Ok(Json(ShownAccount::new(&*account(&app, &login)?)))
}

/// The account, or a refusal that names it.
pub(crate) fn account(app: &App, login: &Login) -> Result<Arc<Account>, ApiError> {
    app.cluster
        .account(login)?
        .ok_or_else(|| ApiError::missing(format!("there is no account `{}`", login.as_str())))
}

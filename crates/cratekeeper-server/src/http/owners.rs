//! `/api/v1/crates/{name}/owners`: who may publish, yank and choose owners.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Command, CrateName, Login, Scope};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{parse_json, read_small};
use super::caller::{Caller, Reader};
use super::crates::summary;
use super::document::CratePath;
use super::error::ApiError;
use crate::app::App;

/// As cargo sends it; `owners` is the public registry's other word for `users`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"users": ["alice"]}))]
struct Logins {
    /// Logins, 1 to 50.
    #[serde(alias = "owners")]
    users: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OwnerList, example = json!({"users": [{"id": 2, "login": "alice", "name": "Alice"}]}))]
pub(crate) struct Owners {
    users: Vec<Owner>,
}

#[derive(Serialize, ToSchema)]
struct Owner {
    /// Of the account, below 2³².
    id: u32,
    login: String,
    /// What cargo prints beside the login.
    name: Option<String>,
}

/// What cargo prints after a change of owners.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"ok": true, "msg": "alice now owns crate acme"}))]
pub(crate) struct OwnersChanged {
    /// Always true.
    ok: bool,
    msg: String,
    /// The owners, where only they were asked for (a removal without a body).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<Owner>, required = false)]
    users: Option<Vec<Owner>>,
}

/// List the owners of a crate.
#[utoipa::path(
    get, path = "/api/v1/crates/{name}/owners", operation_id = "list_owners", tag = "owners",
    params(CratePath),
    responses(
        (status = 200, description = "The owners.", body = Owners),
        (status = 403, description = "The token may not read."),
        (status = 404, description = "There is no such crate."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _reader: Reader,
    Path(name): Path<String>,
) -> Result<Json<Owners>, ApiError> {
    let users = owners_of(&app, &name)?;
    Ok(Json(Owners { users }))
}

/// Add owners.
///
/// Needs the scope `change-owners` and ownership.
#[utoipa::path(
    put, path = "/api/v1/crates/{name}/owners", operation_id = "add_owners", tag = "owners",
    params(CratePath), request_body = Logins,
    responses(
        (status = 200, description = "They own it, now or before.", body = OwnersChanged),
        (status = 400, description = "A name or login is malformed, an account is disabled, there would be more than 200 owners, or the body is not the JSON expected."),
        (status = 403, description = "The token's scopes or patterns do not allow it, or the account does not own the crate."),
        (status = 404, description = "There is no such crate or account."),
        (status = 408, description = "The body stopped arriving."),
        (status = 413, description = "The body is larger than 64 KiB."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OwnersChanged>, ApiError> {
    let bytes = read_small(&headers, body, app.settings.body_idle_timeout).await?;
    let (krate, logins) = asked_for(&caller, &name, &bytes)?;
    let added = names(&logins);
    let command = Command::AddOwners { krate, logins };
    caller.execute(&app, command).await?;
    Ok(Json(OwnersChanged {
        ok: true,
        msg: format!("{added} now owns crate {name}"),
        users: None,
    }))
}

/// Remove owners.
///
/// One owner must stay. Without a body nothing is removed and the owners are listed: a cargo before 1.97 asks so by mistake.
/// Needs the scope `change-owners` and ownership.
#[utoipa::path(
    delete, path = "/api/v1/crates/{name}/owners", operation_id = "remove_owners", tag = "owners",
    params(CratePath), request_body = Option<Logins>,
    responses(
        (status = 200, description = "They no longer own it.", body = OwnersChanged),
        (status = 400, description = "A name or login is malformed, an account is none of the owners, no owner would be left, or the body is not the JSON expected."),
        (status = 403, description = "The token's scopes or patterns do not allow it, or the account does not own the crate."),
        (status = 404, description = "There is no such crate."),
        (status = 408, description = "The body stopped arriving."),
        (status = 413, description = "The body is larger than 64 KiB."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<OwnersChanged>, ApiError> {
    let bytes = read_small(&headers, body, app.settings.body_idle_timeout).await?;
    // A cargo before 1.97 asks for the list after a removal by mistake with this method and no body.
    if bytes.is_empty() {
        caller.authenticate()?;
        let users = owners_of(&app, &name)?;
        return Ok(Json(OwnersChanged {
            ok: true,
            msg: String::new(),
            users: Some(users),
        }));
    }
    let (krate, logins) = asked_for(&caller, &name, &bytes)?;
    let removed = names(&logins);
    let command = Command::RemoveOwners { krate, logins };
    caller.execute(&app, command).await?;
    Ok(Json(OwnersChanged {
        ok: true,
        msg: format!("{removed} no longer owns crate {name}"),
        users: None,
    }))
}

fn asked_for(
    caller: &Caller,
    name: &str,
    body: &[u8],
) -> Result<(CrateName, Vec<Login>), ApiError> {
    let krate = CrateName::parse(name)?;
    caller.require(Scope::ChangeOwners, Some(&krate))?;
    let asked: Logins = parse_json(body)?;
    if asked.users.is_empty() {
        return Err(ApiError::invalid(
            "`users` is empty; name at least one account",
        ));
    }
    let logins = asked
        .users
        .iter()
        .map(|login| Login::parse(login))
        .collect::<Result<_, _>>()?;
    Ok((krate, logins))
}

fn names(logins: &[Login]) -> String {
    let names: Vec<&str> = logins.iter().map(Login::as_str).collect();
    names.join(", ")
}

/// cargo needs `id` to fit 32 bits and prints `login (name)`.
fn owners_of(app: &App, name: &str) -> Result<Vec<Owner>, ApiError> {
    let krate = summary(app, name)?;
    let mut users = Vec::with_capacity(krate.owners.len());
    for login in &krate.owners {
        let account = app.cluster.account(login)?;
        users.push(Owner {
            id: account.as_ref().map_or(0, |account| account.id),
            login: login.as_str().to_owned(),
            name: account.as_ref().and_then(|account| account.name.clone()),
        });
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_words_for_the_list_are_understood() {
        for body in [r#"{"users":["a","b"]}"#, r#"{"owners":["a","b"],"more":1}"#] {
            let logins: Logins = serde_json::from_str(body).expect("a list");
            assert_eq!(logins.users, ["a", "b"]);
        }
        assert!(serde_json::from_str::<Logins>("{}").is_err());
    }
}

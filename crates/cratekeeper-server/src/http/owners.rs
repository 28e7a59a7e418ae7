//! `/api/v1/crates/{name}/owners`: who may publish, yank and choose owners.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Command, CrateName, Login, Scope};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{parse_json, read_small};
use super::caller::{Caller, Reader};
use super::crates::summary;
use super::error::ApiError;
use crate::app::App;

/// As cargo sends it; `owners` is the public registry's other word for it.
#[derive(Deserialize)]
struct Logins {
    #[serde(alias = "owners")]
    users: Vec<String>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _reader: Reader,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "users": owners_of(&app, &name)? })))
}

pub(crate) async fn add(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = read_small(&headers, body, app.settings.body_idle_timeout).await?;
    let (krate, logins) = asked_for(&caller, &name, &bytes)?;
    let added = names(&logins);
    let command = Command::AddOwners { krate, logins };
    caller.execute(&app, command).await?;
    let msg = format!("{added} now owns crate {name}");
    Ok(Json(json!({ "ok": true, "msg": msg })))
}

pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = read_small(&headers, body, app.settings.body_idle_timeout).await?;
    // A cargo before 1.97 asks for the list after a removal by mistake with this method and no body.
    if bytes.is_empty() {
        caller.authenticate()?;
        let users = owners_of(&app, &name)?;
        return Ok(Json(json!({ "ok": true, "msg": "", "users": users })));
    }
    let (krate, logins) = asked_for(&caller, &name, &bytes)?;
    let removed = names(&logins);
    let command = Command::RemoveOwners { krate, logins };
    caller.execute(&app, command).await?;
    let msg = format!("{removed} no longer owns crate {name}");
    Ok(Json(json!({ "ok": true, "msg": msg })))
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
fn owners_of(app: &App, name: &str) -> Result<Vec<Value>, ApiError> {
    let krate = summary(app, name)?;
    let mut users = Vec::with_capacity(krate.owners.len());
    for login in &krate.owners {
        let account = app.cluster.account(login)?;
        users.push(json!({
            "id": account.as_ref().map_or(0, |account| account.id),
            "login": login.as_str(),
            "name": account.as_ref().and_then(|account| account.name.clone()),
        }));
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

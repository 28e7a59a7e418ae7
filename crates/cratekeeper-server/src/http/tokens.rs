//! Tokens: issued, listed, looked at, revoked; by administrators for everybody, by everybody for themselves.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Account, Command, CratePattern, Login, Scope, Token, TokenId, TokenText};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::account;
use super::body::read_json;
use super::caller::Caller;
use super::error::ApiError;
use super::time::{parse_rfc3339, rfc3339};
use crate::app::App;

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(login): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let login = Login::parse(&login)?;
    may_manage(&caller, &login)?;
    let account = account(&app, &login)?;
    let tokens: Vec<Value> = account
        .tokens
        .values()
        .map(|token| token_json(&account, token))
        .collect();
    Ok(Json(json!({ "tokens": tokens })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    scopes: Vec<String>,
    #[serde(default)]
    crates: Vec<String>,
    expires_at: Option<String>,
}

/// The answer is the only place where the token itself is ever shown.
pub(crate) async fn issue(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(login): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let login = Login::parse(&login)?;
    may_manage(&caller, &login)?;
    let new: NewToken = read_json(&headers, body, app.settings.body_idle_timeout).await?;
    let scopes = new.scopes.iter().map(|scope| Scope::parse(scope));
    let crates = new
        .crates
        .iter()
        .map(|pattern| CratePattern::parse(pattern));

    let text = TokenText::from_random(random());
    let token = TokenId::from_random(random());
    let command = Command::IssueToken {
        login,
        token: token.clone(),
        name: new.name,
        hash: text.hash(),
        scopes: scopes.collect::<Result<_, _>>()?,
        crates: crates.collect::<Result<_, _>>()?,
        expires_at_ms: new.expires_at.as_deref().map(parse_rfc3339).transpose()?,
    };
    caller.execute(&app, command).await?;
    Ok(Json(
        json!({ "id": token.as_str(), "token": text.as_str() }),
    ))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (id, owner) = managed(&app, &caller, &id)?;
    let token = owner.tokens.get(&id).ok_or_else(|| no_token(&id))?;
    Ok(Json(token_json(&owner, token)))
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (token, owner) = managed(&app, &caller, &id)?;
    let command = Command::RevokeToken {
        login: owner.login.clone(),
        token,
    };
    caller.execute(&app, command).await?;
    Ok(Json(json!({ "ok": true })))
}

/// One's own with any token in force, others' with `admin`. That none begets a mightier one is decided with the command.
fn may_manage(caller: &Caller, login: &Login) -> Result<(), ApiError> {
    if caller.account.login == *login {
        caller.authenticate()?;
        Ok(())
    } else {
        caller.require(Scope::Admin, None)
    }
}

/// The token with that id and whose it is, if the caller may manage it.
fn managed(app: &App, caller: &Caller, id: &str) -> Result<(TokenId, Arc<Account>), ApiError> {
    let id = TokenId::parse(id)?;
    let owner = app.cluster.token_owner(&id)?;
    // Somebody without `admin` learns nothing about which ids exist.
    match &owner {
        Some(owner) => may_manage(caller, &owner.login)?,
        None => caller.require(Scope::Admin, None)?,
    }
    let owner = owner.ok_or_else(|| no_token(&id))?;
    Ok((id, owner))
}

fn no_token(id: &TokenId) -> ApiError {
    ApiError::missing(format!("there is no token with the id `{}`", id.as_str()))
}

pub(crate) fn token_json(account: &Account, token: &Token) -> Value {
    json!({
        "id": token.id.as_str(),
        "name": token.name,
        "login": account.login.as_str(),
        "scopes": token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "crates": token.crates.iter().map(CratePattern::as_str).collect::<Vec<_>>(),
        "created_at": rfc3339(token.created_at_ms),
        "expires_at": token.expires_at_ms.map(rfc3339),
        "revoked": token.revoked,
    })
}

fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes once it runs");
    bytes
}

//! Tokens: issued, listed, looked at, revoked; by administrators for everybody, by everybody for themselves.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{Account, Command, CratePattern, Login, Scope, Token, TokenId, TokenText};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::account;
use super::body::read_json;
use super::caller::Caller;
use super::document::{Done, LoginPath};
use super::error::ApiError;
use super::time::{parse_rfc3339, rfc3339};
use crate::app::App;

#[derive(Serialize, ToSchema)]
pub(crate) struct TokenList {
    tokens: Vec<ShownToken>,
}

/// A token without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Token, example = json!({"id": "0123456789abcdef", "name": "ci", "login": "alice", "scopes": ["publish-update"], "crates": ["acme-*"], "created_at": "2026-11-21T12:00:00Z", "expires_at": null, "revoked": false}))]
pub(crate) struct ShownToken {
    id: String,
    name: String,
    /// The account it belongs to.
    login: String,
    scopes: Vec<String>,
    /// Crate names, or prefixes that end in `*`; empty for every crate.
    crates: Vec<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    revoked: bool,
}

impl ShownToken {
    pub(crate) fn new(account: &Account, token: &Token) -> ShownToken {
        let scopes = token.scopes.iter().map(|scope| scope.as_str().to_owned());
        let crates = token.crates.iter().map(|krate| krate.as_str().to_owned());
        ShownToken {
            id: token.id.as_str().to_owned(),
            name: token.name.clone(),
            login: account.login.as_str().to_owned(),
            scopes: scopes.collect(),
            crates: crates.collect(),
            created_at: rfc3339(token.created_at_ms),
            expires_at: token.expires_at_ms.map(rfc3339),
            revoked: token.revoked,
        }
    }
}

/// List the tokens of an account.
///
/// One's own with any token in force; those of others need the scope `admin`. Secrets are never shown.
#[utoipa::path(
    get, path = "/api/v1/accounts/{login}/tokens", operation_id = "list_tokens", tag = "accounts",
    params(LoginPath),
    responses(
        (status = 200, description = "All tokens, the revoked ones too.", body = TokenList),
        (status = 400, description = "That cannot be a login."),
        (status = 403, description = "It is another's account, and the token does not have the scope `admin`."),
        (status = 404, description = "There is no such account."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(login): Path<String>,
) -> Result<Json<TokenList>, ApiError> {
    let login = Login::parse(&login)?;
    may_manage(&caller, &login)?;
    let account = account(&app, &login)?;
    let tokens = account.tokens.values();
    Ok(Json(TokenList {
        tokens: tokens
            .map(|token| ShownToken::new(&account, token))
            .collect(),
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "ci", "scopes": ["publish-update"], "crates": ["acme-*"], "expires_at": "2027-01-31T00:00:00Z"}))]
struct NewToken {
    /// What it is for.
    #[schema(max_length = 128)]
    name: String,
    /// `publish-new`, `publish-update`, `yank`, `change-owners`, `read`, `admin`; at least one.
    scopes: Vec<String>,
    /// Crate names, or prefixes that end in `*`, at most 100; left out for every crate.
    #[serde(default)]
    crates: Vec<String>,
    /// Left out: never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedToken {
    /// By which it can be looked at and revoked; no secret.
    id: String,
    /// The secret. It is stored nowhere and never shown again.
    token: String,
}

/// Issue a token.
///
/// The answer is the only place where the token itself is ever shown. For oneself with any token in force, but never a mightier
/// one than that; for others with the scope `admin`. Each call issues another token.
#[utoipa::path(
    post, path = "/api/v1/accounts/{login}/tokens", operation_id = "issue_token", tag = "accounts",
    params(LoginPath), request_body = NewToken,
    responses(
        (status = 200, description = "The token.", body = IssuedToken),
        (status = 400, description = "Name, scopes, patterns or expiry are not allowed, the account is disabled or has 1000 tokens in force, or the body is not the JSON expected."),
        (status = 403, description = "The caller may not issue this token."),
        (status = 404, description = "There is no such account."),
        (status = 408, description = "The body stopped arriving."),
        (status = 413, description = "The body is larger than 64 KiB."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn issue(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(login): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<IssuedToken>, ApiError> {
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
    Ok(Json(IssuedToken {
        id: token.as_str().to_owned(),
        token: text.as_str().to_owned(),
    }))
}

/// Look at a token.
///
/// One's own with any token in force; those of others need the scope `admin`.
#[utoipa::path(
    get, path = "/api/v1/tokens/{id}", operation_id = "get_token", tag = "accounts",
    params(("id" = String, Path, description = "Id of the token, as lists show it.")),
    responses(
        (status = 200, description = "The token, without its secret.", body = ShownToken),
        (status = 400, description = "That cannot be the id of a token."),
        (status = 403, description = "It is not the caller's, and the caller does not have the scope `admin`."),
        (status = 404, description = "There is no such token."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<ShownToken>, ApiError> {
    let (id, owner) = managed(&app, &caller, &id)?;
    let token = owner.tokens.get(&id).ok_or_else(|| no_token(&id))?;
    Ok(Json(ShownToken::new(&owner, token)))
}

/// Revoke a token.
///
/// After the answer no node accepts a change with it; reads stop within a second. One's own with any token in force, this one
/// too; those of others need the scope `admin`.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", operation_id = "revoke_token", tag = "accounts",
    params(("id" = String, Path, description = "Id of the token, as lists show it.")),
    responses(
        (status = 200, description = "It is revoked, now or before.", body = Done),
        (status = 400, description = "That cannot be the id of a token."),
        (status = 403, description = "It is not the caller's, and the caller does not have the scope `admin`."),
        (status = 404, description = "There is no such token."),
    ),
    security(("token" = [])),
)]
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let (token, owner) = managed(&app, &caller, &id)?;
    let command = Command::RevokeToken {
        login: owner.login.clone(),
        token,
    };
    caller.execute(&app, command).await?;
    Ok(Json(Done::DONE))
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

fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes once it runs");
    bytes
}

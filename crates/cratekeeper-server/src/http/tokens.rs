//! Tokens: issued, listed, looked at, revoked; by administrators for everybody, by everybody for themselves.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cratekeeper_domain::{
    Account, Command, CratePattern, Login, Rejection, RejectionKind, Scope, Token, TokenId,
    TokenText,
};
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
    let wanted = Wanted::parse(&new)?;
    if caller.require(Scope::Admin, None).is_err() {
        wanted.within(caller.presented())?;
    }

    let text = TokenText::from_random(random());
    let token = TokenId::from_random(random());
    let command = Command::IssueToken {
        login,
        token: token.clone(),
        name: new.name,
        hash: text.hash(),
        scopes: wanted.scopes,
        crates: wanted.crates,
        expires_at_ms: wanted.expires_at_ms,
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

/// One's own with any token that is good, others' with `admin`.
fn may_manage(caller: &Caller, login: &Login) -> Result<(), ApiError> {
    if caller.account.login == *login {
        caller.require_any()
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

/// What a new token shall be able to do.
struct Wanted {
    scopes: Vec<Scope>,
    crates: Vec<CratePattern>,
    expires_at_ms: Option<u64>,
}

impl Wanted {
    fn parse(new: &NewToken) -> Result<Wanted, Rejection> {
        let scopes = new.scopes.iter().map(|scope| Scope::parse(scope));
        let crates = new
            .crates
            .iter()
            .map(|pattern| CratePattern::parse(pattern));
        Ok(Wanted {
            scopes: scopes.collect::<Result<_, _>>()?,
            crates: crates.collect::<Result<_, _>>()?,
            expires_at_ms: new.expires_at.as_deref().map(parse_rfc3339).transpose()?,
        })
    }

    /// A token must not beget a mightier one, or a leaked narrow token would be as good as a wide one.
    fn within(&self, own: Option<&Token>) -> Result<(), Rejection> {
        let forbidden = |sentence: String| Err(Rejection::new(RejectionKind::Forbidden, sentence));
        let Some(own) = own else {
            return forbidden("the token used for this call is not known any more".to_owned());
        };
        if let Some(scope) = self.scopes.iter().find(|scope| !own.scopes.contains(scope)) {
            return forbidden(format!(
                "the token used for this call does not have the scope `{0}`, so it cannot issue one that has; use a token with `{0}`, or ask an administrator",
                scope.as_str()
            ));
        }
        let bounded = own.crates.is_empty()
            || (!self.crates.is_empty() && self.crates.iter().all(|it| own.crates.contains(it)));
        if !bounded {
            return forbidden(
                "the token used for this call is limited to some crates; name in `crates` only patterns that it has itself".to_owned(),
            );
        }
        match (own.expires_at_ms, self.expires_at_ms) {
            (Some(own), Some(wanted)) if wanted <= own => Ok(()),
            (None, _) => Ok(()),
            (Some(own), _) => forbidden(format!(
                "the token used for this call expires, so it cannot issue one that lives longer; set `expires_at` to {} or earlier",
                rfc3339(own)
            )),
        }
    }
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

#[cfg(test)]
mod tests {
    use cratekeeper_domain::TokenHash;

    use super::*;

    fn own(crates: &[&str], expires_at_ms: Option<u64>) -> Token {
        Token {
            id: TokenId::from_random([1; 8]),
            name: "own".to_owned(),
            hash: TokenHash([0; 32]),
            scopes: vec![Scope::PublishUpdate, Scope::Yank],
            crates: patterns(crates),
            created_at_ms: 0,
            expires_at_ms,
            revoked: false,
        }
    }

    fn patterns(texts: &[&str]) -> Vec<CratePattern> {
        let parsed = texts.iter().map(|text| CratePattern::parse(text));
        parsed.collect::<Result<_, _>>().expect("patterns")
    }

    fn wanted(scopes: &[Scope], crates: &[&str], expires_at_ms: Option<u64>) -> Wanted {
        Wanted {
            scopes: scopes.to_vec(),
            crates: patterns(crates),
            expires_at_ms,
        }
    }

    #[test]
    fn a_token_begets_no_mightier_one() {
        let free = own(&[], None);
        let bound = own(&["foo-*"], Some(50));
        assert!(
            wanted(&[Scope::Yank], &[], None)
                .within(Some(&free))
                .is_ok()
        );
        assert!(
            wanted(&[Scope::Read], &[], None)
                .within(Some(&free))
                .is_err()
        );
        assert!(
            wanted(&[Scope::Yank], &["foo-*"], Some(50))
                .within(Some(&bound))
                .is_ok()
        );
        assert!(
            wanted(&[Scope::Yank], &[], Some(50))
                .within(Some(&bound))
                .is_err()
        );
        assert!(
            wanted(&[Scope::Yank], &["*"], Some(50))
                .within(Some(&bound))
                .is_err()
        );
        assert!(
            wanted(&[Scope::Yank], &["foo-*"], Some(51))
                .within(Some(&bound))
                .is_err()
        );
        assert!(
            wanted(&[Scope::Yank], &["foo-*"], None)
                .within(Some(&bound))
                .is_err()
        );
        assert!(wanted(&[Scope::Yank], &[], None).within(None).is_err());
    }
}

//! Who asks: the token of the `Authorization` header, the account it belongs to, and what the two may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cratekeeper_cluster::{Executed, Presented, ReadError, Request};
use cratekeeper_domain::{
    Account, Actor, Command, CrateName, Rejection, RejectionKind, RequestId, Scope, Token,
    TokenHash, TokenId, TokenText,
};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::envelope::AskedBy;
use super::error::ApiError;
use super::limits::{TOKEN_CONFIRMATION_TIME_MAX, TOKEN_CONFIRMATIONS_MAX};
use super::time::now_ms;
use crate::app::{App, ReadAccess};

static CONFIRMATIONS: Semaphore = Semaphore::const_new(TOKEN_CONFIRMATIONS_MAX);

/// Somebody with a known token. Says nothing yet about what it allows: see [`Caller::require`].
pub(crate) struct Caller {
    pub(crate) account: Arc<Account>,
    pub(crate) token: TokenId,
    request: RequestId,
}

impl Caller {
    /// May the caller do what `scope` names now? Judged by what this node knows; the leader decides again for every command.
    pub(crate) fn require(&self, scope: Scope, krate: Option<&CrateName>) -> Result<(), ApiError> {
        Ok(self
            .account
            .authorize(&self.token, scope, krate, now_ms())?)
    }

    /// The token the caller came with, if it is in force now.
    pub(crate) fn authenticate(&self) -> Result<&Token, ApiError> {
        Ok(self.account.authenticate(&self.token, now_ms())?)
    }

    /// Executes `command` in the caller's name, within the time a client waits for an answer.
    pub(crate) async fn execute(&self, app: &App, command: Command) -> Result<Executed, ApiError> {
        let deadline = Instant::now() + app.settings.publish_deadline;
        Ok(app.cluster.execute(self.request(command), deadline).await?)
    }

    /// `command` in the caller's name.
    pub(crate) fn request(&self, command: Command) -> Request {
        Request {
            actor: Actor {
                login: Some(self.account.login.clone()),
                token: Some(self.token.clone()),
            },
            request: self.request,
            command,
        }
    }

    async fn identify(parts: &Parts, app: &App) -> Result<Caller, ApiError> {
        let header = parts.headers.get(AUTHORIZATION).ok_or_else(|| {
            unauthenticated(format!(
                "this needs a token: see {}/me for how to get one, then run `cargo login`",
                app.settings.public_url
            ))
        })?;
        let presented = presented(app, header).await;
        let outcome = match &presented {
            Ok(it) if it.account.authenticate(&it.token, now_ms()).is_ok() => "accepted",
            Ok(_) => "refused",
            Err(NotPresented::Malformed(_)) => "malformed",
            Err(NotPresented::Unknown(error)) if error.outcome() == "unauthenticated" => "unknown",
            Err(NotPresented::Unknown(_)) => "failed",
        };
        metrics::counter!("cratekeeper_token_checks_total", "outcome" => outcome).increment(1);
        let presented = presented.map_err(NotPresented::into_error)?;
        if let Some(asked_by) = parts.extensions.get::<AskedBy>() {
            asked_by.set(presented.account.login.as_str());
        }
        Ok(Caller {
            account: presented.account,
            token: presented.token,
            request: parts
                .extensions
                .get::<RequestId>()
                .copied()
                .unwrap_or_default(),
        })
    }
}

enum NotPresented {
    /// Not even the shape of a token.
    Malformed(Rejection),
    /// Not known, or it could not be found out.
    Unknown(ApiError),
}

impl NotPresented {
    fn into_error(self) -> ApiError {
        match self {
            NotPresented::Malformed(rejection) => rejection.into(),
            NotPresented::Unknown(error) => error,
        }
    }
}

/// The token in the header, as the cluster knows it.
async fn presented(app: &App, header: &HeaderValue) -> Result<Presented, NotPresented> {
    let text = header.to_str().map_err(|_| {
        NotPresented::Malformed(unauthenticated(
            "the `authorization` header is not printable ASCII",
        ))
    })?;
    let hash = token_in(text).map_err(NotPresented::Malformed)?.hash();
    let known = app.cluster.token(&hash);
    match known.map_err(|error| NotPresented::Unknown(error.into()))? {
        Some(presented) => Ok(presented),
        None => confirmed(app, &hash).await.map_err(NotPresented::Unknown),
    }
}

/// Looks again behind everything acknowledged so far: the token may have been issued on another node a moment ago, and to call
/// it unknown would be wrong.
async fn confirmed(app: &App, hash: &TokenHash) -> Result<Presented, ApiError> {
    let unknown = || {
        unauthenticated("this registry does not know this token; log in with one that it issued")
    };
    // Made-up tokens must not become a flood of questions to the leader.
    let Ok(_place) = CONFIRMATIONS.try_acquire() else {
        return Err(unknown().into());
    };
    let deadline = Instant::now() + TOKEN_CONFIRMATION_TIME_MAX;
    match app.cluster.barrier(deadline).await {
        Ok(()) => {}
        Err(ReadError::Behind | ReadError::NotReady) => {
            return Err(ApiError::unavailable(
                "whether this token is valid cannot be found out at the moment; try again",
            ));
        }
        Err(error @ ReadError::Storage(_)) => return Err(error.into()),
    }
    Ok(app.cluster.token(hash)?.ok_or_else(unknown)?)
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Caller, ApiError> {
        Caller::identify(parts, app).await
    }
}

/// Somebody who may read: anybody, or only tokens with the scope `read`, as the operator chose.
pub(crate) struct Reader;

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Reader, ApiError> {
        match app.settings.read_access {
            ReadAccess::Public => {}
            // Crate patterns bound what a token changes, not what it reads: dependencies lie outside them.
            ReadAccess::Authenticated => Caller::identify(parts, app)
                .await?
                .require(Scope::Read, None)?,
        }
        Ok(Reader)
    }
}

/// Somebody whose token has the scope `admin`.
pub(crate) struct Admin(pub(crate) Caller);

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Admin, ApiError> {
        let caller = Caller::identify(parts, app).await?;
        caller.require(Scope::Admin, None)?;
        Ok(Admin(caller))
    }
}

/// The token shown in `headers`, if this node knows it and it is in force.
pub(super) fn known_token(app: &App, headers: &HeaderMap) -> Option<TokenId> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let hash = token_in(text).ok()?.hash();
    let presented = app.cluster.token(&hash).ok()??;
    let in_force = presented.account.authenticate(&presented.token, now_ms());
    in_force.is_ok().then_some(presented.token)
}

fn unauthenticated(sentence: impl Into<String>) -> Rejection {
    Rejection::new(RejectionKind::Unauthenticated, sentence)
}

/// cargo sends the token as it is; scripts say `Bearer`; tools that only know passwords say `Basic`, with any user name.
fn token_in(header: &str) -> Result<TokenText, Rejection> {
    let header = header.trim();
    let token = match header.split_once(' ') {
        None => header.to_owned(),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim().to_owned(),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => {
            password_in(rest.trim()).ok_or_else(|| {
                unauthenticated("the `authorization` header says `Basic`, but what follows is not base64 of `user:token`")
            })?
        }
        Some(_) => {
            return Err(unauthenticated(
                "send the token itself in the `authorization` header, or after `Bearer`",
            ));
        }
    };
    TokenText::parse(&token).map_err(|rejection| unauthenticated(rejection.sentence))
}

fn password_in(credentials: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credentials).ok()?).ok()?;
    Some(decoded.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_each_way_of_sending_it() {
        let token = TokenText::from_random([7; 32]);
        let basic = BASE64_STANDARD.encode(format!("alice:{}", token.as_str()));
        for header in [
            token.as_str().to_owned(),
            format!("Bearer {}", token.as_str()),
            format!("bearer  {} ", token.as_str()),
            format!("Basic {basic}"),
        ] {
            let found = token_in(&header).expect("a token");
            assert_eq!(found.as_str(), token.as_str());
        }
    }

    #[test]
    fn what_is_no_token_is_unauthenticated_and_never_repeated() {
        for header in ["", "secret", "Bearer", "Bearer x", "Basic !!", "Digest a=b"] {
            let refused = token_in(header).expect_err("no token");
            assert_eq!(refused.kind, RejectionKind::Unauthenticated, "{header}");
            assert!(!refused.sentence.contains("secret"), "{}", refused.sentence);
        }
    }
}

//! Everybody may issue tokens to themselves that can do no more than the one they hold, and revoke their own; administrators any.

use super::accounts::existing;
use super::{Caller, Decision, View, conflict, forbidden, missing};
use crate::index_line::utc_seconds;
use crate::limits::{TOKEN_NAME_CHARS_MAX, TOKEN_PATTERNS_MAX, TOKENS_MAX};
use crate::rejection::invalid;
use crate::{
    Account, Command, CratePattern, Event, Login, Rejection, Scope, StreamId, Token, TokenId,
};

pub(super) fn decide(command: &Command, caller: &Caller<'_>, view: &View) -> Decision {
    match command {
        Command::IssueToken {
            login,
            token,
            name,
            hash,
            scopes,
            crates,
            expires_at_ms,
        } => {
            let mut scopes = scopes.clone();
            scopes.sort();
            scopes.dedup();
            let account = match login == &caller.account.login {
                true => caller.account,
                false => {
                    caller.may_administer()?;
                    existing(login, view)?
                }
            };
            refuse_more_than_held(caller, &scopes, crates, *expires_at_ms)?;
            match account.tokens.get(token) {
                Some(issued) if issued.hash == *hash => return Ok(Vec::new()),
                Some(_) => {
                    return conflict(format!(
                        "`{login}` already has a token `{token}` with another secret; choose another id"
                    ));
                }
                None => {}
            }
            validate(account, name, &scopes, crates)?;
            validate_expiry(*expires_at_ms, caller.now_ms)?;
            refuse_too_many(account, caller.now_ms)?;
            let issued = Event::TokenIssued {
                token: token.clone(),
                name: name.clone(),
                hash: *hash,
                scopes,
                crates: crates.clone(),
                expires_at_ms: *expires_at_ms,
            };
            Ok(vec![(StreamId::Account(login.clone()), issued)])
        }
        Command::RevokeToken { login, token } => revoke(login, token, caller, view),
        _ => unreachable!("only commands about tokens are decided here"),
    }
}

fn revoke(login: &Login, token: &TokenId, caller: &Caller<'_>, view: &View) -> Decision {
    let own = *login == caller.account.login;
    let revoked = |account: &Account| account.tokens.get(token).is_some_and(|t| t.revoked);
    // A token that revoked itself is no longer valid when the request is repeated.
    if own && token == caller.token && revoked(caller.account) {
        return Ok(Vec::new());
    }
    caller.authenticate()?;
    if !own {
        caller.may_administer()?;
    }
    let account = existing(login, view)?;
    match account.tokens.get(token) {
        None => missing(format!(
            "`{login}` has no token `{token}`; list the account's tokens to see them"
        )),
        Some(token) if token.revoked => Ok(Vec::new()),
        Some(token) => {
            let token = token.id.clone();
            Ok(vec![(
                StreamId::Account(login.clone()),
                Event::TokenRevoked { token },
            )])
        }
    }
}

/// A token must not be a way to a stronger or longer-lived one.
fn refuse_more_than_held(
    caller: &Caller<'_>,
    scopes: &[Scope],
    crates: &[CratePattern],
    expires_at_ms: Option<u64>,
) -> Result<(), Rejection> {
    let held: &Token = caller.authenticate()?;
    if caller.may_administer().is_ok() {
        return Ok(());
    }
    let id = &held.id;
    if let Some(scope) = scopes.iter().find(|scope| !held.has(**scope)) {
        return forbidden(format!(
            "the token `{id}` you use does not have the scope `{scope}`, so it cannot issue one that has; ask an administrator"
        ));
    }
    let covered = |new: &CratePattern| held.crates.iter().any(|pattern| pattern.covers(new));
    if !held.crates.is_empty() && (crates.is_empty() || !crates.iter().all(covered)) {
        let held: Vec<&str> = held.crates.iter().map(CratePattern::as_str).collect();
        return forbidden(format!(
            "the token `{id}` you use is limited to the crates {}, so it cannot issue one for more; name crates within these or ask an administrator",
            held.join(", "),
        ));
    }
    match held.expires_at_ms {
        Some(end) if expires_at_ms.is_none_or(|new| new > end) => forbidden(format!(
            "the token `{id}` you use expires at {}, so it cannot issue one that lives longer; choose an earlier expiry or ask an administrator",
            utc_seconds(end),
        )),
        _ => Ok(()),
    }
}

fn validate(
    account: &Account,
    name: &str,
    scopes: &[Scope],
    crates: &[CratePattern],
) -> Result<(), Rejection> {
    let login = &account.login;
    if account.disabled {
        return invalid(format!(
            "the account `{login}` is disabled; enable it before issuing tokens to it"
        ));
    }
    let chars = name.chars().count();
    if chars == 0 || chars > TOKEN_NAME_CHARS_MAX || name.contains(char::is_control) {
        return invalid(format!(
            "a token needs a name of one line and at most {TOKEN_NAME_CHARS_MAX} characters, to tell it from others"
        ));
    }
    if scopes.is_empty() {
        return invalid(
            "a token needs at least one scope: publish-new, publish-update, yank, change-owners, read or admin",
        );
    }
    if let Some(scope) = scopes.iter().find(|scope| !account.role.allows(**scope)) {
        return invalid(format!(
            "the account `{login}` has the role {}, which does not allow the scope `{scope}`; leave it out",
            account.role,
        ));
    }
    if crates.len() > TOKEN_PATTERNS_MAX {
        return invalid(format!(
            "the token has {} crate patterns, at most {TOKEN_PATTERNS_MAX} are allowed; use prefixes such as `team-*`",
            crates.len(),
        ));
    }
    Ok(())
}

fn validate_expiry(expires_at_ms: Option<u64>, now_ms: u64) -> Result<(), Rejection> {
    match expires_at_ms {
        Some(end) if end <= now_ms => invalid(format!(
            "the token would expire at {}, which is past; choose a later time or none",
            utc_seconds(end),
        )),
        _ => Ok(()),
    }
}

fn refuse_too_many(account: &Account, now_ms: u64) -> Result<(), Rejection> {
    let in_force =
        |token: &&Token| !token.revoked && token.expires_at_ms.is_none_or(|end| end > now_ms);
    if account.tokens.values().filter(in_force).count() >= TOKENS_MAX {
        return invalid(format!(
            "the account `{}` already has {TOKENS_MAX} tokens in force; revoke some first",
            account.login,
        ));
    }
    Ok(())
}

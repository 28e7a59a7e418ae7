//! Everybody may issue tokens to themselves that can do no more than the one they hold, and revoke their own; administrators any.

use super::accounts::existing;
use super::{Caller, Decision, View, conflict, forbidden, missing};
use crate::index_line::utc_seconds;
use crate::limits::{TOKEN_NAME_CHARS_MAX, TOKEN_PATTERNS_MAX, TOKENS_MAX};
use crate::rejection::invalid;
use crate::{
    Account, Command, CratePattern, Event, Login, Rejection, Role, Scope, StreamId, Token, TokenId,
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

/// What a node asks for on behalf of whoever may write to its data directory: an administrator in force gets one more token, for
/// when all others are lost.
pub(super) fn recover(command: &Command, view: &View) -> Decision {
    let Command::IssueToken {
        login,
        token,
        name,
        hash,
        scopes,
        crates,
        expires_at_ms,
    } = command
    else {
        unreachable!("only a token is recovered");
    };
    let Some(account) = view
        .account(login)
        .filter(|account| account.role == Role::Admin)
    else {
        return missing(format!(
            "`{login}` is not an administrator; name an account that is"
        ));
    };
    validate(account, name, scopes, crates)?;
    let issued = Event::TokenIssued {
        token: token.clone(),
        name: name.clone(),
        hash: *hash,
        scopes: scopes.clone(),
        crates: crates.clone(),
        expires_at_ms: *expires_at_ms,
    };
    match account.tokens.get(token) {
        Some(issued) if issued.hash == *hash => Ok(Vec::new()),
        Some(_) => conflict("this token id is taken; draw another one"),
        None => Ok(vec![(StreamId::Account(login.clone()), issued)]),
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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::story::{NOW_MS, Registry, login, token};
    use crate::{Command, CratePattern, Event, Role, Scope, TokenHash};

    fn registry() -> Registry {
        let mut registry = Registry::with(&[
            ("alice", Role::Publisher),
            ("bob", Role::Publisher),
            ("root", Role::Admin),
        ]);
        registry.token("alice", "weak", |token| {
            if let Event::TokenIssued {
                scopes,
                crates,
                expires_at_ms,
                ..
            } = token
            {
                *scopes = vec![Scope::PublishUpdate];
                *crates = vec![CratePattern::parse("team-*").unwrap()];
                *expires_at_ms = Some(NOW_MS + 60_000);
            }
        });
        registry
    }

    fn issue(to: &str, scopes: &[Scope], crates: &[&str], expires_at_ms: Option<u64>) -> Command {
        Command::IssueToken {
            login: login(to),
            token: token("issued"),
            name: "ci".to_owned(),
            hash: TokenHash([7; 32]),
            scopes: scopes.to_vec(),
            crates: crates
                .iter()
                .map(|text| CratePattern::parse(text).unwrap())
                .collect(),
            expires_at_ms,
        }
    }

    fn revoke(of: &str, name: &str) -> Command {
        let (login, token) = (login(of), token(name));
        Command::RevokeToken { login, token }
    }

    #[test]
    fn everybody_issues_tokens_to_themselves() {
        let mut registry = registry();
        let scopes = [Scope::Yank, Scope::PublishNew, Scope::Yank];
        assert_snapshot!(registry.ask("alice", issue("alice", &scopes, &["a*"], None)), @"account:alice TokenIssued `ci` [publish-new yank] [a*]");
        assert_snapshot!(registry.ask("alice", issue("alice", &scopes, &["a*"], None)), @"nothing to do");
        assert_snapshot!(registry.ask("alice", issue("bob", &scopes, &[], None)), @"Forbidden: the account `alice` has the role publisher, which does not allow `admin`; ask an administrator");
        assert_snapshot!(registry.ask("root", issue("bob", &scopes, &[], None)), @"account:bob TokenIssued `ci` [publish-new yank] []");
        assert_snapshot!(registry.ask("root", issue("eve", &scopes, &[], None)), @"Missing: there is no account `eve`; check the spelling");
    }

    #[test]
    fn a_token_cannot_issue_a_stronger_one() {
        let mut registry = registry();
        let mut ask = |scope, crates: &[&str], end| {
            registry.ask_with("alice", "weak", issue("alice", &[scope], crates, end))
        };
        let soon = Some(NOW_MS + 1_000);
        assert_snapshot!(ask(Scope::Yank, &["team-a"], soon), @"Forbidden: the token `481ba4019c9d2710` you use does not have the scope `yank`, so it cannot issue one that has; ask an administrator");
        assert_snapshot!(ask(Scope::PublishUpdate, &[], soon), @"Forbidden: the token `481ba4019c9d2710` you use is limited to the crates team-*, so it cannot issue one for more; name crates within these or ask an administrator");
        assert_snapshot!(ask(Scope::PublishUpdate, &["te*"], soon), @"Forbidden: the token `481ba4019c9d2710` you use is limited to the crates team-*, so it cannot issue one for more; name crates within these or ask an administrator");
        assert_snapshot!(ask(Scope::PublishUpdate, &["team-a*"], None), @"Forbidden: the token `481ba4019c9d2710` you use expires at 2025-11-21T04:41:00Z, so it cannot issue one that lives longer; choose an earlier expiry or ask an administrator");
        assert_snapshot!(ask(Scope::PublishUpdate, &["Team_a*"], soon), @"account:alice TokenIssued `ci` [publish-update] [Team_a*]");
    }

    #[test]
    fn what_is_issued_must_make_sense() {
        let mut registry = registry();
        let root = |registry: &mut Registry, command| registry.ask("root", command);
        assert_snapshot!(root(&mut registry, issue("bob", &[Scope::Admin], &[], None)), @"Invalid: the account `bob` has the role publisher, which does not allow the scope `admin`; leave it out");
        assert_snapshot!(root(&mut registry, issue("bob", &[], &[], None)), @"Invalid: a token needs at least one scope: publish-new, publish-update, yank, change-owners, read or admin");
        assert_snapshot!(root(&mut registry, issue("bob", &[Scope::Read], &[], Some(NOW_MS))), @"Invalid: the token would expire at 2025-11-21T04:40:00Z, which is past; choose a later time or none");
        let mut nameless = issue("bob", &[Scope::Read], &[], None);
        if let Command::IssueToken { name, .. } = &mut nameless {
            name.clear();
        }
        assert_snapshot!(root(&mut registry, nameless), @"Invalid: a token needs a name of one line and at most 128 characters, to tell it from others");
        let many = vec!["a*"; 101];
        assert_snapshot!(root(&mut registry, issue("bob", &[Scope::Read], &many, None)), @"Invalid: the token has 101 crate patterns, at most 100 are allowed; use prefixes such as `team-*`");
        root(&mut registry, issue("bob", &[Scope::Read], &[], None));
        let mut other = issue("bob", &[Scope::Read], &[], None);
        if let Command::IssueToken { hash, .. } = &mut other {
            *hash = TokenHash([8; 32]);
        }
        assert_snapshot!(root(&mut registry, other), @"Conflict: `bob` already has a token `c91a3cc769f870fd` with another secret; choose another id");
        registry.ask(
            "root",
            Command::DisableAccount {
                login: login("alice"),
            },
        );
        assert_snapshot!(root(&mut registry, issue("alice", &[Scope::Read], &[], None)), @"Invalid: the account `alice` is disabled; enable it before issuing tokens to it");
    }

    #[test]
    fn tokens_in_force_are_bounded() {
        let mut registry = registry();
        for n in 0..1_000 {
            registry.token("bob", &format!("token {n}"), |_| {});
        }
        assert_snapshot!(registry.ask("bob", issue("bob", &[Scope::Read], &[], None)), @"Invalid: the account `bob` already has 1000 tokens in force; revoke some first");
    }

    #[test]
    fn revoking_is_for_the_account_itself_and_administrators() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("bob", revoke("alice", "weak")), @"Forbidden: the account `bob` has the role publisher, which does not allow `admin`; ask an administrator");
        assert_snapshot!(registry.ask("alice", revoke("alice", "no such")), @"Missing: `alice` has no token `6ca085ba66502d36`; list the account's tokens to see them");
        assert_snapshot!(registry.ask_with("alice", "weak", revoke("alice", "alice's token")), @r#"account:alice TokenRevoked { token: TokenId("4d63559a10572d24") }"#);
        assert_snapshot!(registry.ask("alice", revoke("alice", "weak")), @"Unauthenticated: the token `4d63559a10572d24` of `alice` was revoked; log in with another one");
        assert_snapshot!(registry.ask("root", revoke("alice", "weak")), @r#"account:alice TokenRevoked { token: TokenId("481ba4019c9d2710") }"#);
        assert_snapshot!(registry.ask("root", revoke("alice", "weak")), @"nothing to do");
    }

    #[test]
    fn a_token_may_revoke_itself_and_say_so_twice() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("alice", revoke("alice", "alice's token")), @r#"account:alice TokenRevoked { token: TokenId("4d63559a10572d24") }"#);
        assert_snapshot!(registry.ask("alice", revoke("alice", "alice's token")), @"nothing to do");
        assert_snapshot!(registry.ask("alice", revoke("alice", "weak")), @"Unauthenticated: the token `4d63559a10572d24` of `alice` was revoked; log in with another one");
    }

    #[test]
    fn an_expired_token_may_do_nothing() {
        let mut registry = registry();
        registry.now_ms = NOW_MS + 60_000;
        assert_snapshot!(registry.ask_with("alice", "weak", revoke("alice", "weak")), @"Unauthenticated: the token `481ba4019c9d2710` of `alice` expired at 2025-11-21T04:41:00Z; log in with another one");
    }

    #[test]
    fn an_administrators_token_for_some_crates_is_none_for_tokens() {
        let mut registry = registry();
        registry.token("root", "some", |token| {
            if let Event::TokenIssued { scopes, crates, .. } = token {
                *scopes = vec![Scope::Admin];
                *crates = vec![CratePattern::parse("team-*").unwrap()];
            }
        });
        let all = issue("root", &[Scope::Admin], &[], None);
        assert_snapshot!(registry.ask_with("root", "some", all), @"Forbidden: the token `a6b46dd0d1ae5e86` you use is limited to the crates team-*, so it cannot issue one for more; name crates within these or ask an administrator");
    }

    #[test]
    fn a_node_may_issue_to_administrators_in_force_only() {
        let mut registry = registry();
        let to = |name: &str| Command::IssueToken {
            login: login(name),
            token: token("recovered"),
            name: "recovered".to_owned(),
            hash: TokenHash([9; 32]),
            scopes: Scope::ALL.to_vec(),
            crates: Vec::new(),
            expires_at_ms: None,
        };
        assert_snapshot!(registry.ask_itself(to("alice")), @"Missing: `alice` is not an administrator; name an account that is");
        assert_snapshot!(registry.ask_itself(to("nobody")), @"Missing: `nobody` is not an administrator; name an account that is");
        assert_snapshot!(registry.ask_itself(to("root")), @"account:root TokenIssued `recovered` [publish-new publish-update yank change-owners read admin] []");
        assert_snapshot!(registry.ask_itself(to("root")), @"nothing to do");
    }
}

//! The account and token a command is asked with, and what they may do.

use super::{View, forbidden};
use crate::{
    Account, Actor, CrateName, Krate, Rejection, RejectionKind, Role, Scope, Token, TokenId,
};

pub(super) struct Caller<'a> {
    pub(super) account: &'a Account,
    pub(super) token: &'a TokenId,
    pub(super) now_ms: u64,
}

impl<'a> Caller<'a> {
    /// Who asks; whether they may is asked afterwards.
    pub(super) fn of(
        actor: &'a Actor,
        view: &'a View,
        now_ms: u64,
    ) -> Result<Caller<'a>, Rejection> {
        let unknown = |sentence: String| Rejection::new(RejectionKind::Unauthenticated, sentence);
        let (Some(login), Some(token)) = (&actor.login, &actor.token) else {
            return Err(unknown(
                "this needs an account; log in with a token".to_owned(),
            ));
        };
        let Some(account) = view.account(login) else {
            return Err(unknown(format!(
                "there is no account `{login}`; log in with another token"
            )));
        };
        Ok(Caller {
            account,
            token,
            now_ms,
        })
    }

    pub(super) fn authenticate(&self) -> Result<&'a Token, Rejection> {
        self.account.authenticate(self.token, self.now_ms)
    }

    pub(super) fn may(&self, scope: Scope, krate: &CrateName) -> Result<(), Rejection> {
        self.account
            .authorize(self.token, scope, Some(krate), self.now_ms)
    }

    pub(super) fn may_administer(&self) -> Result<(), Rejection> {
        self.account
            .authorize(self.token, Scope::Admin, None, self.now_ms)
    }

    /// An administrator's account with an administrator's token: stands in for any owner.
    pub(super) fn is_administrator(&self) -> bool {
        self.account.role == Role::Admin
            && self
                .authenticate()
                .is_ok_and(|token| token.has(Scope::Admin))
    }

    /// Refuses whoever does not own the crate.
    pub(super) fn must_own(&self, krate: &Krate) -> Result<(), Rejection> {
        let login = &self.account.login;
        if krate.owners.contains(login) || self.is_administrator() {
            return Ok(());
        }
        let name = &krate.name;
        if krate.owners.is_empty() {
            return forbidden(format!(
                "the crate `{name}` has no owner; ask an administrator"
            ));
        }
        let one_of = if krate.owners.len() == 1 {
            "them"
        } else {
            "one of them"
        };
        forbidden(format!(
            "the crate `{name}` is owned by {}; ask {one_of} to run `cargo owner --add {login} {name}`",
            krate.owners_in_words(),
        ))
    }
}

//! An account and its tokens as their events say they are.

use std::collections::BTreeMap;

use crate::{
    CrateName, CratePattern, Login, Recorded, Rejection, RequestId, Scope, TokenHash, TokenId,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Admin,
    Publisher,
    Reader,
}

impl Role {
    /// `admin`, `publisher`, `reader`.
    pub fn parse(text: &str) -> Result<Role, Rejection> {
        todo!("{text}")
    }
    pub fn as_str(self) -> &'static str {
        todo!()
    }
    /// May a token of an account with this role carry this scope?
    pub fn allows(self, scope: Scope) -> bool {
        todo!("{scope:?}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What cargo's owner list shows as `id`: the sequence of the account's first event, which fits 32 bits.
    pub id: u32,
    pub login: Login,
    pub name: Option<String>,
    pub role: Role,
    pub disabled: bool,
    pub created_at_ms: u64,
    /// The request that created it, so that the same request again is success.
    pub request: RequestId,
    pub tokens: BTreeMap<TokenId, Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub hash: TokenHash,
    pub scopes: Vec<Scope>,
    /// Empty: every crate.
    pub crates: Vec<CratePattern>,
    pub created_at_ms: u64,
    pub expires_at_ms: Option<u64>,
    pub revoked: bool,
}

impl Account {
    pub(crate) fn fold(account: &mut Option<Account>, recorded: &Recorded) {
        todo!("{account:?} {recorded:?}")
    }

    /// May this account, with this token, do what `scope` names (to `krate`, if it is about one) at `now_ms`?
    /// Checks disabled, revoked, expired, scope, role and crate patterns; `Unauthenticated` or `Forbidden` with a sentence.
    pub fn authorize(
        &self,
        token: &TokenId,
        scope: Scope,
        krate: Option<&CrateName>,
        now_ms: u64,
    ) -> Result<(), Rejection> {
        todo!("{token:?} {scope:?} {krate:?} {now_ms}")
    }
}

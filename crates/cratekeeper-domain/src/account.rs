//! An account and its tokens as their events say they are.

use std::collections::BTreeMap;

use crate::index_line::utc_seconds;
use crate::rejection::{invalid, shown};
use crate::{
    CrateName, CratePattern, Event, Login, Recorded, Rejection, RejectionKind, RequestId, Scope,
    TokenHash, TokenId,
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
        match text {
            "admin" => Ok(Role::Admin),
            "publisher" => Ok(Role::Publisher),
            "reader" => Ok(Role::Reader),
            _ => invalid(format!(
                "`{}` is not a role: use admin, publisher or reader",
                shown(text)
            )),
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Publisher => "publisher",
            Role::Reader => "reader",
        }
    }
    /// May a token of an account with this role carry this scope?
    pub fn allows(self, scope: Scope) -> bool {
        match self {
            Role::Admin => true,
            Role::Publisher => scope != Scope::Admin,
            Role::Reader => scope == Scope::Read,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
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
    /// What the token may change; empty: every crate. They do not limit what it may read, because
    /// publishing one crate means reading all it depends on.
    pub crates: Vec<CratePattern>,
    pub created_at_ms: u64,
    pub expires_at_ms: Option<u64>,
    pub revoked: bool,
}

impl Token {
    /// Carries `scope`, or `admin`, which includes all.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

impl Account {
    pub(crate) fn fold(account: &mut Option<Account>, recorded: &Recorded) {
        if let Event::AccountCreated { login, name, role } = &recorded.event {
            *account = Some(Account {
                // A history of four thousand million events is out of reach; a repeated id would only blur owner lists.
                id: u32::try_from(recorded.sequence).unwrap_or(u32::MAX),
                login: login.clone(),
                name: name.clone(),
                role: *role,
                disabled: false,
                created_at_ms: recorded.time_ms,
                request: recorded.request,
                tokens: BTreeMap::new(),
            });
        } else if let Some(account) = account {
            account.fold_later(recorded);
        }
    }

    fn fold_later(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::AccountDisabled => self.disabled = true,
            Event::AccountEnabled => self.disabled = false,
            Event::TokenIssued {
                token,
                name,
                hash,
                scopes,
                crates,
                expires_at_ms,
            } => {
                let issued = Token {
                    id: token.clone(),
                    name: name.clone(),
                    hash: *hash,
                    scopes: scopes.clone(),
                    crates: crates.clone(),
                    created_at_ms: recorded.time_ms,
                    expires_at_ms: *expires_at_ms,
                    revoked: false,
                };
                self.tokens.insert(token.clone(), issued);
            }
            Event::TokenRevoked { token } => {
                if let Some(token) = self.tokens.get_mut(token) {
                    token.revoked = true;
                }
            }
            _ => {}
        }
    }

    /// The token, if it is this account's, in force at `now_ms`, and the account is not disabled.
    pub fn authenticate(&self, token: &TokenId, now_ms: u64) -> Result<&Token, Rejection> {
        let refuse = |sentence| Err(Rejection::new(RejectionKind::Unauthenticated, sentence));
        let login = &self.login;
        let Some(token) = self.tokens.get(token) else {
            return refuse(format!(
                "`{login}` has no token `{token}`; log in with one that is in force"
            ));
        };
        let id = &token.id;
        if self.disabled {
            return Err(Rejection::new(
                RejectionKind::Forbidden,
                format!("the account `{login}` is disabled; ask an administrator to enable it"),
            ));
        }
        if token.revoked {
            return refuse(format!(
                "the token `{id}` of `{login}` was revoked; log in with another one"
            ));
        }
        match token.expires_at_ms {
            Some(end) if end <= now_ms => refuse(format!(
                "the token `{id}` of `{login}` expired at {}; log in with another one",
                utc_seconds(end),
            )),
            _ => Ok(token),
        }
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
        let forbidden = |sentence| Err(Rejection::new(RejectionKind::Forbidden, sentence));
        let token = self.authenticate(token, now_ms)?;
        let (login, id) = (&self.login, &token.id);
        if !self.role.allows(scope) {
            return forbidden(format!(
                "the account `{login}` has the role {}, which does not allow `{scope}`; ask an administrator",
                self.role,
            ));
        }
        if !token.has(scope) {
            return forbidden(format!(
                "the token `{id}` of `{login}` does not have the scope `{scope}`; use one that has it"
            ));
        }
        if token.crates.is_empty() || scope == Scope::Read {
            return Ok(());
        }
        match krate {
            Some(krate) if token.crates.iter().any(|pattern| pattern.matches(krate)) => Ok(()),
            Some(krate) => forbidden(format!(
                "the token `{id}` of `{login}` is not for the crate `{krate}`; use one whose crate patterns include it"
            )),
            // Otherwise a token for some crates could issue itself one for all.
            None => forbidden(format!(
                "the token `{id}` of `{login}` is limited to some crates; use one without crate patterns for this"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Registry, krate, login, token};

    #[test]
    fn every_role_allows_what_it_says() {
        let allowed = |role: Role| Scope::ALL.map(|scope| role.allows(scope));
        assert_eq!(allowed(Role::Admin), [true; 6]);
        assert_eq!(
            allowed(Role::Publisher),
            [true, true, true, true, true, false]
        );
        assert_eq!(
            allowed(Role::Reader),
            [false, false, false, false, true, false]
        );
        for role in [Role::Admin, Role::Publisher, Role::Reader] {
            assert_eq!(Role::parse(role.as_str()), Ok(role));
        }
        insta::assert_snapshot!(Role::parse("owner").unwrap_err(), @"`owner` is not a role: use admin, publisher or reader");
    }

    #[test]
    fn crate_patterns_limit_changes_and_not_reads() {
        let mut registry = Registry::with(&[("alice", Role::Publisher)]);
        registry.token("alice", "team", |token| {
            if let Event::TokenIssued { scopes, crates, .. } = token {
                *scopes = vec![Scope::Read, Scope::Yank];
                *crates = vec![CratePattern::parse("team-*").unwrap()];
            }
        });
        let account = registry.view.account(&login("alice")).unwrap();
        let (token, other) = (token("team"), krate("serde"));
        assert_eq!(
            account.authorize(&token, Scope::Read, Some(&other), 0),
            Ok(())
        );
        assert!(
            account
                .authorize(&token, Scope::Yank, Some(&other), 0)
                .is_err()
        );
        assert!(
            account
                .authorize(&token, Scope::Yank, Some(&krate("team_x")), 0)
                .is_ok()
        );
    }
}

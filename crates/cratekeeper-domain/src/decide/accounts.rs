//! Administrators create, disable and enable accounts.

use super::{Caller, Decision, View, conflict, forbidden, missing};
use crate::limits::ACCOUNT_NAME_CHARS_MAX;
use crate::rejection::invalid;
use crate::{Account, Command, Event, Login, Rejection, RequestId, StreamId};

pub(super) fn decide(
    command: &Command,
    request: RequestId,
    caller: &Caller<'_>,
    view: &View,
) -> Decision {
    caller.may_administer()?;
    match command {
        Command::CreateAccount { login, name, role } => {
            validate_name(name.as_deref())?;
            match view.account(login) {
                Some(account) if account.request == request => Ok(Vec::new()),
                Some(_) => conflict(format!(
                    "the account `{login}` already exists; choose another login"
                )),
                None => {
                    let created = Event::AccountCreated {
                        login: login.clone(),
                        name: name.clone(),
                        role: *role,
                    };
                    Ok(one(login, created))
                }
            }
        }
        Command::DisableAccount { login } => {
            let account = existing(login, view)?;
            if *login == caller.account.login {
                return forbidden(format!(
                    "you are `{login}` and cannot disable your own account; ask another administrator"
                ));
            }
            Ok(if account.disabled {
                Vec::new()
            } else {
                one(login, Event::AccountDisabled)
            })
        }
        Command::EnableAccount { login } => Ok(if existing(login, view)?.disabled {
            one(login, Event::AccountEnabled)
        } else {
            Vec::new()
        }),
        _ => unreachable!("only commands about accounts are decided here"),
    }
}

fn one(login: &Login, event: Event) -> Vec<(StreamId, Event)> {
    vec![(StreamId::Account(login.clone()), event)]
}

pub(super) fn existing<'a>(login: &Login, view: &'a View) -> Result<&'a Account, Rejection> {
    match view.account(login) {
        Some(account) => Ok(account),
        None => missing(format!("there is no account `{login}`; check the spelling")),
    }
}

fn validate_name(name: Option<&str>) -> Result<(), Rejection> {
    let Some(name) = name else {
        return Ok(());
    };
    if name.chars().count() > ACCOUNT_NAME_CHARS_MAX || name.contains(char::is_control) {
        return invalid(format!(
            "the account's name must be one line of at most {ACCOUNT_NAME_CHARS_MAX} characters"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::story::{Registry, login};
    use crate::{Command, Role};

    fn registry() -> Registry {
        Registry::with(&[("alice", Role::Publisher), ("root", Role::Admin)])
    }

    fn create(text: &str, name: Option<&str>) -> Command {
        Command::CreateAccount {
            login: login(text),
            name: name.map(ToOwned::to_owned),
            role: Role::Reader,
        }
    }

    #[test]
    fn an_administrator_creates_accounts() {
        let mut registry = registry();
        assert_snapshot!(registry.ask("alice", create("bob", None)), @"Forbidden: the account `alice` has the role publisher, which does not allow `admin`; ask an administrator");
        assert_snapshot!(registry.ask("root", create("bob", Some("Bob"))), @r#"account:bob AccountCreated { login: Login("bob"), name: Some("Bob"), role: Reader }"#);
        assert_snapshot!(registry.repeat("root", create("bob", Some("Bob"))), @"nothing to do");
        assert_snapshot!(registry.ask("root", create("bob", Some("Bob"))), @"Conflict: the account `bob` already exists; choose another login");
        assert_snapshot!(registry.ask("root", create("eve", Some("two\nlines"))), @"Invalid: the account's name must be one line of at most 128 characters");
    }

    #[test]
    fn an_administrator_disables_and_enables_others() {
        let mut registry = registry();
        let disable = |text| Command::DisableAccount { login: login(text) };
        let enable = |text| Command::EnableAccount { login: login(text) };
        assert_snapshot!(registry.ask("alice", disable("root")), @"Forbidden: the account `alice` has the role publisher, which does not allow `admin`; ask an administrator");
        assert_snapshot!(registry.ask("root", disable("root")), @"Forbidden: you are `root` and cannot disable your own account; ask another administrator");
        assert_snapshot!(registry.ask("root", disable("bob")), @"Missing: there is no account `bob`; check the spelling");
        assert_snapshot!(registry.ask("root", disable("alice")), @"account:alice AccountDisabled");
        assert_snapshot!(registry.ask("root", disable("alice")), @"nothing to do");
        assert_snapshot!(registry.ask("root", enable("alice")), @"account:alice AccountEnabled");
        assert_snapshot!(registry.ask("root", enable("alice")), @"nothing to do");
    }
}

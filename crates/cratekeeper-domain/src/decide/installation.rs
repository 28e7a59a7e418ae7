//! What only the cluster itself asks for: founding, node ids, the feature level.

use super::{Decision, View, conflict, forbidden, missing};
use crate::limits::INCARNATION_CHARS_MAX;
use crate::rejection::invalid;
use crate::{
    Account, Actor, Command, Event, Installation, Login, NEWEST_LEVEL, RESTORED_LEVEL, Rejection,
    Role, Scope, StreamId, TokenHash, TokenId,
};

pub(super) fn decide(command: &Command, actor: &Actor, view: &View) -> Decision {
    if let Some(login) = &actor.login {
        return forbidden(format!(
            "`{login}` cannot ask for this: only the cluster itself founds, admits nodes and raises its feature level"
        ));
    }
    match command {
        Command::Found {
            cluster, history, ..
        } => match view.installation() {
            None => Ok(found(command)),
            Some(installation)
                if installation.cluster == *cluster && installation.history == *history =>
            {
                Ok(Vec::new())
            }
            Some(installation) => conflict(format!(
                "the cluster `{}` was founded here already; start with an empty data directory to found another",
                installation.cluster,
            )),
        },
        Command::AdmitNode { incarnation } => admit(incarnation, founded(view)?),
        Command::RaiseFeatureLevel { level } => {
            let now = founded(view)?.feature_level;
            if NEWEST_LEVEL < *level {
                return conflict(format!(
                    "feature level {level} is not known to the leader's release, which knows levels up to {NEWEST_LEVEL}"
                ));
            }
            if *level < now {
                return conflict(format!(
                    "the feature level is {now} and never goes back to {level}"
                ));
            }
            Ok(if *level == now {
                Vec::new()
            } else {
                let raised = Event::FeatureLevelRaised { level: *level };
                vec![(StreamId::Installation, raised)]
            })
        }
        _ => unreachable!("only commands of the cluster itself are decided here"),
    }
}

fn founded(view: &View) -> Result<&Installation, Rejection> {
    match view.installation() {
        Some(installation) => Ok(installation),
        None => conflict("the cluster is not founded yet"),
    }
}

fn found(command: &Command) -> Vec<(StreamId, Event)> {
    let Command::Found {
        cluster,
        history,
        admin,
        token,
        hash,
        feature_level,
    } = command
    else {
        unreachable!("only founding founds");
    };
    let account = StreamId::Account(admin.clone());
    vec![
        (
            StreamId::Installation,
            Event::ClusterFounded {
                cluster: cluster.clone(),
                history: history.clone(),
            },
        ),
        (
            StreamId::Installation,
            Event::FeatureLevelRaised {
                level: *feature_level,
            },
        ),
        (
            account.clone(),
            Event::AccountCreated {
                login: admin.clone(),
                name: None,
                role: Role::Admin,
            },
        ),
        (
            account,
            Event::TokenIssued {
                token: token.clone(),
                name: "founding".to_owned(),
                hash: *hash,
                scopes: Scope::ALL.to_vec(),
                crates: Vec::new(),
                expires_at_ms: None,
            },
        ),
    ]
}

/// The facts with which a history goes on that was taken from a backup onto the volume `incarnation`: it is another one from here
/// on, at a level that knows of that, and its first node is one that the old history never had. `restored` is `HistoryRestored`.
/// Gives that node's id too.
pub fn go_on_restored(
    installation: &Installation,
    restored: Event,
    incarnation: &str,
) -> (u64, Vec<(StreamId, Event)>) {
    let mut facts = Vec::new();
    if installation.feature_level < RESTORED_LEVEL {
        facts.push(Event::FeatureLevelRaised {
            level: RESTORED_LEVEL,
        });
    }
    facts.push(restored);
    let node = next_node(installation);
    facts.push(Event::NodeAdmitted {
        node,
        incarnation: incarnation.to_owned(),
    });
    let facts = facts.into_iter().map(|fact| (StreamId::Installation, fact));
    (node, facts.collect())
}

/// Ids are given out once.
fn next_node(installation: &Installation) -> u64 {
    let highest = installation.nodes.iter().map(|node| node.node).max();
    highest.unwrap_or(0) + 1
}

/// A new token of an administrator who is in force, for when all others are lost with a cluster.
pub fn issue_after_restore(
    account: Option<&Account>,
    login: &Login,
    token: TokenId,
    hash: TokenHash,
) -> Result<(StreamId, Event), Rejection> {
    if !account.is_some_and(|account| account.role == Role::Admin && !account.disabled) {
        return missing(format!(
            "`{login}` is not an administrator in force in this history; name one that is"
        ));
    }
    let issued = Event::TokenIssued {
        token,
        name: "restored".to_owned(),
        hash,
        scopes: Scope::ALL.to_vec(),
        crates: Vec::new(),
        expires_at_ms: None,
    };
    Ok((StreamId::Account(login.clone()), issued))
}

fn admit(incarnation: &str, installation: &Installation) -> Decision {
    if incarnation.is_empty() || incarnation.len() > INCARNATION_CHARS_MAX {
        return invalid(format!(
            "a node's incarnation has 1 to {INCARNATION_CHARS_MAX} characters"
        ));
    }
    let same = |node: &crate::AdmittedNode| node.incarnation == incarnation;
    if installation.nodes.iter().any(same) {
        return Ok(Vec::new());
    }
    let admitted = Event::NodeAdmitted {
        node: next_node(installation),
        incarnation: incarnation.to_owned(),
    };
    Ok(vec![(StreamId::Installation, admitted)])
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::go_on_restored;
    use crate::story::{Registry, login, token};
    use crate::{AdmittedNode, Command, Event, Installation, Role, TokenHash};

    fn found(cluster: &str) -> Command {
        Command::Found {
            cluster: cluster.to_owned(),
            history: "h1".to_owned(),
            admin: login("root"),
            token: token("root's token"),
            hash: TokenHash([1; 32]),
            feature_level: 1,
        }
    }

    fn admit(incarnation: &str) -> Command {
        Command::AdmitNode {
            incarnation: incarnation.to_owned(),
        }
    }

    #[test]
    fn a_cluster_is_founded_once() {
        let mut registry = Registry::with(&[]);
        assert_snapshot!(registry.ask_itself(admit("a")), @"Conflict: the cluster is not founded yet");
        assert_snapshot!(registry.ask_itself(found("one")), @r#"
        installation ClusterFounded { cluster: "one", history: "h1" }
        installation FeatureLevelRaised { level: 1 }
        account:root AccountCreated { login: Login("root"), name: None, role: Admin }
        account:root TokenIssued `founding` [publish-new publish-update yank change-owners read admin] []
        "#);
        assert_snapshot!(registry.ask_itself(found("one")), @"nothing to do");
        assert_snapshot!(registry.ask_itself(found("two")), @"Conflict: the cluster `one` was founded here already; start with an empty data directory to found another");
    }

    #[test]
    fn node_ids_count_up_and_belong_to_one_volume() {
        let mut registry = Registry::with(&[]);
        registry.ask_itself(found("one"));
        assert_snapshot!(registry.ask_itself(admit("a")), @r#"installation NodeAdmitted { node: 1, incarnation: "a" }"#);
        assert_snapshot!(registry.ask_itself(admit("b")), @r#"installation NodeAdmitted { node: 2, incarnation: "b" }"#);
        assert_snapshot!(registry.ask_itself(admit("a")), @"nothing to do");
        assert_snapshot!(registry.ask_itself(admit("")), @"Invalid: a node's incarnation has 1 to 128 characters");
    }

    #[test]
    fn the_feature_level_only_rises() {
        let mut registry = Registry::with(&[]);
        registry.ask_itself(found("one"));
        let raise = |level| Command::RaiseFeatureLevel { level };
        assert_snapshot!(registry.ask_itself(raise(2)), @"installation FeatureLevelRaised { level: 2 }");
        assert_snapshot!(registry.ask_itself(raise(2)), @"nothing to do");
        assert_snapshot!(registry.ask_itself(raise(1)), @"Conflict: the feature level is 2 and never goes back to 1");
        assert_snapshot!(registry.ask_itself(raise(99)), @"Conflict: feature level 99 is not known to the leader's release, which knows levels up to 2");
    }

    #[test]
    fn a_restored_history_goes_on_with_a_node_it_never_had() {
        let installation = |feature_level| Installation {
            cluster: "one".to_owned(),
            history: "h1".to_owned(),
            nodes: vec![AdmittedNode {
                node: 3,
                incarnation: "a".to_owned(),
            }],
            feature_level,
        };
        let restored = Event::AccountEnabled;
        let (node, facts) = go_on_restored(&installation(1), restored.clone(), "b");
        let facts: Vec<String> = facts.iter().map(|(_, fact)| format!("{fact:?}")).collect();
        assert_eq!(node, 4);
        assert_snapshot!(facts.join("\n"), @r#"
        FeatureLevelRaised { level: 2 }
        AccountEnabled
        NodeAdmitted { node: 4, incarnation: "b" }
        "#);
        let (_, facts) = go_on_restored(&installation(3), restored, "b");
        assert_eq!(facts.len(), 2, "a level never goes back");
    }

    #[test]
    fn clients_ask_for_none_of_it() {
        let mut registry = Registry::with(&[("root", Role::Admin)]);
        assert_snapshot!(registry.ask("root", found("mine")), @"Forbidden: `root` cannot ask for this: only the cluster itself founds, admits nodes and raises its feature level");
        assert_snapshot!(registry.ask("root", admit("a")), @"Forbidden: `root` cannot ask for this: only the cluster itself founds, admits nodes and raises its feature level");
    }
}

//! Alerts and dashboards: Prometheus can read them, they name what exists, and every alert has a runbook and tests both ways.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use cratekeeper_tests::{Scratch, figure, promtool, workspace};
use serde_json::Value;

use super::{assert_exported, catalogue};

fn files() -> PathBuf {
    workspace().join("deploy/helm/cratekeeper/files")
}

fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(workspace().join(path)).expect(path);
    serde_saphyr::from_str(&text).expect(path)
}

fn rules() -> Vec<Value> {
    let alerts = yaml("deploy/helm/cratekeeper/files/alerts.yaml");
    let groups = alerts["groups"].as_array().expect("groups").clone();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules").clone());
    rules.collect()
}

/// `CratekeeperNoLeader`: `cratekeeper-no-leader`.
fn kebab(alert: &str) -> String {
    let mut kebab = String::new();
    for letter in alert.chars() {
        if letter.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let said = promtool(&["check", "rules", "alerts.yaml"], &files(), "");
    assert!(said.contains("SUCCESS"), "{said}");
    let runbooks = workspace().join("deploy/runbooks");
    let said = promtool(&["test", "rules", "alerts.test.yaml"], &runbooks, "");
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_alert_has_a_runbook_and_tests_and_speaks_of_what_is_exported() {
    let catalogue = catalogue();
    let tests = yaml("deploy/runbooks/alerts.test.yaml");
    let tests = tests["tests"].as_array().expect("tests");
    // A case is named after its alert, asks for it, and expects it or nothing.
    let has_case = |alert: &str, verb: &str, fires: bool| {
        tests.iter().any(|test| {
            let name = test["name"].as_str().unwrap_or_default();
            let asked = &test["promql_expr_test"][0];
            let asks = asked["expr"].as_str().unwrap_or_default();
            let expected = asked["exp_samples"].as_array().map_or(0, Vec::len);
            name.starts_with(&format!("{alert} {verb}: "))
                && asks.contains(&format!("\"{alert}\""))
                && (expected > 0) == fires
        })
    };
    let mut runbooks = BTreeSet::new();
    for rule in rules() {
        let alert = rule["alert"].as_str().expect("an alert has a name");
        assert!(
            has_case(alert, "fires", true),
            "{alert} has no test in which it fires"
        );
        assert!(
            has_case(alert, "stays quiet", false),
            "{alert} has no test in which it is quiet"
        );
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(
                rule["annotations"][annotation].is_string(),
                "{alert} has no {annotation}"
            );
        }
        let file = format!("{}.md", kebab(alert));
        let url = rule["annotations"]["runbook_url"].as_str();
        assert!(
            url.is_some_and(|url| url.ends_with(&format!("/{file}"))),
            "{alert}: {url:?}"
        );
        assert_runbook(alert, &file);
        runbooks.insert(file);
        assert_exported(
            rule["expr"].as_str().expect("an expression"),
            &catalogue,
            alert,
        );
    }
    let pages = fs::read_dir(workspace().join("deploy/runbooks"))
        .expect("runbooks")
        .flatten();
    for page in pages {
        let name = page.file_name().into_string().expect("UTF-8");
        let known = runbooks.contains(&name) || name == "alerts.test.yaml" || name == "README.md";
        assert!(known, "deploy/runbooks/{name} belongs to no alert");
    }
    figure("alerts", runbooks.len());
}

fn assert_runbook(alert: &str, file: &str) {
    let text = fs::read_to_string(workspace().join("deploy/runbooks").join(file));
    let text = text.unwrap_or_else(|_| panic!("{alert} has no runbook {file}"));
    assert!(text.starts_with(&format!("# {alert}\n")), "{file}");
    for heading in [
        "## What it means",
        "## How to look",
        "## What to do",
        "## When to worry",
    ] {
        assert!(text.contains(heading), "{file} has no part `{heading}`");
    }
}

/// Every expression below a panel, a variable or an annotation.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_str()) {
                    ("expr", Some(text)) => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

#[test]
fn every_expression_of_the_dashboards_can_be_read_and_names_what_is_exported() {
    let catalogue = catalogue();
    let mut all = Vec::new();
    for name in ["service", "raft", "storage"] {
        let path = files().join(format!("dashboards/{name}.json"));
        let text = fs::read_to_string(&path).expect("a dashboard");
        let dashboard: Value = serde_json::from_str(&text).expect("a dashboard is JSON");
        assert_variables(name, &dashboard);
        let panels = dashboard["panels"].as_array().expect("panels");
        assert_panels(name, panels);
        let mut found = Vec::new();
        expressions(&dashboard, &mut found);
        for expression in &found {
            assert_exported(expression, &catalogue, name);
        }
        all.extend(found);
    }
    figure("expressions of dashboards", all.len());
    check_as_rules(&all);
}

fn assert_variables(name: &str, dashboard: &Value) {
    let list = dashboard["templating"]["list"]
        .as_array()
        .expect("variables");
    let variables: Vec<&str> = list.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(
        variables,
        ["datasource", "namespace", "job", "pod"],
        "{name}"
    );
}

/// Each has an id and a place of its own, and a unit.
fn assert_panels(name: &str, panels: &[Value]) {
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64()), "{name}: {title}");
        let at = &panel["gridPos"];
        let place = (at["x"].as_u64(), at["y"].as_u64());
        assert!(
            places.insert(place),
            "{name}: {title} lies on another panel"
        );
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
        assert!(
            panel["type"] == "row" || unit.is_some(),
            "{name}: {title} has no unit"
        );
    }
}

/// Prometheus reads expressions where rules have them.
fn check_as_rules(expressions: &[String]) {
    let rules: Vec<Value> = expressions
        .iter()
        .enumerate()
        .map(|(number, expression)| {
            let expression = expression.replace("$__rate_interval", "5m");
            let expression = ["namespace", "job", "pod"]
                .iter()
                .fold(expression, |text, name| {
                    text.replace(&format!("${name}"), ".*")
                });
            assert!(
                !expression.contains('$'),
                "an unknown variable: {expression}"
            );
            serde_json::json!({ "record": format!("dashboard:{number}"), "expr": expression })
        })
        .collect();
    let group = serde_json::json!({ "groups": [{ "name": "dashboards", "rules": rules }] });
    let scratch = Scratch::new("dashboards");
    // JSON is YAML.
    fs::write(scratch.path().join("rules.yaml"), group.to_string()).expect("writable");
    promtool(&["check", "rules", "rules.yaml"], scratch.path(), "");
}

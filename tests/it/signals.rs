//! What a running cluster tells about itself: metrics, logs and traces; and that alerts, runbooks and dashboards speak of what exists.

mod dashboards;
mod logs;
mod metrics;
mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use cratekeeper_tests::cratekeeper;
use serde_json::Value;

/// A row of the catalogue.
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    help: String,
    /// When it is there, if not always.
    only: Option<String>,
}

/// Every metric, as `cratekeeper metrics` lists them.
fn catalogue() -> BTreeMap<String, Metric> {
    let json = command(&["metrics", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).expect("the command prints JSON");
    let rows = json["metrics"].as_array().expect("a list of metrics");
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let labels = |row: &Value| {
        let labels = row["labels"].as_array().expect("a list of labels").iter();
        labels
            .map(|label| label.as_str().expect("a label").to_owned())
            .collect()
    };
    let row = |row: &Value| {
        let metric = Metric {
            kind: text(row, "type"),
            labels: labels(row),
            help: text(row, "help"),
            only: row["only"].as_str().map(str::to_owned),
        };
        (text(row, "name"), metric)
    };
    rows.iter().map(row).collect()
}

fn command(arguments: &[&str]) -> String {
    let output = Command::new(cratekeeper()).args(arguments).output();
    let output = output.expect("the binary starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The metrics that an expression of Prometheus names: whatever has one of our prefixes.
fn named_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.starts_with("cratekeeper_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Panics unless every metric that `expression` names is in the catalogue, a histogram by one of its series.
fn assert_exported(expression: &str, catalogue: &BTreeMap<String, Metric>, place: &str) {
    for name in named_in(expression) {
        let plain = catalogue
            .get(&name)
            .is_some_and(|metric| metric.kind != "histogram");
        let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| {
            let base = name.strip_suffix(end).and_then(|base| catalogue.get(base));
            base.is_some_and(|metric| metric.kind == "histogram")
        });
        assert!(
            plain || of_histogram,
            "{place}: {name} is not exported: {expression}"
        );
    }
}

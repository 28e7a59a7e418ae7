//! Rendered charts against the files in `tests/golden/chart`, so that a change of a template shows what it changes.

use std::fs;

use super::documents::{Document, Rendering};
use crate::binary::workspace;

/// Set to write the files instead of comparing with them.
const BLESS: &str = "CRATEKEEPER_BLESS";

/// Panics with the first line that differs. What is random, names the release or belongs to other files is left out.
pub fn compare_with_golden(name: &str, rendering: &Rendering) {
    let file = workspace().join(format!("tests/golden/chart/{name}.yaml"));
    let rendered = normal(rendering);
    if std::env::var_os(BLESS).is_some() {
        fs::create_dir_all(file.parent().expect("it has a directory")).expect("it can be made");
        fs::write(&file, rendered).expect("the golden file can be written");
        return;
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    for (number, pair) in lines(&golden, &rendered).enumerate() {
        let (golden, rendered) = pair;
        assert!(
            golden == rendered,
            "{}:{}: was `{golden}`, is `{rendered}`; if that is meant, run the test with {BLESS}=1 and look at the difference",
            file.display(),
            number + 1
        );
    }
}

/// Line by line, as long as the longer one.
fn lines<'a>(one: &'a str, other: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let longer = one.lines().count().max(other.lines().count());
    let one = one.lines().chain(std::iter::repeat(""));
    let other = other.lines().chain(std::iter::repeat(""));
    one.zip(other).take(longer)
}

fn normal(rendering: &Rendering) -> String {
    let mut documents: Vec<String> = Vec::new();
    for document in &rendering.documents {
        if !is_of_other_files(document) {
            documents.push(normal_document(document));
        }
    }
    // Helm 3 and 4 differ in the order of what is of one kind.
    documents.sort();
    documents.concat()
}

/// Alert rules and dashboards have tests of their own.
fn is_of_other_files(document: &Document) -> bool {
    document.kind == "PrometheusRule" || document.name.contains("-dashboard-")
}

fn normal_document(document: &Document) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = String::from("---\n");
    let mut secret_data = false;
    for line in document.text.lines().filter(|line| !line.trim().is_empty()) {
        if !line.starts_with(' ') {
            secret_data = document.kind == "Secret" && line == "data:";
        }
        match line.split_once(": ") {
            Some((key, _)) if secret_data => text.push_str(&format!("{key}: (secret)\n")),
            _ => text.push_str(&format!("{}\n", line.replace(version, "VERSION"))),
        }
    }
    text
}

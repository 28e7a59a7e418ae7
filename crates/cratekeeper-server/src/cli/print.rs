//! Everything a command prints. A reader that has gone (`| head`) is not an error.

use std::io::Write;

use comfy_table::{Table, presets};
use serde_json::Value;

/// One or more lines on standard output.
pub(crate) fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

/// One or more lines on standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

pub(crate) fn error(text: &str) {
    note(format!("error: {text}"));
}

pub(super) fn json(value: &Value) {
    line(format!("{value:#}"));
}

/// Columns without rules, so that `awk` and eyes both read them.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for row in table.lines() {
        // Each cell has a space to its left, the first one too.
        line(row.strip_prefix(' ').unwrap_or(&row).trim_end());
    }
}

/// A field of an answer as a cell: text as it is, nothing as `-`, a list with commas.
pub(super) fn cell(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => "-".to_owned(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        other => plain(other),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The members of a list in an answer.
pub(super) fn rows<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

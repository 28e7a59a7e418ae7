//! Values that are read when somebody asks for them, in the text format of Prometheus. They are not kept between two looks, so
//! that a peer that was removed, or a leader that leads no more, leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::catalogue;

/// One look.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    lines: BTreeMap<&'static str, Vec<String>>,
}

impl Samples {
    pub(crate) fn put(&mut self, name: &'static str, value: f64) {
        self.put_with(name, &[], value);
    }

    pub(crate) fn put_with(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        let line = format!("{name}{labels} {value}");
        self.lines.entry(name).or_default().push(line);
    }

    /// Appends everything to what the recorder has rendered.
    pub(crate) fn render(&self, text: &mut String) {
        for (name, lines) in &self.lines {
            if let Some(metric) = catalogue::find(name) {
                let (help, kind) = (metric.help, metric.kind_word());
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            for line in lines {
                let _ = writeln!(text, "{line}");
            }
            text.push('\n');
        }
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_rendered_with_help_and_type() {
        let mut samples = Samples::default();
        samples.put("cratekeeper_raft_term", 3.0);
        samples.put_with("cratekeeper_raft_peer_lag_entries", &[("peer", "2")], 0.0);
        samples.put_with(
            "cratekeeper_raft_peer_lag_entries",
            &[("peer", "a\"b")],
            1.5,
        );
        let mut text = String::new();
        samples.render(&mut text);
        insta::assert_snapshot!(text, @r#"
        # HELP cratekeeper_raft_peer_lag_entries Entries that the peer (a node id) is not known to have.
        # TYPE cratekeeper_raft_peer_lag_entries gauge
        cratekeeper_raft_peer_lag_entries{peer="2"} 0
        cratekeeper_raft_peer_lag_entries{peer="a\"b"} 1.5

        # HELP cratekeeper_raft_term The current term.
        # TYPE cratekeeper_raft_term gauge
        cratekeeper_raft_term 3
        "#);
    }
}

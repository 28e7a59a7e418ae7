//! Prometheus' own checker of rules and metrics.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs `promtool` with `arguments` in `directory`, with `input` to read; panics with what it says unless it is content.
pub fn promtool(arguments: &[&str], directory: &Path, input: &str) -> String {
    let mut child = Command::new(program())
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts (scripts/setup installs it)");
    let mut stdin = child.stdin.take().expect("its input is ours");
    let input = input.to_owned();
    // It may say something before it has read everything.
    let writing = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    });
    let output = child.wait_with_output().expect("promtool ends");
    let _ = writing.join();
    said(arguments, &output)
}

fn said(arguments: &[&str], output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}:\n{text}");
    text
}

/// Where scripts/setup puts it, or wherever the system has it.
fn program() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let tools = std::env::var_os("CRATEKEEPER_TOOLS")
        .map(PathBuf::from)
        .or_else(|| Some(home?.join(".cache/cratekeeper/tools")));
    tools
        .map(|tools| tools.join("bin/promtool"))
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("promtool"))
}

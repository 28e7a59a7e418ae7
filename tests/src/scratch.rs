//! A directory per test: data, logs, cargo homes. Kept when the test fails, and the ends of its logs shown.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::target_profile_dir;

const LOG_TAIL_LINES: usize = 40;

#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    /// An empty directory for the test `name`, on the same disk as the build.
    pub fn new(name: &str) -> Scratch {
        let directory = target_profile_dir().join("it").join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("logs")).expect("the build directory is writable");
        Scratch { directory }
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Where the process `name` writes what it says.
    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{name}.log"))
    }

    fn show_logs(&self) {
        let Ok(logs) = fs::read_dir(self.directory.join("logs")) else {
            return;
        };
        let mut paths: Vec<PathBuf> = logs.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            say(&format!("---- {} (end)", path.display()));
            for line in tail {
                say(line);
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// One measured figure, on a line that `scripts/test` shows again at the end.
pub fn figure(what: &str, value: impl std::fmt::Display) {
    say(&format!("figure: {what}: {value}"));
}

#[expect(clippy::print_stdout, reason = "a test reports through its output")]
fn say(line: &str) {
    println!("{line}");
}

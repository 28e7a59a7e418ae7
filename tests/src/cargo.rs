//! The real cargo, with a home of its own and nothing of the machine's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::client::NO_TOKEN;
use crate::scratch::Scratch;

/// No command of the tests takes this long unless it hangs.
const COMMAND_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub struct Cargo {
    root: PathBuf,
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Panics unless every one of `parts` was printed.
    pub fn says(&self, parts: &[&str]) {
        let all = format!("{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(all.contains(part), "cargo did not say {part:?}:\n{all}");
        }
    }
}

impl Cargo {
    /// Cargo of the user `who`: the registry `mine` is the one with this index, and `token` (if any) is for it.
    pub fn new(scratch: &Scratch, who: &str, index: &str, token: &str) -> Cargo {
        let config = format!(
            "[registries.mine]\nindex = \"{index}\"\n\
             [registry]\nglobal-credential-providers = [\"cargo:token\"]\n"
        );
        let cargo = Cargo::configured(scratch, who, &config);
        if token != NO_TOKEN {
            cargo.keep_token(token);
        }
        cargo
    }

    /// Cargo that takes everything of the public registry from `index`.
    pub fn replacing_crates_io(scratch: &Scratch, who: &str, index: &str) -> Cargo {
        let config = format!(
            "[source.crates-io]\nreplace-with = \"mine\"\n[source.mine]\nregistry = \"{index}\"\n"
        );
        Cargo::configured(scratch, who, &config)
    }

    fn configured(scratch: &Scratch, who: &str, config: &str) -> Cargo {
        let root = scratch.path().join(format!("cargo-{who}"));
        fs::create_dir_all(root.join("home")).expect("the test's directory is writable");
        fs::write(root.join("home/config.toml"), config).expect("it is writable");
        Cargo { root }
    }

    pub fn keep_token(&self, token: &str) {
        let text = format!("[registries.mine]\ntoken = \"{token}\"\n");
        fs::write(self.root.join("home/credentials.toml"), text).expect("it is writable");
    }

    /// This user's CARGO_HOME.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Forgets all that was downloaded.
    pub fn forget(&self) {
        let _ = fs::remove_dir_all(self.home().join("registry"));
    }

    /// A directory in this user's own place.
    pub fn place(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A library package on disk, ready to be published to `mine`: in the directory `path`, called like its last part.
    pub fn library(&self, path: &str, version: &str, dependencies: &str) -> PathBuf {
        let place = self.place(path);
        let name = path.rsplit('/').next().unwrap_or(path);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n\
             description = \"A library of the tests\"\nlicense = \"MIT\"\npublish = [\"mine\"]\n\n\
             [dependencies]\n{dependencies}\n"
        );
        write(&place.join("Cargo.toml"), &manifest);
        write(
            &place.join("src/lib.rs"),
            "pub fn answer() -> u32 {\n    42\n}\n",
        );
        place
    }

    /// Runs `cargo` with `arguments` in `directory`.
    pub async fn run(&self, directory: &Path, arguments: &[&str]) -> Outcome {
        self.run_with_input(directory, arguments, "").await
    }

    /// Panics unless it succeeds.
    pub async fn ok(&self, directory: &Path, arguments: &[&str]) -> Outcome {
        let outcome = self.run(directory, arguments).await;
        assert!(
            outcome.success,
            "cargo {arguments:?} failed:\n{}",
            outcome.stderr
        );
        outcome
    }

    /// Panics unless it fails.
    pub async fn refused(&self, directory: &Path, arguments: &[&str]) -> Outcome {
        let outcome = self.run(directory, arguments).await;
        assert!(
            !outcome.success,
            "cargo {arguments:?} succeeded:\n{}",
            outcome.stderr
        );
        outcome
    }

    pub async fn run_with_input(
        &self,
        directory: &Path,
        arguments: &[&str],
        input: &str,
    ) -> Outcome {
        let mut command = self.command(directory, arguments);
        let running = async {
            let mut child = command.spawn().expect("cargo starts");
            let mut stdin = child.stdin.take().expect("its input is a pipe");
            // A cargo that needs no input may be gone before it is written.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child
                .wait_with_output()
                .await
                .expect("cargo can be waited for")
        };
        let output = tokio::time::timeout(COMMAND_WITHIN, running).await;
        let output = output.unwrap_or_else(|_| panic!("cargo {arguments:?} hangs"));
        Outcome {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let variable = |name: &str| std::env::var_os(name);
        let cargo = variable("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("HOME", &self.root)
            .env("CARGO_HOME", self.home())
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_INCREMENTAL", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for name in ["PATH", "RUSTUP_TOOLCHAIN"] {
            command.envs(variable(name).map(|value| (name, value)));
        }
        let rustup = variable("RUSTUP_HOME").map(PathBuf::from);
        let rustup = rustup.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".rustup")));
        command.envs(rustup.map(|home| ("RUSTUP_HOME", home)));
        command
    }
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, text: &str) {
    let parent = path.parent().expect("a file is in a directory");
    fs::create_dir_all(parent).expect("the test's directory is writable");
    fs::write(path, text).expect("the test's directory is writable");
}

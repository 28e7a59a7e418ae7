//! A child process that cannot outlive the tests, with its output in a file.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use crate::wait::wait_for;

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `program`; both of its outputs are appended to `log`. It is killed when the value is dropped or the tests die.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: &Path,
    ) -> Process {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log directory is writable");
        let errors = output.try_clone().expect("a file handle can be doubled");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        Process {
            name: name.to_owned(),
            child: spawn(command),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` (`KILL`, `TERM`, `STOP`, `CONT`).
    pub fn signal(&self, signal: &str) {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "kill", signal])
            .arg(self.pid().to_string())
            .status()
            .expect("a shell starts");
        assert!(status.success(), "{} took no signal {signal}", self.name);
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(mut self) {
        self.end();
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        wait_for(&what, within, async || self.exited()).await
    }

    /// The most memory it ever held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(path).expect("a running process has a status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("the status names VmHWM");
        let kilobytes = line.trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().expect("VmHWM is a number") * 1024
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The kernel sends the death signal when the *thread* that started the child ends, so one thread that lives as long as the
/// tests starts them all.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    starter
        .send((command, answer))
        .expect("the starting thread lives as long as the tests");
    child
        .recv()
        .expect("the starting thread answers")
        .expect("the program starts (is setpriv installed?)")
}

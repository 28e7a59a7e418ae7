//! A real S3 server on this machine: garage, with one bucket and one key. It can be killed and started again.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::binary::tools;
use crate::client::{Client, NO_TOKEN};
use crate::ports::free_port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::wait_until;

const BUCKET: &str = "crates";
const REGION: &str = "garage";
/// Secret to nobody: the server listens on this machine only and lives as long as a test.
const RPC_SECRET: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const START_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Garage {
    address: Ipv4Addr,
    port: u16,
    config: PathBuf,
    log: PathBuf,
    key_id: String,
    secret: String,
    process: Option<Process>,
}

impl Garage {
    /// Starts it in the test's directory and makes bucket and key; ready when this returns.
    pub async fn start(scratch: &Scratch) -> Garage {
        Garage::start_at(scratch, Ipv4Addr::LOCALHOST).await
    }

    /// The same on another address of this machine, for clients in a network of their own.
    pub async fn start_at(scratch: &Scratch, address: Ipv4Addr) -> Garage {
        let directory = scratch.path().join("garage");
        fs::create_dir_all(&directory).expect("the test's directory is writable");
        let port = free_port();
        let config = directory.join("garage.toml");
        fs::write(&config, configuration(&directory, address, port)).expect("it is writable");
        let mut garage = Garage {
            address,
            port,
            config,
            log: scratch.log("garage"),
            key_id: String::new(),
            secret: String::new(),
            process: None,
        };
        garage.restart().await;
        garage.prepare().await;
        garage
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}:{}", self.address, self.port)
    }

    pub fn region(&self) -> String {
        REGION.to_owned()
    }

    pub fn bucket(&self) -> String {
        BUCKET.to_owned()
    }

    pub fn key_id(&self) -> String {
        self.key_id.clone()
    }

    pub fn secret(&self) -> String {
        self.secret.clone()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// `STOP` makes a server that takes connections and says nothing; `CONT` lets it go on.
    pub fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the server was not killed");
        process.signal(signal);
    }

    /// Starts the process on the same directory and waits until it answers.
    pub async fn restart(&mut self) {
        let arguments = ["-c".as_ref(), self.config.as_os_str(), "server".as_ref()];
        self.process = Some(Process::start("garage", &binary(), arguments, &self.log));
        let client = Client::new(&self.endpoint(), NO_TOKEN);
        wait_until("garage answers", START_WITHIN, async || {
            // Any status will do: without a signature it refuses.
            let answer = client.try_send(reqwest::Method::GET, "/", None, &[]).await;
            answer.is_ok()
        })
        .await;
    }

    async fn prepare(&mut self) {
        wait_until("garage knows its id", START_WITHIN, async || {
            self.command(&["node", "id", "-q"]).is_some()
        })
        .await;
        let id = self.ask(&["node", "id", "-q"]);
        let node = id.split('@').next().unwrap_or_default().trim();
        self.ask(&["layout", "assign", "-z", "dc1", "-c", "1G", node]);
        self.ask(&["layout", "apply", "--version", "1"]);
        wait_until("garage takes a bucket", START_WITHIN, async || {
            self.command(&["bucket", "create", BUCKET]).is_some()
        })
        .await;
        let key = self.ask(&["key", "create", "ck"]);
        self.key_id = field(&key, "Key ID:");
        self.secret = field(&key, "Secret key:");
        let allow = ["bucket", "allow", "--read", "--write", "--owner", BUCKET];
        self.ask(&[&allow[..], &["--key", "ck"]].concat());
    }

    fn ask(&self, arguments: &[&str]) -> String {
        self.command(arguments)
            .unwrap_or_else(|| panic!("garage {arguments:?} failed"))
    }

    fn command(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new(binary())
            .arg("-c")
            .arg(&self.config)
            .args(arguments)
            .output()
            .expect("garage starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }
}

fn configuration(directory: &Path, address: Ipv4Addr, port: u16) -> String {
    let (rpc, admin) = (free_port(), free_port());
    let directory = directory.display();
    format!(
        "metadata_dir = \"{directory}/meta\"\ndata_dir = \"{directory}/data\"\n\
         db_engine = \"sqlite\"\nreplication_factor = 1\n\
         rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_secret = \"{RPC_SECRET}\"\n\
         [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"{address}:{port}\"\n\
         root_domain = \".s3.localhost\"\n\
         [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\nadmin_token = \"tests\"\n"
    )
}

/// The value after `name` in what garage prints about a key.
fn field(text: &str, name: &str) -> String {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(name));
    let value = value.unwrap_or_else(|| panic!("garage printed no {name} {text}"));
    value.trim().to_owned()
}

/// Where `scripts/setup` puts it.
pub fn binary() -> PathBuf {
    let binary = tool("garage");
    assert!(
        binary.exists(),
        "{} is not there: run scripts/setup",
        binary.display()
    );
    binary
}

/// Where `scripts/setup` puts the program `name`, whether it is there or not.
pub(crate) fn tool(name: &str) -> PathBuf {
    tools().join("bin").join(name)
}

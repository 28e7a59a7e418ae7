//! One node: a `cratekeeper serve` process with its configuration, ports and directory, which survive the process.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use toml::{Table, Value};

use crate::binary::cratekeeper;
use crate::certificates::CertificateFiles;
use crate::client::{Client, NO_TOKEN};
use crate::ports::free_port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::wait_until;

/// Leadership is handed over and what runs is finished well within this.
const STOP_WITHIN: Duration = Duration::from_secs(45);

#[derive(Debug)]
pub struct Node {
    pub name: String,
    /// Its data directory.
    pub directory: PathBuf,
    pub http: SocketAddr,
    pub peer: SocketAddr,
    pub ops: SocketAddr,
    settings: Table,
    config: PathBuf,
    log: PathBuf,
    /// Variables of its environment, as `NAME=value`.
    environment: Vec<String>,
    /// Whom its clients trust (PEM); set together with `http.tls_certificate`.
    pub authorities: Option<String>,
    process: Option<Process>,
    /// `None`: the one under test.
    pub(crate) binary: Option<PathBuf>,
}

/// Settings that the previous release does not know.
const NEW_SETTINGS: [&str; 4] = [
    "node.drain_linger_seconds",
    "node.drain_wait_seconds",
    "node.role",
    "cluster.feature_level_max",
];

impl Node {
    /// A node with free ports and an empty directory; not started. `settings` are sections of the configuration.
    pub(crate) fn new(scratch: &Scratch, name: &str, settings: &Table) -> Node {
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut node = Node {
            name: name.to_owned(),
            directory: scratch.path().join(name),
            http: address(),
            peer: address(),
            ops: address(),
            settings: settings.clone(),
            config: scratch.path().join(format!("{name}.toml")),
            log: scratch.log(name),
            environment: Vec::new(),
            authorities: None,
            process: None,
            binary: None,
        };
        node.set("node.name", name);
        node.set("node.data_dir", node.directory.display().to_string());
        node.set("http.listen", node.http.to_string());
        node.set("peer.listen", node.peer.to_string());
        node.set("peer.advertise", node.peer.to_string());
        node.set("ops.listen", node.ops.to_string());
        node
    }

    /// Changes its configuration (`section.key`) from the next start on.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        set(&mut self.settings, key, value.into());
    }

    /// Takes a setting back, from the next start on.
    pub fn unset(&mut self, key: &str) {
        unset(&mut self.settings, key);
    }

    /// From the next start on; `None` is the binary under test.
    pub fn use_binary(&mut self, binary: Option<&Path>) {
        self.binary = binary.map(Path::to_owned);
    }

    /// Starts the process; it may take a moment to be ready.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        self.write_config();
        let program = self.binary.clone().unwrap_or_else(cratekeeper);
        let mut arguments: Vec<&OsStr> = self.environment.iter().map(OsStr::new).collect();
        arguments.extend([
            program.as_os_str(),
            "serve".as_ref(),
            "--config".as_ref(),
            self.config.as_os_str(),
        ]);
        let process = Process::start(&self.name, Path::new("env"), arguments, &self.log);
        self.process = Some(process);
    }

    /// Its configuration as it is set now, into its file; a process that runs may read it again.
    pub fn write_config(&self) {
        let mut settings = self.settings.clone();
        if self.binary.is_some() {
            for key in NEW_SETTINGS {
                unset(&mut settings, key);
            }
        }
        let text = toml::to_string(&settings).expect("settings are TOML");
        fs::write(&self.config, text).expect("the test's directory is writable");
    }

    /// A variable of its environment from the next start on.
    pub fn env(&mut self, name: &str, value: &str) {
        self.environment.push(format!("{name}={value}"));
    }

    /// Everything `/metrics` shows.
    pub async fn metrics(&self) -> String {
        let ops = Client::new(&format!("http://{}", self.ops), NO_TOKEN);
        ops.get("/metrics").await.expect_ok("the metrics").text()
    }

    pub async fn start_and_wait(&mut self) {
        self.start();
        self.wait_ready().await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and gone when this returns; how long that took.
    pub async fn stop(&mut self) -> Duration {
        let mut process = self.process.take().expect("a node that runs");
        let began = Instant::now();
        process.signal("TERM");
        let status = process.ended(STOP_WITHIN).await;
        assert!(status.success(), "{} stopped with {status}", self.name);
        began.elapsed()
    }

    /// Waits until it ends by itself; how.
    pub async fn ended(&mut self, within: Duration) -> std::process::ExitStatus {
        let mut process = self.process.take().expect("a node that runs");
        process.ended(within).await
    }

    /// A command against its ops port (`drain`, `healthcheck`).
    pub fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(cratekeeper());
        command
            .args(arguments)
            .args(["--ops", &format!("http://{}", self.ops)])
            .kill_on_drop(true);
        command
    }

    /// Deletes its directory, as if its volume were lost.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.name);
        fs::remove_dir_all(&self.directory).expect("a stopped node's directory can go");
    }

    pub fn running(&self) -> bool {
        self.process.is_some()
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a node that runs")
    }

    /// How the process ended, if it has by itself.
    pub fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.process.as_mut().and_then(Process::exited)
    }

    pub fn client(&self, token: &str) -> Client {
        match &self.authorities {
            Some(authorities) => Client::trusting(&self.url(), token, authorities),
            None => Client::new(&self.url(), token),
        }
    }

    pub fn url(&self) -> String {
        let scheme = if self.authorities.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.http)
    }

    /// Moves its peer port to another address of this machine, before it starts.
    pub fn listen_to_peers_at(&mut self, ip: std::net::IpAddr) {
        self.peer.set_ip(ip);
        self.set("peer.listen", self.peer.to_string());
        self.set("peer.advertise", self.peer.to_string());
    }

    /// Serves its public port with these files, to clients that trust `authorities` (PEM).
    pub fn secure(&mut self, files: &CertificateFiles, authorities: &str) {
        self.authorities = Some(authorities.to_owned());
        self.set(
            "http.tls_certificate",
            files.certificate.display().to_string(),
        );
        self.set("http.tls_key", files.key.display().to_string());
    }

    /// Speaks to peers with these files.
    pub fn secure_peers(&mut self, files: &CertificateFiles) {
        self.set("peer.insecure", false);
        self.set(
            "peer.tls_certificate",
            files.certificate.display().to_string(),
        );
        self.set("peer.tls_key", files.key.display().to_string());
        self.set("peer.tls_ca", files.ca.display().to_string());
    }

    /// One line of `/metrics`, by its name with labels; nothing if it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let ops = Client::new(&format!("http://{}", self.ops), NO_TOKEN);
        let text = ops.get("/metrics").await.text();
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Does `/readyz` say yes?
    pub async fn ready(&self) -> bool {
        self.probe("/readyz").await
    }

    /// Asks its ops port.
    pub async fn probe(&self, path: &str) -> bool {
        let client = self.ops_client();
        let answer = client.try_send(reqwest::Method::GET, path, None, &[]).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    pub fn ops_client(&self) -> Client {
        Client::new(&format!("http://{}", self.ops), NO_TOKEN)
    }

    /// Waits until the process answers probes, ready or not.
    pub async fn wait_alive(&mut self) {
        let what = format!("{} is alive", self.name);
        wait_until(&what, Duration::from_secs(20), async || {
            self.probe("/livez").await
        })
        .await;
    }

    pub async fn wait_ready(&mut self) {
        let what = format!("{} is ready", self.name);
        wait_until(&what, Duration::from_secs(60), async || {
            let ended = self.exited();
            assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
            self.ready().await
        })
        .await;
    }

    /// What it has said since the test began.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn config(&self) -> &Path {
        &self.config
    }
}

fn unset(settings: &mut Table, key: &str) {
    let (section, key) = key.split_once('.').expect("section.key");
    if let Some(section) = settings.get_mut(section).and_then(Value::as_table_mut) {
        section.remove(key);
    }
}

/// Sets `section.key` in a configuration.
pub(crate) fn set(settings: &mut Table, key: &str, value: Value) {
    let (section, key) = key.split_once('.').expect("section.key");
    let section = settings
        .entry(section)
        .or_insert_with(|| Value::Table(Table::new()));
    let section = section.as_table_mut().expect("a section is a table");
    section.insert(key.to_owned(), value);
}

//! One container: what is asked for, as Kubernetes or a compose file would, and what can be done with it while it runs.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use crate::bridge::Namespace;
use crate::containers::Containers;
use crate::process::Process;

/// What this machine may not exceed; a node has to do with as little.
const LIMITS: [&str; 2] = ["nofile=1024:1024", "nproc=1000:1000"];

/// How a container is to be run.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Unique among those that run.
    pub name: String,
    pub hostname: String,
    pub image: String,
    /// Instead of the image's own.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's own.
    pub arguments: Option<Vec<String>>,
    pub environment: Vec<(String, String)>,
    /// `source:target[:ro]`, a directory, a file or the name of a volume.
    pub volumes: Vec<String>,
    pub tmpfs: Vec<String>,
    /// `user[:group]`, instead of the image's own.
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub read_only: bool,
    pub dropped_capabilities: Vec<String>,
    pub no_new_privileges: bool,
    /// Where names are looked up first, before they are taken as they are.
    pub search_domains: Vec<String>,
}

#[derive(Debug)]
pub struct Container {
    pub name: String,
    containers: Arc<Containers>,
    namespace: Namespace,
    process: Process,
}

impl Container {
    /// Starts it with a new address; it may take a moment until the program in it runs. What it says goes to `log`.
    pub fn start(containers: &Arc<Containers>, spec: &ContainerSpec, log: &Path) -> Container {
        let namespace = containers.bridge.attach();
        let mut arguments = containers.engine();
        arguments.extend(["run", "--rm", "--pull", "never", "--no-healthcheck"].map(str::to_owned));
        arguments.push(format!("--network=ns:{}", namespace.path()));
        arguments.push(format!("--cgroup-parent={}", containers.cgroup()));
        arguments.push(format!("--dns={}", containers.bridge.gateway()));
        arguments.extend(options(spec));
        arguments.push(spec.image.clone());
        arguments.extend(spec.arguments.iter().flatten().cloned());
        let process = Process::start(&spec.name, Path::new("podman"), arguments, log);
        Container {
            name: spec.name.clone(),
            containers: containers.clone(),
            namespace,
            process,
        }
    }

    pub fn address(&self) -> Ipv4Addr {
        self.namespace.address
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address(), port))
    }

    /// How its program ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Runs a command in it.
    pub async fn execute(&self, command: &[&str]) -> Output {
        let arguments = [&["exec", self.name.as_str()], command].concat();
        self.containers.try_podman(&arguments).await
    }

    /// Sends a signal to its program, unless that has ended.
    pub async fn signal(&self, signal: &str) {
        let arguments = ["kill", "--signal", signal, &self.name];
        self.containers.try_podman(&arguments).await;
    }

    /// Waits until its program ends by itself.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        self.process.ended(within).await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The engine's monitor outlives the command that started it.
        let mut podman = std::process::Command::new("podman");
        podman.args(self.containers.engine());
        podman.args(["rm", "--force", "--ignore", "--time", "0", &self.name]);
        let _ = podman.output();
    }
}

fn options(spec: &ContainerSpec) -> Vec<String> {
    let mut options = vec![
        format!("--name={}", spec.name),
        format!("--hostname={}", spec.hostname),
    ];
    let list = |option: &str, values: &[String]| -> Vec<String> {
        let options = values.iter().map(|value| format!("--{option}={value}"));
        options.collect()
    };
    options.extend(LIMITS.map(|limit| format!("--ulimit={limit}")));
    options.extend(spec.user.iter().map(|user| format!("--user={user}")));
    options.extend(list("group-add", &spec.groups));
    options.extend(list("volume", &spec.volumes));
    options.extend(list("tmpfs", &spec.tmpfs));
    options.extend(list("cap-drop", &spec.dropped_capabilities));
    options.extend(list("dns-search", &spec.search_domains));
    let environment = spec.environment.iter();
    options.extend(environment.map(|(name, value)| format!("--env={name}={value}")));
    if let Some(entrypoint) = &spec.entrypoint {
        options.push(format!("--entrypoint={}", json(entrypoint)));
    }
    if spec.read_only {
        // Nor a /tmp that was not asked for.
        options.extend(["--read-only", "--read-only-tmpfs=false"].map(str::to_owned));
    }
    if spec.no_new_privileges {
        options.push("--security-opt=no-new-privileges".to_owned());
    }
    options
}

fn json(words: &[String]) -> String {
    let mut text = String::new();
    let _ = write!(text, "{}", serde_json::json!(words));
    text
}

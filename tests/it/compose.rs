//! The compose files: part of the specification in every key, good in every file they mount, and, where containers are possible,
//! run as they are: three nodes, the load balancer and the S3 store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cratekeeper_tests::{
    BASE_IMAGE, Cargo, Client, Compose, Container, Containers, IMAGE, Namespace, Process, Scratch,
    cratekeeper, figure, garage_binary, haproxy, interpolate, wait_until, workspace,
};

use crate::reads::Reads;

const NODES: [&str; 3] = ["cratekeeper-0", "cratekeeper-1", "cratekeeper-2"];

#[test]
fn compose_files_are_understood_to_the_last_key() {
    let scratch = Scratch::new("compose_files");
    let variables = secrets(&scratch);
    for file in ["compose.yaml", "single-node.yaml"] {
        let compose = parsed(file, &variables);
        assert!(
            compose
                .services
                .values()
                .all(|service| service.healthcheck.is_some())
        );
        for (name, service) in &compose.services {
            for network in &service.networks {
                assert!(compose.networks.contains_key(network), "{name}: {network}");
            }
            for volume in &service.volumes {
                let source = volume.split(':').next().unwrap_or_default();
                let known = source.strip_prefix("./").map_or_else(
                    || compose.volumes.contains_key(source),
                    |file| directory().join(file).is_file(),
                );
                assert!(known, "{name}: nothing is called {source}");
            }
            for other in service.depends_on.keys() {
                assert!(compose.services.contains_key(other), "{name}: {other}");
            }
            let health = service.health_command().expect("it has a health check");
            if let Some(build) = &service.build {
                assert_eq!(health, ["/usr/bin/cratekeeper", "healthcheck"], "{name}");
                let version = env!("CARGO_PKG_VERSION");
                assert_eq!(service.image, format!("cratekeeper:{version}"), "{name}");
                let context = directory().join(&build.context);
                assert!(context.join(&build.dockerfile).is_file(), "{name}");
                assert!(service.read_only && service.cap_drop == ["ALL"], "{name}");
            }
        }
    }
    let wrong = "name: x\nservices:\n  a:\n    image: y\n    helthcheck: {}\n";
    let error = Compose::parse(wrong).expect_err("a key that is no part of the specification");
    assert!(error.contains("helthcheck"), "{error}");
}

#[test]
fn compose_says_what_to_do_when_its_secrets_are_missing() {
    let error = interpolate(&text("compose.yaml"), &BTreeMap::new()).expect_err("no secrets");
    assert!(error.contains("run ./start"), "{error}");
}

#[test]
fn compose_starts_with_secrets_of_its_own_and_keeps_them() {
    let scratch = Scratch::new("compose_secrets");
    let first = secrets(&scratch);
    let lengths = [
        ("GARAGE_RPC_SECRET", 64),
        ("GARAGE_ACCESS_KEY", 26),
        ("GARAGE_SECRET_KEY", 64),
    ];
    for (name, length) in lengths {
        assert_eq!(first[name].len(), length, "{name}");
    }
    assert_eq!(secrets(&scratch), first, "a second start keeps them");
    let other = Scratch::new("compose_other_secrets");
    assert_ne!(secrets(&other), first, "nobody else has them");
}

#[test]
fn every_configuration_that_compose_gives_a_node_is_accepted() {
    let scratch = Scratch::new("compose_configuration");
    let variables = secrets(&scratch);
    for file in ["compose.yaml", "single-node.yaml"] {
        let compose = parsed(file, &variables);
        for service in compose
            .services
            .values()
            .filter(|service| service.build.is_some())
        {
            let mut check = Command::new(cratekeeper());
            check
                .args(["config", "check"])
                .env_clear()
                .envs(&service.environment)
                .env(
                    "CRATEKEEPER_NODE__NAME",
                    service.hostname.as_deref().unwrap_or_default(),
                );
            if file == "compose.yaml" {
                check
                    .arg("--config")
                    .arg(directory().join("cratekeeper.toml"));
            }
            let output = check.output().expect("the binary starts");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{file}: {errors}");
        }
    }
}

#[test]
fn haproxy_accepts_the_configuration_that_compose_mounts() {
    let mut check = Command::new(haproxy());
    check
        .arg("-c")
        .arg("-f")
        .arg(directory().join("haproxy.cfg"));
    let output = check.output().expect("haproxy starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_runs_as_it_is_and_loses_no_read_when_a_node_stops() {
    if let Some(why) = Containers::impossible() {
        figure("the compose file as it is", format!("SKIPPED, {why}"));
        return;
    }
    let scratch = Scratch::new("compose_runs");
    let mut project = Project::start(&scratch).await;
    let url = project.url.clone();
    let cargo = Cargo::new(
        &scratch,
        "alice",
        &format!("sparse+{url}/index/"),
        &project.token().await,
    );
    let library = cargo.library("composed", "1.0.0", "");
    let publish = ["publish", "--no-verify", "--registry", "mine"];
    cargo.ok(&library, &publish).await;

    let reads = Reads::start(&url, "/index/co/mp/composed");
    reads.progress(20).await;
    let mut node = project.nodes.remove("cratekeeper-0").expect("it runs");
    node.signal("TERM").await;
    let status = node.ended(Duration::from_secs(60)).await;
    assert!(status.success(), "{status}");
    reads.progress(50).await;
    assert_eq!(reads.finish().await, 0, "reads failed while a node stopped");
    cargo.library("composed", "1.1.0", "");
    cargo.ok(&library, &publish).await;
}

/// The services of compose.yaml: nodes and store in containers, the balancer as a program in a network namespace.
struct Project {
    url: String,
    nodes: BTreeMap<String, Container>,
    containers: Arc<Containers>,
    _garage: Container,
    _balancer: (Process, Namespace),
}

impl Project {
    async fn start(scratch: &Scratch) -> Project {
        let containers = Arc::new(Containers::start().await);
        let balancer = containers.bridge.attach();
        let url = format!("http://{}:8080", balancer.address);
        let mut variables = secrets(scratch);
        variables.insert("PUBLIC_URL".to_owned(), url.clone());
        variables.insert("CRATEKEEPER_IMAGE".to_owned(), IMAGE.to_owned());
        variables.insert("GARAGE_IMAGE".to_owned(), BASE_IMAGE.to_owned());
        let compose = parsed("compose.yaml", &variables);

        let start = |name: &str, volumes: &[String]| {
            let service = &compose.services[name];
            let mut spec = service.container(name, &directory().display().to_string(), "");
            spec.volumes.extend_from_slice(volumes);
            let container = Container::start(&containers, &spec, &scratch.log(name));
            containers.names.set(&spec.hostname, container.address());
            container
        };
        let program = format!("{}:/garage:ro", garage_binary().display());
        let mut garage = start("garage", &[program]);
        wait_healthy(&compose, "garage", &mut garage).await;
        let mut nodes = BTreeMap::new();
        for name in NODES {
            nodes.insert(name.to_owned(), start(name, &[]));
        }
        for (name, node) in &mut nodes {
            wait_healthy(&compose, name, node).await;
        }
        let process = balance(scratch, &containers, &balancer, &compose).await;
        Project {
            url,
            nodes,
            containers,
            _garage: garage,
            _balancer: (process, balancer),
        }
    }

    /// As `docker compose cp` gets it.
    async fn token(&self) -> String {
        let to = self.containers.place("token").join("admin-token");
        let to = to.display().to_string();
        let from = "cratekeeper-0:/var/lib/cratekeeper/admin-token";
        self.containers.podman(&["cp", from, &to]).await;
        let token = fs::read_to_string(to).expect("it was copied");
        token.trim().to_owned()
    }
}

/// haproxy with the file that is mounted, in the balancer's namespace and with the name server of the containers.
async fn balance(
    scratch: &Scratch,
    containers: &Containers,
    namespace: &Namespace,
    compose: &Compose,
) -> Process {
    let names = scratch.path().join("resolv.conf");
    let line = format!("nameserver {}\n", containers.bridge.gateway());
    fs::write(&names, line).expect("the test's directory is writable");
    let script = "mount --bind \"$1\" /etc/resolv.conf && exec \"$2\" -db -f \"$3\"";
    let config = directory().join("haproxy.cfg");
    let arguments: [&std::ffi::OsStr; 9] = [
        "netns".as_ref(),
        "exec".as_ref(),
        namespace.name().as_ref(),
        "sh".as_ref(),
        "-ec".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        names.as_os_str(),
        haproxy().as_os_str(),
    ];
    let arguments = arguments.into_iter().chain([config.as_os_str()]);
    let log = scratch.log("balancer");
    let process = Process::start("balancer", Path::new("ip"), arguments, &log);
    let health = compose.services["balancer"].health_command();
    let health = health.expect("the balancer has a health check");
    let url = health.last().expect("it asks a URL");
    wait_until(
        "the balancer is healthy",
        Duration::from_secs(20),
        async || {
            let ask = [
                "netns",
                "exec",
                namespace.name(),
                "curl",
                "--fail",
                "--silent",
                url,
            ];
            let asked = tokio::process::Command::new("ip").args(ask).output().await;
            asked.expect("ip starts").status.success()
        },
    )
    .await;
    let client = Client::new(&format!("http://{}:8080", namespace.address), "");
    wait_until("the balancer serves", Duration::from_secs(20), async || {
        let path = "/index/config.json";
        let answer = client.try_send(reqwest::Method::GET, path, None, &[]).await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    process
}

async fn wait_healthy(compose: &Compose, name: &str, container: &mut Container) {
    let command = compose.services[name].health_command();
    let command = command.expect("every service has a health check");
    wait_until(
        &format!("{name} is healthy"),
        Duration::from_secs(60),
        async || {
            let ended = container.exited();
            assert!(ended.is_none(), "{name} ended: {ended:?}");
            container.execute(&command).await.status.success()
        },
    )
    .await;
}

fn directory() -> PathBuf {
    workspace().join("deploy/compose")
}

fn text(file: &str) -> String {
    fs::read_to_string(directory().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn parsed(file: &str, variables: &BTreeMap<String, String>) -> Compose {
    let text =
        interpolate(&text(file), variables).unwrap_or_else(|error| panic!("{file}: {error}"));
    Compose::parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What `./start` writes into `.env`, run beside a `docker` that does nothing.
fn secrets(scratch: &Scratch) -> BTreeMap<String, String> {
    let programs = scratch.path().join("programs");
    fs::create_dir_all(&programs).expect("the test's directory is writable");
    let script = scratch.path().join("start");
    fs::copy(directory().join("start"), &script).expect("the script is there");
    std::os::unix::fs::symlink("/bin/true", programs.join("docker")).ok();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(&script)
        .env("PATH", format!("{}:{path}", programs.display()))
        .output();
    let output = output.expect("a script with a shell");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = fs::read_to_string(scratch.path().join(".env")).expect("the script wrote it");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs: BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let values: BTreeSet<&String> = pairs.values().collect();
    assert_eq!(values.len(), pairs.len(), "each secret is another one");
    pairs
}

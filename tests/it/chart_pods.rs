//! The pods as the chart describes them, run without Kubernetes: their files and environment given to the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cratekeeper_domain::TokenText;
use cratekeeper_tests::chart::{Helm, Rendering, Workload, as_pod_sees_it, scenarios};
use cratekeeper_tests::{
    Authority, CertificateFiles, Client, Leaf, NO_TOKEN, Package, Process, Scratch, cratekeeper,
    figure, free_port, wait_until,
};
use reqwest::Method;
use serde_json::Value;

const NAME: &str = "crates-cratekeeper";

/// One pod of a workload, in a directory of its own instead of a root file system.
struct Pod {
    root: PathBuf,
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
}

impl Pod {
    fn new(rendering: &Rendering, workload: &Workload, name: &str, scratch: &Scratch) -> Pod {
        let root = scratch.path().join(name);
        let external = |_: &str, key: &str| external(key);
        let mut environment = as_pod_sees_it(rendering, workload, name, &root, &external);
        // Paths of the container are below the pod's directory here.
        for value in environment.values_mut() {
            *value = moved(value, &root);
        }
        let config = root.join("etc/cratekeeper/cratekeeper.toml");
        if let Ok(text) = fs::read_to_string(&config) {
            fs::write(&config, moved(&text, &root)).expect("the test's directory is writable");
        }
        let arguments = workload.main_container()["args"].as_array();
        let arguments = arguments.expect("a container has arguments").iter();
        Pod {
            arguments: arguments
                .map(|argument| moved(argument.as_str().expect("text"), &root))
                .collect(),
            root,
            environment,
        }
    }

    /// What a node of it is started with.
    fn config_arguments(&self) -> [String; 2] {
        let config = self.root.join("etc/cratekeeper/cratekeeper.toml");
        ["--config".to_owned(), config.display().to_string()]
    }

    fn command(&self) -> Command {
        let mut command = Command::new(cratekeeper());
        command.env_clear().envs(&self.environment);
        command
    }

    /// Both outputs of a command that must succeed.
    fn run(&self, arguments: &[String]) -> String {
        let output = self.command().args(arguments).output();
        let output = output.expect("the binary starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        format!("{text}{errors}")
    }

    /// Starts the node, on free ports of the loopback.
    fn start(&self, name: &str, ports: &Ports, more: &[String], scratch: &Scratch) -> Process {
        let mut arguments: Vec<String> = self
            .environment
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        arguments.push(cratekeeper().display().to_string());
        arguments.extend(self.arguments.clone());
        arguments.extend(self.config_arguments());
        for (key, port) in [
            ("http", ports.http),
            ("peer", ports.peer),
            ("ops", ports.ops),
        ] {
            arguments.extend(["--set".to_owned(), format!("{key}.listen=127.0.0.1:{port}")]);
        }
        arguments.extend([
            "--set".to_owned(),
            format!("http.public_url={}", ports.url()),
        ]);
        arguments.extend(more.iter().cloned());
        Process::start(name, Path::new("env"), arguments, &scratch.log(name))
    }
}

struct Ports {
    http: u16,
    peer: u16,
    ops: u16,
}

impl Ports {
    fn free() -> Ports {
        Ports {
            http: free_port(),
            peer: free_port(),
            ops: free_port(),
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    async fn wait_ready(&self, name: &str) {
        let ops = Client::new(&format!("http://127.0.0.1:{}", self.ops), NO_TOKEN);
        wait_until(
            &format!("{name} is ready"),
            Duration::from_secs(60),
            async || {
                let answer = ops.try_send(Method::GET, "/readyz", None, &[]).await;
                answer.is_ok_and(|answer| answer.status == 200)
            },
        )
        .await;
    }
}

/// Where the container has `/run/cratekeeper` and so on.
fn moved(text: &str, root: &Path) -> String {
    let mut text = text.to_owned();
    for path in [
        "/run/cratekeeper",
        "/var/lib/cratekeeper",
        "/etc/cratekeeper",
        "/backups",
    ] {
        text = text.replace(path, &format!("{}{path}", root.display()));
    }
    text
}

/// What Secrets hold that a scenario says are there already.
fn external(key: &str) -> Vec<u8> {
    match key {
        "admin.token" => TokenText::from_random([7; 32]).as_str().as_bytes().to_vec(),
        _ => b"a value from outside".to_vec(),
    }
}

/// Issues the certificates that the pod mounts and the chart does not make: what the rendering asks cert-manager for, or for a Secret
/// of one's own the name that the chart's README says.
fn issue_certificates(rendering: &Rendering, workload: &Workload, pod: &Pod) {
    let authority = Authority::new("whoever signs for this installation");
    let advertised = &pod.environment["CRATEKEEPER_PEER__ADVERTISE"];
    let host = advertised.rsplit_once(':').expect("host and port").0;
    let everybody = format!("*.{}", host.split_once('.').expect("a pod and a domain").1);
    let volumes = workload.spec()["volumes"].as_array().into_iter().flatten();
    for volume in volumes.filter(|volume| volume["name"] == "tls" || volume["name"] == "peer-tls") {
        let secret = volume["secret"]["secretName"].as_str().expect("a name");
        if rendering.find("Secret", secret).is_some() {
            continue;
        }
        let mut leaf = Leaf::of(&everybody);
        if let Some(asked) = rendering.find("Certificate", secret) {
            let texts = |field: &str| -> Vec<String> {
                let values = asked.value["spec"][field].clone();
                serde_json::from_value(values).unwrap_or_default()
            };
            leaf.hosts = texts("dnsNames");
            let uri = texts("uris").into_iter().next();
            leaf.cluster =
                uri.and_then(|uri| uri.strip_prefix("cratekeeper://").map(str::to_owned));
        }
        let name = volume["name"].as_str().expect("a name");
        let files = CertificateFiles::in_directory(&pod.root.join("run/cratekeeper").join(name));
        files.issue(&leaf, &authority);
        files.trust(&[&authority]);
    }
}

fn workload(rendering: &Rendering, kind: &str, name: &str) -> Workload {
    let mut all = Workload::all(rendering).into_iter();
    let found = all.find(|workload| workload.kind == kind && workload.name == name);
    found.unwrap_or_else(|| panic!("{kind}/{name} is not rendered"))
}

#[test]
fn the_configuration_of_every_scenario_is_good() {
    let Some(helm) = Helm::installed().into_iter().next() else {
        return;
    };
    let mut checked = 0;
    for scenario in scenarios() {
        let scratch = Scratch::new(&format!("chart_config_{}", scenario.name));
        let rendering = helm.rendered(Some(&scenario.file), &[]);
        for workload in Workload::all(&rendering)
            .iter()
            .filter(|one| one.runs_nodes())
        {
            let pod = Pod::new(
                &rendering,
                workload,
                &format!("{}-1", workload.name),
                &scratch,
            );
            issue_certificates(&rendering, workload, &pod);
            let check = ["config", "check"].map(str::to_owned);
            let said = pod.run(&[&check[..], &pod.config_arguments()].concat());
            assert!(
                said.contains("the configuration is good"),
                "{}: {said}",
                scenario.name
            );
            checked += 1;
        }
    }
    figure("chart configurations accepted by the binary", checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_without_values_runs_and_passes_its_own_test() {
    let Some(helm) = Helm::installed().into_iter().next() else {
        return;
    };
    let scratch = Scratch::new("chart_default");
    let rendering = helm.rendered(None, &[]);
    let node = workload(&rendering, "StatefulSet", NAME);
    let pod = Pod::new(&rendering, &node, &format!("{NAME}-0"), &scratch);
    let ports = Ports::free();
    let _node = pod.start("node", &ports, &[], &scratch);
    ports.wait_ready("the node of the chart").await;

    let smoke = workload(&rendering, "Pod", &format!("{NAME}-smoke"));
    let mut smoke = Pod::new(&rendering, &smoke, "smoke", &scratch);
    smoke
        .environment
        .insert("CRATEKEEPER_SERVER".to_owned(), ports.url());
    for _ in 0..2 {
        let said = smoke.run(&smoke.arguments);
        for step in ["published", "indexed", "downloaded", "yanked"] {
            assert!(said.contains(step), "{said}");
        }
    }
    let lines = Client::new(&ports.url(), NO_TOKEN)
        .index_lines("cratekeeper-smoke-test")
        .await;
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["yanked"] == true));

    // What the pod is told to run before it is stopped.
    let drain = node.main_container()["lifecycle"]["preStop"]["exec"]["command"].clone();
    let drain: Vec<String> = serde_json::from_value(drain).expect("a command");
    assert_eq!(drain[0], "/usr/bin/cratekeeper");
    let ops = [
        "--ops".to_owned(),
        format!("http://127.0.0.1:{}", ports.ops),
    ];
    pod.run(&[&drain[1..], &ops].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_and_a_reader_trust_the_certificates_that_the_chart_makes() {
    let Some(helm) = Helm::installed().into_iter().next() else {
        return;
    };
    let scenario = scenarios();
    let scenario = scenario
        .iter()
        .find(|scenario| scenario.name == "three-self-signed");
    let rendering = helm.rendered(scenario.map(|scenario| scenario.file.as_path()), &[]);
    let scratch = Scratch::new("chart_self_signed");
    let voters = workload(&rendering, "StatefulSet", NAME);
    let readers = workload(&rendering, "StatefulSet", &format!("{NAME}-readers"));
    let pods =
        [(&voters, 0), (&voters, 1), (&voters, 2), (&readers, 0)].map(|(workload, ordinal)| {
            (
                workload,
                format!("{}-{ordinal}", workload.name),
                Ports::free(),
            )
        });

    let peers: Vec<String> = pods[..3]
        .iter()
        .map(|(_, _, ports)| format!("\"localhost:{}\"", ports.peer))
        .collect();
    let tarballs = scratch.path().join("tarballs");
    let mut running = Vec::new();
    for (workload, name, ports) in &pods {
        let pod = Pod::new(&rendering, workload, name, &scratch);
        // Without the DNS of Kubernetes: the certificate of this scenario names the loopback, too.
        let here = [
            format!("peer.advertise=localhost:{}", ports.peer),
            format!("cluster.peers=[{}]", peers.join(",")),
            format!("tarballs.directory={}", tarballs.display()),
        ];
        let here: Vec<String> = here
            .into_iter()
            .flat_map(|set| ["--set".to_owned(), set])
            .collect();
        running.push(pod.start(name, ports, &here, &scratch));
    }
    for (_, name, ports) in &pods {
        ports.wait_ready(name).await;
    }

    let token = rendering.secret(&format!("{NAME}-admin-token"))["token"].clone();
    let token = String::from_utf8(token).expect("a token is text");
    let admin = Client::new(&pods[1].2.url(), &token);
    wait_until(
        "three vote and one reads",
        Duration::from_secs(60),
        async || {
            let state = admin.cluster().await;
            let members = state["members"].as_array().cloned().unwrap_or_default();
            let of_role = |role: &str| {
                members
                    .iter()
                    .filter(|member| member["role"] == role)
                    .count()
            };
            of_role("voter") == 3 && of_role("reader") == 1
        },
    )
    .await;
    let reader = Client::new(&pods[3].2.url(), &token);
    let package = Package::new("by-the-chart", "1.0.0");
    reader
        .publish(&package)
        .await
        .expect_ok("a publish through a reader");
    for (_, name, ports) in &pods {
        let there: Vec<Value> = Client::new(&ports.url(), NO_TOKEN)
            .index_lines("by-the-chart")
            .await;
        assert_eq!(there.len(), 1, "{name}");
    }
}

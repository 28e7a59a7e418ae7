//! The pods as the chart describes them, run for real: the image, the security context, mutual TLS between addresses of their own,
//! S3. They found, grow, stop without a failed read, lose a volume and shrink.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cratekeeper_tests::chart::{Helm, NAMESPACE};
use cratekeeper_tests::{
    Backend, Balancer, Cargo, Client, Containers, Garage, IMAGE, Manifests, Pods, Scratch,
    cratekeeper, figure, wait_for, wait_until,
};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use crate::reads::Reads;

/// The full name of the release.
const NAME: &str = "crates-cratekeeper";
const PUBLISH: [&str; 4] = ["publish", "--no-verify", "--registry", "mine"];
const USER: &str = "65532";

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_the_chart_grow_to_three_survive_and_shrink_again() {
    let no_helm = || Helm::installed().is_empty().then(|| "no helm".to_owned());
    if let Some(why) = Containers::impossible().or_else(no_helm) {
        figure(
            "the pods of the chart as containers",
            format!("SKIPPED, {why}"),
        );
        return;
    }
    let scratch = Scratch::new("pods_of_the_chart");
    let mut installation = Installation::start(&scratch).await;
    let cargo = installation.cargo("alice");
    let library = cargo.library("podded", "1.0.0", "");
    cargo.ok(&library, &PUBLISH).await;
    assert_restricted(&installation).await;

    installation.grow_to_three().await;
    let reads = Reads::start(&installation.balancer.url(), "/index/po/dd/podded");
    reads.progress(20).await;
    let leader = installation.leader().await;
    installation.restart(leader).await;
    installation.lose_a_volume((leader + 1) % 3).await;
    let failed = reads.finish().await;
    figure(
        "pods: failed reads while the leader's pod restarts and a volume is lost",
        failed,
    );
    assert_eq!(failed, 0);

    installation.shrink_to_one().await;
    cargo.library("podded", "1.1.0", "");
    cargo.ok(&library, &PUBLISH).await;
    let user = cargo.library(
        "user",
        "0.1.0",
        "podded = { version = \"1.1\", registry = \"mine\" }",
    );
    cargo.forget();
    cargo.ok(&user, &["update"]).await;
    cargo.ok(&user, &["fetch", "--locked"]).await;
}

/// The release, as Helm and Kubernetes would run it.
struct Installation<'a> {
    scratch: &'a Scratch,
    pods: Pods,
    balancer: Balancer,
    garage: Garage,
    token: String,
    containers: Arc<Containers>,
}

impl Installation<'_> {
    /// One replica, ready.
    async fn start(scratch: &Scratch) -> Installation<'_> {
        let begin = Instant::now();
        let containers = Arc::new(Containers::start().await);
        figure(
            "image: build from a built program (s)",
            seconds(begin.elapsed()),
        );
        let size = ["image", "inspect", "--format", "{{.Size}}", IMAGE];
        let bytes: f64 = containers.podman(&size).await.parse().expect("bytes");
        figure(
            "image: size with a stripped dev binary (MB)",
            format!("{:.1}", bytes / 1e6),
        );

        let garage = Garage::start_at(scratch, containers.bridge.gateway()).await;
        // Which pods there may ever be is known before the balancer's address is, and that before the configuration.
        let host =
            |ordinal: u32| format!("{NAME}-{ordinal}.{NAME}-peers.{NAMESPACE}.svc.cluster.local");
        let backends: Vec<Backend> = (0..3)
            .map(|ordinal| Backend {
                name: format!("pod-{ordinal}"),
                http: format!("{}:8080", host(ordinal)),
                ops_port: 9090,
            })
            .collect();
        let names = containers.bridge.gateway();
        let mut balancer = Balancer::in_front_of(scratch, &backends, names);
        let manifests = rendered(scratch, &balancer, &garage, 1);
        let token: Secret = manifests.get("Secret", &format!("{NAME}-admin-token"));
        let token = token.data.unwrap_or_default().remove("token");
        let token = String::from_utf8(token.expect("a generated token").0).expect("it is text");

        let mut pods = Pods::new(&containers, manifests, NAME, NAMESPACE);
        assert_eq!(pods.host(2), host(2));
        let begin = Instant::now();
        pods.start(scratch, 0);
        pods.wait_ready(0).await;
        figure(
            "pods: cold start of the first one to ready (s)",
            seconds(begin.elapsed()),
        );
        balancer.wait_serving().await;
        Installation {
            scratch,
            pods,
            balancer,
            garage,
            token: token.trim().to_owned(),
            containers,
        }
    }

    fn cargo(&self, who: &str) -> Cargo {
        let index = format!("sparse+{}/index/", self.balancer.url());
        Cargo::new(self.scratch, who, &index, &self.token)
    }

    async fn grow_to_three(&mut self) {
        let before = self.pods.template();
        let newer = rendered(self.scratch, &self.balancer, &self.garage, 3);
        self.pods.upgrade(newer);
        assert_eq!(self.pods.replicas(), 3);
        assert_eq!(
            self.pods.template(),
            before,
            "growing must not restart what runs"
        );
        let begin = Instant::now();
        for ordinal in [1, 2] {
            self.pods.start(self.scratch, ordinal);
        }
        self.wait_voters(3).await;
        figure(
            "pods: from one to three voters (s)",
            seconds(begin.elapsed()),
        );
    }

    /// As a rolling update does it, with another address afterwards.
    async fn restart(&mut self, ordinal: u32) {
        let ended = self.pods.terminate(ordinal).await;
        ended.assert_clean();
        figure("pods: drain and end of the leader (s)", seconds(ended.took));
        self.pods.start(self.scratch, ordinal);
        self.wait_voters(3).await;
    }

    async fn lose_a_volume(&mut self, ordinal: u32) {
        let before = self.members().await;
        self.pods.terminate(ordinal).await.assert_clean();
        self.pods.wipe(ordinal);
        let begin = Instant::now();
        self.pods.start(self.scratch, ordinal);
        self.pods.wait_ready(ordinal).await;
        self.wait_voters(3).await;
        figure(
            "pods: a wiped volume to a voter again (s)",
            seconds(begin.elapsed()),
        );
        let name = self.pods.name(ordinal);
        let after = self.members().await;
        let old = member(&before, &name);
        let new = member(&after, &name);
        assert_ne!(old["node"], new["node"], "an empty volume is a new member");
    }

    /// Membership first, then the replicas.
    async fn shrink_to_one(&mut self) {
        for ordinal in [2, 1] {
            let members = self.members().await;
            let id = member(&members, &self.pods.name(ordinal))["node"].to_string();
            self.command(&["cluster", "remove", &id]).await;
            // It stops by itself, sooner or later, with a complaint.
            self.pods.terminate(ordinal).await;
        }
        self.pods
            .upgrade(rendered(self.scratch, &self.balancer, &self.garage, 1));
        self.wait_voters(1).await;
    }

    async fn command(&self, arguments: &[&str]) {
        let file = self.containers.place("token").join("admin-token");
        fs::write(&file, &self.token).expect("the build directory is writable");
        let mut command = tokio::process::Command::new(cratekeeper());
        command
            .args(arguments)
            .args(["--server", &self.balancer.url()]);
        let output = command.arg("--token-file").arg(file).output().await;
        let output = output.expect("the binary starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
    }

    fn client(&self, ordinal: u32) -> Client {
        let http = self.pods.at(ordinal, "http");
        Client::new(&format!("http://{http}"), &self.token)
    }

    /// What one pod knows, if it answers now.
    async fn state(&self, ordinal: u32) -> Option<Value> {
        let path = "/api/v1/cluster";
        let client = self.client(ordinal);
        let answer = client.try_send(reqwest::Method::GET, path, None, &[]);
        let answer = answer.await.ok().filter(|answer| answer.status == 200)?;
        Some(answer.json())
    }

    async fn members(&self) -> Vec<Value> {
        let state = self.client(self.pods.running()[0]).cluster().await;
        state["members"].as_array().cloned().unwrap_or_default()
    }

    async fn leader(&self) -> u32 {
        wait_for("a leader", Duration::from_secs(30), async || {
            let state = self.state(self.pods.running()[0]).await?;
            let leader = state["members"].as_array()?;
            let leader = leader
                .iter()
                .find(|member| member["node"] == state["leader"])?;
            let name = leader["name"].as_str()?;
            name.strip_prefix(NAME)?.strip_prefix('-')?.parse().ok()
        })
        .await
    }

    /// Every pod is ready and says that the members are `count` voters.
    async fn wait_voters(&mut self, count: usize) {
        for ordinal in self.pods.running() {
            self.pods.wait_ready(ordinal).await;
        }
        wait_until(
            &format!("{count} voters"),
            Duration::from_secs(60),
            async || {
                for ordinal in self.pods.running() {
                    let Some(state) = self.state(ordinal).await else {
                        return false;
                    };
                    let members = state["members"].as_array().cloned().unwrap_or_default();
                    let voters = members.iter().filter(|member| member["role"] == "voter");
                    if (voters.count(), members.len()) != (count, count) {
                        return false;
                    }
                }
                true
            },
        )
        .await;
    }
}

/// What runs is what the restricted pod security standard asks for, as the kernel sees it.
async fn assert_restricted(installation: &Installation<'_>) {
    let name = &installation.pods.container(0).name;
    let pid = ["inspect", "--format", "{{.State.Pid}}", name];
    let pid = installation.containers.podman(&pid).await;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(value("Uid:"), [USER; 4]);
    assert_eq!(value("Gid:"), [USER; 4]);
    assert_eq!(value("NoNewPrivs:"), ["1"]);
    assert_eq!(value("Seccomp:"), ["2"], "a filter of system calls");
    for capabilities in ["CapEff:", "CapPrm:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(capabilities), ["0000000000000000"], "{capabilities}");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).expect("it runs");
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(1) == Some("/"));
    let options = root
        .and_then(|line| line.split(' ').nth(3))
        .unwrap_or_default();
    assert!(options.split(',').any(|option| option == "ro"), "{root:?}");
    let shell = installation
        .pods
        .container(0)
        .execute(&["/bin/sh", "-c", "true"])
        .await;
    assert!(!shell.status.success(), "the image has no shell");
    assert!(installation.pods.live(0).await);
}

fn member<'a>(members: &'a [Value], name: &str) -> &'a Value {
    let mut named = members.iter().filter(|member| member["name"] == name);
    named.next().unwrap_or_else(|| panic!("no member {name}"))
}

/// The chart with S3 and mutual TLS between nodes.
fn rendered(scratch: &Scratch, balancer: &Balancer, garage: &Garage, replicas: u32) -> Manifests {
    let values = format!(
        "replicas: {replicas}\npublicUrl: {url}\nlog: {{format: text, level: \"info,openraft=warn\"}}\n\
         peerTls: {{mode: selfSigned}}\nallowScaleDown: true\n\
         drain: {{waitSeconds: 20, lingerSeconds: 2}}\n\
         tarballs:\n  kind: s3\n  s3:\n    bucket: {bucket}\n    region: {region}\n    endpoint: {endpoint}\n    \
         pathStyle: true\n    accessKeyId: {key}\n    secretAccessKey: {secret}\n",
        url = balancer.url(),
        bucket = garage.bucket(),
        region = garage.region(),
        endpoint = garage.endpoint(),
        key = garage.key_id(),
        secret = garage.secret(),
    );
    let file = scratch.path().join("values.yaml");
    fs::write(&file, values).expect("the test's directory is writable");
    let helm = Helm::installed().remove(0);
    Manifests::new(&helm.rendered(Some(&file), &[]))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

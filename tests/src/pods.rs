//! The pods of a StatefulSet as rendered from the chart, run without Kubernetes: what a kubelet reads from the manifests is read
//! here, so that chart and test cannot differ. Names are as the headless service gives them; an address is new with every start.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{HTTPGetAction, PodSpec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::chart::Rendering;
use crate::client::{Client, NO_TOKEN};
use crate::container::Container;
use crate::containers::Containers;
use crate::pod_spec;
use crate::scratch::Scratch;
use crate::wait::wait_until;

/// Objects of one namespace.
#[derive(Debug, Clone, Default)]
pub struct Manifests {
    objects: BTreeMap<(String, String), Value>,
}

#[derive(Debug)]
pub struct Pods {
    containers: Arc<Containers>,
    manifests: Manifests,
    set: StatefulSet,
    namespace: String,
    pods: BTreeMap<u32, Container>,
}

/// How a pod ended that was asked to.
#[derive(Debug)]
pub struct Termination {
    pub prestop: Output,
    pub status: ExitStatus,
    pub took: Duration,
}

impl Termination {
    /// Panics unless both the hook and the program did what they should.
    pub fn assert_clean(&self) {
        let said = String::from_utf8_lossy(&self.prestop.stderr);
        assert!(self.prestop.status.success(), "preStop: {said}");
        assert!(self.status.success(), "the pod ended with {}", self.status);
    }
}

impl Manifests {
    pub fn new(rendering: &Rendering) -> Manifests {
        let objects = rendering.documents.iter().map(|document| {
            let key = (document.kind.clone(), document.name.clone());
            (key, document.value.clone())
        });
        Manifests {
            objects: objects.collect(),
        }
    }

    /// Panics unless it is there and reads as `T`.
    pub fn get<T: DeserializeOwned>(&self, kind: &str, name: &str) -> T {
        let object = self.objects.get(&(kind.to_owned(), name.to_owned()));
        let object = object.unwrap_or_else(|| panic!("no {kind} {name}"));
        serde_json::from_value(object.clone())
            .unwrap_or_else(|error| panic!("{kind} {name}: {error}"))
    }

    /// Applies others over these, as an upgrade does. Secrets stay: the chart looks them up and keeps them.
    pub fn upgrade(&mut self, newer: Manifests) {
        for (key, object) in newer.objects {
            if key.0 != "Secret" || !self.objects.contains_key(&key) {
                self.objects.insert(key, object);
            }
        }
    }
}

impl Pods {
    /// The pods of the StatefulSet `name`, none of them started.
    pub fn new(
        containers: &Arc<Containers>,
        manifests: Manifests,
        name: &str,
        namespace: &str,
    ) -> Pods {
        Pods {
            containers: containers.clone(),
            set: manifests.get("StatefulSet", name),
            manifests,
            namespace: namespace.to_owned(),
            pods: BTreeMap::new(),
        }
    }

    /// New manifests for pods that start from now on.
    pub fn upgrade(&mut self, newer: Manifests) {
        self.manifests.upgrade(newer);
        self.set = self.manifests.get("StatefulSet", &self.set_name());
    }

    pub fn replicas(&self) -> u32 {
        self.set.spec.replicas.unwrap_or(1).unsigned_abs()
    }

    /// What a change of makes Kubernetes replace pods.
    pub fn template(&self) -> Value {
        serde_json::to_value(&self.set.spec.template).expect("it came from JSON")
    }

    pub fn start(&mut self, scratch: &Scratch, ordinal: u32) {
        let name = self.name(ordinal);
        let volumes = self.volumes(ordinal);
        let mut spec = pod_spec::container(&self.manifests, self.pod(), &name, &self.namespace);
        spec.volumes.extend(volumes);
        spec.search_domains = vec![
            format!("{}.svc.cluster.local", self.namespace),
            "svc.cluster.local".to_owned(),
        ];
        let container = Container::start(&self.containers, &spec, &scratch.log(&name));
        // The headless service publishes pods that are not ready, too.
        self.containers
            .names
            .set(&self.host(ordinal), container.address());
        let before = self.pods.insert(ordinal, container);
        assert!(before.is_none(), "{name} runs already");
    }

    /// As Kubernetes ends a pod: preStop, SIGTERM whatever came of that, and SIGKILL when the time is over.
    pub async fn terminate(&mut self, ordinal: u32) -> Termination {
        let mut container = self.pods.remove(&ordinal).expect("a pod that runs");
        let begin = Instant::now();
        let seconds = self.pod().termination_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(seconds.unsigned_abs());
        let hook = self.main().lifecycle.as_ref();
        let hook = hook.and_then(|lifecycle| lifecycle.pre_stop.as_ref()?.exec.as_ref());
        let command = hook.and_then(|exec| exec.command.as_deref()).unwrap_or(&[]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let prestop = tokio::time::timeout(grace, container.execute(&command)).await;
        let prestop = prestop.expect("preStop ends within the grace period");
        container.signal("TERM").await;
        let status = container.ended(grace.saturating_sub(begin.elapsed())).await;
        self.containers.names.remove(&self.host(ordinal));
        Termination {
            prestop,
            status,
            took: begin.elapsed(),
        }
    }

    /// SIGKILL, as if the machine were gone.
    pub fn lose(&mut self, ordinal: u32) {
        self.pods.remove(&ordinal).expect("a pod that runs");
        self.containers.names.remove(&self.host(ordinal));
    }

    /// Deletes its claim's content.
    pub fn wipe(&self, ordinal: u32) {
        let volumes = self.containers.place(&self.name(ordinal));
        fs::remove_dir_all(volumes).expect("the volume of a pod that does not run can go");
    }

    pub fn running(&self) -> Vec<u32> {
        self.pods.keys().copied().collect()
    }

    pub fn container(&self, ordinal: u32) -> &Container {
        self.pods.get(&ordinal).expect("a pod that runs")
    }

    pub fn name(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.set_name())
    }

    /// The name that the headless service gives it.
    pub fn host(&self, ordinal: u32) -> String {
        let service = self.set.spec.service_name.as_deref().unwrap_or_default();
        let namespace = &self.namespace;
        format!(
            "{}.{service}.{namespace}.svc.cluster.local",
            self.name(ordinal)
        )
    }

    /// The number of the port that the main container calls `name`.
    pub fn port(&self, name: &str) -> u16 {
        let ports = self.main().ports.iter().flatten();
        let mut named = ports.filter(|port| port.name.as_deref() == Some(name));
        let port = named.next().expect("a port of that name").container_port;
        u16::try_from(port).expect("a port number")
    }

    /// One of its ports, from this machine.
    pub fn at(&self, ordinal: u32, port: &str) -> SocketAddr {
        self.container(ordinal).at(self.port(port))
    }

    /// What its readiness probe says.
    pub async fn ready(&self, ordinal: u32) -> bool {
        let probe = self.main().readiness_probe.as_ref();
        let get = probe.and_then(|probe| probe.http_get.as_ref());
        self.probe(ordinal, get.expect("readiness is asked by HTTP"))
            .await
    }

    /// What its liveness probe says.
    pub async fn live(&self, ordinal: u32) -> bool {
        let probe = self.main().liveness_probe.as_ref();
        let get = probe.and_then(|probe| probe.http_get.as_ref());
        self.probe(ordinal, get.expect("liveness is asked by HTTP"))
            .await
    }

    async fn probe(&self, ordinal: u32, get: &HTTPGetAction) -> bool {
        use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
        let address = match &get.port {
            IntOrString::Int(port) => {
                let port = u16::try_from(*port).expect("a port number");
                self.container(ordinal).at(port)
            }
            IntOrString::String(name) => self.at(ordinal, name),
        };
        let client = Client::new(&format!("http://{address}"), NO_TOKEN);
        let path = get.path.as_deref().unwrap_or("/");
        let answer = client.try_send(reqwest::Method::GET, path, None, &[]).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    pub async fn wait_ready(&mut self, ordinal: u32) {
        let name = self.name(ordinal);
        wait_until(
            &format!("{name} is ready"),
            Duration::from_secs(60),
            async || {
                let pod = self.pods.get_mut(&ordinal).expect("a pod that runs");
                let ended = pod.exited();
                assert!(ended.is_none(), "{name} ended: {ended:?}");
                self.ready(ordinal).await
            },
        )
        .await;
    }

    fn set_name(&self) -> String {
        self.set.metadata.name.clone().expect("a set has a name")
    }

    fn pod(&self) -> &PodSpec {
        let template = &self.set.spec.template;
        template.spec.as_ref().expect("its pods have one")
    }

    fn main(&self) -> &k8s_openapi::api::core::v1::Container {
        &self.pod().containers[0]
    }

    /// `source:target[:ro]` of every mount, with the directories filled.
    fn volumes(&self, ordinal: u32) -> Vec<String> {
        let place = self.containers.place(&self.name(ordinal));
        let context = self.pod().security_context.as_ref();
        let group = context.and_then(|context| context.fs_group);
        let group = group.map(|group| u32::try_from(group).expect("a group id"));
        let mounts = self.main().volume_mounts.iter().flatten();
        let mounts = mounts.map(|mount| {
            let source = place.join(&mount.name);
            let volumes = self.pod().volumes.iter().flatten();
            let volume = volumes.into_iter().find(|volume| volume.name == mount.name);
            match volume.and_then(|volume| pod_spec::files(&self.manifests, volume)) {
                Some(files) => write_files(&source, &files, group),
                // A claim or an emptyDir.
                None => make_directory(&source, group),
            }
            let suffix = if mount.read_only == Some(true) {
                ":ro"
            } else {
                ""
            };
            let part = mount.sub_path.as_deref().map(|part| source.join(part));
            let source = part.unwrap_or(source);
            format!("{}:{}{suffix}", source.display(), mount.mount_path)
        });
        mounts.collect()
    }
}

/// A volume belongs to root and, where the pod says so, to its group, which may write into it.
fn make_directory(directory: &Path, group: Option<u32>) {
    fs::create_dir_all(directory).expect("the build directory is writable");
    chown(directory, Some(0), group.or(Some(0))).expect("root may do that");
    let mode = if group.is_some() { 0o2775 } else { 0o755 };
    set_mode(directory, mode);
}

fn write_files(directory: &Path, files: &[pod_spec::VolumeFile], group: Option<u32>) {
    make_directory(directory, group);
    for file in files {
        let path = directory.join(&file.path);
        fs::write(&path, &file.content).expect("the build directory is writable");
        chown(&path, Some(0), group.or(Some(0))).expect("root may do that");
        set_mode(&path, file.mode);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("root may do that");
}

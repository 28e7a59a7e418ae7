//! The pods that a rendering describes: is each whole in itself, and what does a container in it find?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::documents::{Document, Rendering, list, matches, text};
use super::findings::Findings;

/// What runs pods of one kind.
#[derive(Debug, Clone)]
pub struct Workload {
    pub kind: String,
    pub name: String,
    /// `metadata` and `spec` of its pods.
    pub template: Value,
    /// Volumes that come from claims of its own.
    pub claims: BTreeSet<String>,
}

impl Workload {
    pub fn all(rendering: &Rendering) -> Vec<Workload> {
        rendering
            .documents
            .iter()
            .filter_map(Workload::of)
            .collect()
    }

    fn of(document: &Document) -> Option<Workload> {
        let value = &document.value;
        let template = match document.kind.as_str() {
            "StatefulSet" => value.pointer("/spec/template")?,
            "CronJob" => value.pointer("/spec/jobTemplate/spec/template")?,
            "Pod" => value,
            _ => return None,
        };
        let claims = list(value, "/spec/volumeClaimTemplates");
        Some(Workload {
            kind: document.kind.clone(),
            name: document.name.clone(),
            template: template.clone(),
            claims: claims
                .map(|claim| text(claim, "/metadata/name").to_owned())
                .collect(),
        })
    }

    /// Does it run nodes, as opposed to pods that ask them?
    pub fn runs_nodes(&self) -> bool {
        self.kind == "StatefulSet"
    }

    pub(super) fn labels(&self) -> &Value {
        &self.template["metadata"]["labels"]
    }

    pub fn spec(&self) -> &Value {
        &self.template["spec"]
    }

    /// Initial ones, too.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Value> {
        list(self.spec(), "/initContainers").chain(list(self.spec(), "/containers"))
    }

    /// The container of ours.
    pub fn main_container(&self) -> &Value {
        &self.spec()["containers"][0]
    }

    pub(super) fn port_names(&self) -> BTreeSet<&str> {
        let ports = self
            .containers()
            .flat_map(|container| list(container, "/ports"));
        ports.map(|port| text(port, "/name")).collect()
    }
}

pub(super) fn check(rendering: &Rendering, findings: &mut Findings) {
    for workload in Workload::all(rendering) {
        let name = format!("{}/{}", workload.kind, workload.name);
        check_security(&workload, &name, findings);
        check_volumes(&workload, &name, findings);
        for container in workload.containers() {
            let mut seen = BTreeSet::new();
            for variable in list(container, "/env") {
                let variable = text(variable, "/name");
                findings.expect(seen.insert(variable), || {
                    format!("{name} has {variable} twice in its environment")
                });
            }
        }
    }
    for document in rendering.of_kind("StatefulSet") {
        check_node_pods(document, findings);
    }
}

/// The restricted pod security standard, and no credentials of Kubernetes.
fn check_security(workload: &Workload, name: &str, findings: &mut Findings) {
    let spec = workload.spec();
    for (path, wanted) in [
        ("/automountServiceAccountToken", Value::from(false)),
        ("/enableServiceLinks", Value::from(false)),
        ("/securityContext/runAsNonRoot", Value::from(true)),
        (
            "/securityContext/seccompProfile/type",
            "RuntimeDefault".into(),
        ),
    ] {
        let there = spec.pointer(path);
        findings.expect(there == Some(&wanted), || {
            format!("{name}: {path} is {there:?}, not {wanted}")
        });
    }
    for container in workload.containers() {
        let context = &container["securityContext"];
        for (path, wanted) in [
            ("/allowPrivilegeEscalation", Value::from(false)),
            ("/readOnlyRootFilesystem", Value::from(true)),
            ("/capabilities/drop", vec!["ALL"].into()),
        ] {
            let there = context.pointer(path);
            findings.expect(there == Some(&wanted), || {
                let container = &container["name"];
                format!("{name}, container {container}: {path} is {there:?}, not {wanted}")
            });
        }
    }
}

/// What is mounted exists, what exists is mounted, and nothing is mounted over something else.
fn check_volumes(workload: &Workload, name: &str, findings: &mut Findings) {
    let volumes = list(workload.spec(), "/volumes").map(|volume| text(volume, "/name"));
    let named: Vec<&str> = volumes
        .chain(workload.claims.iter().map(String::as_str))
        .collect();
    let unique: BTreeSet<&str> = named.iter().copied().collect();
    findings.expect(unique.len() == named.len(), || {
        format!("{name} has two volumes of one name: {named:?}")
    });
    let mut mounted = BTreeSet::new();
    for container in workload.containers() {
        let mut paths = BTreeSet::new();
        for mount in list(container, "/volumeMounts") {
            let (volume, path) = (text(mount, "/name"), text(mount, "/mountPath"));
            mounted.insert(volume);
            findings.expect(unique.contains(volume), || {
                format!("{name} mounts {volume}, which is no volume of it")
            });
            findings.expect(paths.insert(path), || format!("{name} mounts {path} twice"));
        }
    }
    for volume in unique {
        findings.expect(mounted.contains(volume), || {
            format!("{name} has the volume {volume}, which nothing mounts")
        });
    }
}

/// Selector, probes and the time to stop of those that run nodes.
fn check_node_pods(document: &Document, findings: &mut Findings) {
    let name = &document.name;
    let workload = Workload::of(document).expect("a StatefulSet has pods");
    let spec = &document.value["spec"];
    findings.expect(
        matches(&spec["selector"]["matchLabels"], workload.labels()),
        || format!("{name} does not select its own pods"),
    );
    findings.expect(spec["podManagementPolicy"] == "Parallel", || {
        format!("{name} would not come back after a full stop")
    });
    let container = workload.main_container();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let port = text(container, &format!("/{probe}/httpGet/port"));
        findings.expect(workload.port_names().contains(port), || {
            format!("{name}: {probe} asks the port {port}, which has no name")
        });
    }
    for probe in ["startupProbe", "livenessProbe"] {
        let path = text(container, &format!("/{probe}/httpGet/path"));
        findings.expect(path == "/livez", || format!("{name}: {probe} asks {path}"));
    }
    let drain = text(container, "/lifecycle/preStop/exec/command/3").parse::<u64>();
    let grace = workload.spec()["terminationGracePeriodSeconds"].as_u64();
    // The command gives up 5 s after its time, and what runs then has 20 s.
    findings.expect(
        matches!((&drain, grace), (Ok(drain), Some(grace)) if drain + 5 + 20 < grace),
        || format!("{name}: {grace:?} s do not suffice to drain ({drain:?} s) and stop"),
    );
    for claim in list(spec, "/volumeClaimTemplates") {
        findings.expect(
            claim["apiVersion"] == "v1" && claim["kind"] == "PersistentVolumeClaim",
            || format!("{name}: a claim without apiVersion and kind differs for ever"),
        );
    }
}

/// Puts the ConfigMaps and Secrets that `workload` mounts where it mounts them, below `root`, and returns its environment.
/// Secrets that are not rendered are taken from `external`, as name and content.
pub fn as_pod_sees_it(
    rendering: &Rendering,
    workload: &Workload,
    pod: &str,
    root: &Path,
    external: &dyn Fn(&str, &str) -> Vec<u8>,
) -> BTreeMap<String, String> {
    let container = workload.main_container();
    let secret = |name: &str, key: &str| match rendering.find("Secret", name) {
        Some(_) => rendering.secret(name)[key].clone(),
        None => external(name, key),
    };
    for mount in list(container, "/volumeMounts") {
        let directory = root.join(text(mount, "/mountPath").trim_start_matches('/'));
        fs::create_dir_all(&directory).expect("the test's directory is writable");
        let volume =
            list(workload.spec(), "/volumes").find(|volume| volume["name"] == mount["name"]);
        let Some(volume) = volume else { continue };
        if let Some(map) = volume.pointer("/configMap/name").and_then(Value::as_str) {
            let files = rendering.get("ConfigMap", map)["data"].clone();
            for (file, content) in files.as_object().expect("a ConfigMap has data") {
                let content = content.as_str().expect("its data is text");
                fs::write(directory.join(file), content).expect("a file");
            }
        }
        if let Some(name) = volume.pointer("/secret/secretName").and_then(Value::as_str) {
            for (key, path) in secret_files(volume, rendering, name) {
                fs::write(directory.join(path), secret(name, &key)).expect("a file");
            }
        }
    }
    let mut environment = BTreeMap::new();
    for variable in list(container, "/env") {
        let value = match variable.pointer("/valueFrom/secretKeyRef") {
            Some(reference) => {
                let value = secret(text(reference, "/name"), text(reference, "/key"));
                String::from_utf8(value).expect("an environment is text")
            }
            None if variable.pointer("/valueFrom/fieldRef").is_some() => pod.to_owned(),
            None => text(variable, "/value").replace("$(POD_NAME)", pod),
        };
        environment.insert(text(variable, "/name").to_owned(), value);
    }
    environment
}

/// `(key, file)` of a volume from a Secret.
fn secret_files(volume: &Value, rendering: &Rendering, name: &str) -> Vec<(String, String)> {
    let items: Vec<(String, String)> = list(volume, "/secret/items")
        .map(|item| {
            (
                text(item, "/key").to_owned(),
                text(item, "/path").to_owned(),
            )
        })
        .collect();
    if !items.is_empty() {
        return items;
    }
    let all = match rendering.find("Secret", name) {
        Some(_) => rendering.secret(name).into_keys().collect(),
        None => vec![
            "tls.crt".to_owned(),
            "tls.key".to_owned(),
            "ca.crt".to_owned(),
        ],
    };
    all.into_iter().map(|key| (key.clone(), key)).collect()
}

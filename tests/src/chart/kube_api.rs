//! The few calls by which helm's `lookup` asks a Kubernetes API server, answered from a rendering: what an upgrade finds.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::documents::Rendering;

/// Runs until the tests end; holds one socket.
#[derive(Debug)]
pub struct KubeApi {
    address: SocketAddr,
    live: Arc<Mutex<Vec<Value>>>,
}

impl KubeApi {
    /// Nothing is installed yet.
    pub fn start() -> KubeApi {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let live: Arc<Mutex<Vec<Value>>> = Arc::default();
        let shown = live.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shown = shown.clone();
                std::thread::spawn(move || serve(stream, &shown));
            }
        });
        KubeApi { address, live }
    }

    /// From now on everything in `rendering` exists, and nothing else.
    pub fn install(&self, rendering: &Rendering) {
        let values = rendering
            .documents
            .iter()
            .map(|document| document.value.clone());
        *self.live.lock().expect("nobody panicked") = values.collect();
    }

    /// Makes helm ask here.
    pub fn arguments(&self) -> Vec<String> {
        let server = format!("http://{}", self.address);
        let mut arguments = vec!["--dry-run=server", "--kube-apiserver", &server];
        arguments.push("--disable-openapi-validation");
        if !self.live.lock().expect("nobody panicked").is_empty() {
            arguments.push("--is-upgrade");
        }
        arguments.into_iter().map(str::to_owned).collect()
    }
}

/// One connection, kept open for as long as helm asks.
fn serve(stream: TcpStream, live: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be doubled"));
    let mut writer = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut header = String::new();
        while reader.read_line(&mut header).unwrap_or(0) > 0 && !header.trim().is_empty() {
            header.clear();
        }
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let found = answer(path, &live.lock().expect("nobody panicked"));
        let (status, body) = match found {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", not_found()),
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if writer.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// `(group and version, plural, kind)` of everything that a plain installation has.
const KINDS: [(&str, &str, &str); 7] = [
    ("v1", "secrets", "Secret"),
    ("v1", "configmaps", "ConfigMap"),
    ("v1", "services", "Service"),
    ("v1", "serviceaccounts", "ServiceAccount"),
    ("apps/v1", "statefulsets", "StatefulSet"),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    ("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
];

fn answer(path: &str, live: &[Value]) -> Option<Value> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["version"] => Some(json!({"major": "1", "minor": "30", "gitVersion": "v1.30.0"})),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => Some(groups()),
        ["api", "v1"] => Some(resources("v1")),
        ["apis", group, version] => Some(resources(&format!("{group}/{version}"))),
        ["api", "v1", rest @ ..] => find(live, "v1", rest),
        ["apis", group, version, rest @ ..] => find(live, &format!("{group}/{version}"), rest),
        _ => None,
    }
}

fn find(live: &[Value], version: &str, path: &[&str]) -> Option<Value> {
    let ["namespaces", namespace, plural, name] = path else {
        return None;
    };
    let mut kinds = KINDS.iter();
    let (.., kind) = kinds.find(|known| known.0 == version && known.1 == *plural)?;
    let here = |object: &&Value| {
        let metadata = &object["metadata"];
        object["kind"] == *kind && metadata["namespace"] == *namespace && metadata["name"] == *name
    };
    live.iter().find(here).cloned()
}

fn groups() -> Value {
    let groups = KINDS.iter().filter_map(|(version, ..)| {
        let (group, short) = version.split_once('/')?;
        let version = json!({"groupVersion": version, "version": short});
        Some(json!({"name": group, "versions": [version.clone()], "preferredVersion": version}))
    });
    let groups: Vec<Value> = groups.collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resources(version: &str) -> Value {
    let kinds = KINDS.iter().filter(|known| known.0 == version);
    let kinds = kinds.map(|(_, plural, kind)| {
        json!({"name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]})
    });
    let kinds: Vec<Value> = kinds.collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": kinds})
}

fn not_found() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
}

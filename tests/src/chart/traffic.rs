//! Who reaches whom: Services, policies, routes, budgets and monitors select the pods they are meant for, and no others; names that
//! nodes give themselves are those by which they are looked for and certified.

use std::collections::BTreeSet;

use serde_json::Value;

use super::NAMESPACE;
use super::documents::{Document, Rendering, list, matches, text};
use super::findings::Findings;
use super::pods::Workload;

pub(super) fn check(rendering: &Rendering, findings: &mut Findings) {
    let workloads = Workload::all(rendering);
    for service in rendering.of_kind("Service") {
        let selector = &service.value["spec"]["selector"];
        let selected = selected(&workloads, selector, &service.name, findings);
        for port in list(&service.value, "/spec/ports") {
            let target = text(port, "/targetPort");
            for workload in &selected {
                findings.expect(workload.port_names().contains(target), || {
                    format!(
                        "Service/{} leads to the port {target}, which {} does not have",
                        service.name, workload.name
                    )
                });
            }
        }
    }
    for budget in rendering.of_kind("PodDisruptionBudget") {
        let selector = &budget.value["spec"]["selector"]["matchLabels"];
        let selected = selected(&workloads, selector, &budget.name, findings);
        findings.expect(selected.len() == 1, || {
            format!(
                "PodDisruptionBudget/{} counts the pods of {} StatefulSets",
                budget.name,
                selected.len()
            )
        });
    }
    for policy in rendering.of_kind("NetworkPolicy") {
        check_policy(policy, &workloads, findings);
    }
    check_routes(rendering, findings);
    check_monitors(rendering, findings);
    for document in rendering.of_kind("StatefulSet") {
        check_names(rendering, document, findings);
    }
    for scaler in rendering.of_kind("HorizontalPodAutoscaler") {
        let target = text(&scaler.value, "/spec/scaleTargetRef/name");
        let target = rendering.find("StatefulSet", target);
        let free = target.is_some_and(|target| target.value["spec"].get("replicas").is_none());
        findings.expect(free, || {
            format!("{} scales what has replicas of its own", scaler.name)
        });
    }
}

/// The workloads whose pods are selected; they must run nodes.
fn selected<'a>(
    workloads: &'a [Workload],
    selector: &Value,
    by: &str,
    findings: &mut Findings,
) -> Vec<&'a Workload> {
    let selected: Vec<&Workload> = workloads
        .iter()
        .filter(|workload| matches(selector, workload.labels()))
        .collect();
    findings.expect(!selected.is_empty(), || format!("{by} selects no pods"));
    for workload in &selected {
        findings.expect(workload.runs_nodes(), || {
            format!(
                "{by} selects the pods of {}/{}, which are no nodes",
                workload.kind, workload.name
            )
        });
    }
    selected
}

fn check_policy(policy: &Document, workloads: &[Workload], findings: &mut Findings) {
    let selector = &policy.value["spec"]["podSelector"]["matchLabels"];
    let guarded = selected(workloads, selector, &policy.name, findings);
    let nodes = workloads.iter().filter(|workload| workload.runs_nodes());
    findings.expect(guarded.len() == nodes.count(), || {
        format!("NetworkPolicy/{} does not guard all nodes", policy.name)
    });
    for rule in list(&policy.value, "/spec/ingress") {
        let ports: Vec<&str> = list(rule, "/ports")
            .map(|port| text(port, "/port"))
            .collect();
        for workload in &guarded {
            for port in &ports {
                findings.expect(workload.port_names().contains(port), || {
                    format!(
                        "NetworkPolicy/{} opens {port}, which {} does not have",
                        policy.name, workload.name
                    )
                });
            }
        }
        let from: Vec<&Value> = list(rule, "/from").collect();
        if ports.contains(&"peer") {
            let only_nodes = from.len() == 1 && from[0]["podSelector"]["matchLabels"] == *selector;
            findings.expect(only_nodes, || {
                "others than nodes reach the peer port".to_owned()
            });
        }
        if ports.contains(&"ops") {
            findings.expect(!from.is_empty(), || {
                "everybody reaches the ops port".to_owned()
            });
        }
        // Where not everybody may ask, the release's own jobs still may.
        if ports.contains(&"http") && !from.is_empty() {
            for job in workloads.iter().filter(|workload| !workload.runs_nodes()) {
                let lets_in =
                    |peer: &&Value| matches(&peer["podSelector"]["matchLabels"], job.labels());
                findings.expect(from.iter().any(lets_in), || {
                    format!("NetworkPolicy/{} keeps {} out", policy.name, job.name)
                });
            }
        }
    }
}

/// Ingress and HTTPRoute lead to a port that a Service has.
fn check_routes(rendering: &Rendering, findings: &mut Findings) {
    for ingress in rendering.of_kind("Ingress") {
        for rule in list(&ingress.value, "/spec/rules") {
            for path in list(rule, "/http/paths") {
                let backend = &path["backend"]["service"];
                let service = rendering.get("Service", text(backend, "/name"));
                let named = list(service, "/spec/ports")
                    .any(|port| port["name"] == backend["port"]["name"]);
                findings.expect(named, || format!("Ingress/{} leads nowhere", ingress.name));
            }
        }
    }
    for route in rendering.of_kind("HTTPRoute") {
        for rule in list(&route.value, "/spec/rules") {
            for backend in list(rule, "/backendRefs") {
                let service = rendering.get("Service", text(backend, "/name"));
                let there =
                    list(service, "/spec/ports").any(|port| port["port"] == backend["port"]);
                findings.expect(there, || format!("HTTPRoute/{} leads nowhere", route.name));
            }
        }
    }
}

/// A ServiceMonitor finds one Service, and on it the port it names: with two, every node would be counted twice.
fn check_monitors(rendering: &Rendering, findings: &mut Findings) {
    for monitor in rendering.of_kind("ServiceMonitor") {
        let selector = &monitor.value["spec"]["selector"]["matchLabels"];
        let found: Vec<&Document> = rendering
            .of_kind("Service")
            .filter(|service| matches(selector, &service.value["metadata"]["labels"]))
            .collect();
        findings.expect(found.len() == 1, || {
            format!(
                "ServiceMonitor/{} finds {} Services",
                monitor.name,
                found.len()
            )
        });
        for endpoint in list(&monitor.value, "/spec/endpoints") {
            for service in &found {
                let there = list(&service.value, "/spec/ports")
                    .any(|port| port["name"] == endpoint["port"]);
                findings.expect(there, || {
                    format!(
                        "ServiceMonitor/{} asks a port that is not there",
                        monitor.name
                    )
                });
            }
        }
    }
}

/// Under the name that a pod gives itself it is in DNS, among the peers, and in the certificate.
fn check_names(rendering: &Rendering, set: &Document, findings: &mut Findings) {
    let headless = text(&set.value, "/spec/serviceName");
    let service = &rendering.get("Service", headless)["spec"];
    findings.expect(
        service["clusterIP"] == "None" && service["publishNotReadyAddresses"] == true,
        || format!("Service/{headless} does not name pods that are not ready"),
    );
    let workloads = Workload::all(rendering);
    let workload = workloads.iter().find(|workload| workload.name == set.name);
    let workload = workload.expect("a StatefulSet is a workload");
    findings.expect(matches(&service["selector"], workload.labels()), || {
        format!("Service/{headless} does not name the pods of {}", set.name)
    });

    let config = config(rendering, workload);
    let peers: BTreeSet<&str> = config["cluster"]["peers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .collect();
    let advertised = list(workload.main_container(), "/env")
        .find(|variable| variable["name"] == "CRATEKEEPER_PEER__ADVERTISE");
    let advertised = advertised.map_or("", |variable| text(variable, "/value"));
    findings.expect(
        advertised.starts_with(&format!("$(POD_NAME).{headless}.{NAMESPACE}.svc.")),
        || format!("{} tells others {advertised}", set.name),
    );
    let reader = workload.labels()["cratekeeper/role"] == "reader";
    let replicas = set.value["spec"]["replicas"].as_u64().unwrap_or_default();
    for ordinal in 0..if reader { 0 } else { replicas } {
        let name = advertised.replace("$(POD_NAME)", &format!("{}-{ordinal}", set.name));
        findings.expect(peers.contains(name.as_str()), || {
            format!("{name} is not among the peers")
        });
    }
    if !reader {
        findings.expect(peers.len() as u64 == replicas, || {
            format!("too many peers: {peers:?}")
        });
    }
    check_certificate(rendering, &config, advertised, findings);
}

/// What cert-manager is asked to sign names the nodes and their cluster.
fn check_certificate(
    rendering: &Rendering,
    config: &toml::Table,
    advertised: &str,
    findings: &mut Findings,
) {
    let mutual = rendering.of_kind("Certificate").filter(|certificate| {
        list(&certificate.value, "/spec/usages").any(|usage| usage == "client auth")
    });
    let host = advertised.replace("$(POD_NAME)", "*");
    let host = host.rsplit_once(':').map_or("", |(host, _)| host);
    let id = config["cluster"]["id"].as_str().unwrap_or_default();
    for certificate in mutual {
        let mut names = list(&certificate.value, "/spec/dnsNames");
        findings.expect(names.any(|name| name == host), || {
            format!("Certificate/{} does not name {host}", certificate.name)
        });
        let mut uris = list(&certificate.value, "/spec/uris");
        findings.expect(
            uris.any(|uri| *uri == format!("cratekeeper://{id}")),
            || {
                format!(
                    "Certificate/{} does not name the cluster {id}",
                    certificate.name
                )
            },
        );
        let required = config["peer"].get("require_cluster_in_certificate");
        findings.expect(
            required.and_then(toml::Value::as_bool) == Some(true),
            || "the certificates name the cluster, but nobody looks".to_owned(),
        );
    }
}

/// The configuration that the pods of `workload` mount.
fn config(rendering: &Rendering, workload: &Workload) -> toml::Table {
    let volumes = list(workload.spec(), "/volumes");
    let mut maps = volumes.filter_map(|volume| volume.pointer("/configMap/name")?.as_str());
    let map = maps.next().expect("nodes have a configuration");
    let text = rendering.get("ConfigMap", map)["data"]["cratekeeper.toml"].clone();
    let text = text.as_str().expect("the configuration is text");
    text.parse()
        .unwrap_or_else(|error| panic!("{map} is not TOML: {error}\n{text}"))
}

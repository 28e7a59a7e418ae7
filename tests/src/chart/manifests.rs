//! Each document as the type it says it is, with every field known.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::documents::{Document, Rendering};
use super::findings::Findings;

mod custom;

pub(super) fn check(rendering: &Rendering, findings: &mut Findings) {
    for document in &rendering.documents {
        findings.manifests += 1;
        let decoded = decode(document);
        findings.expect(decoded.is_ok(), || {
            let wrong = decoded.err().unwrap_or_default();
            format!("{}/{}: {wrong}", document.kind, document.name)
        });
        let namespace = &document.value["metadata"]["namespace"];
        let own = document.source.ends_with("extraobjects.yaml");
        findings.expect(own || namespace == super::NAMESPACE, || {
            format!("{}/{} is in {namespace}", document.kind, document.name)
        });
        let twins = rendering.of_kind(&document.kind);
        let twins = twins.filter(|other| other.name == document.name).count();
        findings.expect(twins == 1, || {
            format!("{}/{} is there {twins} times", document.kind, document.name)
        });
    }
}

fn decode(document: &Document) -> Result<(), String> {
    let value = &document.value;
    let version = value["apiVersion"].as_str().unwrap_or_default();
    match (version, document.kind.as_str()) {
        ("v1", "ConfigMap") => strictly::<ConfigMap>(value),
        ("v1", "Pod") => strictly::<Pod>(value),
        ("v1", "Secret") => strictly::<Secret>(value),
        ("v1", "Service") => strictly::<Service>(value),
        ("v1", "ServiceAccount") => strictly::<ServiceAccount>(value),
        ("apps/v1", "StatefulSet") => strictly::<StatefulSet>(value),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => strictly::<HorizontalPodAutoscaler>(value),
        ("batch/v1", "CronJob") => strictly::<CronJob>(value),
        ("networking.k8s.io/v1", "Ingress") => strictly::<Ingress>(value),
        ("networking.k8s.io/v1", "NetworkPolicy") => strictly::<NetworkPolicy>(value),
        ("policy/v1", "PodDisruptionBudget") => strictly::<PodDisruptionBudget>(value),
        ("gateway.networking.k8s.io/v1", "HTTPRoute") => strictly::<custom::HttpRoute>(value),
        ("cert-manager.io/v1", "Certificate") => strictly::<custom::Certificate>(value),
        ("cert-manager.io/v1", "Issuer") => strictly::<custom::Issuer>(value),
        ("monitoring.coreos.com/v1", "ServiceMonitor") => strictly::<custom::ServiceMonitor>(value),
        ("monitoring.coreos.com/v1", "PrometheusRule") => strictly::<custom::PrometheusRule>(value),
        (version, kind) => Err(format!("{version} {kind} is not known to this test")),
    }
}

/// Kubernetes drops what it does not know without a word, or refuses it: here each such field is wrong.
fn strictly<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    let mut unknown = Vec::new();
    let decoded: Result<T, _> =
        serde_ignored::deserialize(value, |path| unknown.push(path.to_string()));
    match decoded {
        Err(error) => Err(error.to_string()),
        Ok(_) if unknown.is_empty() => Ok(()),
        Ok(_) => Err(format!("unknown: {}", unknown.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_kubernetes_does_not_know_is_found_wherever_it_is() {
        let good = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
        assert_eq!(strictly::<Service>(&good), Ok(()));
        let mut wrong = good.clone();
        wrong["spec"]["ports"][0]["targetport"] = json!("http");
        assert_eq!(
            strictly::<Service>(&wrong),
            Err("unknown: spec.?.ports.?.0.targetport".to_owned())
        );
        let mut wrong = good;
        wrong["spec"]["ports"][0]["port"] = json!("80");
        assert!(strictly::<Service>(&wrong).is_err());
    }
}

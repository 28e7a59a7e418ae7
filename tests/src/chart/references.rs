//! Whatever a rendering names is in it, or is said to be there already.

use std::collections::BTreeSet;

use serde_json::Value;

use super::documents::{Rendering, list, text};
use super::findings::Findings;
use super::pods::Workload;

struct References<'a> {
    rendering: &'a Rendering,
    external: &'a BTreeSet<String>,
    used: BTreeSet<String>,
}

pub(super) fn check(rendering: &Rendering, external: &BTreeSet<String>, findings: &mut Findings) {
    let mut references = References {
        rendering,
        external,
        used: BTreeSet::new(),
    };
    for workload in Workload::all(rendering) {
        references.of_pods(&workload, findings);
    }
    for document in &rendering.documents {
        references.of_document(&document.kind, &document.value, findings);
    }
    for name in external {
        findings.expect(references.used.contains(name), || {
            format!("{name} is said to be external, but nothing names it")
        });
    }
}

impl References<'_> {
    fn of_pods(&mut self, workload: &Workload, findings: &mut Findings) {
        let spec = workload.spec();
        let by = format!("{}/{}", workload.kind, workload.name);
        let account = text(spec, "/serviceAccountName");
        self.expect("ServiceAccount", account, &[], &by, findings);
        for secret in list(spec, "/imagePullSecrets") {
            self.expect("Secret", text(secret, "/name"), &[], &by, findings);
        }
        for volume in list(spec, "/volumes") {
            let keys: Vec<&str> = list(volume, "/secret/items")
                .map(|item| text(item, "/key"))
                .collect();
            let secret = text(volume, "/secret/secretName");
            self.expect("Secret", secret, &keys, &by, findings);
            self.expect(
                "ConfigMap",
                text(volume, "/configMap/name"),
                &[],
                &by,
                findings,
            );
            let claim = text(volume, "/persistentVolumeClaim/claimName");
            self.expect("PersistentVolumeClaim", claim, &[], &by, findings);
        }
        for container in workload.containers() {
            for variable in list(container, "/env") {
                let reference = &variable["valueFrom"]["secretKeyRef"];
                let key = text(reference, "/key");
                self.expect("Secret", text(reference, "/name"), &[key], &by, findings);
            }
            for source in list(container, "/envFrom") {
                self.expect(
                    "Secret",
                    text(source, "/secretRef/name"),
                    &[],
                    &by,
                    findings,
                );
                let map = text(source, "/configMapRef/name");
                self.expect("ConfigMap", map, &[], &by, findings);
            }
        }
    }

    fn of_document(&mut self, kind: &str, value: &Value, findings: &mut Findings) {
        let by = format!("{kind}/{}", text(value, "/metadata/name"));
        match kind {
            "StatefulSet" => {
                let service = text(value, "/spec/serviceName");
                self.expect("Service", service, &[], &by, findings);
            }
            "HorizontalPodAutoscaler" => {
                let kind = text(value, "/spec/scaleTargetRef/kind");
                let name = text(value, "/spec/scaleTargetRef/name");
                self.expect(kind, name, &[], &by, findings);
            }
            "Ingress" => {
                for tls in list(value, "/spec/tls") {
                    self.expect("Secret", text(tls, "/secretName"), &[], &by, findings);
                }
            }
            "HTTPRoute" => {
                for parent in list(value, "/spec/parentRefs") {
                    self.expect("Gateway", text(parent, "/name"), &[], &by, findings);
                }
            }
            "Certificate" => {
                let kind = text(value, "/spec/issuerRef/kind");
                let name = text(value, "/spec/issuerRef/name");
                self.expect(kind, name, &[], &by, findings);
            }
            "Issuer" => {
                let secret = text(value, "/spec/ca/secretName");
                self.expect("Secret", secret, &[], &by, findings);
            }
            _ => {}
        }
    }

    /// Nothing to check where nothing is named.
    fn expect(&mut self, kind: &str, name: &str, keys: &[&str], by: &str, findings: &mut Findings) {
        if name.is_empty() {
            return;
        }
        let full = format!("{kind}/{name}");
        self.used.insert(full.clone());
        // What cert-manager writes is as good as rendered.
        let mut certificates = self.rendering.of_kind("Certificate");
        let issued = kind == "Secret"
            && certificates.any(|certificate| text(&certificate.value, "/spec/secretName") == name);
        let rendered = self.rendering.find(kind, name);
        findings.expect(
            rendered.is_some() || issued || self.external.contains(&full),
            || format!("{by} names {full}, which is neither rendered nor said to be external"),
        );
        let Some(rendered) = rendered.filter(|_| kind == "Secret") else {
            return;
        };
        for key in keys {
            findings.expect(rendered.value["data"].get(key).is_some(), || {
                format!("{by} names the key {key} of {full}, which does not have it")
            });
        }
    }
}

//! The fields the chart uses of kinds that Kubernetes itself does not have; any other one is refused.

#![expect(
    dead_code,
    reason = "the fields are there to be decoded, which is all that is asked of them"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;

/// cert-manager.io/v1.
pub(super) type Certificate = Object<CertificateSpec>;
/// cert-manager.io/v1.
pub(super) type Issuer = Object<IssuerSpec>;
/// gateway.networking.k8s.io/v1.
pub(super) type HttpRoute = Object<HttpRouteSpec>;
/// monitoring.coreos.com/v1.
pub(super) type ServiceMonitor = Object<ServiceMonitorSpec>;
/// monitoring.coreos.com/v1.
pub(super) type PrometheusRule = Object<PrometheusRuleSpec>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Object<Spec> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CertificateSpec {
    #[serde(rename = "isCA", default)]
    is_ca: bool,
    common_name: Option<String>,
    secret_name: String,
    duration: Option<String>,
    renew_before: Option<String>,
    private_key: Option<PrivateKey>,
    usages: Option<Vec<Usage>>,
    dns_names: Option<Vec<String>>,
    uris: Option<Vec<String>>,
    issuer_ref: IssuerRef,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrivateKey {
    algorithm: Algorithm,
    size: u32,
    rotation_policy: RotationPolicy,
}

#[derive(Debug, Deserialize)]
enum Algorithm {
    #[serde(rename = "ECDSA")]
    Ecdsa,
}

#[derive(Debug, Deserialize)]
enum RotationPolicy {
    Always,
    Never,
}

#[derive(Debug, Deserialize)]
enum Usage {
    #[serde(rename = "digital signature")]
    DigitalSignature,
    #[serde(rename = "server auth")]
    ServerAuth,
    #[serde(rename = "client auth")]
    ClientAuth,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerRef {
    name: String,
    kind: Option<String>,
    group: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IssuerSpec {
    self_signed: Option<Empty>,
    ca: Option<CaIssuer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaIssuer {
    secret_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HttpRouteSpec {
    parent_refs: Vec<ParentRef>,
    hostnames: Option<Vec<String>>,
    rules: Vec<HttpRouteRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ParentRef {
    group: Option<String>,
    kind: Option<String>,
    name: String,
    namespace: Option<String>,
    section_name: Option<String>,
    port: Option<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpRouteRule {
    matches: Vec<HttpRouteMatch>,
    backend_refs: Vec<BackendRef>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpRouteMatch {
    path: PathMatch,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathMatch {
    r#type: PathMatchType,
    value: String,
}

#[derive(Debug, Deserialize)]
enum PathMatchType {
    Exact,
    PathPrefix,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendRef {
    name: String,
    port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceMonitorSpec {
    selector: LabelSelector,
    namespace_selector: NamespaceSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NamespaceSelector {
    match_names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
    scrape_timeout: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrometheusRuleSpec {
    groups: Vec<RuleGroup>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleGroup {
    name: String,
    interval: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    r#for: Option<String>,
    keep_firing_for: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

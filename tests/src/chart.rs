//! The Helm chart as the tests see it: rendered by the real helm, decoded as what it says it is, and looked at as a whole.

mod documents;
mod findings;
mod golden;
mod helm;
mod kube_api;
mod manifests;
mod pods;
mod references;
mod traffic;
mod values;

use std::path::PathBuf;

pub use documents::{Document, Rendering};
pub use findings::Findings;
pub use golden::compare_with_golden;
pub use helm::{Helm, NAMESPACE, RELEASE};
pub use kube_api::KubeApi;
pub use pods::{Workload, as_pod_sees_it};
pub use values::{Scenario, scenarios, schema_gaps, stale_table};

use crate::binary::workspace;

/// Where the chart is.
pub fn chart_directory() -> PathBuf {
    workspace().join("deploy/helm/cratekeeper")
}

/// Everything that must be right about a rendering, whatever the values were.
pub fn judge(rendering: &Rendering, scenario: &Scenario) -> Findings {
    let mut findings = Findings::new(&scenario.name);
    manifests::check(rendering, &mut findings);
    pods::check(rendering, &mut findings);
    references::check(rendering, &scenario.external, &mut findings);
    traffic::check(rendering, &mut findings);
    findings
}

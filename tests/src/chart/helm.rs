//! The real helm, version 3 and version 4, without a Kubernetes cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::chart_directory;
use super::documents::Rendering;
use crate::garage::tool;
use crate::scratch::figure;

pub const RELEASE: &str = "crates";
pub const NAMESPACE: &str = "registry";
/// The oldest Kubernetes the chart is for.
const KUBERNETES: &str = "1.30.0";

#[derive(Debug, Clone)]
pub struct Helm {
    /// `helm` (version 3) or `helm4`.
    pub name: &'static str,
    program: PathBuf,
}

impl Helm {
    /// Those that `scripts/setup` could install. Where it could not (it needs Go), the figures say that nothing was checked.
    pub fn installed() -> Vec<Helm> {
        let all = ["helm", "helm4"].map(|name| Helm {
            name,
            program: tool(name),
        });
        let (there, missing): (Vec<Helm>, Vec<Helm>) =
            all.into_iter().partition(|helm| helm.program.exists());
        for helm in missing {
            let why = "SKIPPED, it is not installed (scripts/setup installs it where Go is)";
            figure(&format!("chart checks with {}", helm.name), why);
        }
        there
    }

    /// What it prints, or its complaint.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .env("KUBECONFIG", "/dev/null")
            .env("HELM_NO_PLUGINS", "1")
            .output()
            .expect("helm starts");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        Err(format!("{complaint}{printed}"))
    }

    pub fn lint(&self, values: Option<&Path>) -> Result<String, String> {
        let chart = chart_directory().display().to_string();
        let mut arguments = vec!["lint", "--strict", "--kube-version", KUBERNETES, &chart];
        let file = values.map(|values| values.display().to_string());
        if let Some(file) = &file {
            arguments.extend(["--values", file]);
        }
        self.run(&arguments)
    }

    /// Renders with a file of values and further arguments, such as `--set` and what follows it.
    pub fn template(&self, values: Option<&Path>, more: &[&str]) -> Result<Rendering, String> {
        let chart = chart_directory().display().to_string();
        let mut arguments = vec!["template", RELEASE, &chart, "--namespace", NAMESPACE];
        arguments.extend(["--kube-version", KUBERNETES]);
        let file = values.map(|values| values.display().to_string());
        if let Some(file) = &file {
            arguments.extend(["--values", file]);
        }
        arguments.extend(more);
        self.run(&arguments).map(|text| Rendering::parse(&text))
    }

    /// The same, where it must succeed.
    pub fn rendered(&self, values: Option<&Path>, more: &[&str]) -> Rendering {
        self.template(values, more)
            .unwrap_or_else(|complaint| panic!("{} {more:?}: {complaint}", self.name))
    }
}

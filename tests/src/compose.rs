//! A compose file, read strictly: what is not part of the specification, or not understood here, is an error.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::container::ContainerSpec;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    pub name: String,
    pub services: BTreeMap<String, Service>,
    #[serde(default)]
    pub networks: BTreeMap<String, Network>,
    #[serde(default)]
    pub volumes: BTreeMap<String, Volume>,
    /// What services share, by anchor; an extension may hold anything.
    #[serde(rename = "x-node")]
    pub node: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub image: String,
    pub build: Option<Build>,
    pub hostname: Option<String>,
    pub command: Option<Vec<String>>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub depends_on: BTreeMap<String, Dependency>,
    #[serde(default)]
    pub networks: Vec<String>,
    #[serde(default)]
    pub ports: Vec<String>,
    #[serde(default)]
    pub volumes: Vec<String>,
    #[serde(default)]
    pub tmpfs: Vec<String>,
    pub user: Option<String>,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub cap_drop: Vec<String>,
    #[serde(default)]
    pub security_opt: Vec<String>,
    #[serde(default)]
    pub ulimits: BTreeMap<String, u64>,
    pub stop_grace_period: Option<String>,
    pub restart: Option<Restart>,
    pub healthcheck: Option<HealthCheck>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    pub context: String,
    pub dockerfile: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub condition: Condition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Condition {
    #[serde(rename = "service_started")]
    Started,
    #[serde(rename = "service_healthy")]
    Healthy,
    #[serde(rename = "service_completed_successfully")]
    CompletedSuccessfully,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    No,
    Always,
    OnFailure,
    UnlessStopped,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// `CMD` and a command.
    pub test: Vec<String>,
    pub interval: Option<String>,
    pub timeout: Option<String>,
    pub retries: Option<u32>,
    pub start_period: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {}

impl Compose {
    /// Err: what is wrong, with its place.
    pub fn parse(text: &str) -> Result<Compose, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }
}

impl Service {
    /// How its container is to be run; files are looked for in `directory`, and volumes of the project are `prefix` + name.
    pub fn container(&self, name: &str, directory: &str, prefix: &str) -> ContainerSpec {
        let volumes = self.volumes.iter().map(|volume| {
            volume.strip_prefix("./").map_or_else(
                || format!("{prefix}{volume}"),
                |file| format!("{directory}/{file}"),
            )
        });
        ContainerSpec {
            name: format!("{prefix}{name}"),
            hostname: self.hostname.clone().unwrap_or_else(|| name.to_owned()),
            image: self.image.clone(),
            arguments: self.command.clone(),
            environment: self.environment.clone().into_iter().collect(),
            volumes: volumes.collect(),
            tmpfs: self.tmpfs.clone(),
            user: self.user.clone(),
            read_only: self.read_only,
            dropped_capabilities: self
                .cap_drop
                .iter()
                .map(|name| name.to_lowercase())
                .collect(),
            no_new_privileges: self
                .security_opt
                .iter()
                .any(|option| option == "no-new-privileges:true"),
            ..ContainerSpec::default()
        }
    }

    /// The command that says whether it is healthy.
    pub fn health_command(&self) -> Option<Vec<&str>> {
        let check = self.healthcheck.as_ref()?;
        let (kind, command) = check.test.split_first()?;
        assert_eq!(kind, "CMD", "images without a shell are asked by a command");
        Some(command.iter().map(String::as_str).collect())
    }
}

/// Puts variables in, as compose does: `${NAME}`, `${NAME:-default}`, `${NAME:?what to do}`. Err: what to do.
pub fn interpolate(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut parts = text.split("${");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (expression, rest) = part.split_once('}').ok_or("a variable without an end")?;
        let end = expression.find(':').unwrap_or(expression.len());
        let (name, otherwise) = expression.split_at(end);
        let value = variables.get(name).filter(|value| !value.is_empty());
        let value = match (value, otherwise.get(..2)) {
            (Some(value), _) => value.as_str(),
            (None, Some(":-")) => &otherwise[2..],
            (None, Some(":?")) => return Err(format!("{name}: {}", &otherwise[2..])),
            _ => "",
        };
        result.push_str(value);
        result.push_str(rest);
    }
    Ok(result)
}

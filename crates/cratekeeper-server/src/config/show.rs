//! The configuration as text, without its secrets.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::file::ConfigFile;

/// As TOML, every key that has a value.
pub(crate) fn toml_text(config: &ConfigFile) -> anyhow::Result<String> {
    Ok(toml::to_string_pretty(config)?)
}

/// `section.key=value …`, for the log.
pub(crate) fn one_line(config: &ConfigFile) -> anyhow::Result<String> {
    let sections = serde_json::to_value(config)?;
    let mut words = Vec::new();
    for (section, keys) in sections.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            if *value != Value::Null {
                words.push(format!("{section}.{key}={value}"));
            }
        }
    }
    Ok(words.join(" "))
}

/// Belongs to one node, or says only how a node came into the cluster.
const OF_ONE_NODE: [(&str, &[&str]); 5] = [
    ("node", &["data_dir", "name", "role"]),
    ("http", &["listen", "tls_certificate", "tls_key"]),
    (
        "peer",
        &[
            "listen",
            "advertise",
            "tls_certificate",
            "tls_key",
            "tls_ca",
        ],
    ),
    ("ops", &["listen"]),
    (
        "cluster",
        &[
            "start",
            "peers",
            "admin_token",
            "admin_token_file",
            "restore_from",
            "restore_until",
        ],
    ),
];

/// A short hash of what all nodes of a cluster should have the same, to be compared between them. Secrets do not go in.
pub(crate) fn shared_hash(config: &ConfigFile) -> anyhow::Result<String> {
    let mut sections = serde_json::to_value(config)?;
    for (section, keys) in OF_ONE_NODE {
        let section = sections.get_mut(section).and_then(Value::as_object_mut);
        if let Some(section) = section {
            section.retain(|key, _| !keys.contains(&key.as_str()));
        }
    }
    let hash = Sha256::digest(sections.to_string());
    Ok(hex::encode(&hash[..6]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(toml: &str) -> String {
        let config: ConfigFile = toml::from_str(toml).expect("a configuration");
        shared_hash(&config).expect("it can be hashed")
    }

    #[test]
    fn nodes_of_one_cluster_have_one_hash_and_another_limit_another() {
        let first = hash("[node]\nname = \"a\"\n[cluster]\nstart = \"found\"");
        let second = hash("[node]\nname = \"b\"\n[cluster]\nstart = \"join\"\npeers = [\"a:1\"]");
        assert_eq!(first, second);
        assert_ne!(first, hash("[registry]\nfeatures_max = 7"));
        assert_eq!(first.len(), 12);
    }
}

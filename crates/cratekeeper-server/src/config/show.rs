//! The configuration as text, without its secrets.

use serde_json::Value;

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

//! `cratekeeper config …`, and how every command that runs a node reads its configuration.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use cratekeeper_cluster::certificates::CertificateFacts;
use cratekeeper_cluster::check_peer_certificate;
use time::OffsetDateTime;

use super::{ConfigurationArguments, Output, print};
use crate::config::{
    ConfigFile, Misconfigured, Settings, Sources, StartSettings, commented, load, toml_text,
    validate,
};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with a configuration and its certificates, or that nothing is.
    Check(ConfigurationArguments),
    /// Print every key with its default and what it means, commented out, as the beginning of a configuration file.
    Init,
    /// Print what file, environment and defaults come to, without secrets.
    Show(ConfigurationArguments),
}

pub(super) fn run(command: ConfigCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Init => print::line(commented().trim_end()),
        ConfigCommand::Check(arguments) => {
            let (_, settings) = read(arguments)?;
            let problems = certificates(&settings)?;
            if !problems.is_empty() {
                bail!("{}", problems.join("\n"));
            }
            print::line("the configuration is good");
        }
        ConfigCommand::Show(arguments) => {
            let config = load(&Sources::new(arguments.config, arguments.set))?;
            match output {
                Output::Text => print::line(toml_text(&config)?.trim_end()),
                Output::Json => print::json(&serde_json::to_value(&config)?),
            }
        }
    }
    Ok(())
}

/// Prints what each certificate says; what is wrong with them, in sentences.
fn certificates(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    if let Some(files) = &settings.listen.tls {
        let facts = files.pair()?.facts;
        describe("http.tls_certificate", &files.certificate, &facts);
        let untimely = facts.untimely(OffsetDateTime::now_utc());
        problems.extend(untimely.map(|untimely| {
            let file = files.certificate.display();
            format!("the certificate `{file}` {untimely}")
        }));
    }
    if let Some(tls) = &settings.peer_tls {
        let cluster = match &settings.start {
            StartSettings::Found { cluster, .. } => Some(cluster.clone()),
            StartSettings::Join { cluster, .. } => cluster.clone(),
        };
        let (facts, wrong) = check_peer_certificate(tls, &settings.peer_address, cluster)
            .map_err(|why| anyhow!(why))?;
        describe("peer.tls_certificate", &tls.certificate, &facts);
        problems.extend(wrong);
    }
    Ok(problems)
}

fn describe(key: &str, file: &Path, facts: &CertificateFacts) {
    let clusters = match facts.clusters.as_slice() {
        [] => String::new(),
        _ => format!(", cluster {}", facts.clusters_in_words()),
    };
    print::line(format!(
        "{key}: `{}` is for {}{clusters}, and expires on {}",
        file.display(),
        facts.hosts_in_words(),
        facts.expires()
    ));
}

pub(super) fn read(arguments: ConfigurationArguments) -> anyhow::Result<(ConfigFile, Settings)> {
    let config = load(&Sources::new(arguments.config, arguments.set)).context(Misconfigured)?;
    let settings = validate(&config).context(Misconfigured)?;
    Ok((config, settings))
}

//! `cratekeeper smoke`: does this registry work? Publishes a tiny crate as cargo would, fetches it, and yanks it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::Args;
use cratekeeper_domain::{Checksum, CrateName, index_path};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::Api;
use super::print::line;

/// A node that is asked right after a publish may be behind the one that took it, for a moment.
const VISIBLE_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct SmokeArguments {
    /// The crate to publish a version of; it becomes the caller's if it is new.
    #[arg(
        long = "crate",
        default_value = "cratekeeper-smoke-test",
        value_name = "NAME"
    )]
    name: String,
}

/// The token needs the scopes `publish-new`, `publish-update` and `yank`, and `read` where reads are not public.
pub(super) async fn run(arguments: SmokeArguments, api: &Api) -> anyhow::Result<()> {
    let name = CrateName::parse(&arguments.name).context("--crate")?;
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock of this machine is before 1970")?;
    // A version is never free again, so each run needs one that none had before.
    let version = format!("0.0.{}", since_1970.as_millis());
    let name = name.as_str();

    let tarball = tarball(name, &version)?;
    let checksum = Checksum::of(&tarball).to_string();
    let bytes = tarball.len();
    let frame = frame(&metadata(name, &version), &tarball);
    api.put_bytes(&["api", "v1", "crates", "new"], frame)
        .await
        .context("publish")?;
    line(format!(
        "published  {name} {version}, {bytes} bytes, SHA-256 {checksum}"
    ));

    let listed = index_line(api, name, &version, |_| true).await?;
    ensure!(
        listed["cksum"] == checksum.as_str(),
        "the index has the checksum {} for {name} {version}, but {checksum} was published",
        listed["cksum"]
    );
    line("indexed    with the same checksum");

    let path = ["api", "v1", "crates", name, &version, "download"];
    let downloaded = api.get_bytes(&path).await.context("download")?;
    ensure!(
        downloaded == tarball,
        "{} bytes with the SHA-256 {} were downloaded, but {bytes} with {checksum} were published",
        downloaded.len(),
        Checksum::of(&downloaded)
    );
    line("downloaded the same bytes");

    api.send(Method::DELETE, &["crates", name, &version, "yank"], None)
        .await
        .context("yank")?;
    index_line(api, name, &version, |listed| listed["yanked"] == true).await?;
    line("yanked     so that nobody takes it for something to use");
    Ok(())
}

/// The version's line in the index, as soon as there is one that `fits`.
async fn index_line(
    api: &Api,
    name: &str,
    version: &str,
    fits: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let path = index_path(&name.to_lowercase());
    let path: Vec<&str> = std::iter::once("index").chain(path.split('/')).collect();
    let deadline = Instant::now() + VISIBLE_WITHIN;
    loop {
        let file = api.get_bytes(&path).await.context("read the index")?;
        let lines = file.split(|byte| *byte == b'\n');
        let listed = lines
            .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
            .find(|listed| listed["vers"] == version);
        if let Some(listed) = listed.filter(&fits) {
            return Ok(listed);
        }
        if Instant::now() > deadline {
            bail!(
                "the index does not show what was just changed in {name} {version}, {} s later",
                VISIBLE_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What `cargo package` would make of a library without code.
fn tarball(name: &str, version: &str) -> anyhow::Result<Vec<u8>> {
    let manifest = format!(
        "[package]\nedition = \"2021\"\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"{DESCRIPTION}\"\nlicense = \"{LICENSE}\"\n\n[lib]\nname = \"{}\"\npath = \"src/lib.rs\"\n",
        name.replace('-', "_")
    );
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (file, content) in [
        ("Cargo.toml", manifest.as_str()),
        ("src/lib.rs", "//! Nothing.\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        let path = format!("{name}-{version}/{file}");
        archive
            .append_data(&mut header, path, content.as_bytes())
            .context("make a tarball")?;
    }
    let compressed = archive.into_inner().and_then(GzEncoder::finish);
    compressed.context("make a tarball")
}

const DESCRIPTION: &str = "Published by cratekeeper smoke to see whether the registry works";
const LICENSE: &str = "MIT";

fn metadata(name: &str, version: &str) -> Value {
    json!({
        "name": name,
        "vers": version,
        "deps": [],
        "features": {},
        "authors": [],
        "description": DESCRIPTION,
        "documentation": null,
        "homepage": null,
        "readme": null,
        "readme_file": null,
        "keywords": [],
        "categories": [],
        "license": LICENSE,
        "license_file": null,
        "repository": null,
        "badges": {},
        "links": null,
        "rust_version": null,
    })
}

/// Both parts, each after its length.
fn frame(metadata: &Value, tarball: &[u8]) -> Vec<u8> {
    let metadata = metadata.to_string().into_bytes();
    let mut frame = Vec::new();
    for part in [metadata.as_slice(), tarball] {
        let length = u32::try_from(part.len()).expect("both parts are a few hundred bytes");
        frame.extend(length.to_le_bytes());
        frame.extend(part);
    }
    frame
}

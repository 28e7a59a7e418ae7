//! Where a backup lies: `s3://bucket/prefix`, or a directory.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use cratekeeper_tarballs::{S3Options, Shelf};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Without `Debug`, because it holds secrets.
#[derive(Clone)]
pub(crate) enum PlaceSettings {
    Directory(PathBuf),
    S3(Box<S3Options>),
}

/// How to reach S3; whatever is not said is as the environment of the S3 client says.
#[derive(Clone, Default)]
pub(crate) struct S3Access {
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) path_style: bool,
    pub(crate) credentials: Option<(String, String)>,
}

impl S3Access {
    /// As a store of tarballs is reached.
    pub(crate) fn like(store: &S3Options) -> S3Access {
        S3Access {
            endpoint: store.endpoint.clone(),
            region: store.region.clone(),
            path_style: store.path_style,
            credentials: store.credentials.clone(),
        }
    }
}

/// `s3://bucket/prefix` or a directory.
pub(crate) fn place(text: &str, access: S3Access) -> anyhow::Result<PlaceSettings> {
    let Some(rest) = text.strip_prefix("s3://") else {
        ensure!(
            !text.is_empty() && !text.contains("://"),
            "`{text}` is no place for a backup; write a directory, or `s3://bucket/prefix`"
        );
        return Ok(PlaceSettings::Directory(text.into()));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    ensure!(
        !bucket.is_empty(),
        "`{text}` names no bucket; write `s3://bucket/prefix`"
    );
    Ok(PlaceSettings::S3(Box::new(S3Options {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        region: access.region,
        endpoint: access.endpoint,
        path_style: access.path_style,
        credentials: access.credentials,
        timeout: TIMEOUT,
        redirect: None,
    })))
}

impl PlaceSettings {
    pub(crate) async fn open(&self) -> anyhow::Result<Shelf> {
        match self {
            PlaceSettings::Directory(directory) => {
                let directory = std::path::absolute(directory)
                    .with_context(|| format!("find {}", directory.display()))?;
                Ok(Shelf::directory(directory))
            }
            PlaceSettings::S3(options) => Ok(Shelf::s3(S3Options::clone(options)).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_with_a_prefix_or_a_directory() {
        let described = |text| match place(text, S3Access::default()) {
            Ok(PlaceSettings::Directory(path)) => format!("directory {}", path.display()),
            Ok(PlaceSettings::S3(options)) => {
                format!("bucket {}, prefix `{}`", options.bucket, options.prefix)
            }
            Err(error) => error.to_string(),
        };
        let all = ["/backup", "s3://b", "s3://b/a/c/", "s3:///x", "gs://b", ""];
        insta::assert_snapshot!(all.map(described).join("\n"), @r"
        directory /backup
        bucket b, prefix ``
        bucket b, prefix `a/c`
        `s3:///x` names no bucket; write `s3://bucket/prefix`
        `gs://b` is no place for a backup; write a directory, or `s3://bucket/prefix`
        `` is no place for a backup; write a directory, or `s3://bucket/prefix`
        ");
    }
}

//! Tarballs in an S3 bucket, under `{prefix}/tarballs/{checksum}.crate`.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Credentials};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use cratekeeper_domain::Checksum;
use futures::stream;
use sha2::{Digest, Sha256};

use crate::verified::verified;
use crate::{Download, S3Options, TarballError, unavailable};

const ATTEMPTS: u32 = 3;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    options: S3Options,
}

impl S3 {
    pub(crate) async fn connect(options: S3Options) -> S3 {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some((id, secret)) = &options.credentials {
            let credentials = Credentials::new(id, secret, None, None, "configuration");
            loader = loader.credentials_provider(credentials);
        }
        let shared = loader.load().await;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN.min(options.timeout))
            .operation_attempt_timeout(options.timeout)
            .build();
        let mut config = Builder::from(&shared)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .force_path_style(options.path_style);
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let client = Client::from_conf(config.build());
        S3 { client, options }
    }

    /// The store compares the bytes with the checksum that is sent along, and refuses others.
    pub(crate) async fn put(
        &self,
        checksum: &Checksum,
        file: &Path,
        bytes: u64,
    ) -> Result<(), TarballError> {
        let body = ByteStream::from_path(file).await.map_err(unavailable)?;
        let length = i64::try_from(bytes).map_err(unavailable)?;
        self.client
            .put_object()
            .bucket(&self.options.bucket)
            .key(self.key(checksum))
            .content_type("application/gzip")
            .content_length(length)
            .checksum_sha256(BASE64_STANDARD.encode(checksum.0))
            .body(body)
            .send()
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    pub(crate) async fn get(&self, checksum: &Checksum) -> Result<Download, TarballError> {
        let asked = self
            .client
            .get_object()
            .bucket(&self.options.bucket)
            .key(self.key(checksum));
        if let Some(valid) = self.options.redirect {
            let valid = PresigningConfig::expires_in(valid).map_err(unavailable)?;
            let signed = asked.presigned(valid).await.map_err(unavailable)?;
            return Ok(Download::Redirect(signed.uri().to_owned()));
        }
        let answer = asked.send().await;
        let answer =
            answer.map_err(|error| missing_or(error, || TarballError::Absent(*checksum)))?;
        let length = answer.content_length().unwrap_or(0);
        let bytes = u64::try_from(length).map_err(unavailable)?;
        let stream = verified(Box::pin(pieces(answer.body)), *checksum, bytes);
        Ok(Download::Stream { bytes, stream })
    }

    pub(crate) async fn contains(&self, checksum: &Checksum) -> Result<bool, TarballError> {
        let asked = self
            .client
            .head_object()
            .bucket(&self.options.bucket)
            .key(self.key(checksum))
            .send()
            .await;
        match asked {
            Ok(_) => Ok(true),
            Err(error) => match missing_or(error, || TarballError::Absent(*checksum)) {
                TarballError::Absent(_) => Ok(false),
                other => Err(other),
            },
        }
    }

    pub(crate) async fn check(&self) -> Result<(), TarballError> {
        let asked = self.client.head_bucket().bucket(&self.options.bucket);
        asked.send().await.map_err(unavailable)?;
        Ok(())
    }

    /// Look, put on condition, read back: some stores ignore the condition, and then only reading back tells who came last.
    pub(crate) async fn claim(&self, cluster: &str) -> Result<String, TarballError> {
        if let Some(holder) = self.claimed_by().await? {
            return Ok(holder);
        }
        let sum: [u8; 32] = Sha256::digest(cluster.as_bytes()).into();
        let put = self
            .client
            .put_object()
            .bucket(&self.options.bucket)
            .key(self.claim_key())
            .if_none_match("*")
            .checksum_sha256(BASE64_STANDARD.encode(sum))
            .body(ByteStream::from(cluster.as_bytes().to_vec()))
            .send()
            .await;
        match put {
            Ok(_) => {}
            // Somebody else was first; reading back says who.
            Err(error) if status(&error) == Some(412) => {}
            Err(error) => return Err(unavailable(error)),
        }
        let holder = self.claimed_by().await?;
        holder.ok_or_else(|| unavailable("the claim was written and is not there"))
    }

    pub(crate) async fn claimed_by(&self) -> Result<Option<String>, TarballError> {
        let asked = self
            .client
            .get_object()
            .bucket(&self.options.bucket)
            .key(self.claim_key())
            .send()
            .await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(unavailable(error)),
        };
        let bytes = answer
            .body
            .collect()
            .await
            .map_err(unavailable)?
            .into_bytes();
        String::from_utf8(bytes.to_vec())
            .map(Some)
            .map_err(unavailable)
    }

    pub(crate) fn describe(&self) -> String {
        let S3Options {
            bucket,
            prefix,
            endpoint,
            ..
        } = &self.options;
        let place = if prefix.is_empty() {
            bucket.clone()
        } else {
            format!("{bucket}/{prefix}")
        };
        match endpoint {
            Some(endpoint) => format!("s3 {place} at {endpoint}"),
            None => format!("s3 {place}"),
        }
    }

    fn key(&self, checksum: &Checksum) -> String {
        self.under_prefix(&format!("tarballs/{checksum}.crate"))
    }

    fn claim_key(&self) -> String {
        self.under_prefix("cluster")
    }

    fn under_prefix(&self, key: &str) -> String {
        match self.options.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        }
    }
}

fn pieces(body: ByteStream) -> impl futures::Stream<Item = Result<Bytes, TarballError>> {
    stream::unfold(body, |mut body| async move {
        let piece = body.next().await?;
        Some((piece.map_err(unavailable), body))
    })
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// No such object. No such bucket is an outage: somebody has to repair it.
fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    let bucket = error.code() == Some("NoSuchBucket");
    status(error) == Some(404) && !bucket
}

fn missing_or<E>(error: SdkError<E>, missing: impl FnOnce() -> TarballError) -> TarballError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if is_missing(&error) {
        missing()
    } else {
        unavailable(error)
    }
}

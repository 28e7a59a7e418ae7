//! Tarballs in an S3 bucket: `<prefix>/ab/<checksum>.crate`. Nothing is believed that was not hashed here: neither that the
//! server checks what it is sent, nor that it honours a conditional put.

use std::path::Path;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cratekeeper_domain::Checksum;
use futures::stream::unfold;

use crate::verified::{self, CHUNK_BYTES};
use crate::{Download, S3Options, TarballError};

const CONTENT_TYPE: &str = "application/gzip";
/// Holds the id of the cluster whose store this is.
const CLAIM: &str = "CLUSTER";
const CLAIM_BYTES_MAX: i64 = 4096;
const ATTEMPTS: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// An upload may be as slow as this before it counts as failed.
pub(crate) const UPLOAD_BYTES_PER_SECOND: u64 = 1024 * 1024;

#[derive(Debug, Clone)]
pub struct S3 {
    client: Client,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    endpoint: Option<String>,
    timeout: Duration,
    redirect: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
enum S3Error {
    #[error("the server does not say how long {0} is")]
    NoLength(String),
    #[error("{0} is not the name of a cluster; something else writes to this bucket and prefix")]
    StrangeClaim(String),
    #[error("{0} was written and is not there")]
    LostClaim(String),
    #[error("the server did not send {0} in time")]
    TooSlow(String),
}

type Stored<T> = Result<T, TarballError>;

impl S3 {
    pub(crate) async fn connect(options: S3Options) -> Stored<S3> {
        Ok(S3 {
            client: client(&options).await,
            prefix: prefix(&options),
            bucket: options.bucket,
            endpoint: options.endpoint,
            timeout: options.timeout,
            redirect: options.redirect,
        })
    }

    pub(crate) async fn put(&self, checksum: &Checksum, file: &Path, bytes: u64) -> Stored<()> {
        verify_file(checksum, file, bytes).await?;
        let expected = BASE64_STANDARD.encode(checksum.0);
        match self.head(checksum).await {
            Ok(found) if is_same(&found, &expected, bytes) => return Ok(()),
            Ok(_) => {}
            // It answers, so it may take an upload even where the key's policy does not let us look.
            Err(SdkError::ServiceError(refused)) if refused.raw().status().is_client_error() => {}
            Err(error) => return Err(TarballError::unavailable(error)),
        }
        let body = ByteStream::read_from().path(file).buffer_size(CHUNK_BYTES);
        let body = body.build().await.map_err(TarballError::unavailable)?;
        let patience = self.timeout + Duration::from_secs(bytes / UPLOAD_BYTES_PER_SECOND);
        let one_long_call = Builder::new().timeout_config(long_call(patience));
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(checksum))
            .content_type(CONTENT_TYPE)
            .set_content_length(i64::try_from(bytes).ok())
            .checksum_sha256(expected)
            .body(body)
            .customize()
            .config_override(one_long_call);
        put.send().await.map_err(TarballError::unavailable)?;
        Ok(())
    }

    pub(crate) async fn get(&self, checksum: &Checksum) -> Stored<Download> {
        let checksum = *checksum;
        let key = self.key(&checksum);
        let get = self.client.get_object().bucket(&self.bucket).key(&key);
        if let Some(validity) = self.redirect {
            let presigning =
                PresigningConfig::expires_in(validity).map_err(TarballError::unavailable)?;
            let presigned = get.presigned(presigning).await;
            let presigned = presigned.map_err(TarballError::unavailable)?;
            return Ok(Download::Redirect(presigned.uri().to_owned()));
        }
        let found = get.send().await.map_err(|error| {
            let absent = error
                .as_service_error()
                .is_some_and(|it| it.is_no_such_key());
            if absent {
                TarballError::Absent(checksum)
            } else {
                TarballError::unavailable(error)
            }
        })?;
        let length = found.content_length.and_then(|it| u64::try_from(it).ok());
        let bytes = length.ok_or_else(|| TarballError::unavailable(S3Error::NoLength(key)))?;
        if bytes == 0 && checksum != Checksum::of(b"") {
            return Err(TarballError::Corrupt(checksum));
        }
        let chunks = unfold(found.body, async |mut body| {
            body.next().await.map(|chunk| (chunk, body))
        });
        let stream = verified::stream(checksum, chunks);
        Ok(Download::Stream { bytes, stream })
    }

    pub(crate) async fn size(&self, checksum: &Checksum) -> Stored<Option<u64>> {
        match self.head(checksum).await {
            Ok(found) => {
                let bytes = found.content_length.and_then(|it| u64::try_from(it).ok());
                let bytes = bytes.ok_or_else(|| {
                    TarballError::unavailable(S3Error::NoLength(self.key(checksum)))
                })?;
                Ok(Some(bytes))
            }
            Err(error) if error.as_service_error().is_some_and(|it| it.is_not_found()) => {
                // An answer to HEAD has no body, and so looks the same when the whole bucket is missing.
                self.check().await?;
                Ok(None)
            }
            Err(error) => Err(TarballError::unavailable(error)),
        }
    }

    pub(crate) async fn check(&self) -> Stored<()> {
        self.claimed_by().await.map(|_| ())
    }

    pub(crate) async fn claim(&self, cluster: &str) -> Stored<String> {
        if let Some(holder) = self.claimed_by().await? {
            return Ok(holder);
        }
        let put = || {
            let body = ByteStream::from(cluster.as_bytes().to_vec());
            let put = self.client.put_object().bucket(&self.bucket);
            put.key(self.claim_key())
                .content_type("text/plain")
                .body(body)
        };
        if let Err(error) = put().if_none_match("*").send().await {
            let status = error
                .raw_response()
                .map(|response| response.status().as_u16());
            match status {
                // Somebody was faster, or it was us and the answer got lost: reading it tells.
                Some(409 | 412) => {}
                // A server that has no conditional put.
                Some(501) => {
                    put().send().await.map_err(TarballError::unavailable)?;
                }
                _ => return Err(TarballError::unavailable(error)),
            }
        }
        let holder = self.claimed_by().await?;
        holder.ok_or_else(|| TarballError::unavailable(S3Error::LostClaim(self.claim_key())))
    }

    pub(crate) async fn reclaim(&self, from: &str, to: &str) -> Stored<String> {
        if let Some(holder) = self.claimed_by().await?
            && holder == from
        {
            let put = self.client.put_object().bucket(&self.bucket);
            put.key(self.claim_key())
                .content_type("text/plain")
                .body(ByteStream::from(to.as_bytes().to_vec()))
                .send()
                .await
                .map_err(TarballError::unavailable)?;
        }
        let holder = self.claimed_by().await?;
        holder.ok_or_else(|| TarballError::unavailable(S3Error::LostClaim(self.claim_key())))
    }

    pub(crate) async fn claimed_by(&self) -> Stored<Option<String>> {
        let key = self.claim_key();
        let get = self.client.get_object().bucket(&self.bucket).key(&key);
        let found = match get.send().await {
            Ok(found) => found,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|it| it.is_no_such_key()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(TarballError::unavailable(error)),
        };
        let strange = || TarballError::unavailable(S3Error::StrangeClaim(key.clone()));
        if found
            .content_length
            .is_none_or(|bytes| bytes > CLAIM_BYTES_MAX)
        {
            return Err(strange());
        }
        let body = tokio::time::timeout(self.timeout, found.body.collect()).await;
        let body = body.map_err(|_| TarballError::unavailable(S3Error::TooSlow(key.clone())))?;
        let bytes = body.map_err(TarballError::unavailable)?.to_vec();
        let cluster = String::from_utf8(bytes).map_err(|_| strange())?;
        if cluster.is_empty() {
            return Err(strange());
        }
        Ok(Some(cluster))
    }

    pub(crate) fn describe(&self) -> String {
        let place = format!("s3 s3://{}/{}", self.bucket, self.prefix);
        match &self.endpoint {
            Some(endpoint) => format!("{place} at {endpoint}"),
            None => place,
        }
    }

    async fn head(
        &self,
        checksum: &Checksum,
    ) -> Result<HeadObjectOutput, SdkError<aws_sdk_s3::operation::head_object::HeadObjectError>>
    {
        let head = self.client.head_object().bucket(&self.bucket);
        let head = head.key(self.key(checksum));
        head.checksum_mode(ChecksumMode::Enabled).send().await
    }

    fn key(&self, checksum: &Checksum) -> String {
        let name = checksum.to_string();
        format!("{}{}/{name}.crate", self.prefix, &name[..2])
    }

    fn claim_key(&self) -> String {
        format!("{}{CLAIM}", self.prefix)
    }
}

/// A client for any server that speaks S3, with the bounds that every call of ours has.
pub(crate) async fn client(options: &S3Options) -> Client {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    // A server of one's own has no regions; without a name the SDK would ask a cloud's metadata address in vain.
    let fallback = options.endpoint.is_some().then(|| "us-east-1".to_owned());
    if let Some(region) = options.region.clone().or(fallback) {
        loader = loader.region(Region::new(region));
    }
    if let Some((key_id, secret)) = &options.credentials {
        let credentials = Credentials::new(key_id, secret, None, None, "configuration");
        loader = loader.credentials_provider(credentials);
    }
    let loaded = loader.load().await;
    let stall = StalledStreamProtectionConfig::enabled().grace_period(options.timeout / 2);
    let mut builder = Builder::from(&loaded)
        .force_path_style(options.path_style)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(short_call(options.timeout))
        .stalled_stream_protection(stall.build())
        // What is read is verified by us; the SDK would do it a second time, and report damage as a broken connection.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}

/// Empty, or ends with a slash.
pub(crate) fn prefix(options: &S3Options) -> String {
    let prefix = options.prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("{prefix}{slash}")
}

/// Does the server vouch for the very bytes? One that keeps no checksum is sent them again.
fn is_same(found: &HeadObjectOutput, checksum: &str, bytes: u64) -> bool {
    let length = found.content_length.and_then(|it| u64::try_from(it).ok());
    length == Some(bytes) && found.checksum_sha256.as_deref() == Some(checksum)
}

/// There are servers that ignore the checksum they are sent, so wrong bytes are not even offered.
async fn verify_file(checksum: &Checksum, file: &Path, bytes: u64) -> Stored<()> {
    let file = file.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        verified::copy(&mut std::fs::File::open(file)?, &mut std::io::sink())
    });
    let hashed = hashed.await.map_err(TarballError::unavailable)?;
    if hashed.map_err(TarballError::unavailable)? != (*checksum, bytes) {
        return Err(TarballError::Corrupt(*checksum));
    }
    Ok(())
}

/// Half of the time for one attempt, so that a connection that died silently does not cost the whole call.
fn short_call(timeout: Duration) -> TimeoutConfig {
    let builder = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT.min(timeout / 2));
    let builder = builder.operation_attempt_timeout(timeout / 2);
    builder.operation_timeout(timeout).build()
}

/// A connection on which nothing moves is given up by the stall protection, not by a bound on the attempt.
pub(crate) fn long_call(timeout: Duration) -> TimeoutConfig {
    let builder = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT.min(timeout / 2));
    let builder = builder.operation_attempt_timeout(timeout);
    builder.operation_timeout(timeout).build()
}

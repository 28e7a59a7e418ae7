//! A shelf in an S3 bucket, below a prefix. A server that ignores conditions is noticed by reading back.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::{Cause, Object, Replaced, Stamp};
use crate::S3Options;
use crate::s3::{UPLOAD_BYTES_PER_SECOND, client, long_call, prefix};

#[derive(Debug, Clone)]
pub(super) struct Bucket {
    client: Client,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    endpoint: Option<String>,
    timeout: std::time::Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("{0} was written, but something else is there")]
struct Overwritten(String);

impl Bucket {
    pub(super) async fn connect(options: S3Options) -> Bucket {
        Bucket {
            client: client(&options).await,
            prefix: prefix(&options),
            bucket: options.bucket,
            endpoint: options.endpoint,
            timeout: options.timeout,
        }
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Object>, Cause> {
        let get = self.client.get_object().bucket(&self.bucket);
        let found = match get.key(self.key(name)).send().await {
            Ok(found) => found,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|it| it.is_no_such_key()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let stamp = Stamp(found.e_tag().unwrap_or_default().to_owned());
        let bytes = found.body.collect().await?.into_bytes();
        Ok(Some(Object { bytes, stamp }))
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Cause> {
        self.send(name, bytes, Condition::None).await?;
        Ok(())
    }

    pub(super) async fn replace(
        &self,
        name: &str,
        bytes: Bytes,
        expected: Option<&Stamp>,
    ) -> Result<Replaced, Cause> {
        // Not every server looks at the condition, so it is looked at here too.
        let now = self.get(name).await?.map(|object| object.stamp);
        if now.as_ref() != expected {
            return Ok(Replaced::Changed);
        }
        let condition = match expected {
            Some(Stamp(tag)) => Condition::Unchanged(tag),
            None => Condition::Absent,
        };
        if let Err(error) = self.send(name, bytes.clone(), condition).await {
            let status = error.raw_response().map(|it| it.status().as_u16());
            match (status, error.code()) {
                // Somebody was faster, or it was us and the answer got lost: reading it tells.
                (Some(409 | 412), _) => {}
                // A server that has no conditional put.
                (Some(501), _) | (_, Some("NotImplemented")) => {
                    self.send(name, bytes.clone(), Condition::None).await?;
                }
                _ => return Err(error.into()),
            }
        }
        match self.get(name).await? {
            Some(object) if object.bytes == bytes => Ok(Replaced::Done(object.stamp)),
            Some(_) => Ok(Replaced::Changed),
            None => Err(Overwritten(self.key(name)).into()),
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), Cause> {
        let remove = self.client.delete_object().bucket(&self.bucket);
        remove.key(self.key(name)).send().await?;
        Ok(())
    }

    pub(super) fn describe(&self) -> String {
        let place = format!("s3://{}/{}", self.bucket, self.prefix);
        match &self.endpoint {
            Some(endpoint) => format!("{place} at {endpoint}"),
            None => place,
        }
    }

    async fn send(
        &self,
        name: &str,
        bytes: Bytes,
        condition: Condition<'_>,
    ) -> Result<(), SdkError<aws_sdk_s3::operation::put_object::PutObjectError>> {
        let seconds = bytes.len() as u64 / UPLOAD_BYTES_PER_SECOND;
        let patience = self.timeout + std::time::Duration::from_secs(seconds);
        let put = self.client.put_object().bucket(&self.bucket);
        let put = put
            .key(self.key(name))
            .checksum_algorithm(aws_sdk_s3::types::ChecksumAlgorithm::Sha256)
            .body(ByteStream::from(bytes));
        let put = match condition {
            Condition::None => put,
            Condition::Absent => put.if_none_match("*"),
            Condition::Unchanged(tag) => put.if_match(tag),
        };
        put.customize()
            .config_override(Builder::new().timeout_config(long_call(patience)))
            .send()
            .await
            .map(drop)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

enum Condition<'a> {
    None,
    Absent,
    Unchanged(&'a str),
}

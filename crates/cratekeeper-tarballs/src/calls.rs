//! Every call to the store is measured, and a span of the request's trace.

use std::time::Instant;

use futures::StreamExt;
use tracing::Instrument;

use crate::{Download, TarballError, Tarballs};

impl Tarballs {
    /// Runs one call to the store.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, TarballError>>,
    ) -> Result<T, TarballError> {
        let (store, kind) = match self {
            Tarballs::Disk(_) => ("disk", "internal"),
            Tarballs::S3(_) => ("s3", "client"),
        };
        let span = tracing::info_span!(
            "tarball store",
            otel.kind = kind,
            store,
            operation,
            outcome = tracing::field::Empty
        );
        let started = Instant::now();
        let result = call.instrument(span.clone()).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(TarballError::Absent(_)) => "absent",
            Err(TarballError::Corrupt(_)) => "corrupt",
            Err(TarballError::Unavailable(_)) => "unavailable",
        };
        span.record("outcome", outcome);
        metrics::counter!(
            "cratekeeper_tarball_store_requests_total",
            "store" => store, "operation" => operation, "outcome" => outcome
        )
        .increment(1);
        metrics::histogram!(
            "cratekeeper_tarball_store_request_duration_seconds",
            "store" => store, "operation" => operation
        )
        .record(started.elapsed().as_secs_f64());
        result
    }
}

/// A tarball is in the store; also if it was there before.
pub(crate) fn stored(bytes: u64) {
    metrics::counter!("cratekeeper_tarball_store_written_bytes_total").increment(bytes);
}

/// Counts what is read as it passes, and a stream that ends badly.
pub(crate) fn counted(download: Download) -> Download {
    let Download::Stream { bytes, stream } = download else {
        return download;
    };
    let read = metrics::counter!("cratekeeper_tarball_store_read_bytes_total");
    let stream = stream.inspect(move |chunk| match chunk {
        Ok(chunk) => read.increment(chunk.len() as u64),
        Err(error) => {
            let outcome = match error {
                TarballError::Corrupt(_) => "corrupt",
                TarballError::Absent(_) | TarballError::Unavailable(_) => "broken",
            };
            metrics::counter!("cratekeeper_tarball_streams_failed_total", "outcome" => outcome)
                .increment(1);
        }
    });
    Download::Stream {
        bytes,
        stream: Box::pin(stream),
    }
}

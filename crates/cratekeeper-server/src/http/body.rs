//! Reading request bodies: never more than allowed, never waiting for ever.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cratekeeper_domain::{Rejection, RejectionKind};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::ApiError;
use super::limits::{DRAIN_BYTES_MAX, DRAIN_TIME_MAX, JSON_BODY_BYTES_MAX, UPLOAD_TIME_MAX};

/// A body as it arrives.
pub(crate) struct Incoming {
    body: Body,
    idle: Duration,
    deadline: Instant,
    /// What the client said it would send.
    pub(crate) claimed_bytes: Option<u64>,
    /// The client waits for our word before it sends the body, and has not had it yet.
    waits: bool,
}

impl Incoming {
    pub(crate) fn new(headers: &HeaderMap, body: Body, idle: Duration) -> Incoming {
        let claimed = headers.get(CONTENT_LENGTH);
        Incoming {
            body,
            idle,
            deadline: Instant::now() + UPLOAD_TIME_MAX,
            claimed_bytes: claimed.and_then(|value| value.to_str().ok()?.parse().ok()),
            waits: headers
                .get(EXPECT)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
        }
    }

    /// The next bytes, or `None` at the end of the body.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.waits = false;
        loop {
            let until = self.deadline.min(Instant::now() + self.idle);
            let frame = timeout_at(until, self.body.frame()).await.map_err(|_| {
                ApiError::too_slow("the body of the request stopped arriving; send it again")
            })?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(_)) => {
                    return Err(ApiError::invalid(
                        "the connection broke before the whole body had arrived; send it again",
                    ));
                }
            }
        }
    }

    /// Reads and forgets what is left, within bounds, so that the client comes to read the answer. cargo sends its whole body
    /// first and would report a broken connection instead of our sentence.
    pub(crate) async fn drain(mut self) {
        if self.waits {
            return;
        }
        let reading = async {
            let mut left = DRAIN_BYTES_MAX;
            while let Ok(Some(piece)) = self.next().await {
                left = left.saturating_sub(piece.len() as u64);
                if left == 0 {
                    break;
                }
            }
        };
        // Whether it ended or we lost patience, the answer is the same.
        let _ended = timeout(DRAIN_TIME_MAX, reading).await;
    }
}

/// A small body, whole.
pub(crate) async fn read_small(
    headers: &HeaderMap,
    body: Body,
    idle: Duration,
) -> Result<Vec<u8>, ApiError> {
    let mut incoming = Incoming::new(headers, body, idle);
    let mut bytes = Vec::new();
    while let Some(piece) = incoming.next().await? {
        if bytes.len() + piece.len() > JSON_BODY_BYTES_MAX {
            incoming.drain().await;
            return Err(Rejection::new(
                RejectionKind::TooLarge,
                format!("the body is larger than {JSON_BODY_BYTES_MAX} bytes, which is the most this call takes"),
            )
            .into());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// A small body that must be JSON.
pub(crate) async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    idle: Duration,
) -> Result<T, ApiError> {
    parse_json(&read_small(headers, body, idle).await?)
}

pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::invalid(format!("the body is not the JSON this call takes: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const IDLE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_small_body_is_read_whole_and_a_large_one_refused() {
        let headers = HeaderMap::new();
        let pieces = stream::iter(["{\"a\"", ":1}"].map(Ok::<_, std::io::Error>));
        let body = Body::from_stream(pieces);
        let read = read_small(&headers, body, IDLE).await.expect("small");
        assert_eq!(read, b"{\"a\":1}");

        let large = Body::from(vec![b'x'; JSON_BODY_BYTES_MAX + 1]);
        assert!(read_small(&headers, large, IDLE).await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_stops_arriving_is_given_up() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let mut incoming = Incoming::new(&HeaderMap::new(), body, Duration::ZERO);
        assert!(incoming.next().await.is_err());
    }
}

//! Measurements of requests, without allocating for labels seen before: each thread keeps the series it has used.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use metrics::{Counter, Histogram};

/// What a request is counted under; `status` 0 stands for none.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Answer {
    method: &'static str,
    status: u16,
}

#[derive(Clone)]
struct Series {
    requests: Counter,
    duration: Histogram,
    received: Counter,
    sent: Counter,
}

thread_local! {
    static KNOWN: RefCell<HashMap<String, Vec<(Answer, Series)>>> = RefCell::default();
}

fn series(route: &str, answer: Answer) -> Series {
    let known = |all: &HashMap<String, Vec<(Answer, Series)>>| {
        let found = all.get(route)?.iter().find(|(known, _)| *known == answer)?;
        Some(found.1.clone())
    };
    KNOWN.with_borrow_mut(|all| match known(all) {
        Some(series) => series,
        None => {
            let series = Series::new(route, answer);
            let of_route = all.entry(route.to_owned()).or_default();
            of_route.push((answer, series.clone()));
            series
        }
    })
}

impl Series {
    fn new(route: &str, Answer { method, status }: Answer) -> Series {
        let status = match status {
            0 => "none".to_owned(),
            status => status.to_string(),
        };
        let of = [("method", method.to_owned()), ("route", route.to_owned())];
        Series {
            requests: metrics::counter!(
                "cratekeeper_http_requests_total",
                "method" => method, "route" => route.to_owned(), "status" => status
            ),
            duration: metrics::histogram!("cratekeeper_http_request_duration_seconds", &of),
            received: metrics::counter!("cratekeeper_http_request_bytes_total", &of),
            sent: metrics::counter!("cratekeeper_http_response_bytes_total", &of),
        }
    }
}

/// One request is over.
pub(super) struct Finished<'a> {
    pub(super) method: &'static str,
    pub(super) route: &'a str,
    pub(super) status: Option<u16>,
    /// Until the head of the answer.
    pub(super) duration: Duration,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Finished<'_> {
    pub(super) fn measure(&self) {
        let answer = Answer {
            method: self.method,
            status: self.status.unwrap_or(0),
        };
        let series = series(self.route, answer);
        series.requests.increment(1);
        series.duration.record(self.duration.as_secs_f64());
        series.received.increment(self.received);
        series.sent.increment(self.sent);
    }
}

/// A body that counts what passes, and keeps `held` until it is dropped.
pub(super) struct Counted<H> {
    body: Body,
    passed: Arc<AtomicU64>,
    _held: H,
}

impl<H: Send + Unpin + 'static> Counted<H> {
    pub(super) fn body(body: Body, passed: Arc<AtomicU64>, held: H) -> Body {
        Body::new(Counted {
            body,
            passed,
            _held: held,
        })
    }
}

impl<H: Unpin> HttpBody for Counted<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            let bytes = data.remaining() as u64;
            self.passed.fetch_add(bytes, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn bytes_are_counted_and_what_is_held_goes_with_the_body() {
        let passed = Arc::new(AtomicU64::new(0));
        let held = Arc::new(());
        let body = Counted::body(Body::from("hello"), passed.clone(), held.clone());
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(Arc::strong_count(&held), 2);
        let read = body.collect().await.expect("a body").to_bytes();
        assert_eq!(read, "hello");
        assert_eq!(passed.load(Ordering::Relaxed), 5);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

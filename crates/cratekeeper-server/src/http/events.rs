//! `GET /api/v1/events`: the history, in order and resumable; as one page of JSON, or as a stream that stays open.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use cratekeeper_domain::Scope;
use futures::{Stream, stream};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, Uri};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::caller::{Admin, Caller};
use super::error::ApiError;
use super::event_json::recorded_json;
use super::limits::{EVENT_STREAM_BATCH, EVENT_STREAM_RECHECK, EVENT_STREAMS_MAX};
use super::page::{limit, number};
use crate::app::App;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Places for streams that stay open.
#[derive(Clone)]
pub(crate) struct StreamPlaces(Arc<Semaphore>);

impl StreamPlaces {
    pub(crate) fn new() -> StreamPlaces {
        StreamPlaces(Arc::new(Semaphore::new(EVENT_STREAMS_MAX)))
    }
}

pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Extension(places): Extension<StreamPlaces>,
    Admin(caller): Admin,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let after = number(uri.query(), "after")?.unwrap_or(0);
    if !stays_open(&headers) {
        return page(&app, after, limit(uri.query())?).map(IntoResponse::into_response);
    }
    let place = Arc::clone(&places.0).try_acquire_owned().map_err(|_| {
        ApiError::unavailable(format!(
            "this node already has {EVENT_STREAMS_MAX} event streams open; close one, or ask for pages instead"
        ))
    })?;
    let after = resumed_at(&headers).unwrap_or(after);
    Ok(Sse::new(follow(app, caller, after, place))
        .keep_alive(KeepAlive::default())
        .into_response())
}

fn page(app: &App, after: u64, limit: usize) -> Result<Json<Value>, ApiError> {
    let events = app.cluster.events(after, limit)?;
    let next = events.last().map_or(after, |last| last.sequence);
    let events: Vec<Value> = events.iter().map(recorded_json).collect();
    Ok(Json(json!({ "events": events, "next": next })))
}

fn stays_open(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/event-stream"))
}

/// Where a client that lost its stream left off; it takes precedence, because the address is still that of the first request.
fn resumed_at(headers: &HeaderMap) -> Option<u64> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()?.parse().ok()
}

struct Following {
    app: Arc<App>,
    caller: Caller,
    after: u64,
    newest: watch::Receiver<u64>,
    ready: std::vec::IntoIter<sse::Event>,
    _place: OwnedSemaphorePermit,
}

/// Ends when the caller's token ends, or when the node cannot read; the client resumes elsewhere.
fn follow(
    app: Arc<App>,
    caller: Caller,
    after: u64,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let following = Following {
        newest: app.cluster.sequence(),
        app,
        caller,
        after,
        ready: Vec::new().into_iter(),
        _place: place,
    };
    stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok(event), following))
    })
}

impl Following {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some(event);
            }
            self.still_allowed()?;
            let newest = *self.newest.borrow_and_update();
            if newest > self.after {
                self.read_more()?;
            } else if let Ok(Err(_)) = timeout(EVENT_STREAM_RECHECK, self.newest.changed()).await {
                return None;
            }
        }
    }

    fn read_more(&mut self) -> Option<()> {
        let events = self
            .app
            .cluster
            .events(self.after, EVENT_STREAM_BATCH)
            .inspect_err(|error| tracing::error!(%error, "an event stream broke off"))
            .ok()?;
        self.after = events.last().map_or(self.after, |last| last.sequence);
        let ready: Vec<sse::Event> = events
            .iter()
            .map(|recorded| {
                let shown = recorded_json(recorded);
                sse::Event::default()
                    .id(recorded.sequence.to_string())
                    .event(shown["type"].as_str().unwrap_or_default())
                    .data(shown.to_string())
            })
            .collect();
        self.ready = ready.into_iter();
        Some(())
    }

    /// The account as it is now, not as it was when the stream was opened.
    fn still_allowed(&mut self) -> Option<()> {
        let account = self
            .app
            .cluster
            .account(&self.caller.account.login)
            .ok()??;
        self.caller.account = account;
        self.caller.require(Scope::Admin, None).ok()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_says_whether_and_where_it_follows() {
        let mut headers = HeaderMap::new();
        assert!(!stays_open(&headers));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, */*"));
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("41"));
        assert!(stays_open(&headers));
        assert_eq!(resumed_at(&headers), Some(41));
    }
}

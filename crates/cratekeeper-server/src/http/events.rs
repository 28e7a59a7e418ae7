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
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::caller::{Admin, Caller};
use super::error::ApiError;
use super::event_json::ShownEvent;
use super::limits::{EVENT_STREAM_BATCH, EVENT_STREAM_RECHECK, EVENT_STREAMS_MAX};
use super::page::{ListQuery, limit, number};
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

/// One page of the history.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventList {
    events: Vec<ShownEvent>,
    /// What to send as `after` for what follows; where nothing does yet, what was sent.
    next: u64,
}

/// Read the history.
///
/// In order and without gaps. With `accept: text/event-stream` the answer stays open and goes on as things happen: each event
/// has its sequence as `id`, its type as `event` and its JSON as `data`, with a comment now and then to show life. It ends when
/// the node stops or the token does; take it up again with `last-event-id`. A node holds 64 such streams. Needs the scope `admin`.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "list_events", tag = "history",
    params(
        ListQuery,
        ("after" = Option<u64>, Query, description = "Begin behind this sequence. Default 0, the beginning."),
        ("last-event-id" = Option<u64>, Header, description = "For a stream: begin behind this sequence, whatever `after` says."),
    ),
    responses(
        (status = 200, description = "Events, in order.", content((EventList = "application/json"), (String = "text/event-stream"))),
        (status = 400, description = "`limit` or `after` is no number."),
        (status = 403, description = "The token does not have the scope `admin`."),
    ),
    security(("token" = [])),
)]
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

fn page(app: &App, after: u64, limit: usize) -> Result<Json<EventList>, ApiError> {
    let events = app.cluster.events(after, limit)?;
    let next = events.last().map_or(after, |last| last.sequence);
    let events = events.iter().map(ShownEvent::new).collect();
    Ok(Json(EventList { events, next }))
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
                let shown = ShownEvent::new(recorded);
                sse::Event::default()
                    .id(recorded.sequence.to_string())
                    .event(shown.kind())
                    .json_data(shown)
            })
            .collect::<Result<_, _>>()
            .inspect_err(|error| tracing::error!(%error, "an event stream broke off"))
            .ok()?;
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

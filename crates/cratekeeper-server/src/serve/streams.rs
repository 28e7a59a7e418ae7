//! Event streams stay open for as long as the client likes; a node that stops ends them, or they would hold it up.

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::map_response;
use axum::response::Response;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

/// `router`, whose event streams end when `stop` is cancelled. Clients resume on another node where they were.
pub(super) fn end_at(stop: CancellationToken, router: Router) -> Router {
    router.layer(map_response(move |response: Response| {
        let stop = stop.clone();
        async move {
            let content_type = response.headers().get(CONTENT_TYPE);
            if content_type.is_none_or(|it| !it.as_bytes().starts_with(b"text/event-stream")) {
                return response;
            }
            response.map(|body| {
                let until_stop = body.into_data_stream().take_until(stop.cancelled_owned());
                Body::from_stream(until_stop)
            })
        }
    }))
}

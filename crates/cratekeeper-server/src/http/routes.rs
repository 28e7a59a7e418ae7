//! Which path and method leads where. No redirects: cargo does not follow them, and a trailing slash leads nowhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::backup::BackupPlaces;
use super::envelope::envelope;
use super::error::{ApiError, no_route, panicked};
use super::events::StreamPlaces;
use super::publish::PublishPlaces;
use super::rate_limit::{RateLimit, limited};
use super::{
    accounts, backup, cluster, crates, document, download, events, index, me, owners, publish,
    search, spool, tokens, yank,
};
use crate::app::App;

/// Less than this fits one packet anyway.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// Every route of the public port. Called once, at the start: uploads of an earlier process are cleared away.
pub(crate) fn router(app: Arc<App>) -> Router {
    if let Err(error) = spool::prepare(&app.settings.spool_dir) {
        // Reads work without it, and each publish will say what is wrong.
        tracing::error!(%error, directory = %app.settings.spool_dir.display(), "no uploads can be taken");
    }
    let places = PublishPlaces::new(app.settings.publish_in_flight_max);
    let request_timeout = app.settings.request_timeout;
    let quick = quick_routes().layer(from_fn_with_state(request_timeout, bounded));
    let (routes, _described) = quick.merge(slow_routes()).split_for_parts();
    let mut routes = routes.fallback(no_route);
    if let Some(limit) = app.settings.rate_limit {
        let state = (Arc::clone(&app), Arc::new(RateLimit::new(limit)));
        routes = routes.layer(from_fn_with_state(state, limited));
    }
    routes
        .layer(Extension(places))
        .layer(Extension(StreamPlaces::new()))
        .layer(Extension(BackupPlaces::new()))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&app), envelope))
        .with_state(app)
}

/// What the routes say about themselves.
pub(super) fn described() -> OpenApi {
    quick_routes().merge(slow_routes()).into_openapi()
}

/// What is answered from this node's own state, within the request timeout.
fn quick_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(me::start))
        .routes(routes!(me::me))
        .routes(routes!(document::openapi))
        .routes(routes!(search::search))
        .routes(routes!(cluster::status))
        .routes(routes!(backup::position))
        .merge(index_routes())
}

fn index_routes() -> OpenApiRouter<Arc<App>> {
    // Compressed per request, so the fastest level: an index file is text that shrinks tenfold at any level.
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN));
    OpenApiRouter::default()
        .routes(routes!(index::config))
        .routes(routes!(index::file))
        .layer(compression)
        .layer(map_response(index::weaken_compressed))
}

/// What changes something or moves many bytes, each with its own deadlines.
fn slow_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(publish::publish, crates::krate_called_new))
        .routes(routes!(crates::krate))
        .routes(routes!(crates::version, yank::remove))
        .routes(routes!(owners::list, owners::add, owners::remove))
        .routes(routes!(yank::yank))
        .routes(routes!(yank::unyank))
        .routes(routes!(download::download))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::show, accounts::disable))
        .routes(routes!(accounts::enable))
        .routes(routes!(tokens::list, tokens::issue))
        .routes(routes!(tokens::show, tokens::revoke))
        .routes(routes!(events::events))
        .routes(routes!(backup::records))
        .routes(routes!(backup::tarballs))
        .routes(routes!(cluster::invite))
        .routes(routes!(cluster::remove))
        .routes(routes!(cluster::transfer_leader))
        .routes(routes!(cluster::snapshot))
}

async fn bounded(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::unavailable("this node did not answer in time; try again in a moment")
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described() {
        let (router, described) = quick_routes().merge(slow_routes()).split_for_parts();
        // axum has no list of routes, but shows them: `RouteId(1): "/me"`.
        let shown = format!("{router:?}");
        let routes: BTreeSet<&str> = shown
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|text| text.starts_with('/') && !text.contains("__private__axum_fallback"))
            .collect();
        let paths: BTreeSet<&str> = described.paths.paths.keys().map(String::as_str).collect();
        assert!(routes.contains("/index/{*path}"), "{routes:?}");
        assert_eq!(routes, paths);
    }
}

//! Which path and method leads where. No redirects: cargo does not follow them, and a trailing slash leads nowhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use super::backup::BackupPlaces;
use super::envelope::envelope;
use super::error::{ApiError, no_route, panicked};
use super::events::StreamPlaces;
use super::publish::PublishPlaces;
use super::{
    accounts, backup, cluster, crates, download, events, index, me, owners, publish, search, spool,
    tokens, yank,
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
    quick_routes()
        .layer(from_fn_with_state(request_timeout, bounded))
        .merge(slow_routes())
        .fallback(no_route)
        .layer(Extension(places))
        .layer(Extension(StreamPlaces::new()))
        .layer(Extension(BackupPlaces::new()))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&app), envelope))
        .with_state(app)
}

/// What is answered from this node's own state, within the request timeout.
fn quick_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(me::start))
        .route("/me", get(me::me))
        .route("/api/v1/crates", get(search::search))
        .route("/api/v1/cluster", get(cluster::status))
        .route("/api/v1/backup", get(backup::position))
        .merge(index_routes())
}

fn index_routes() -> Router<Arc<App>> {
    // Compressed per request, so the fastest level: an index file is text that shrinks tenfold at any level.
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN));
    Router::new()
        .route("/index/config.json", get(index::config))
        .route("/index/{*path}", get(index::file))
        .layer(compression)
        .layer(map_response(index::weaken_compressed))
}

/// What changes something or moves many bytes, each with its own deadlines.
fn slow_routes() -> Router<Arc<App>> {
    const KRATE: &str = "/api/v1/crates/{name}";
    const VERSION: &str = "/api/v1/crates/{name}/{version}";
    const ACCOUNT: &str = "/api/v1/accounts/{login}";
    let owners = get(owners::list).put(owners::add).delete(owners::remove);
    let account_tokens = get(tokens::list).post(tokens::issue);
    Router::new()
        .route(
            "/api/v1/crates/new",
            put(publish::publish).get(crates::krate_called_new),
        )
        .route(KRATE, get(crates::krate))
        .route(VERSION, get(crates::version).delete(yank::remove))
        .route(&format!("{KRATE}/owners"), owners)
        .route(&format!("{VERSION}/yank"), delete(yank::yank))
        .route(&format!("{VERSION}/unyank"), put(yank::unyank))
        .route(&format!("{VERSION}/download"), get(download::download))
        .route(
            "/api/v1/accounts",
            get(accounts::list).post(accounts::create),
        )
        .route(ACCOUNT, get(accounts::show).delete(accounts::disable))
        .route(&format!("{ACCOUNT}/enable"), put(accounts::enable))
        .route(&format!("{ACCOUNT}/tokens"), account_tokens)
        .route(
            "/api/v1/tokens/{id}",
            get(tokens::show).delete(tokens::revoke),
        )
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/backup/records", get(backup::records))
        .route("/api/v1/backup/tarballs", get(backup::tarballs))
        .route("/api/v1/cluster/members", post(cluster::invite))
        .route("/api/v1/cluster/members/{node}", delete(cluster::remove))
        .route("/api/v1/cluster/leader", post(cluster::transfer_leader))
        .route("/api/v1/cluster/snapshot", post(cluster::snapshot))
}

async fn bounded(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::unavailable("this node did not answer in time; try again in a moment")
            .into_response(),
    }
}

//! Which path and method leads where.

use std::sync::Arc;

use axum::Router;

use crate::app::App;

/// Every route of the public port.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new().with_state(app)
}

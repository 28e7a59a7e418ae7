//! A node that drains asks its clients to open no further request on the connection they have: they come back on another node,
//! and no request meets a connection that is being closed.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use cratekeeper_cluster::Cluster;
use http::header::CONNECTION;
use http::{HeaderValue, Version};

/// `router`, whose HTTP/1 answers close their connection while `cluster` drains. HTTP/2 has its own goodbye when the port closes.
pub(super) fn while_draining(cluster: Cluster, router: Router) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let cluster = cluster.clone();
        async move {
            let version = request.version();
            let mut response = next.run(request).await;
            if version <= Version::HTTP_11 && cluster.is_draining() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            response
        }
    }))
}

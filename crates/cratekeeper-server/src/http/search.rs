//! `GET /api/v1/crates?q=…`: what `cargo search` asks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::Uri;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::caller::Reader;
use super::error::ApiError;
use super::limits::{SEARCH_PER_PAGE_DEFAULT, SEARCH_PER_PAGE_MAX, SEARCH_RESULTS_MAX};
use super::page::parameter;
use crate::app::App;

pub(crate) async fn search(
    State(app): State<Arc<App>>,
    _reader: Reader,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let words = parameter(uri.query(), "q").unwrap_or_default();
    let (per_page, page) = window(uri.query());
    let found = spawn_blocking(move || app.search.find(&words, per_page, page))
        .await
        .map_err(broken)?
        .map_err(broken)?;
    let crates: Vec<Value> = found
        .crates
        .into_iter()
        .map(|krate| {
            json!({
                "name": krate.name,
                "max_version": krate.max_version,
                "description": krate.description,
            })
        })
        .collect();
    Ok(Json(
        json!({ "crates": crates, "meta": { "total": found.total } }),
    ))
}

fn broken(fault: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    ApiError::disturbed("search does not work at the moment", fault)
}

/// What is no number or out of bounds is brought into bounds: a search is never refused.
fn window(query: Option<&str>) -> (usize, usize) {
    let number = |key| parameter(query, key).and_then(|text| text.parse::<usize>().ok());
    let per_page = number("per_page")
        .unwrap_or(SEARCH_PER_PAGE_DEFAULT)
        .clamp(1, SEARCH_PER_PAGE_MAX);
    let page = number("page")
        .unwrap_or(1)
        .clamp(1, SEARCH_RESULTS_MAX / per_page);
    (per_page, page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_brought_into_bounds() {
        assert_eq!(window(None), (10, 1));
        assert_eq!(window(Some("per_page=500&page=2")), (100, 2));
        assert_eq!(window(Some("per_page=0&page=0")), (1, 1));
        assert_eq!(window(Some("per_page=100&page=999999")), (100, 100));
        assert_eq!(window(Some("per_page=-1&page=x")), (10, 1));
    }
}

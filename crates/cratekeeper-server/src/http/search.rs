//! `GET /api/v1/crates?q=…`: what `cargo search` asks.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::Uri;
use serde::Serialize;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use super::caller::Reader;
use super::error::ApiError;
use super::limits::{SEARCH_PER_PAGE_DEFAULT, SEARCH_PER_PAGE_MAX, SEARCH_RESULTS_MAX};
use super::page::parameter;
use crate::app::App;

#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "only its description is used; what is malformed is not refused"
)]
struct SearchQuery {
    /// Words, all of which must be in name, description or keywords; at most 8 are looked at, with 64 characters each.
    q: Option<String>,
    /// Crates per answer, 1 to 100; anything else is brought into these bounds. Default 10.
    #[param(minimum = 1, maximum = 100)]
    per_page: Option<usize>,
    /// From 1; not beyond the 10000th crate. Default 1.
    #[param(minimum = 1)]
    page: Option<usize>,
}

/// The best matches first.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"crates": [{"name": "acme", "max_version": "1.2.3", "description": "Anvils"}], "meta": {"total": 1}}))]
pub(crate) struct SearchResults {
    crates: Vec<FoundCrate>,
    meta: SearchMeta,
}

#[derive(Serialize, ToSchema)]
struct FoundCrate {
    name: String,
    /// The newest version that is not yanked, and no prerelease if there is any other.
    max_version: String,
    description: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct SearchMeta {
    /// How many crates match.
    total: usize,
}

/// Search crates.
///
/// What `cargo search` asks. A search is never refused for its words.
#[utoipa::path(
    get, path = "/api/v1/crates", operation_id = "search_crates", tag = "crates",
    params(SearchQuery),
    responses(
        (status = 200, description = "What was found.", body = SearchResults),
        (status = 403, description = "The token may not read."),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    _reader: Reader,
    uri: Uri,
) -> Result<Json<SearchResults>, ApiError> {
    let words = parameter(uri.query(), "q").unwrap_or_default();
    let (per_page, page) = window(uri.query());
    let found = spawn_blocking(move || app.search.find(&words, per_page, page))
        .await
        .map_err(broken)?
        .map_err(broken)?;
    let crates = found.crates.into_iter().map(|krate| FoundCrate {
        name: krate.name,
        max_version: krate.max_version,
        description: krate.description,
    });
    Ok(Json(SearchResults {
        crates: crates.collect(),
        meta: SearchMeta { total: found.total },
    }))
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

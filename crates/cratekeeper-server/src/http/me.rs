//! `/me`: how to get a token and what to paste, for people; who the caller is, for scripts. cargo names this page to whoever
//! has no token.

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use super::accounts::ShownAccount;
use super::caller::Caller;
use super::error::ApiError;
use super::tokens::ShownToken;
use crate::app::{App, ReadAccess};

const PAGE: &str = include_str!("me.html");

/// Who a token belongs to, and what it allows.
#[derive(Serialize, ToSchema)]
struct Me {
    #[serde(flatten)]
    account: ShownAccount,
    token: ShownToken,
}

/// How to get a token, or who the caller is.
///
/// Without a token, or for a browser: a page with what to paste into cargo's configuration. With a token, or with
/// `accept: application/json`: the caller's account and token. cargo names this page to whoever has no token.
#[utoipa::path(
    get, path = "/me", operation_id = "get_me", tag = "pages",
    responses((status = 200, description = "The page, or the caller.", content((Me = "application/json"), (String = "text/html")))),
    security((), ("token" = [])),
)]
pub(crate) async fn me(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, _body) = request.into_parts();
    if !wants_json(&parts.headers) {
        return Ok(page(&app));
    }
    let caller = Caller::from_request_parts(&mut parts, &app).await?;
    let token = caller.authenticate()?;
    let mut response = Json(Me {
        account: ShownAccount::new(&caller.account),
        token: ShownToken::new(&caller.account, token),
    })
    .into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The start page.
#[utoipa::path(
    get, path = "/", operation_id = "get_start_page", tag = "pages",
    responses((status = 200, description = "What to paste into cargo's configuration.", body = String, content_type = "text/html")),
    security(()),
)]
pub(crate) async fn start(State(app): State<Arc<App>>) -> Response {
    page(&app)
}

/// A browser asks for HTML before anything else; curl with a token asks for anything.
fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    match accept {
        Some(accept) if accept.contains("application/json") => true,
        Some(accept) if accept.contains("text/html") => false,
        _ => headers.contains_key(AUTHORIZATION),
    }
}

fn page(app: &App) -> Response {
    let html = rendered(&app.settings.public_url, app.settings.read_access);
    let mut response = html.into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn rendered(public_url: &str, read_access: ReadAccess) -> String {
    let reading = match read_access {
        ReadAccess::Public => {
            "Building needs no token; publishing, yanking and changing owners do."
        }
        ReadAccess::Authenticated => "Everything here needs a token, building too.",
    };
    PAGE.replace("{{reading}}", reading)
        .replace("{{public_url}}", &escaped(public_url))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_this_registry_and_escapes_it() {
        let html = rendered("https://a.example/\"><script>", ReadAccess::Authenticated);
        assert!(html.contains("sparse+https://a.example/&quot;&gt;&lt;script&gt;/index/"));
        assert!(html.contains("global-credential-providers"));
        assert!(!html.contains("{{") && !html.contains("<script"));
    }

    #[test]
    fn browsers_get_a_page_and_scripts_get_json() {
        let with = |accept: &'static str, token: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            if token {
                headers.insert(AUTHORIZATION, HeaderValue::from_static("ck_x"));
            }
            wants_json(&headers)
        };
        assert!(!with("text/html,application/xhtml+xml,*/*;q=0.8", false));
        assert!(!with("*/*", false));
        assert!(with("application/json", false));
        assert!(with("*/*", true));
    }
}

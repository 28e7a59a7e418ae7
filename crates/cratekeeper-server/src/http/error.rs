//! The only file that chooses a status. Every refusal and every fault leaves as `{"errors":[{"detail":"…"}]}`: cargo prints the
//! detail as it is and dumps anything else raw.

use crate::causes::with_causes;
use std::any::Any;
use std::error::Error;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use cratekeeper_cluster::{ExecuteError, MembershipError, ReadError};
use cratekeeper_domain::{Rejection, RejectionKind};
use cratekeeper_tarballs::TarballError;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LOCATION,
    RETRY_AFTER,
};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::limits::RETRY_AFTER_SECONDS;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    sentence: String,
    /// When to come back, in seconds, where that is known.
    retry_after: Option<u32>,
    /// Set where the trouble is ours: logged once, when the answer is written.
    fault: Option<Box<dyn Error + Send + Sync>>,
    /// What was asked for may have happened.
    unknown: bool,
}

impl ApiError {
    fn new(status: StatusCode, sentence: impl Into<String>) -> ApiError {
        ApiError {
            status,
            sentence: sentence.into(),
            retry_after: None,
            fault: None,
            unknown: false,
        }
    }

    /// What was asked for does not exist.
    pub(crate) fn missing(sentence: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, sentence)
    }

    /// The client stopped sending in the middle of a body.
    pub(crate) fn too_slow(sentence: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, sentence)
    }

    /// More than this client may ask; `seconds` from now it may again.
    pub(crate) fn too_many(sentence: impl Into<String>, seconds: u32) -> ApiError {
        ApiError {
            retry_after: Some(seconds),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, sentence)
        }
    }

    /// Not now; the same request may succeed in a moment, here or on another node.
    pub(crate) fn unavailable(sentence: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }

    /// A part of ours that may recover does not work.
    pub(crate) fn disturbed(
        sentence: impl Into<String>,
        fault: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ApiError {
        ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            sentence: sentence.into(),
            retry_after: None,
            fault: Some(fault.into()),
            unknown: false,
        }
    }

    /// Something is broken here and trying again will hardly help.
    pub(crate) fn broken(
        sentence: impl Into<String>,
        fault: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ApiError {
        ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            sentence: sentence.into(),
            retry_after: None,
            fault: Some(fault.into()),
            unknown: false,
        }
    }

    /// In one word, for a metric.
    pub(crate) fn outcome(&self) -> &'static str {
        match self.status {
            _ if self.unknown => "unknown",
            StatusCode::BAD_REQUEST => "invalid",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::UNAUTHORIZED => "unauthenticated",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "missing",
            StatusCode::CONFLICT => "conflict",
            StatusCode::REQUEST_TIMEOUT => "too_slow",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ => "fault",
        }
    }

    /// Shorthand for the commonest refusal.
    pub(crate) fn invalid(sentence: impl Into<String>) -> ApiError {
        Rejection::new(RejectionKind::Invalid, sentence).into()
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> ApiError {
        let status = match rejection.kind {
            RejectionKind::Invalid => StatusCode::BAD_REQUEST,
            RejectionKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            RejectionKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            RejectionKind::Forbidden => StatusCode::FORBIDDEN,
            RejectionKind::Missing => StatusCode::NOT_FOUND,
            RejectionKind::Conflict => StatusCode::CONFLICT,
        };
        ApiError::new(status, rejection.sentence)
    }
}

impl From<ExecuteError> for ApiError {
    fn from(error: ExecuteError) -> ApiError {
        match error {
            ExecuteError::Rejected(rejection) => rejection.into(),
            ExecuteError::NoLeader => ApiError::unavailable(
                "the registry cannot accept changes at the moment, because a majority of its nodes is not reachable; nothing was changed, try again in a moment",
            ),
            ExecuteError::Busy => ApiError::unavailable(
                "too many changes came in at the same time; nothing was changed, try again",
            ),
            // The change may still happen; saying "failed" would be a lie.
            ExecuteError::OutcomeUnknown => ApiError {
                unknown: true,
                ..ApiError::unavailable(
                    "the registry could not confirm in time whether the change happened; look, or repeat the same request: it is safe to repeat and succeeds if the change was made",
                )
            },
            ExecuteError::Stopping => {
                ApiError::unavailable("this node is stopping; nothing was changed, try again")
            }
            ExecuteError::Storage(source) => {
                ApiError::disturbed("this node cannot use its storage at the moment", source)
            }
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> ApiError {
        match error {
            ReadError::Storage(source) => {
                ApiError::disturbed("this node cannot read its storage at the moment", source)
            }
            ReadError::Behind => ApiError::unavailable(
                "this node is behind what you have already seen; try again in a moment",
            ),
            ReadError::NotReady => {
                ApiError::unavailable("this node is not ready yet; try again in a moment")
            }
        }
    }
}

impl From<MembershipError> for ApiError {
    fn from(error: MembershipError) -> ApiError {
        match error {
            MembershipError::Refused(sentence) => ApiError::new(StatusCode::CONFLICT, sentence),
            MembershipError::NoLeader => ApiError::unavailable(
                "the cluster has no leader that a majority follows; try again in a moment",
            ),
            MembershipError::Unfinished => ApiError::unavailable(
                "the change of members did not finish in time and may still happen; look with `cratekeeper cluster status` before trying again",
            ),
        }
    }
}

impl From<TarballError> for ApiError {
    fn from(error: TarballError) -> ApiError {
        match &error {
            // An event names this tarball, so its absence is our loss and never "no such version".
            TarballError::Absent(_) => ApiError::broken(
                "the tarball is missing from the registry's store although the version exists; tell whoever runs the registry",
                error,
            ),
            TarballError::Corrupt(_) => ApiError::broken(
                "the tarball in the registry's store is damaged; tell whoever runs the registry",
                error,
            ),
            TarballError::Unavailable(_) => ApiError::disturbed(
                "the registry cannot reach its tarball store at the moment; try again in a moment",
                error,
            ),
        }
    }
}

/// Travels from where a request failed to [`render`], which knows the request's id.
#[derive(Clone)]
struct Failure(Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Failure(Arc::new(self)));
        response
    }
}

/// No route fits.
pub(crate) async fn no_route() -> ApiError {
    ApiError::missing(
        "there is nothing at this address; the index is under `/index/`, the calls are under `/api/v1/`",
    )
}

/// A panic while answering; it is a bug of ours, and one request's only.
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    ApiError::broken("the registry made a mistake while answering", message).into_response()
}

/// Neither success nor refusal: what the client has is current.
pub(crate) fn not_modified() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// Neither success nor refusal: the tarball is at `url`.
pub(crate) fn found(url: &str) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(url).map_err(|error| {
        ApiError::broken(
            "the tarball store gave an address that cannot be sent",
            error,
        )
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Whether a 401 stands there, which has to say how to get a token.
pub(crate) fn asks_for_token(response: &Response) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
}

/// Writes the body of an answer that is an error, whoever made it (also axum and tower), and logs faults.
pub(crate) fn render(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let failure = response.extensions_mut().remove::<Failure>();
    let mut sentence = match &failure {
        Some(Failure(error)) => error.sentence.clone(),
        None => sentence_for(status).to_owned(),
    };
    if let Some(fault) = failure
        .as_ref()
        .and_then(|failure| failure.0.fault.as_ref())
    {
        tracing::error!(request = request_id, fault = %with_causes(fault.as_ref()), "{sentence}");
    }
    if status.is_server_error() {
        sentence.push_str(&format!(" (request {request_id})"));
    }

    let body = json!({ "errors": [{ "detail": sentence }] }).to_string();
    let headers = response.headers_mut();
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, ETAG, ACCEPT_RANGES] {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let known = failure.and_then(|Failure(error)| error.retry_after);
    let retry_after = known.or(match status {
        StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_SECONDS),
        _ => None,
    });
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    *response.body_mut() = Body::from(body);
    response
}

/// For refusals made by the libraries below us.
fn sentence_for(status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            "this address does not know this method; see the `allow` header of this answer"
        }
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too large",
        StatusCode::REQUEST_TIMEOUT => "the request did not arrive in time",
        StatusCode::NOT_ACCEPTABLE => {
            "`accept-encoding` allows nothing that can be sent; leave it out, or allow `identity`"
        }
        status if status.is_client_error() => {
            "the request cannot be understood; its address or its headers are malformed"
        }
        _ => "the registry could not answer",
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn shown(response: Response) -> String {
        let response = render(response, "0a0b");
        let status = response.status();
        let retry = response.headers().get(RETRY_AFTER).is_some();
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        format!("{status} retry={retry} {}", String::from_utf8_lossy(&bytes))
    }

    #[tokio::test]
    async fn a_rejection_is_shown_word_for_word() {
        let error = ApiError::from(Rejection::new(RejectionKind::Conflict, "`a` \"is\" taken"));
        assert_eq!(
            shown(error.into_response()).await,
            r#"409 Conflict retry=false {"errors":[{"detail":"`a` \"is\" taken"}]}"#
        );
    }

    #[tokio::test]
    async fn a_storage_fault_is_503_with_the_request_and_never_its_cause() {
        let error = ApiError::from(ReadError::Storage("bad block 17".into()));
        assert_eq!(
            shown(error.into_response()).await,
            r#"503 Service Unavailable retry=true {"errors":[{"detail":"this node cannot read its storage at the moment (request 0a0b)"}]}"#
        );
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_not_called_a_failure() {
        let text = shown(ApiError::from(ExecuteError::OutcomeUnknown).into_response()).await;
        assert!(text.starts_with("503") && !text.contains("fail"), "{text}");
    }

    #[tokio::test]
    async fn answers_of_libraries_become_json_too() {
        let response = (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").into_response();
        assert_eq!(
            shown(response).await,
            r#"405 Method Not Allowed retry=false {"errors":[{"detail":"this address does not know this method; see the `allow` header of this answer"}]}"#
        );
    }

    #[tokio::test]
    async fn success_is_left_alone() {
        assert_eq!(
            shown("fine".into_response()).await,
            "200 OK retry=false fine"
        );
    }
}

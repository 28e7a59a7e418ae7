//! The OpenAPI document. Routes and answers describe themselves where they are written; here stands what holds for all of them.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{OpenApi, OpenApiBuilder, RefOr, info};
use utoipa::{IntoParams, ToSchema};

use super::error::not_modified;
use super::etag;

const ABOUT: &str = include_str!("document.md");
const TAGS: [(&str, &str); 7] = [
    ("index", "The sparse index that cargo reads."),
    ("crates", "Publish, look at, download, yank and search."),
    ("owners", "Who may publish, yank and choose owners."),
    (
        "accounts",
        "Accounts of people and machines, and their tokens.",
    ),
    ("history", "Every change since the beginning, in order."),
    ("cluster", "Nodes, leadership and snapshots."),
    ("pages", "For people, and this document."),
];

/// Why a request was refused, or could not be answered. cargo prints the details as they are.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"errors": [{"detail": "there is no crate `serde` in this registry"}]}))]
struct Errors {
    errors: Vec<ErrorDetail>,
}

#[derive(Serialize, ToSchema)]
struct ErrorDetail {
    /// A sentence that names the value, the rule and the way out. A 5xx names the request, too.
    detail: String,
}

/// What only says that it happened.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    ok: bool,
}

impl Done {
    pub(crate) const DONE: Done = Done { ok: true };
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct CratePath {
    /// Name of the crate. Upper or lower case, `-` or `_` make no difference.
    #[param(example = "serde_json", max_length = 64)]
    name: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct VersionPath {
    /// Name of the crate. Upper or lower case, `-` or `_` make no difference.
    #[param(example = "serde_json", max_length = 64)]
    name: String,
    /// The version as published, with build metadata if it has any.
    #[param(example = "1.0.0", max_length = 150)]
    version: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct LoginPath {
    /// Login of the account.
    #[param(example = "alice", max_length = 64)]
    login: String,
}

/// The document as bytes, with the tag that changes with it.
struct Document {
    bytes: Vec<u8>,
    etag: String,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let bytes = document().to_string().into_bytes();
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&bytes)[..16]));
    Document { bytes, etag }
});

/// This document.
///
/// Also printed by `cratekeeper openapi`, which needs no server.
#[utoipa::path(
    get, path = "/api/openapi.json", operation_id = "get_openapi", tag = "pages",
    params(("if-none-match" = Option<String>, Header, description = "An `etag` that the client holds.")),
    responses(
        (status = 200, description = "An OpenAPI 3.1 document.", body = Value, content_type = "application/json"),
        (status = 304, description = "What the client holds is current."),
    ),
    security(()),
)]
pub(crate) async fn openapi(headers: HeaderMap) -> Response {
    let mut response = if etag::matches(&headers, &DOCUMENT.etag) {
        not_modified()
    } else {
        let mut response = Response::new(Body::from(DOCUMENT.bytes.as_slice()));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&DOCUMENT.etag) {
        headers.insert(ETAG, etag);
    }
    let lasting = HeaderValue::from_static("public, max-age=3600");
    headers.insert(CACHE_CONTROL, lasting);
    response
}

/// Everything the public port answers, as OpenAPI 3.1.
pub(crate) fn document() -> Value {
    let mut described = super::routes::described();
    frame(&mut described);
    let mut document =
        serde_json::to_value(&described).expect("an OpenAPI document is plain data, always JSON");
    wildcards(&mut document);
    complete_answers(&mut document);
    document["components"]["responses"] = shared_responses();
    for operation in operations(&mut document) {
        refusals(operation);
        credentials(operation);
        plain_parameters(operation);
        uploads(operation);
    }
    document
}

/// What utoipa cannot see at the routes: who we are, how to show a token, what the tags mean.
fn frame(described: &mut OpenApi) {
    let about = info::InfoBuilder::new()
        .title("Cratekeeper")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT.trim()))
        .license(Some(
            info::LicenseBuilder::new()
                .name("MIT OR Apache-2.0")
                .identifier(Some("MIT OR Apache-2.0"))
                .build(),
        ));
    let tags =
        TAGS.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    let whole = OpenApiBuilder::new()
        .info(about.build())
        .tags(Some(tags))
        .build();
    described.info = whole.info;
    described.tags = whole.tags;
    described.servers = Some(vec![utoipa::openapi::Server::new("/")]);

    let components = described.components.get_or_insert_default();
    let mut schemas: Vec<(String, RefOr<utoipa::openapi::Schema>)> = Vec::new();
    <Errors as ToSchema>::schemas(&mut schemas);
    schemas.push((
        Errors::name().into_owned(),
        <Errors as utoipa::PartialSchema>::schema(),
    ));
    components.schemas.extend(schemas);
    components.add_security_scheme(
        "token",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "authorization",
            "The token itself, as cargo sends it.",
        ))),
    );
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).build()),
    );
    components.add_security_scheme(
        "basic",
        SecurityScheme::Http(
            Http::builder()
                .scheme(HttpAuthScheme::Basic)
                .description(Some("Any user name, with the token as the password."))
                .build(),
        ),
    );
    described.security = Some(vec![SecurityRequirement::default()]);
}

/// The router writes `{*path}` for what may contain slashes; OpenAPI has no such mark.
fn wildcards(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else {
        return;
    };
    let marked: Vec<String> = paths
        .keys()
        .filter(|path| path.contains("{*"))
        .cloned()
        .collect();
    for path in marked {
        if let Some(item) = paths.remove(&path) {
            paths.insert(path.replace("{*", "{"), item);
        }
    }
}

/// An answer always has its fields, with null where there is nothing to say; only what is sent to us may leave fields out.
fn complete_answers(document: &mut Value) {
    let sent: Vec<String> = operations(document)
        .filter_map(|operation| operation.get("requestBody"))
        .map(Value::to_string)
        .collect();
    let is_sent = |name: &str| {
        let reference = format!("\"#/components/schemas/{name}\"");
        sent.iter().any(|body| body.contains(&reference))
    };
    let schemas = document.pointer_mut("/components/schemas");
    let schemas = schemas.and_then(Value::as_object_mut);
    for (name, schema) in schemas.into_iter().flatten() {
        if !is_sent(name) {
            require_nullable(schema);
        }
    }
}

fn require_nullable(schema: &mut Value) {
    for several in ["oneOf", "allOf", "anyOf"] {
        let parts = schema.get_mut(several).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(require_nullable);
    }
    let mut nullable = Vec::new();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        require_nullable(property);
        if may_be_null(property) {
            nullable.push(json!(name));
        }
    }
    if nullable.is_empty() {
        return;
    }
    match schema.get_mut("required").and_then(Value::as_array_mut) {
        Some(required) => required.extend(nullable),
        None => schema["required"] = json!(nullable),
    }
}

fn may_be_null(schema: &Value) -> bool {
    let kinds = schema.get("type").and_then(Value::as_array);
    let parts = schema.get("oneOf").and_then(Value::as_array);
    kinds.into_iter().flatten().any(|kind| kind == "null")
        || parts
            .into_iter()
            .flatten()
            .any(|part| part["type"] == "null")
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    document["paths"]
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
}

/// Answers that may come from every call, described once: status, name, description.
const SHARED: [(&str, &str, &str); 4] = [
    (
        "401",
        "Unauthenticated",
        "No token, or one that this registry does not accept.",
    ),
    (
        "429",
        "TooManyRequests",
        "More requests than one client may make here, where the operator set a limit; come back after `retry-after` seconds.",
    ),
    ("500", "Mistake", "A mistake of the registry."),
    (
        "503",
        "Unavailable",
        "Not now, or not this node; try again after `retry-after` seconds.",
    ),
];

fn shared_responses() -> Value {
    let mut responses = json!({});
    for (status, name, description) in SHARED {
        let mut response = refusal(description);
        let challenge = json!({
            "description": "Where to get a token: `Cargo login_url=\"…\"`.",
            "schema": { "type": "string" },
        });
        let pause = json!({
            "description": "Seconds.",
            "schema": { "type": "integer", "minimum": 1 },
        });
        match status {
            "401" => response["headers"] = json!({ "www-authenticate": challenge }),
            "429" | "503" => response["headers"] = json!({ "retry-after": pause }),
            _ => {}
        }
        responses[name] = response;
    }
    responses
}

/// Every refusal has the same shape.
fn refusal(description: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Errors" });
    json!({
        "description": description,
        "content": { "application/json": { "schema": schema } },
    })
}

fn refusals(operation: &mut Value) {
    let open = operation["security"] == json!([{}]);
    let responses = operation.get_mut("responses");
    let Some(responses) = responses.and_then(Value::as_object_mut) else {
        return;
    };
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) {
            *response = refusal(response["description"].as_str().unwrap_or_default());
        }
    }
    for (status, name, _) in SHARED {
        if status != "401" || !open {
            let reference = format!("#/components/responses/{name}");
            responses.insert(status.to_owned(), json!({ "$ref": reference }));
        }
    }
}

/// A parameter is there or not; unlike a field it is never null.
fn plain_parameters(operation: &mut Value) {
    let parameters = operation.get_mut("parameters");
    let parameters = parameters.and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        let Some(kind) = parameter.pointer_mut("/schema/type") else {
            continue;
        };
        if let Some(first) = kind.as_array().and_then(|kinds| kinds.first()).cloned() {
            *kind = first;
        }
    }
}

/// Bytes without a schema are all there is to an upload, so they cannot be left out.
fn uploads(operation: &mut Value) {
    let body = operation.get_mut("requestBody");
    if let Some(body) =
        body.filter(|body| body["content"].get("application/octet-stream").is_some())
    {
        body["required"] = json!(true);
    }
}

/// A token may be shown in any of three ways; routes only say `token`.
fn credentials(operation: &mut Value) {
    let Some(ways) = operation["security"].as_array_mut() else {
        return;
    };
    if ways.iter().any(|way| way.get("token").is_some()) {
        ways.extend([json!({ "bearer": [] }), json!({ "basic": [] })]);
    }
}

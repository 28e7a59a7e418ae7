//! Calls to the registry's API, with the caller's token; a refusal becomes an error with the registry's own sentences.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::{Global, Output};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the registry holds a write while the cluster elects a leader.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);

/// Nobody answered at the registry's address.
#[derive(Debug, thiserror::Error)]
#[error("the registry at {server} cannot be reached{hint}")]
pub(crate) struct Unreachable {
    server: Url,
    hint: &'static str,
}

pub(super) struct Api {
    client: reqwest::Client,
    server: Url,
    token: Option<String>,
    output: Output,
}

impl Api {
    pub(super) fn new(global: &Global) -> anyhow::Result<Api> {
        let server = server_url(&global.server)?;
        Ok(Api {
            client: api_client(&server, global.ca_file.as_deref())?,
            server,
            token: token(global.token_file.as_deref())?,
            output: global.output,
        })
    }

    /// Prints the answer as JSON if that was asked for, else lets `text` print it.
    pub(super) fn print(&self, answer: &Value, text: impl FnOnce(&Value)) {
        match self.output {
            Output::Json => super::print::json(answer),
            Output::Text => text(answer),
        }
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }

    pub(super) async fn get(&self, path: &[&str]) -> anyhow::Result<Value> {
        self.json(self.request(Method::GET, path)?).await
    }

    pub(super) async fn get_with(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<Value> {
        self.json(self.request_with(Method::GET, path, query)?)
            .await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self.request(method, path)?;
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.json(request).await
    }

    /// All pages of a list: `field` of the first answer with everything the following ones add.
    pub(super) async fn all(&self, path: &[&str], field: &str) -> anyhow::Result<Value> {
        let mut all = self.get(path).await?;
        while let Some(next) = after(&all) {
            let page = self.get_with(path, &[("after", next.clone())]).await?;
            let following = after(&page);
            if let (Some(rows), Some(more)) = (all[field].as_array_mut(), page[field].as_array()) {
                rows.extend(more.iter().cloned());
            }
            // A list that does not move would be asked for ever.
            all["next"] = following.filter(|following| *following != next).into();
        }
        Ok(all)
    }

    /// The answer's body as it comes.
    pub(super) async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<Response> {
        let request = self
            .request_with(Method::GET, path, query)?
            .header("accept", "text/event-stream")
            .timeout(Duration::from_secs(u64::from(u32::MAX)));
        accepted(self.answer(request).await?, &self.server).await
    }

    /// Sends `body` to a path below the registry's own URL.
    pub(super) async fn put_bytes(&self, path: &[&str], body: Vec<u8>) -> anyhow::Result<()> {
        let request = self.request_at(Method::PUT, path, &[])?.body(body);
        accepted(self.answer(request).await?, &self.server).await?;
        Ok(())
    }

    /// What lies at a path below the registry's own URL, or where that sends to, which is not shown the token.
    pub(super) async fn get_bytes(&self, path: &[&str]) -> anyhow::Result<Vec<u8>> {
        let request = self.request_at(Method::GET, path, &[])?;
        let mut answer = self.answer(request).await?;
        if answer.status().is_redirection() {
            let place = answer
                .headers()
                .get("location")
                .and_then(|place| place.to_str().ok());
            let place = place.context("the registry redirects to nowhere")?;
            let place = answer
                .url()
                .join(place)
                .context("the registry redirects to no URL")?;
            let elsewhere = client(&place)?.get(place.clone()).send().await;
            answer = elsewhere
                .map_err(reqwest::Error::without_url)
                .with_context(|| format!("ask {}", place.authority()))?;
        }
        Ok(accepted(answer, &self.server)
            .await?
            .bytes()
            .await?
            .to_vec())
    }

    /// The answer's body as it comes, however long it takes.
    pub(super) async fn download(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<Response> {
        let request = self
            .request_with(Method::GET, path, query)?
            .timeout(Duration::from_secs(u64::from(u32::MAX)));
        accepted(self.answer(request).await?, &self.server).await
    }

    fn request(&self, method: Method, path: &[&str]) -> anyhow::Result<RequestBuilder> {
        self.request_with(method, path, &[])
    }

    fn request_with(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<RequestBuilder> {
        self.request_at(method, &[&["api", "v1"], path].concat(), query)
    }

    fn request_at(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<RequestBuilder> {
        let mut url = self.server.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("`{}` is no URL of a registry", self.server))?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.request(method, url);
        Ok(match &self.token {
            Some(token) => request.header("authorization", token),
            None => request,
        })
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .map_err(|error| {
                let unreachable = Unreachable {
                    server: self.server.clone(),
                    hint: hint(&error, &self.server),
                };
                anyhow::Error::new(error).context(unreachable)
            })
    }

    async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let body = accepted(self.answer(request).await?, &self.server).await?;
        let body = body.bytes().await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).with_context(|| {
            format!(
                "{} answered something that is no JSON; is it a registry?",
                self.server
            )
        })
    }
}

/// The answer, unless it is a refusal.
async fn accepted(answer: Response, server: &Url) -> anyhow::Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body: Value = answer.json().await.unwrap_or_default();
    let sentences: Vec<&str> = super::print::rows(&body, "errors")
        .filter_map(|error| error["detail"].as_str())
        .collect();
    let hint = if status == StatusCode::UNAUTHORIZED {
        " (show a token with --token-file, or CRATEKEEPER_TOKEN)"
    } else {
        ""
    };
    if sentences.is_empty() {
        bail!("{server} answered {status}, and not as a registry does; is that its address?{hint}");
    }
    bail!("{}{hint}", sentences.join("\n"));
}

fn after(page: &Value) -> Option<String> {
    match &page["next"] {
        Value::String(next) => Some(next.clone()),
        Value::Number(next) => Some(next.to_string()),
        _ => None,
    }
}

fn server_url(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    url.with_context(|| {
        format!("`{text}` is no URL of a registry; write it as `https://crates.example.org`")
    })
}

/// What may help where no answer came.
fn hint(error: &reqwest::Error, server: &Url) -> &'static str {
    let causes = crate::causes::with_causes(error);
    if causes.contains("InvalidContentType") {
        ", because it does not speak TLS there (write http:// instead of https://)"
    } else if causes.contains("certificate") {
        " safely (name the authority of its certificate with --ca-file, or CRATEKEEPER_CA_FILE)"
    } else if error.is_timeout() {
        " in time"
    } else if server.port_or_known_default() == Some(8080) && server.host_str() == Some("127.0.0.1")
    {
        " (name yours with --server, or CRATEKEEPER_SERVER)"
    } else {
        ""
    }
}

/// For the registry at `server`; `ca_file` replaces the system's authorities.
fn api_client(server: &Url, ca_file: Option<&Path>) -> anyhow::Result<reqwest::Client> {
    let mut builder = base(server);
    if let Some(file) = ca_file {
        let pem = std::fs::read(file)
            .with_context(|| format!("read the authorities in {}", file.display()))?;
        let authorities = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|authorities| !authorities.is_empty());
        let authorities = authorities
            .with_context(|| format!("{} has no certificate in the PEM format", file.display()))?;
        builder = builder.tls_certs_only(authorities);
    }
    builder.build().context("start the HTTP client")
}

/// A proxy from the environment is not for this machine's own addresses.
pub(crate) fn client(server: &Url) -> anyhow::Result<reqwest::Client> {
    base(server).build().context("start the HTTP client")
}

fn base(server: &Url) -> reqwest::ClientBuilder {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        // A redirect is followed where it is expected, with a client made for that place.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("cratekeeper/", env!("CARGO_PKG_VERSION")));
    let local = match server.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if local {
        builder = builder.no_proxy();
    }
    if server.scheme() == "http" {
        // Plain text needs no certificates, and an image may have none.
        builder = builder.tls_certs_only([]);
    }
    builder
}

fn token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).with_context(|| {
            format!(
                "read the token file {} (--token-file, or CRATEKEEPER_TOKEN_FILE)",
                file.display()
            )
        })?;
        return Ok(Some(text.trim().to_owned()));
    }
    let token = std::env::var("CRATEKEEPER_TOKEN").unwrap_or_default();
    Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
}

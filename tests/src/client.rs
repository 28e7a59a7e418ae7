//! A plain HTTP client for the registry's own calls: what cargo would send, and what it would never send.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};

use crate::package::Package;

/// Longer than a node holds a publish while there is no leader.
const TIMEOUT: Duration = Duration::from_secs(40);
pub const NO_TOKEN: &str = "";

#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    token: String,
    http: reqwest::Client,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub version: reqwest::Version,
    /// What the server showed, as DER; of a connection with TLS.
    pub certificate: Option<Vec<u8>>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The sentence of a refusal, in the shape cargo reads.
    pub fn detail(&self) -> String {
        let body = self.json();
        let detail = body["errors"][0]["detail"].as_str();
        detail
            .unwrap_or_else(|| panic!("no errors[0].detail: {} {body}", self.status))
            .to_owned()
    }

    /// Itself, if the status is 200; panics with the answer otherwise.
    pub fn expect_ok(self, what: &str) -> Answer {
        assert_eq!(self.status, 200, "{what}: {}", self.text());
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    /// `base` is `http://host:port`; the token is sent as cargo sends it, raw.
    pub fn new(base: &str, token: &str) -> Client {
        Client::trusting(base, token, "")
    }

    /// For `https://host:port`: only what these authorities (PEM) have signed is trusted.
    pub fn trusting(base: &str, token: &str, authorities: &str) -> Client {
        let authorities = reqwest::Certificate::from_pem_bundle(authorities.as_bytes())
            .expect("authorities are PEM");
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .tls_certs_only(authorities)
            .tls_info(true)
            .build()
            .expect("a client needs nothing that can be missing");
        Client {
            base: base.to_owned(),
            token: token.to_owned(),
            http,
        }
    }

    pub fn with_token(&self, token: &str) -> Client {
        Client {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// Err: no answer arrived, so nothing is known about what happened.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if self.token != NO_TOKEN {
            request = request.header(AUTHORIZATION, &self.token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let tls = response.extensions().get::<reqwest::tls::TlsInfo>();
        Ok(Answer {
            certificate: tls.and_then(|tls| tls.peer_certificate().map(<[u8]>::to_vec)),
            version: response.version(),
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?,
        })
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Bytes>) -> Answer {
        let sent = self.try_send(method.clone(), path, body, &[]).await;
        sent.unwrap_or_else(|error| panic!("{method} {}{path}: {error:?}", self.base))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json")];
        let body = Bytes::from(body.to_string());
        let sent = self
            .try_send(Method::POST, path, Some(body), &headers)
            .await;
        sent.unwrap_or_else(|error| panic!("POST {}{path}: {error:?}", self.base))
    }

    pub async fn publish_frame(&self, frame: Bytes) -> Answer {
        self.send(Method::PUT, "/api/v1/crates/new", Some(frame))
            .await
    }

    pub async fn try_publish(&self, frame: Bytes) -> Result<Answer, reqwest::Error> {
        self.try_send(Method::PUT, "/api/v1/crates/new", Some(frame), &[])
            .await
    }

    pub async fn publish(&self, package: &Package) -> Answer {
        self.publish_frame(package.frame()).await
    }

    /// The lines of a crate's index file; none where there is no such file.
    pub async fn index_lines(&self, name: &str) -> Vec<Value> {
        let answer = self.get(&index_path(name)).await;
        if answer.status == 404 {
            return Vec::new();
        }
        let answer = answer.expect_ok(name);
        let text = answer.text();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("an index line is JSON"))
            .collect()
    }

    pub async fn download(&self, name: &str, version: &str) -> Answer {
        self.get(&format!("/api/v1/crates/{name}/{version}/download"))
            .await
    }

    /// The node's view of the cluster (needs an administrator's token).
    pub async fn cluster(&self) -> Value {
        let answer = self.get("/api/v1/cluster").await;
        answer.expect_ok("the cluster's state").json()
    }

    /// The newest sequence this node knows.
    pub async fn sequence(&self) -> u64 {
        let state = self.cluster().await;
        state["sequence"]
            .as_u64()
            .expect("the cluster has a sequence")
    }

    /// The whole history as this node tells it.
    pub async fn history(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let path = format!("/api/v1/events?after={}&limit=500", events.len());
            let answer = self.get(&path).await.expect_ok("the history").json();
            let more = answer["events"].as_array().cloned().unwrap_or_default();
            if more.is_empty() {
                return events;
            }
            events.extend(more);
        }
    }

    pub async fn create_account(&self, login: &str, role: &str) -> Answer {
        let body = json!({"login": login, "role": role});
        self.post("/api/v1/accounts", &body).await
    }

    /// A new token of `login`, as (id, text).
    pub async fn create_token(&self, login: &str, body: &Value) -> (String, String) {
        let path = format!("/api/v1/accounts/{login}/tokens");
        let answer = self.post(&path, body).await;
        assert!(
            answer.status < 300,
            "a token for {login}: {}",
            answer.text()
        );
        let token = answer.json();
        let field = |name: &str| token[name].as_str().expect("id and token").to_owned();
        (field("id"), field("token"))
    }

    /// A publisher with this login and a token that may do what publishers do.
    pub async fn publisher(&self, login: &str) -> Client {
        let answer = self.create_account(login, "publisher").await;
        assert!(answer.status < 300, "account {login}: {}", answer.text());
        let scopes = [
            "publish-new",
            "publish-update",
            "yank",
            "change-owners",
            "read",
        ];
        let body = json!({"name": "tests", "scopes": scopes});
        let (_, token) = self.create_token(login, &body).await;
        self.with_token(&token)
    }

    pub fn token(&self) -> &str {
        &self.token
    }
}

/// Where cargo asks for a crate's file.
pub(crate) fn index_path(name: &str) -> String {
    let name = name.to_lowercase();
    let directory = match name.len() {
        1 => "1".to_owned(),
        2 => "2".to_owned(),
        3 => format!("3/{}", &name[..1]),
        _ => format!("{}/{}", &name[..2], &name[2..4]),
    };
    format!("/index/{directory}/{name}")
}

//! The OpenAPI document says what a node does: every route, every method, and the shape of every answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use cratekeeper_tests::{
    Answer, Client, Cluster, NO_TOKEN, Package, Setup, complaints, cratekeeper, figure, workspace,
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_as_the_document_says() {
    let mut cluster = Setup::nodes(2).start("api_document").await;
    let document = served(&cluster).await;
    assert_eq!(document, committed(&printed()));
    methods(&cluster, &document).await;

    let mut calls = Calls::new(&cluster, document);
    pages_and_accounts(&mut calls).await;
    crates(&mut calls).await;
    removals(&mut calls).await;
    backups(&mut calls).await;
    nodes(&mut calls, &mut cluster).await;
    strangers(&mut calls).await;
    calls.all_were_made();
}

/// What a node serves; the same for everybody, and cacheable.
async fn served(cluster: &Cluster) -> Value {
    let anybody = cluster.admin().with_token(NO_TOKEN);
    let answer = anybody.get("/api/openapi.json").await;
    let answer = answer.expect_ok("the document");
    let etag = answer.header("etag").expect("an etag").to_owned();
    let again = anybody
        .try_send(
            Method::GET,
            "/api/openapi.json",
            None,
            &[("if-none-match", &etag)],
        )
        .await;
    assert_eq!(again.expect("an answer").status, 304);
    answer.json()
}

/// What the command line prints without any node.
fn printed() -> Value {
    let output = std::process::Command::new(cratekeeper())
        .arg("openapi")
        .output()
        .expect("the binary starts");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// `docs/openapi.json`, which must be the same; with BLESS=1 it becomes so.
fn committed(printed: &Value) -> Value {
    let file: PathBuf = workspace().join("docs/openapi.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, format!("{printed:#}\n")).expect("docs/ can be written");
    }
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let committed: Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(
        committed == *printed,
        "docs/openapi.json is not what `cratekeeper openapi` prints; run this test with BLESS=1"
    );
    committed
}

/// A node tells in `allow` which methods it knows at an address: those of the document, and HEAD beside GET.
async fn methods(cluster: &Cluster, document: &Value) {
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths {
        let mut described: BTreeSet<String> = item
            .as_object()
            .expect("operations")
            .keys()
            .map(|method| method.to_uppercase())
            .collect();
        if described.contains("GET") {
            described.insert("HEAD".to_owned());
        }
        let address = path
            .replace("{path}", "se/rd/serde")
            .replace(['{', '}'], "");
        let answer = cluster.admin().send(Method::PATCH, &address, None).await;
        assert_eq!(answer.status, 405, "{path}: {}", answer.text());
        let allowed = answer.header("allow").unwrap_or_default();
        let allowed: BTreeSet<String> = allowed.split(',').map(|it| it.trim().to_owned()).collect();
        assert_eq!(allowed, described, "{path}");
    }
}

/// Calls operations and compares what comes back with the document.
struct Calls {
    document: Value,
    client: Client,
    /// Statuses seen, by operation.
    seen: BTreeMap<String, BTreeSet<u16>>,
}

impl Calls {
    fn new(cluster: &Cluster, document: Value) -> Calls {
        Calls {
            document,
            client: cluster.admin(),
            seen: BTreeMap::new(),
        }
    }

    /// As the administrator, with a body of JSON.
    async fn call(
        &mut self,
        operation: &str,
        path: &str,
        status: u16,
        body: Option<Value>,
    ) -> Answer {
        let body = body.map(|body| Bytes::from(body.to_string()));
        self.call_with(operation, path, status, body, &[]).await
    }

    /// As somebody with a token that nobody knows.
    async fn refused(&mut self, operation: &str, path: &str) {
        let stranger = self.client.with_token("ck_unknown");
        let admin = std::mem::replace(&mut self.client, stranger);
        self.call_with(operation, path, 401, None, &[]).await;
        self.client = admin;
    }

    async fn call_with(
        &mut self,
        operation: &str,
        path: &str,
        status: u16,
        body: Option<Bytes>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let (route, method, described) = self.operation(operation);
        assert!(fits(path, &route), "{path} is not {route}");
        let sent = self.client.try_send(method, path, body, headers).await;
        let answer = sent.unwrap_or_else(|error| panic!("{operation} {path}: {error:?}"));
        assert_eq!(
            answer.status,
            status,
            "{operation} {path}: {}",
            answer.text()
        );
        let responses = &described["responses"];
        let mut response = responses[status.to_string()].clone();
        if let Some(reference) = response["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#').to_owned();
            response = self.document.pointer(&pointer).expect("it exists").clone();
        }
        assert!(
            response.is_object(),
            "{operation}: {status} is not described"
        );
        self.compare(operation, &response, &answer);
        let seen = self.seen.entry(operation.to_owned()).or_default();
        seen.insert(status);
        answer
    }

    fn compare(&self, operation: &str, response: &Value, answer: &Answer) {
        for (name, _) in response["headers"].as_object().into_iter().flatten() {
            let there = answer.header(name).is_some();
            assert!(there, "{operation}: the header {name} is missing");
        }
        let contents = response["content"].as_object();
        let Some(contents) = contents.filter(|contents| !contents.is_empty()) else {
            assert!(answer.body.is_empty(), "{operation}: {}", answer.text());
            return;
        };
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let content = contents.get(kind);
        let content = content.unwrap_or_else(|| panic!("{operation}: `{kind}` is not described"));
        if kind == "application/json" {
            let schema = content.get("schema").expect("JSON has a schema");
            let found = complaints(&self.document, schema, &answer.json());
            assert!(
                found.is_empty(),
                "{operation}: {found:#?}\n{}",
                answer.text()
            );
        }
    }

    /// Its path, method and description.
    fn operation(&self, id: &str) -> (String, Method, Value) {
        for (path, item) in self.document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                if operation["operationId"] == id {
                    let method = method.to_uppercase().parse().expect("a method");
                    return (path.clone(), method, operation.clone());
                }
            }
        }
        panic!("there is no operation `{id}`");
    }

    /// Each with a success and, but for what cannot be refused, with a refusal.
    fn all_were_made(&self) {
        let mut operations = 0;
        for item in self.document["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("operations").values() {
                let id = operation["operationId"].as_str().expect("an id");
                let seen = self
                    .seen
                    .get(id)
                    .unwrap_or_else(|| panic!("{id} was not called"));
                assert!(seen.iter().any(|status| *status < 400), "{id}: {seen:?}");
                let open = operation["security"] == json!([{}]);
                assert!(
                    open || seen.iter().any(|status| *status >= 400),
                    "{id}: {seen:?}"
                );
                operations += 1;
            }
        }
        figure(
            "operations of the API compared with its document",
            operations,
        );
    }
}

fn fits(path: &str, route: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    if let Some(rest) = route.strip_suffix("{path}") {
        return path.starts_with(rest);
    }
    let (asked, described) = (path.split('/'), route.split('/'));
    asked.clone().count() == described.clone().count()
        && asked
            .zip(described)
            .all(|(asked, described)| described.starts_with('{') || asked == described)
}

async fn pages_and_accounts(calls: &mut Calls) {
    calls.call("get_start_page", "/", 200, None).await;
    calls
        .call("get_openapi", "/api/openapi.json", 200, None)
        .await;
    calls.call("get_me", "/me", 200, None).await;
    let page = [("accept", "text/html")];
    calls.call_with("get_me", "/me", 200, None, &page).await;
    calls.refused("get_me", "/me").await;

    let alice = json!({"login": "alice", "name": "Alice", "role": "publisher"});
    calls
        .call("create_account", "/api/v1/accounts", 200, Some(alice))
        .await;
    let other = json!({"login": "alice", "role": "reader"});
    calls
        .call("create_account", "/api/v1/accounts", 409, Some(other))
        .await;
    calls
        .call("create_account", "/api/v1/accounts", 400, Some(json!({})))
        .await;
    calls
        .call("list_accounts", "/api/v1/accounts?limit=1", 200, None)
        .await;
    calls
        .call("list_accounts", "/api/v1/accounts?limit=x", 400, None)
        .await;
    calls
        .call("get_account", "/api/v1/accounts/alice", 200, None)
        .await;
    calls
        .call("get_account", "/api/v1/accounts/bob", 404, None)
        .await;
    calls
        .call("get_account", "/api/v1/accounts/B%20B", 400, None)
        .await;
    calls
        .call("disable_account", "/api/v1/accounts/alice", 200, None)
        .await;
    calls
        .call("disable_account", "/api/v1/accounts/bob", 404, None)
        .await;
    calls
        .call("enable_account", "/api/v1/accounts/alice/enable", 200, None)
        .await;
    calls
        .call("enable_account", "/api/v1/accounts/bob/enable", 404, None)
        .await;

    let tokens = "/api/v1/accounts/alice/tokens";
    let new = json!({"name": "ci", "scopes": ["publish-update"], "crates": ["acme-*"], "expires_at": "2099-01-31T00:00:00Z"});
    let issued = calls
        .call("issue_token", tokens, 200, Some(new))
        .await
        .json();
    calls
        .call(
            "issue_token",
            tokens,
            400,
            Some(json!({"name": "ci", "scopes": ["x"]})),
        )
        .await;
    calls.call("list_tokens", tokens, 200, None).await;
    calls
        .call("list_tokens", "/api/v1/accounts/bob/tokens", 404, None)
        .await;
    let id = format!("/api/v1/tokens/{}", issued["id"].as_str().expect("an id"));
    calls.call("get_token", &id, 200, None).await;
    calls.call("get_token", "/api/v1/tokens/x", 400, None).await;
    calls.call("revoke_token", &id, 200, None).await;
    calls
        .call("revoke_token", "/api/v1/tokens/0123456789abcdef", 404, None)
        .await;
}

async fn crates(calls: &mut Calls) {
    let publish = "/api/v1/crates/new";
    for package in [
        Package::new("acme", "1.0.0"),
        Package::new("acme", "1.1.0"),
        Package::new("new", "1.0.0"),
    ] {
        let frame = Some(package.frame());
        calls
            .call_with("publish_version", publish, 200, frame, &[])
            .await;
    }
    let nonsense = Some(Bytes::from_static(b"\x02\0\0\0{}\0\0\0\0"));
    calls
        .call_with("publish_version", publish, 400, nonsense, &[])
        .await;
    calls.call("get_crate_called_new", publish, 200, None).await;
    calls
        .call("get_crate", "/api/v1/crates/acme", 200, None)
        .await;
    calls
        .call("get_crate", "/api/v1/crates/nothing", 404, None)
        .await;
    calls
        .call("get_version", "/api/v1/crates/acme/1.0.0", 200, None)
        .await;
    calls
        .call("get_version", "/api/v1/crates/acme/9.0.0", 404, None)
        .await;
    calls
        .call("search_crates", "/api/v1/crates?q=acme", 200, None)
        .await;

    index(calls).await;
    owners_and_yanks(calls).await;
}

async fn index(calls: &mut Calls) {
    calls
        .call("get_index_config", "/index/config.json", 200, None)
        .await;
    let file = calls
        .call("get_index_file", "/index/ac/me/acme", 200, None)
        .await;
    let held = [("if-none-match", file.header("etag").expect("an etag"))];
    calls
        .call_with("get_index_file", "/index/ac/me/acme", 304, None, &held)
        .await;
    calls
        .call("get_index_file", "/index/no/th/nothing", 404, None)
        .await;
    calls
        .call(
            "download_version",
            "/api/v1/crates/acme/1.0.0/download",
            200,
            None,
        )
        .await;
    calls
        .call(
            "download_version",
            "/api/v1/crates/acme/9.0.0/download",
            404,
            None,
        )
        .await;
}

async fn owners_and_yanks(calls: &mut Calls) {
    let owners = "/api/v1/crates/acme/owners";
    calls.call("list_owners", owners, 200, None).await;
    calls
        .call("list_owners", "/api/v1/crates/nothing/owners", 404, None)
        .await;
    let alice = || Some(json!({"users": ["alice"]}));
    calls.call("add_owners", owners, 200, alice()).await;
    calls
        .call(
            "add_owners",
            owners,
            404,
            Some(json!({"users": ["nobody"]})),
        )
        .await;
    calls.call("remove_owners", owners, 200, None).await;
    calls.call("remove_owners", owners, 200, alice()).await;
    calls.call("remove_owners", owners, 400, alice()).await;
    calls
        .call("yank_version", "/api/v1/crates/acme/1.1.0/yank", 200, None)
        .await;
    calls
        .call("yank_version", "/api/v1/crates/acme/9.0.0/yank", 404, None)
        .await;
    calls
        .call(
            "unyank_version",
            "/api/v1/crates/acme/1.1.0/unyank",
            200,
            None,
        )
        .await;
    calls
        .call(
            "unyank_version",
            "/api/v1/crates/acme/9.0.0/unyank",
            404,
            None,
        )
        .await;
}

async fn backups(calls: &mut Calls) {
    for (operation, path) in [
        ("get_backup_position", ""),
        ("read_backup_records", "/records"),
        ("check_backup_tarballs", "/tarballs"),
    ] {
        let path = format!("/api/v1/backup{path}");
        calls.call(operation, &path, 200, None).await;
        calls.refused(operation, &path).await;
    }
}

/// Removals, what the history tells of everything before, and what a private registry refuses to strangers.
async fn removals(calls: &mut Calls) {
    let why = || Some(json!({"reason": "a test"}));
    calls
        .call("remove_version", "/api/v1/crates/new/1.0.0", 200, why())
        .await;
    calls
        .call("remove_version", "/api/v1/crates/new/9.0.0", 404, why())
        .await;
    calls
        .call("remove_version", "/api/v1/crates/acme/1.0.0", 400, None)
        .await;
    calls
        .call("list_events", "/api/v1/events?limit=1000", 200, None)
        .await;
    calls
        .call("list_events", "/api/v1/events?after=x", 400, None)
        .await;
    for (operation, path) in [
        ("list_events", "/api/v1/events"),
        ("publish_version", "/api/v1/crates/new"),
    ] {
        calls.refused(operation, path).await;
    }
}

/// Reading is refused where the operator wants it so.
async fn strangers(calls: &mut Calls) {
    let private = Setup::nodes(1)
        .set("registry.read_access", "authenticated")
        .start("api_document_private")
        .await;
    calls.client = private.admin();
    for (operation, path) in [
        ("search_crates", "/api/v1/crates"),
        ("get_index_config", "/index/config.json"),
        ("get_crate_called_new", "/api/v1/crates/new"),
    ] {
        calls.refused(operation, path).await;
    }
    let config = calls.call("get_index_config", "/index/config.json", 200, None);
    assert_eq!(config.await.json()["auth-required"], true);
}

async fn nodes(calls: &mut Calls, cluster: &mut Cluster) {
    calls
        .call("get_cluster", "/api/v1/cluster", 200, None)
        .await;
    calls.refused("get_cluster", "/api/v1/cluster").await;
    let snapshot = "/api/v1/cluster/snapshot";
    calls.call("take_snapshot", snapshot, 200, None).await;
    calls.refused("take_snapshot", snapshot).await;
    calls
        .call("transfer_leader", "/api/v1/cluster/leader", 200, None)
        .await;
    let nobody = json!({"node": 99});
    calls
        .call(
            "transfer_leader",
            "/api/v1/cluster/leader",
            409,
            Some(nobody),
        )
        .await;

    let address = {
        let node = cluster.add_node();
        node.set("cluster.peers", toml::Value::Array(Vec::new()));
        node.start();
        node.wait_alive().await;
        node.peer.to_string()
    };
    let invitation = Some(json!({"address": address}));
    let invited = calls
        .call("invite_node", "/api/v1/cluster/members", 200, invitation)
        .await;
    calls
        .call(
            "invite_node",
            "/api/v1/cluster/members",
            400,
            Some(json!({})),
        )
        .await;
    cluster.wait_voters(3).await;
    let member = format!("/api/v1/cluster/members/{}", invited.json()["node"]);
    calls.call("remove_node", &member, 200, None).await;
    calls
        .call("remove_node", "/api/v1/cluster/members/x", 400, None)
        .await;
}

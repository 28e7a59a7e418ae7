//! Broken frames, lying JSON and tokens that do not count: each gets its status and a sentence, and nothing is stored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cratekeeper_tests::{
    Answer, Client, Cluster, NO_TOKEN, Package, Setup, figure, frame, frame_claiming, wait_until,
};
use reqwest::Method;
use serde_json::{Value, json};

/// The largest tarball that the nodes of these tests take.
pub(crate) const TARBALL_BYTES_MAX: usize = 4 << 20;
/// What a node of these tests may hold at its worst, whatever is sent to it.
const MEMORY_BYTES_MAX: u64 = 700 << 20;

/// A node under attack: it keeps what must not change, and collects what went wrong.
pub(crate) struct Attack {
    pub(crate) cluster: Cluster,
    /// An honest publisher, `alice`.
    pub(crate) alice: Client,
    sequence: u64,
    tarballs: BTreeSet<PathBuf>,
    wrong: Vec<String>,
    tried: usize,
}

impl Attack {
    pub(crate) async fn begin(test: &str) -> Attack {
        let bytes_max = i64::try_from(TARBALL_BYTES_MAX).expect("a small number");
        let setup = Setup::nodes(1)
            .set("http.tarball_bytes_max", bytes_max)
            .set(
                "registry.allowed_registries",
                toml::Value::Array(Vec::new()),
            );
        let cluster = setup.start(test).await;
        let alice = cluster.admin().publisher("alice").await;
        let mut attack = Attack {
            cluster,
            alice,
            sequence: 0,
            tarballs: BTreeSet::new(),
            wrong: Vec::new(),
            tried: 0,
        };
        attack.remember().await;
        attack
    }

    /// From here on nothing may change any more.
    pub(crate) async fn remember(&mut self) {
        self.sequence = self.cluster.admin().sequence().await;
        self.tarballs = self.stored_tarballs();
    }

    fn stored_tarballs(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        files_below(&self.cluster.scratch.path().join("tarballs"), &mut files);
        files
    }

    /// `answer` must have this status and a sentence that contains each of `words`.
    pub(crate) fn judge(&mut self, what: &str, answer: &Answer, status: u16, words: &[&str]) {
        self.tried += 1;
        let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let detail = body
            .as_ref()
            .and_then(|body| body["errors"][0]["detail"].as_str());
        let told = detail.is_some_and(|detail| words.iter().all(|word| detail.contains(word)));
        if answer.status != status || !told {
            let text: String = answer.text().chars().take(400).collect();
            let got = answer.status;
            self.wrong.push(format!(
                "{what}: wanted {status} with {words:?}, got {got} {text}"
            ));
        }
    }

    pub(crate) async fn refused(&mut self, what: &str, frame: Bytes, status: u16, words: &[&str]) {
        let answer = self.alice.clone().try_publish(frame).await;
        match answer {
            Ok(answer) => self.judge(what, &answer, status, words),
            Err(error) => self.wrong.push(format!("{what}: no answer: {error:?}")),
        }
    }

    /// Nothing was stored, the node runs, honest publishing works, memory stayed bounded.
    pub(crate) async fn end(mut self, what: &str) {
        let wrong = std::mem::take(&mut self.wrong);
        assert!(
            wrong.is_empty(),
            "{} of {}:\n{}",
            wrong.len(),
            self.tried,
            wrong.join("\n")
        );
        assert_eq!(
            self.cluster.admin().sequence().await,
            self.sequence,
            "an event was stored"
        );
        assert_eq!(
            self.stored_tarballs(),
            self.tarballs,
            "a tarball was stored"
        );
        self.cluster.assert_all_run();
        let honest = Package::new("honest-afterwards", "1.0.0");
        self.alice
            .publish(&honest)
            .await
            .expect_ok("an honest publish");
        let peak = self.cluster.nodes[0].process().peak_memory();
        figure(&format!("{what} refused"), self.tried);
        figure(
            &format!("peak memory of the node under {what}, MiB"),
            peak >> 20,
        );
        assert!(peak < MEMORY_BYTES_MAX, "{} MiB", peak >> 20);
    }
}

fn files_below(directory: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, files);
        } else {
            files.insert(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_frame_is_refused() {
    let mut attack = Attack::begin("broken_frames").await;
    let package = Package::new("framed", "1.0.0");
    let json = package.metadata().to_string().into_bytes();
    let tarball = package.tarball();
    let (json_bytes, bytes) = (json.len() as u32, tarball.len() as u32);
    let whole = package.frame();
    let longer = Bytes::from([whole.as_ref(), b"and more"].concat());
    let cases = [
        ("an empty body", Bytes::new()),
        ("half a length", Bytes::from_static(&[1, 0])),
        ("a length and nothing", Bytes::from_static(&[9, 0, 0, 0])),
        ("JSON cut short", whole.slice(..json.len() / 2)),
        ("no tarball length", whole.slice(..4 + json.len())),
        ("half a tarball length", whole.slice(..4 + json.len() + 2)),
        ("a tarball cut short", whole.slice(..whole.len() - 1)),
        (
            "a JSON length beyond the body",
            frame_claiming(json_bytes + 5000, &json, bytes, &tarball),
        ),
        (
            "a JSON length too short",
            frame_claiming(json_bytes - 1, &json, bytes, &tarball),
        ),
        (
            "a tarball length too long",
            frame_claiming(json_bytes, &json, bytes + 1, &tarball),
        ),
        (
            "a tarball length too short",
            frame_claiming(json_bytes, &json, bytes - 1, &tarball),
        ),
        ("no tarball at all", frame(&json, b"")),
        ("bytes after the tarball", longer),
        ("no JSON at all", frame(b"", &tarball)),
        ("JSON that is none", frame(b"{\"name\": ", &tarball)),
        ("JSON that is a list", frame(b"[]", &tarball)),
        (
            "JSON that is not UTF-8",
            frame(b"{\"name\": \"\xff\"}", &tarball),
        ),
        (
            "nesting without end",
            frame("[".repeat(100_000).as_bytes(), &tarball),
        ),
    ];
    for (what, body) in cases {
        attack.refused(what, body, 400, &[]).await;
    }
    attack.end("broken frames").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_its_limit_is_refused() {
    let mut attack = Attack::begin("oversized").await;
    let package = Package::new("big", "1.0.0");
    let json = package.metadata().to_string().into_bytes();
    let json_bytes = json.len() as u32;
    let big = vec![7; TARBALL_BYTES_MAX + 1];
    attack
        .refused("a tarball beyond the limit", frame(&json, &big), 413, &[])
        .await;
    let much = vec![b' '; 8 << 20];
    attack
        .refused(
            "JSON beyond the limit",
            frame(&much, &package.tarball()),
            413,
            &[],
        )
        .await;
    let claims = [
        (
            "a JSON length of 4 GiB",
            frame_claiming(u32::MAX, &json, 10, b"0123456789"),
        ),
        (
            "a tarball length of 4 GiB",
            frame_claiming(json_bytes, &json, u32::MAX, b"0123456789"),
        ),
    ];
    for (what, body) in claims {
        attack.refused(what, body, 413, &[]).await;
    }
    // Many at once: what one upload may hold, times the uploads taken in, is all that may be held.
    let attackers = (0..64).map(|_| {
        let (client, body) = (attack.alice.clone(), frame(&json, &big));
        tokio::spawn(async move { client.try_publish(body).await })
    });
    for (number, attacker) in futures::future::join_all(attackers)
        .await
        .into_iter()
        .enumerate()
    {
        let answer = attacker
            .expect("a client does not panic")
            .expect("an answer");
        attack.judge(
            &format!("oversized upload {number} of many"),
            &answer,
            413,
            &[],
        );
    }
    attack.end("oversized bodies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_contradicts_the_manifest_is_refused() {
    let mut attack = Attack::begin("contradictions").await;
    let package = Package::new("honest", "1.0.0").tables(
        "[dependencies.serde]\nversion = \"1\"\noptional = true\n[features]\nfast = [\"dep:serde\"]\n",
    );
    let tarball = package.tarball();
    let cases: [(&str, &str, Value); 12] = [
        ("another name", "/name", json!("dishonest")),
        ("another version", "/vers", json!("1.0.1")),
        ("another requirement", "/deps/0/version_req", json!("^2")),
        ("another dependency", "/deps/0/name", json!("serde-evil")),
        ("another kind", "/deps/0/kind", json!("build")),
        ("another target", "/deps/0/target", json!("cfg(unix)")),
        ("not optional", "/deps/0/optional", json!(false)),
        (
            "other features of a dependency",
            "/deps/0/features",
            json!(["derive"]),
        ),
        (
            "no default features",
            "/deps/0/default_features",
            json!(false),
        ),
        ("no dependencies", "/deps", json!([])),
        ("another feature", "/features/fast", json!([])),
        ("another native library", "/links", json!("z")),
    ];
    for (what, place, value) in cases {
        let mut json = package.metadata();
        *json.pointer_mut(place).expect("cargo sends this field") = value;
        attack
            .refused(
                what,
                frame(json.to_string().as_bytes(), &tarball),
                400,
                &["Cargo.toml"],
            )
            .await;
    }
    attack.end("contradictions between JSON and manifest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_versions_that_break_the_rules_are_refused() {
    let mut attack = Attack::begin("names_and_versions").await;
    let long = "a".repeat(65);
    let names = [
        "", "1st", "-a", "a b", "a/b", "..", "é", "a.b", "nul", "CON", "foo::bar", &long,
    ];
    for name in names {
        let body = named(name, "1.0.0");
        attack
            .refused(&format!("the name {name:?}"), body, 400, &[])
            .await;
    }
    let long = format!("1.0.0-{}", "a".repeat(200));
    for version in [
        "", "1", "1.0", "01.0.0", "1.0.0-", "1.0.0+", "1.0.0-ä", "v1.0.0", " 1.0.0", &long,
    ] {
        let body = named("versioned", version);
        attack
            .refused(&format!("the version {version:?}"), body, 400, &[])
            .await;
    }
    attack.end("bad names and versions").await;
}

/// A frame whose parts agree on any name and version, however wrong.
fn named(name: &str, version: &str) -> Bytes {
    let package = Package::new(name, version);
    let mut json = Package::new("placeholder", "1.0.0").metadata();
    json["name"] = name.into();
    json["vers"] = version.into();
    let tarball = if package.path("src/lib.rs").len() < 100 {
        package.tarball()
    } else {
        Package::new("placeholder", "1.0.0").tarball()
    };
    frame(json.to_string().as_bytes(), &tarball)
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_future_cargo_are_ignored() {
    let cluster = Setup::nodes(1).start("unknown_fields").await;
    let package = Package::new("from-the-future", "1.0.0");
    let mut json = package.metadata();
    json["provenance"] = json!({"signed": true});
    let body = frame(json.to_string().as_bytes(), &package.tarball());
    cluster
        .admin()
        .publish_frame(body)
        .await
        .expect_ok("a publish with an unknown field");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_version_never_changes() {
    let mut attack = Attack::begin("published_stays").await;
    let package = Package::new("settled", "1.0.0");
    attack
        .alice
        .publish(&package)
        .await
        .expect_ok("the first publish");
    attack
        .alice
        .publish(&package)
        .await
        .expect_ok("the same bytes again");
    attack.remember().await;
    let other = package.clone().source("//! Other bytes.\n");
    let metadata = Package::new("settled", "1.0.0+build.5");
    let spelled = Package::new("Settled", "1.1.0");
    let cases = [
        ("other bytes", other, ["settled", "1.0.0"]),
        ("only other build metadata", metadata, ["settled", "1.0.0"]),
        (
            "another spelling of the name",
            spelled,
            ["settled", "Settled"],
        ),
    ];
    for (what, package, words) in cases {
        attack.refused(what, package.frame(), 409, &words).await;
    }
    attack.end("changes of published versions").await;
}

#[expect(clippy::too_many_lines, reason = "one table of mistakes and answers")]
#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_only_while_and_where_it_is_valid() {
    let mut attack = Attack::begin("tokens").await;
    let admin = attack.cluster.admin();
    let crate_of_alice = Package::new("alices", "1.0.0");
    attack
        .alice
        .publish(&crate_of_alice)
        .await
        .expect_ok("alice's crate");
    let mallory = admin.publisher("mallory").await;
    let all = json!([
        "publish-new",
        "publish-update",
        "yank",
        "change-owners",
        "read"
    ]);

    let (id, revoked) = admin
        .create_token("alice", &json!({"name": "r", "scopes": all}))
        .await;
    let answer = admin.delete(&format!("/api/v1/tokens/{id}")).await;
    assert!(answer.status < 300, "revoking: {}", answer.text());
    let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(2);
    let soon = soon
        .format(&time::format_description::well_known::Rfc3339)
        .expect("a time of today");
    let body = json!({"name": "e", "scopes": all, "expires_at": soon});
    let (_, expired) = admin.create_token("alice", &body).await;
    let expiring = admin.with_token(&expired);
    wait_until("the token expires", Duration::from_secs(20), async || {
        expiring
            .delete("/api/v1/crates/alices/9.9.9/yank")
            .await
            .status
            == 401
    })
    .await;
    let (_, narrow) = admin
        .create_token("alice", &json!({"name": "n", "scopes": ["yank"]}))
        .await;
    let body = json!({"name": "p", "scopes": all, "crates": ["others-*"]});
    let (_, elsewhere) = admin.create_token("alice", &body).await;
    attack.remember().await;

    let mut mistyped = revoked.clone();
    mistyped.pop();
    let newer = Package::new("alices", "1.1.0").frame();
    let cases = [
        ("no token", NO_TOKEN, 401, ""),
        ("noise", "secret", 401, "token"),
        ("a mistyped token", mistyped.as_str(), 401, "token"),
        ("a revoked token", revoked.as_str(), 401, "revoked"),
        ("an expired token", expired.as_str(), 401, "expired"),
        (
            "a token with another scope",
            narrow.as_str(),
            403,
            "publish-update",
        ),
        (
            "a token for other crates",
            elsewhere.as_str(),
            403,
            "alices",
        ),
    ];
    for (what, token, status, word) in cases {
        let client = admin.with_token(token);
        let answer = client.publish_frame(newer.clone()).await;
        attack.judge(&format!("{what}: publish"), &answer, status, &[word]);
        let schemes = ["Bearer ", "bearer "].map(|scheme| format!("{scheme}{token}"));
        for authorization in schemes.iter().filter(|_| !token.is_empty()) {
            let answer = admin
                .with_token(authorization)
                .publish_frame(newer.clone())
                .await;
            attack.judge(
                &format!("{what}: publish as {authorization:.7}"),
                &answer,
                status,
                &[word],
            );
        }
    }
    foreign_calls(&mut attack, &mallory).await;
    let answer = mallory.publish_frame(newer).await;
    attack.judge("mallory would publish", &answer, 403, &["alices"]);
    attack.end("calls with tokens that do not count").await;
}

/// What somebody else's crate, and the administration, answer to a publisher.
async fn foreign_calls(attack: &mut Attack, mallory: &Client) {
    let owners = "/api/v1/crates/alices/owners";
    let body = || Some(Bytes::from_static(b"{\"users\":[\"mallory\"]}"));
    let calls = [
        (
            "yank",
            Method::DELETE,
            "/api/v1/crates/alices/1.0.0/yank",
            None,
        ),
        (
            "unyank",
            Method::PUT,
            "/api/v1/crates/alices/1.0.0/unyank",
            None,
        ),
        ("add herself", Method::PUT, owners, body()),
        (
            "remove a version",
            Method::DELETE,
            "/api/v1/crates/alices/1.0.0",
            body(),
        ),
        (
            "read the history",
            Method::GET,
            "/api/v1/events?after=0&limit=10",
            None,
        ),
        ("see the cluster", Method::GET, "/api/v1/cluster", None),
    ];
    for (what, method, path, body) in calls {
        let answer = mallory.send(method, path, body).await;
        attack.judge(&format!("mallory would {what}"), &answer, 403, &[]);
    }
    let body = json!({"login": "mallory2", "role": "admin"});
    let answer = mallory.post("/api/v1/accounts", &body).await;
    attack.judge("mallory would make an administrator", &answer, 403, &[]);
    let body = json!({"name": "t", "scopes": ["admin"]});
    let answer = mallory.post("/api/v1/accounts/alice/tokens", &body).await;
    attack.judge("mallory would make alice's token", &answer, 403, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_json() {
    let mut attack = Attack::begin("every_error_is_json").await;
    let cases = [
        (Method::GET, "/no/such/path", 404),
        (Method::GET, "/api/v1/no-such-call", 404),
        (Method::POST, "/api/v1/crates/new", 405),
        (Method::DELETE, "/index/config.json", 405),
        (Method::GET, "/index/al/ic/alices", 404),
        (Method::GET, "/index/AL/IC/ALICES", 404),
        (Method::GET, "/index/..%2f..%2fetc/passwd", 404),
        (Method::GET, "/index/%00/%ff", 404),
        (Method::GET, "/api/v1/crates/none/1.0.0/download", 404),
        (Method::GET, "/api/v1/crates/none/%2e%2e/download", 404),
        (Method::GET, "/api/v1/crates/none/owners", 404),
    ];
    for (method, path, status) in cases {
        let what = format!("{method} {path}");
        let answer = attack.alice.clone().send(method, path, None).await;
        attack.judge(&what, &answer, status, &[]);
    }
    attack.end("calls of nothing").await;
}

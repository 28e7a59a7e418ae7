//! Limits for each client: none unless asked for, and then readable in what cargo prints.

use cratekeeper_tests::{Client, Cluster, NO_TOKEN, Package, Setup};
use reqwest::Method;

const CRATE: &str = "/index/ac/me/acme";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_limited_unless_the_operator_wants_it() {
    let cluster = Setup::nodes(1).start("no_rate_limit").await;
    let admin = cluster.admin();
    admin
        .publish(&Package::new("acme", "1.0.0"))
        .await
        .expect_ok("a publish");
    // More than any burst that a limit has by default.
    for _ in 0..1200 {
        admin.get(CRATE).await.expect_ok("an index file");
    }
    assert!(
        !metrics(&cluster)
            .await
            .contains("cratekeeper_rate_limited_requests_total")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_its_limit_is_told_when_to_come_back() {
    let cluster = Setup::nodes(1)
        .set("http.rate_limit_per_second", 1)
        .set("http.rate_limit_burst", 60)
        .start("rate_limit")
        .await;
    let first = cluster.admin().publisher("first").await;
    let second = cluster.admin().publisher("second").await;

    let refused = exhaust(&first).await;
    assert_eq!(refused.header("retry-after"), Some("10"));
    let detail = refused.detail();
    assert!(
        detail.contains("this token") && detail.contains("10 seconds"),
        "{detail}"
    );
    second
        .get("/index/config.json")
        .await
        .expect_ok("another token's request");

    uploading(&cluster, &first).await;

    let stranger = cluster.admin().with_token(NO_TOKEN);
    let refused = exhaust(&stranger).await;
    assert!(
        refused.detail().contains("127.0.0.1"),
        "{}",
        refused.detail()
    );
    // Made-up tokens and made-up addresses have no bucket of their own.
    let made_up = cluster.admin().with_token("ck_made_up");
    assert_eq!(made_up.get("/index/config.json").await.status, 429);
    let claims = [
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
    ];
    let spoofed = stranger
        .try_send(Method::GET, "/index/config.json", None, &claims)
        .await;
    assert_eq!(spoofed.expect("an answer").status, 429);

    assert!(cluster.nodes[0].ready().await, "probes are never limited");
    let metrics = metrics(&cluster).await;
    assert!(
        metrics.contains("cratekeeper_rate_limited_requests_total{client=\"token\"}"),
        "{metrics}"
    );
    assert!(
        metrics.contains("cratekeeper_rate_limited_requests_total{client=\"address\"}"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_about_its_clients() {
    let cluster = Setup::nodes(1)
        .set("http.rate_limit_per_second", 1)
        .set("http.rate_limit_burst", 20)
        .set(
            "http.trusted_proxies",
            toml::Value::Array(vec!["127.0.0.0/8".into()]),
        )
        .start("trusted_proxy")
        .await;
    let anybody = cluster.admin().with_token(NO_TOKEN);
    let asks = async |address: &str| {
        let headers = [("x-forwarded-for", address)];
        let sent = anybody
            .try_send(Method::GET, "/index/config.json", None, &headers)
            .await;
        sent.expect("an answer").status
    };
    let mut last = 0;
    for _ in 0..60 {
        last = asks("192.0.2.1").await;
    }
    assert_eq!(last, 429);
    assert_eq!(asks("192.0.2.2").await, 200);
    assert_eq!(
        asks("192.0.2.9, 192.0.2.1").await,
        429,
        "what the client claims does not count"
    );
    assert!(cluster.nodes[0].said().contains("client=192.0.2.2"));
}

/// An upload that is over the limit is read to its end, so that cargo comes to read the refusal.
async fn uploading(cluster: &Cluster, publisher: &Client) {
    let cargo = cluster.cargo("uploading");
    cargo.keep_token(publisher.token());
    // While cargo packs, the bucket may fill by a request, so one of several versions may get through.
    for patch in 0..5 {
        let place = cargo.library("large", &format!("1.0.{patch}"), "");
        std::fs::write(place.join("src/noise.bin"), noise(3 << 20)).expect("it is writable");
        let busy = {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                loop {
                    publisher.get("/index/config.json").await;
                }
            })
        };
        let publish = ["publish", "--no-verify", "--registry", "mine"];
        let outcome = cargo.run(&place, &publish).await;
        busy.abort();
        if !outcome.success {
            outcome.says(&[
                "429 Too Many Requests",
                "this token",
                "try again in 10 seconds",
            ]);
            return;
        }
    }
    panic!("five uploads were not over the limit");
}

/// A build that is over the limit waits as it is told, and succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn cargo_waits_for_its_turn() {
    let cluster = Setup::nodes(1)
        .set("http.rate_limit_per_second", 5)
        .set("http.rate_limit_burst", 40)
        .start("patient_cargo")
        .await;
    let publisher = cluster.admin().publisher("diligent").await;
    let mut dependencies = String::new();
    for number in 0..30 {
        let name = format!("acme-{number}");
        let answer = publisher.publish(&Package::new(&name, "1.0.0")).await;
        answer.expect_ok("a publish");
        dependencies.push_str(&format!(
            "{name} = {{ version = \"1\", registry = \"mine\" }}\n"
        ));
    }
    let cargo = cluster.cargo("patient");
    let place = cargo.library("patient", "1.0.0", &dependencies);
    cargo.ok(&place, &["fetch"]).await;
    assert!(
        metrics(&cluster)
            .await
            .contains("cratekeeper_rate_limited_requests_total")
    );
}

/// Asks until it is refused; gives the refusal.
async fn exhaust(client: &Client) -> cratekeeper_tests::Answer {
    for _ in 0..200 {
        let answer = client.get("/index/config.json").await;
        if answer.status == 429 {
            return answer;
        }
        answer.expect_ok("below the limit");
    }
    panic!("two hundred requests were not over the limit");
}

async fn metrics(cluster: &Cluster) -> String {
    let ops = Client::new(&format!("http://{}", cluster.nodes[0].ops), NO_TOKEN);
    ops.get("/metrics").await.text()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

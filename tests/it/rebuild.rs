//! Everything a node shows follows from its events: folding them all again gives the same bytes.

use cratekeeper_tests::{Client, Cluster, Package, Setup, cratekeeper, figure};
use serde_json::json;

const STEPS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn folding_all_events_gives_the_live_projections() {
    let mut cluster = Setup::nodes(1).start("rebuild").await;
    let seed = std::process::id().into();
    random_workload(&cluster, seed).await;
    let (sequence, chain) = cluster.wait_converged().await;
    cluster.nodes[0].stop().await;

    let output = tokio::process::Command::new(cratekeeper())
        .args(["rebuild", "--verify", "--data-dir"])
        .arg(&cluster.nodes[0].directory)
        .output()
        .await
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {said}{errors}");
    assert!(
        said.contains(&sequence.to_string()),
        "it counts the events: {said}"
    );
    figure("events folded again and compared", sequence);

    // It starts again where it was.
    cluster.nodes[0].start_and_wait().await;
    assert_eq!(cluster.wait_converged().await, (sequence, chain));
}

/// Publishes, yanks, owners, accounts, tokens and removals in an order drawn from `seed`; refusals are part of it.
async fn random_workload(cluster: &Cluster, seed: u64) {
    let admin = cluster.admin();
    let mut random = Random(seed | 1);
    let mut callers = vec![admin.clone()];
    for login in ["ann", "ben"] {
        callers.push(admin.publisher(login).await);
    }
    for _ in 0..STEPS {
        let caller = &callers[random.below(3)];
        let name = format!("crate-{}", random.below(12));
        let version = format!("1.{}.0", random.below(30));
        step(&admin, caller, &mut random, &name, &version).await;
    }
}

async fn step(admin: &Client, caller: &Client, random: &mut Random, name: &str, version: &str) {
    let path = format!("/api/v1/crates/{name}/{version}");
    let owners = format!("/api/v1/crates/{name}/owners");
    let body = |login: &str| Some(json!({"users": [login]}).to_string().into());
    let answer = match random.below(16) {
        0..=7 => {
            let feature = format!("[features]\nfeature-{} = []", random.below(5));
            caller
                .publish(&Package::new(name, version).tables(&feature))
                .await
        }
        8 | 9 => caller.delete(&format!("{path}/yank")).await,
        10 => {
            caller
                .send(reqwest::Method::PUT, &format!("{path}/unyank"), None)
                .await
        }
        11 => {
            caller
                .send(reqwest::Method::PUT, &owners, body("ben"))
                .await
        }
        12 => {
            caller
                .send(reqwest::Method::DELETE, &owners, body("ben"))
                .await
        }
        13 => {
            let reason = Some(json!({"reason": "a random one"}).to_string().into());
            admin.send(reqwest::Method::DELETE, &path, reason).await
        }
        14 => {
            admin
                .create_account(&format!("account-{}", random.below(20)), "reader")
                .await
        }
        _ => {
            let body = json!({"name": "one more", "scopes": ["read"]});
            let (id, _) = admin.create_token("ann", &body).await;
            admin.delete(&format!("/api/v1/tokens/{id}")).await
        }
    };
    assert!(
        answer.status < 500,
        "{name} {version}: {} {}",
        answer.status,
        answer.text()
    );
}

/// Enough disorder for a test, and repeatable.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound).expect("a small number")
    }
}

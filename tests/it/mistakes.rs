//! What cargo shows its user after each kind of mistake: one sentence that names the value, the rule and the way out.

use cratekeeper_tests::{Cargo, Cluster, Outcome, Setup};
use serde_json::json;

const REGISTRY: [&str; 2] = ["--registry", "mine"];

#[tokio::test(flavor = "multi_thread")]
async fn cargo_explains_each_mistake_on_one_node() {
    let cluster = Setup::nodes(1).start("mistakes").await;
    let alice = user(
        &cluster,
        "alice",
        &["publish-new", "publish-update", "yank", "change-owners"],
    )
    .await;
    let place = alice.library("shared-name", "1.0.0", "");
    publish(&alice, &place).await;

    versions_and_names(&cluster, &alice).await;
    rights(&cluster).await;
    owners(&alice).await;
}

async fn user(cluster: &Cluster, login: &str, scopes: &[&str]) -> Cargo {
    let admin = cluster.admin();
    admin.create_account(login, "publisher").await;
    let body = json!({"name": "laptop", "scopes": scopes});
    let (_, token) = admin.create_token(login, &body).await;
    Cargo::new(&cluster.scratch, login, &cluster.index(), &token)
}

async fn publish(cargo: &Cargo, place: &std::path::Path) {
    cargo
        .ok(
            place,
            &[&["publish", "--no-verify"][..], &REGISTRY].concat(),
        )
        .await;
}

async fn refused(cargo: &Cargo, place: &std::path::Path, arguments: &[&str]) -> Outcome {
    cargo.refused(place, &[arguments, &REGISTRY].concat()).await
}

async fn versions_and_names(cluster: &Cluster, alice: &Cargo) {
    let publish = ["publish", "--no-verify"];
    let again = alice.place("shared-name");
    refused(alice, &again, &publish)
        .await
        .says(&["shared-name@1.0.0 already exists"]);

    let alike = alice.library("shared_name", "1.1.0", "");
    refused(alice, &alike, &publish)
        .await
        .says(&["shared_name", "shared-name"]);

    let reserved = alice.library("nul", "1.0.0", "");
    refused(alice, &reserved, &publish).await.says(&["nul"]);

    let nowhere = [&["yank", "shared-name@9.9.9"][..], &REGISTRY].concat();
    alice
        .refused(&again, &nowhere)
        .await
        .says(&["9.9.9", "shared-name"]);
    let nowhere = [&["info", "no-such-crate"][..], &REGISTRY].concat();
    alice
        .refused(&again, &nowhere)
        .await
        .says(&["could not find `no-such-crate`"]);
    assert!(cluster.admin().index_lines("nul").await.is_empty());
}

async fn rights(cluster: &Cluster) {
    let publish = ["publish", "--no-verify"];
    let mallory = user(
        cluster,
        "mallory",
        &["publish-new", "publish-update", "yank"],
    )
    .await;
    let foreign = mallory.library("shared-name", "1.0.1", "");
    refused(&mallory, &foreign, &publish)
        .await
        .says(&["403", "mallory", "shared-name"]);
    let yank = ["yank", "shared-name@1.0.0"];
    refused(&mallory, &foreign, &yank)
        .await
        .says(&["403", "mallory", "shared-name"]);

    let robot = user(cluster, "robot", &["yank"]).await;
    let scoped = robot.library("robots-own", "1.0.0", "");
    refused(&robot, &scoped, &publish)
        .await
        .says(&["403", "publish-new"]);

    let stale = Cargo::new(
        &cluster.scratch,
        "stale",
        &cluster.index(),
        "ck_not_a_token",
    );
    let own = stale.library("stales-own", "1.0.0", "");
    refused(&stale, &own, &publish).await.says(&["token"]);
    let nobody = Cargo::new(&cluster.scratch, "nobody", &cluster.index(), "");
    let own = nobody.library("nobodys-own", "1.0.0", "");
    refused(&nobody, &own, &publish)
        .await
        .says(&["no token found"]);
}

async fn owners(alice: &Cargo) {
    let place = alice.place("shared-name");
    let unknown = ["owner", "--add", "nobody-knows", "shared-name"];
    refused(alice, &place, &unknown)
        .await
        .says(&["nobody-knows"]);
    let last = ["owner", "--remove", "alice", "shared-name"];
    refused(alice, &place, &last)
        .await
        .says(&["alice", "owner"]);
    let not_one = ["owner", "--remove", "mallory", "shared-name"];
    refused(alice, &place, &not_one).await.says(&["mallory"]);
}

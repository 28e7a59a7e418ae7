//! Everything an ordinary user does with cargo, on one node and on three behind a load balancer, read publicly and with a token.

use std::fs;
use std::path::Path;

use cratekeeper_tests::{Cargo, Cluster, NO_TOKEN, Setup};

const REGISTRY: [&str; 2] = ["--registry", "mine"];

#[tokio::test(flavor = "multi_thread")]
async fn cargo_works_on_one_node_read_publicly() {
    let cluster = Setup::nodes(1).start("cargo_on_one_node_public").await;
    a_day_with_cargo(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_works_on_one_node_read_with_a_token() {
    let setup = Setup::nodes(1).set("registry.read_access", "authenticated");
    let cluster = setup.start("cargo_on_one_node_token").await;
    a_day_with_cargo(&cluster).await;
    strangers_are_turned_away(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_works_on_three_balanced_nodes_read_publicly() {
    let setup = Setup::nodes(3).balanced();
    let cluster = setup.start("cargo_on_three_nodes_public").await;
    a_day_with_cargo(&cluster).await;
    cluster.one_history().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cargo_works_on_three_balanced_nodes_read_with_a_token() {
    let setup = Setup::nodes(3)
        .balanced()
        .set("registry.read_access", "authenticated");
    let cluster = setup.start("cargo_on_three_nodes_token").await;
    a_day_with_cargo(&cluster).await;
    strangers_are_turned_away(&cluster).await;
    cluster.one_history().await;
}

async fn a_day_with_cargo(cluster: &Cluster) {
    let alice = log_in(cluster, "alice").await;
    new_and_publish(&alice).await;
    publish_a_workspace(&alice).await;
    let app = add_and_build(&alice).await;
    update(&alice, &app).await;
    yank_and_unyank(&alice, &app).await;
    owners(cluster, &alice).await;
    search_and_info(&alice, &app).await;
}

/// `cargo login` with a token of a new account.
async fn log_in(cluster: &Cluster, login: &str) -> Cargo {
    let client = cluster.admin().publisher(login).await;
    let cargo = Cargo::new(&cluster.scratch, login, &cluster.index(), NO_TOKEN);
    let arguments = [&["login"][..], &REGISTRY].concat();
    let outcome = cargo
        .run_with_input(&cargo.home(), &arguments, client.token())
        .await;
    assert!(outcome.success, "cargo login: {}", outcome.stderr);
    let kept = fs::read_to_string(cargo.home().join("credentials.toml"));
    assert!(kept.is_ok_and(|kept| kept.contains(client.token())));
    cargo
}

async fn new_and_publish(cargo: &Cargo) {
    let home = cargo.home();
    let place = cargo.place("first-steps");
    let path = place.to_str().expect("test paths are UTF-8");
    cargo
        .ok(&home, &["new", "--lib", "--vcs", "none", path])
        .await;
    let outcome = publish(cargo, &place).await;
    outcome.says(&["Published first-steps v0.1.0"]);
}

async fn publish(cargo: &Cargo, place: &Path) -> cratekeeper_tests::Outcome {
    cargo
        .ok(place, &[&["publish"][..], &REGISTRY].concat())
        .await
}

/// `bottom` ← `middle` ← `Top_most`: published in one command, in the right order.
async fn publish_a_workspace(cargo: &Cargo) {
    let dependency = |name: &str| {
        format!("{name} = {{ path = \"../{name}\", version = \"0.1\", registry = \"mine\" }}")
    };
    cargo.library("family/bottom", "0.1.0", "");
    cargo.library("family/middle", "0.1.0", &dependency("bottom"));
    cargo.library("family/Top_most", "0.1.0", &dependency("middle"));
    let root = cargo.place("family");
    let manifest =
        "[workspace]\nresolver = \"2\"\nmembers = [\"bottom\", \"middle\", \"Top_most\"]\n";
    fs::write(root.join("Cargo.toml"), manifest).expect("the test's directory is writable");
    let arguments = [&["publish", "--workspace"][..], &REGISTRY].concat();
    let outcome = cargo.ok(&root, &arguments).await;
    outcome.says(&[
        "Uploaded bottom v0.1.0",
        "Uploaded middle v0.1.0",
        "Uploaded Top_most v0.1.0",
    ]);
}

async fn add_and_build(cargo: &Cargo) -> std::path::PathBuf {
    let app = cargo.place("app");
    let path = app.to_str().expect("test paths are UTF-8");
    cargo
        .ok(&cargo.home(), &["new", "--bin", "--vcs", "none", path])
        .await;
    cargo
        .ok(&app, &[&["add", "Top_most"][..], &REGISTRY].concat())
        .await;
    cargo
        .ok(&app, &["build"])
        .await
        .says(&["bottom v0.1.0", "Top_most v0.1.0"]);
    app
}

async fn update(cargo: &Cargo, app: &Path) {
    let bottom = cargo.library("newer/bottom", "0.1.1", "");
    publish(cargo, &bottom).await;
    cargo
        .ok(app, &["update"])
        .await
        .says(&["Updating bottom v0.1.0", "-> v0.1.1"]);
}

async fn yank_and_unyank(cargo: &Cargo, app: &Path) {
    let yank = [&["yank", "bottom@0.1.1"][..], &REGISTRY].concat();
    cargo.ok(app, &yank).await;
    // A lock file that names it still works, from nothing.
    cargo.forget();
    cargo.ok(app, &["fetch", "--locked"]).await;
    // A new lock file does not take it.
    fs::remove_file(app.join("Cargo.lock")).expect("a lock file was written");
    cargo.ok(app, &["generate-lockfile"]).await;
    let lock = fs::read_to_string(app.join("Cargo.lock")).expect("it was written again");
    assert!(
        !lock.contains("0.1.1"),
        "a yanked version was chosen: {lock}"
    );
    let undo = [&["yank", "--undo", "bottom@0.1.1"][..], &REGISTRY].concat();
    cargo.ok(app, &undo).await;
    cargo
        .ok(app, &["update"])
        .await
        .says(&["Updating bottom v0.1.0", "-> v0.1.1"]);
}

async fn owners(cluster: &Cluster, cargo: &Cargo) {
    let bob = log_in(cluster, "bob").await;
    let place = cargo.place("family/bottom");
    let owner =
        |arguments: &[&'static str]| [&["owner"][..], arguments, &["bottom"], &REGISTRY].concat();
    cargo.ok(&place, &owner(&["--list"])).await.says(&["alice"]);
    let newest = bob.library("newest/bottom", "0.1.2", "");
    let publish_newest = [&["publish"][..], &REGISTRY].concat();
    bob.refused(&newest, &publish_newest)
        .await
        .says(&["bottom", "owner"]);
    cargo.ok(&place, &owner(&["--add", "bob"])).await;
    cargo
        .ok(&place, &owner(&["--list"]))
        .await
        .says(&["alice", "bob"]);
    bob.ok(&newest, &publish_newest).await;
    cargo.ok(&place, &owner(&["--remove", "bob"])).await;
    let left = cargo.ok(&place, &owner(&["--list"])).await;
    assert!(
        !left.stdout.contains("bob"),
        "bob is still an owner: {}",
        left.stdout
    );
}

async fn search_and_info(cargo: &Cargo, app: &Path) {
    let search = [&["search", "middle"][..], &REGISTRY].concat();
    cargo
        .ok(app, &search)
        .await
        .says(&["middle = \"0.1.0\"", "A library of the tests"]);
    let info = [&["info", "Top_most"][..], &REGISTRY].concat();
    cargo
        .ok(app, &info)
        .await
        .says(&["Top_most", "version: 0.1.0", "license: MIT"]);
}

/// Without a token cargo is told to log in, and with a wrong one that it was rejected.
async fn strangers_are_turned_away(cluster: &Cluster) {
    let stranger = Cargo::new(&cluster.scratch, "stranger", &cluster.index(), NO_TOKEN);
    let info = [&["info", "bottom"][..], &REGISTRY].concat();
    let outcome = stranger.refused(&stranger.home(), &info).await;
    outcome.says(&["no token found for `mine`, please run `cargo login --registry mine`"]);
    stranger.keep_token("ck_made_up");
    let outcome = stranger.refused(&stranger.home(), &info).await;
    outcome.says(&["token rejected for `mine`"]);
}

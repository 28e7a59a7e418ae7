//! `cratekeeper smoke` says whether a registry works, whoever serves the tarballs.

use cratekeeper_tests::{Garage, Scratch, Setup, Store};

#[tokio::test(flavor = "multi_thread")]
async fn smoke_publishes_fetches_and_yanks_on_any_node() {
    let cluster = Setup::nodes(3).balanced().start("smoke").await;
    for _ in 0..3 {
        let said = cluster.command(&["smoke"]).await;
        let steps: Vec<&str> = said
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(steps, ["published", "indexed", "downloaded", "yanked"]);
    }
    let lines = cluster.admin().index_lines("cratekeeper-smoke-test").await;
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line["yanked"] == true));
}

#[tokio::test(flavor = "multi_thread")]
async fn smoke_follows_a_download_into_the_bucket() {
    let scratch = Scratch::new("smoke_redirected");
    let garage = Garage::start(&scratch).await;
    let store = Store::S3 {
        endpoint: garage.endpoint(),
        region: garage.region(),
        bucket: garage.bucket(),
        key_id: garage.key_id(),
        secret: garage.secret(),
    };
    let setup = Setup::nodes(1)
        .store(store)
        .set("tarballs.redirect_seconds", 60);
    let cluster = setup.start_in(scratch).await;
    let said = cluster.command(&["smoke", "--crate", "another-name"]).await;
    assert!(said.contains("published  another-name 0.0."), "{said}");
    assert!(said.contains("downloaded the same bytes"), "{said}");
}

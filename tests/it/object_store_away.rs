//! The object store goes away: publishing says so, reading goes on, and nothing half-published is ever visible.

use std::time::Duration;

use cratekeeper_tests::{Garage, Package, Scratch, Setup, Store, wait_until};

/// A running S3 server in the test's directory, and what nodes must know to use it.
pub(crate) async fn garage_store(scratch: &Scratch) -> (Garage, Store) {
    let garage = Garage::start(scratch).await;
    let store = Store::S3 {
        endpoint: garage.endpoint(),
        region: garage.region(),
        bucket: garage.bucket(),
        key_id: garage.key_id(),
        secret: garage.secret(),
    };
    (garage, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_waits_for_the_object_store_and_reading_does_not() {
    let scratch = Scratch::new("object_store_away");
    let (mut garage, store) = garage_store(&scratch).await;
    let cluster = Setup::nodes(3)
        .balanced()
        .store(store)
        .start_in(scratch)
        .await;
    let publisher = cluster.admin().publisher("patient").await;
    let early = Package::new("before-the-storm", "1.0.0");
    publisher
        .publish(&early)
        .await
        .expect_ok("a publish while all is well");
    let sequence = cluster.wait_converged().await.0;

    garage.kill();
    let late = Package::new("in-the-storm", "1.0.0");
    for _ in 0..3 {
        let answer = publisher.publish(&late).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        let detail = answer.detail();
        assert!(
            detail.contains("tarball"),
            "the sentence names what is away: {detail}"
        );
    }
    for place in 0..3 {
        let client = cluster.admin_at(place);
        assert_eq!(client.index_lines("before-the-storm").await.len(), 1);
        assert!(client.index_lines("in-the-storm").await.is_empty());
        assert_eq!(client.sequence().await, sequence);
        let download = client.download("before-the-storm", "1.0.0").await;
        assert_eq!(download.status, 503, "{}", download.text());
    }

    garage.restart().await;
    wait_until(
        "the publish succeeds",
        Duration::from_secs(30),
        async || publisher.publish(&late).await.status == 200,
    )
    .await;
    for package in [&early, &late] {
        let answer = publisher.download(&package.name, &package.version).await;
        assert_eq!(answer.expect_ok(&package.name).body, package.tarball());
    }
    cluster.one_history().await;
}

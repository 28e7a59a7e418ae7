//! The tarball store against a real S3 server: what it promises, and what happens when the server is damaged or away.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cratekeeper_domain::Checksum;
use cratekeeper_tarballs::{Download, S3Options, TarballError, Tarballs};
use cratekeeper_tests::{Garage, Scratch, figure};
use futures::TryStreamExt;

const TIMEOUT: Duration = Duration::from_secs(4);
/// The bound, and what a busy machine adds.
const SURELY: Duration = Duration::from_secs(8);

const LARGE: usize = 20 * 1024 * 1024;

struct Bucket {
    garage: Garage,
    scratch: Scratch,
}

impl Bucket {
    async fn start(test: &str) -> Bucket {
        let scratch = Scratch::new(test);
        let garage = Garage::start(&scratch).await;
        Bucket { garage, scratch }
    }

    fn options(&self, prefix: &str) -> S3Options {
        S3Options {
            bucket: self.garage.bucket(),
            prefix: prefix.to_owned(),
            region: Some(self.garage.region()),
            endpoint: Some(self.garage.endpoint()),
            path_style: true,
            credentials: Some((self.garage.key_id(), self.garage.secret())),
            timeout: TIMEOUT,
            redirect: None,
        }
    }

    async fn tarballs(&self, prefix: &str) -> Tarballs {
        open(self.options(prefix)).await
    }

    fn upload(&self, bytes: &[u8]) -> PathBuf {
        let path = self.scratch.path().join("upload");
        fs::write(&path, bytes).expect("the test's directory is writable");
        path
    }

    async fn put(&self, tarballs: &Tarballs, bytes: &[u8]) -> Result<Checksum, TarballError> {
        let checksum = Checksum::of(bytes);
        let file = self.upload(bytes);
        tarballs.put(&checksum, &file, bytes.len() as u64).await?;
        Ok(checksum)
    }

    /// Replaces the stored object behind the store's back, over plain HTTP.
    async fn damage(&self, prefix: &str, checksum: &Checksum, bytes: &[u8]) {
        let name = checksum.to_string();
        let key = format!("{prefix}/{}/{name}.crate", &name[..2]);
        let signed = format!("aws:amz:{}:s3", self.garage.region());
        let file = self.upload(bytes);
        let status = tokio::process::Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--aws-sigv4", &signed])
            .args([
                "--user",
                &format!("{}:{}", self.garage.key_id(), self.garage.secret()),
            ])
            .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .arg("--upload-file")
            .arg(file)
            .arg(format!(
                "{}/{}/{key}",
                self.garage.endpoint(),
                self.garage.bucket()
            ))
            .status()
            .await;
        assert!(
            status.expect("curl starts").success(),
            "the object is replaced"
        );
    }
}

async fn open(options: S3Options) -> Tarballs {
    Tarballs::s3(options)
        .await
        .expect("an S3 client needs no server to begin with")
}

async fn read(tarballs: &Tarballs, checksum: &Checksum) -> Result<Vec<u8>, TarballError> {
    let Download::Stream { bytes, stream } = tarballs.get(checksum).await? else {
        panic!("no redirect was configured");
    };
    let chunks: Vec<_> = stream.try_collect().await?;
    let read = chunks.concat();
    assert_eq!(read.len() as u64, bytes);
    Ok(read)
}

/// Bytes that do not repeat every chunk.
fn bytes_of_length(length: usize) -> Vec<u8> {
    (0..length)
        .map(|place| (place / 7 + place / 65_537) as u8)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_into_s3_comes_back() {
    let bucket = Bucket::start("s3_round_trip").await;
    for prefix in ["", "some/where"] {
        let tarballs = bucket.tarballs(prefix).await;
        tarballs.check().await.expect("the server is there");
        for length in [0, 1, 262_144, 262_145, LARGE] {
            let bytes = bytes_of_length(length);
            let started = Instant::now();
            let checksum = bucket.put(&tarballs, &bytes).await.expect("a put");
            let first = started.elapsed();
            let started = Instant::now();
            let again = bucket.put(&tarballs, &bytes).await;
            again.expect("the same once more");
            if length == LARGE {
                figure("S3 put of 20 MiB", format!("{first:?}"));
                figure(
                    "S3 put of 20 MiB that are there",
                    format!("{:?}", started.elapsed()),
                );
            }
            let read = read(&tarballs, &checksum).await.expect("a get");
            assert!(read == bytes, "{length} bytes came back differently");
            assert!(tarballs.contains(&checksum).await.expect("an answer"));
        }
    }
    let elsewhere = bucket.tarballs("elsewhere").await;
    let absent = Checksum::of(b"");
    let answer = read(&elsewhere, &absent).await;
    assert!(matches!(answer, Err(TarballError::Absent(_))), "{answer:?}");
    assert!(!elsewhere.contains(&absent).await.expect("an answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_get_neither_in_nor_out() {
    let bucket = Bucket::start("s3_damage").await;
    let tarballs = bucket.tarballs("shop").await;
    let file = bucket.upload(b"honest");
    let other = Checksum::of(b"other");
    let refused = tarballs.put(&other, &file, 6).await;
    assert!(
        matches!(refused, Err(TarballError::Corrupt(_))),
        "{refused:?}"
    );
    assert!(!tarballs.contains(&other).await.expect("an answer"));

    let bytes = bytes_of_length(3_000_000);
    let checksum = bucket.put(&tarballs, &bytes).await.expect("a put");
    let mut flipped = bytes.clone();
    flipped[1_500_000] ^= 1;
    for damaged in [&flipped[..], &bytes[..1_000], b""] {
        bucket.damage("shop", &checksum, damaged).await;
        let noticed = read(&tarballs, &checksum).await;
        assert!(
            matches!(noticed, Err(TarballError::Corrupt(_))),
            "{} bytes",
            damaged.len()
        );
        bucket.put(&tarballs, &bytes).await.expect("putting mends");
        assert!(read(&tarballs, &checksum).await.expect("a get") == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_unavailable_in_time_and_never_absent() {
    let mut bucket = Bucket::start("s3_away").await;
    let tarballs = bucket.tarballs("shop").await;
    let checksum = bucket.put(&tarballs, b"early").await.expect("a put");

    bucket.garage.signal("STOP");
    unavailable(&bucket, &tarballs, &checksum, "silent").await;
    bucket.garage.signal("CONT");
    bucket.garage.kill();
    unavailable(&bucket, &tarballs, &checksum, "dead").await;

    bucket.garage.restart().await;
    assert_eq!(read(&tarballs, &checksum).await.expect("a get"), b"early");
    bucket.put(&tarballs, b"late").await.expect("a put");

    let mut nowhere = bucket.options("shop");
    nowhere.bucket = "no-such-bucket".to_owned();
    unavailable(
        &bucket,
        &open(nowhere).await,
        &checksum,
        "without the bucket",
    )
    .await;
    let mut stranger = bucket.options("shop");
    stranger.credentials = Some((bucket.garage.key_id(), "5e".repeat(32)));
    unavailable(&bucket, &open(stranger).await, &checksum, "to a stranger").await;
}

async fn unavailable(bucket: &Bucket, tarballs: &Tarballs, checksum: &Checksum, server: &str) {
    let mut slowest = Duration::ZERO;
    for call in ["put", "get", "contains", "check", "claim"] {
        let started = Instant::now();
        let answer = match call {
            "put" => bucket.put(tarballs, b"late").await.err(),
            "get" => read(tarballs, checksum).await.err(),
            "contains" => tarballs.contains(checksum).await.err(),
            "check" => tarballs.check().await.err(),
            _ => tarballs.claim("ours").await.err(),
        };
        let taken = started.elapsed();
        let unavailable = matches!(answer, Some(TarballError::Unavailable(_)));
        assert!(unavailable, "{call} from a server {server}: {answer:?}");
        assert!(
            taken < SURELY,
            "{call} from a server {server} took {taken:?}"
        );
        slowest = slowest.max(taken);
    }
    figure(
        &format!("slowest call to an S3 server {server}, bound {TIMEOUT:?}"),
        format!("{slowest:?}"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_cluster_claims_the_bucket() {
    let bucket = Bucket::start("s3_claim").await;
    let ours = bucket.tarballs("shop").await;
    assert_eq!(ours.claimed_by().await.expect("an answer"), None);
    assert_eq!(ours.claim("first").await.expect("a claim"), "first");
    assert_eq!(ours.claim("first").await.expect("a claim"), "first");
    let theirs = bucket.tarballs("shop").await;
    assert_eq!(theirs.claim("second").await.expect("a claim"), "first");
    let other_prefix = bucket.tarballs("other").await;
    assert_eq!(
        other_prefix.claim("second").await.expect("a claim"),
        "second"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_address_leads_to_the_bytes() {
    let bucket = Bucket::start("s3_redirect").await;
    let mut options = bucket.options("shop");
    options.redirect = Some(Duration::from_secs(60));
    let tarballs = open(options).await;
    let bytes = bytes_of_length(1_000_000);
    let checksum = bucket.put(&tarballs, &bytes).await.expect("a put");
    let Ok(Download::Redirect(address)) = tarballs.get(&checksum).await else {
        panic!("a redirect was configured");
    };
    let answer = reqwest::get(address).await.expect("the server answers");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/gzip");
    assert!(!answer.headers().contains_key("content-encoding"));
    assert!(answer.bytes().await.expect("a body") == bytes);
}

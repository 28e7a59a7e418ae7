//! Restoring, with a history long enough to see how fast it goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cratekeeper_domain::{
    Actor, Checksum, CrateName, Event, Login, RequestId, Role, StreamId, Version, VersionFacts,
};
use cratekeeper_wire::{
    Append, CHAIN_START, chain_hash, decode_append, encode_append, leaf_hash, record_bytes,
};

use crate::cluster_tests::{Place, create_account, until};
use crate::{Cluster, HistoryHead, Restore, StoppedNode, has_node, restore};

const CRATES: u64 = 500;
const BATCH_BYTES: usize = 256 * 1024;

/// Records as nodes would have stored them.
#[derive(Default)]
struct History {
    records: Vec<Bytes>,
    positions: BTreeMap<String, u64>,
}

impl History {
    fn push(&mut self, events: Vec<(StreamId, Event)>) {
        let proposed = encode_append(&Append {
            read: Vec::new(),
            events,
            time_ms: 1_763_700_000_000 + self.records.len() as u64,
            actor: Actor::default(),
            request: RequestId([9; 16]),
            feature_level: 1,
        });
        let proposed = decode_append(proposed).expect("decodes");
        for event in &proposed.events {
            let position = self.positions.entry(event.stream.clone()).or_insert(0);
            *position += 1;
            let sequence = self.records.len() as u64 + 1;
            let record = record_bytes(sequence, *position, &proposed, event);
            self.records.push(record);
        }
    }

    /// Founded, then versions of many crates in turn, until there are `events`.
    fn of(events: usize) -> History {
        let mut history = History::default();
        let founded = Event::ClusterFounded {
            cluster: "of-tests".to_owned(),
            history: "h1".to_owned(),
        };
        let node = Event::NodeAdmitted {
            node: 1,
            incarnation: "lost".to_owned(),
        };
        let account = Event::AccountCreated {
            login: admin(),
            name: None,
            role: Role::Admin,
        };
        let token = Event::TokenIssued {
            token: cratekeeper_domain::TokenId::from_random([7; 8]),
            name: "founding".to_owned(),
            hash: cratekeeper_domain::TokenHash([7; 32]),
            scopes: cratekeeper_domain::Scope::ALL.to_vec(),
            crates: Vec::new(),
            expires_at_ms: None,
        };
        history.push(vec![
            (StreamId::Installation, founded),
            (StreamId::Installation, node),
            (StreamId::Account(admin()), account),
            (StreamId::Account(admin()), token),
        ]);
        for number in 0.. {
            if events <= history.records.len() {
                break;
            }
            history.push(publication(number % CRATES, number / CRATES));
        }
        history
    }

    fn chain(&self) -> [u8; 32] {
        let leaves = self.records.iter().map(|record| leaf_hash(record));
        leaves.fold(CHAIN_START, chain_hash)
    }

    fn order(&self, chain: [u8; 32]) -> Restore {
        let records = Arc::new(self.records.clone());
        Restore {
            from: HistoryHead {
                cluster: "of-tests".to_owned(),
                history: "h1".to_owned(),
                sequence: records.len() as u64,
                chain,
            },
            records: Arc::new(move || {
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                let records = records.clone();
                tokio::spawn(async move {
                    for batch in records.chunks(10_000) {
                        let _ = sender.send(Ok(batch.to_vec())).await;
                    }
                });
                receiver
            }),
            claim_store: Arc::new(|_| Box::pin(async { Ok(()) })),
            admin_token: None,
            progress: Arc::new(|_| {}),
        }
    }
}

fn admin() -> Login {
    Login::parse("admin").expect("a login")
}

fn publication(krate: u64, version: u64) -> Vec<(StreamId, Event)> {
    let name = CrateName::parse(&format!("crate-{krate}")).expect("a name");
    let stream = StreamId::Crate(name.canonical());
    let facts = VersionFacts {
        version: Version::parse(&format!("1.{version}.0")).expect("a version"),
        description: Some(
            "A crate that a test made up, with a description as long as most".to_owned(),
        ),
        homepage: Some(format!("https://example.org/{krate}/{version}")),
        ..facts_of(name.clone())
    };
    let published = Event::VersionPublished {
        facts: Box::new(facts),
        checksum: Checksum::of(&[krate.to_be_bytes(), version.to_be_bytes()].concat()),
        tarball_bytes: 10_240,
    };
    let mut events = Vec::new();
    if version == 0 {
        events.push((stream.clone(), Event::CrateCreated { name }));
        events.push((stream.clone(), Event::OwnerAdded { login: admin() }));
    }
    events.push((stream, published));
    events
}

fn facts_of(name: CrateName) -> VersionFacts {
    VersionFacts {
        name,
        version: Version::parse("1.0.0").expect("a version"),
        dependencies: Vec::new(),
        features: BTreeMap::new(),
        links: None,
        rust_version: None,
        description: None,
        homepage: None,
        documentation: None,
        repository: None,
        license: None,
        license_file: None,
        keywords: Vec::new(),
        categories: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_restored_read_from_the_stopped_volume_and_goes_on() {
    let place = Place::for_nodes(2);
    let history = History::of(10_000);
    let bytes: usize = history.records.iter().map(Bytes::len).sum();
    let mut options = place.options(0);
    options.restore = Some(history.order(history.chain()));
    let began = Instant::now();
    let restored = restore(options).await.expect("restores");
    rate("restored", began, history.records.len(), bytes);
    assert_eq!(restored.node, 2, "1 was a node of the lost cluster");

    let began = Instant::now();
    let stopped = StoppedNode::open(&place.data_dir(0)).expect("opens");
    let mut read = Vec::new();
    while read.len() < history.records.len() {
        let next = stopped.records(read.len() as u64, history.records.len() as u64, BATCH_BYTES);
        read.extend(next.expect("reads"));
    }
    rate("read from a stopped volume", began, read.len(), bytes);
    assert!(read == history.records, "byte for byte");
    let there = stopped.chain_at(history.records.len() as u64);
    assert_eq!(there.expect("reads"), Some(history.chain()));
    assert_eq!(stopped.history(), &restored.now);
    drop(stopped);

    let first = place.start(0).await;
    let second = place.start(1).await;
    let sequence = create_account(&second, "somebody").await.expect("goes on");
    until(|| second.history().is_ok_and(|head| head.sequence == sequence)).await;
    assert_eq!(
        first.chain_hash_at(sequence).expect("reads"),
        second.chain_hash_at(sequence).expect("reads")
    );
    assert_eq!(
        second.history().expect("reads").history,
        restored.now.history
    );
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_history_that_was_promised_makes_no_node() {
    let place = Place::for_nodes(1);
    let history = History::of(20);
    let refused = async |change: fn(&mut History)| {
        let mut changed = History::of(20);
        change(&mut changed);
        let mut options = place.options(0);
        options.restore = Some(changed.order(history.chain()));
        let error = restore(options).await.expect_err("it was changed");
        assert!(!has_node(&place.data_dir(0)).expect("reads"));
        error.to_string()
    };
    let missing = refused(|it| drop(it.records.remove(6))).await;
    assert_eq!(
        missing,
        "the history breaks at sequence 7: the record in its place has sequence 8"
    );
    let swapped = refused(|it| it.records.swap(8, 9)).await;
    assert!(swapped.contains("breaks at sequence 9"), "{swapped}");
    let short = refused(|it| it.records.truncate(10)).await;
    assert!(short.contains("ends at sequence 10"), "{short}");
    // It does not serve before the right one was restored, and then it does.
    let why = Cluster::start(place.options(0)).await.err();
    let why = why.expect("a restore was interrupted").to_string();
    assert!(why.contains("was interrupted"), "{why}");
    let mut options = place.options(0);
    options.restore = Some(history.order(history.chain()));
    restore(options).await.expect("restores");
    let again = restore(place.options(0)).await.expect_err("not empty");
    assert!(again.to_string().contains("only"), "{again}");
    place.start(0).await.shutdown().await;
}

fn rate(what: &str, began: Instant, events: usize, bytes: usize) {
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "figure: {what}, events/s: {:.0} ({:.1} MB/s of records)",
        events as f64 / seconds,
        bytes as f64 / seconds / 1e6
    );
}

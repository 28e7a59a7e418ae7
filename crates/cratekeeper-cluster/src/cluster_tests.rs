//! Nodes in one process, with real databases and the real peer service on loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cratekeeper_domain::{Actor, Command, Login, Policy, RequestId, Role, TokenHash, TokenId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::store::{Database, Family, Staged};
use crate::{
    Cluster, ExecuteError, NodeOptions, PeerTls, RaftOptions, Request, Start, StartError, rebuild,
};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) addresses: Vec<String>,
}

impl Place {
    pub(crate) fn for_nodes(nodes: usize) -> Place {
        Place::at(&vec!["127.0.0.1"; nodes])
    }

    /// A node on each of these addresses of loopback.
    pub(crate) fn at(hosts: &[&str]) -> Place {
        let listeners: Vec<TcpListener> = hosts
            .iter()
            .map(|host| TcpListener::bind((*host, 0)).expect("a port"))
            .collect();
        let addresses = listeners
            .iter()
            .map(|it| it.local_addr().expect("an address").to_string())
            .collect();
        Place {
            directory: tempfile::tempdir().expect("a directory"),
            addresses,
        }
    }

    pub(crate) fn data_dir(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("node-{node}"))
    }

    /// One authority, and a certificate for loopback signed by it.
    fn certificates(&self) -> PeerTls {
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).expect("signs");
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let parameters = CertificateParams::new(names).expect("parameters");
        let certificate = parameters.signed_by(&key, &issuer).expect("signs");
        let write = |name: &str, text: String| {
            let path = self.directory.path().join(name);
            std::fs::write(&path, text).expect("writes");
            path
        };
        PeerTls {
            certificate: write("peer.crt", certificate.pem()),
            key: write("peer.key", key.serialize_pem()),
            ca: write("ca.crt", authority_certificate.pem()),
            require_cluster: false,
        }
    }

    pub(crate) fn options(&self, node: usize) -> NodeOptions {
        let start = if node == 0 {
            Start::Found {
                cluster: "of-tests".to_owned(),
                peers: Vec::new(),
                admin: login("admin"),
                admin_token: TokenId::from_random([7; 8]),
                admin_token_hash: TokenHash([7; 32]),
            }
        } else {
            Start::Join {
                cluster: None,
                peers: vec![self.addresses[0].clone()],
            }
        };
        NodeOptions {
            data_dir: self.data_dir(node),
            peer_listen: self.addresses[node].parse().expect("an address"),
            peer_address: self.addresses[node].clone(),
            name: format!("node-{node}"),
            role: crate::NodeRole::Voter,
            feature_level_max: None,
            snapshot_bytes_per_second: None,
            tls: None,
            start,
            claim_store: Arc::new(|_| Box::pin(async { Ok(()) })),
            check_store: Arc::new(|_| Box::pin(async { Ok(()) })),
            confirm_store: Arc::new(|_| Box::pin(async { Ok(()) })),
            restore: None,
            policy: Policy {
                require_known_dependencies: true,
            },
            raft: RaftOptions {
                heartbeat: Duration::from_millis(100),
                election_min: Duration::from_millis(300),
                election_max: Duration::from_millis(600),
                snapshot_entries: 1_000,
                keep_entries: 100,
            },
            folded_crates_max: 100,
            index_cache_bytes: 1 << 20,
        }
    }

    pub(crate) async fn start(&self, node: usize) -> Cluster {
        let cluster = Cluster::start(self.options(node)).await.expect("starts");
        until(|| cluster.readiness().ready).await;
        cluster
    }
}

pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn login(text: &str) -> Login {
    Login::parse(text).expect("a login")
}

pub(crate) async fn create_account(cluster: &Cluster, name: &str) -> Result<u64, ExecuteError> {
    let command = Command::CreateAccount {
        login: login(name),
        name: None,
        role: Role::Publisher,
    };
    let actor = Actor {
        login: Some(login("admin")),
        token: Some(TokenId::from_random([7; 8])),
    };
    let request = Request {
        actor,
        request: RequestId([1; 16]),
        command,
    };
    Ok(cluster
        .execute(request, Instant::now() + PATIENCE)
        .await?
        .sequence)
}

fn chain(cluster: &Cluster) -> (u64, Option<String>) {
    let sequence = *cluster.sequence().borrow();
    (sequence, cluster.chain_at(sequence).expect("reads"))
}

fn tamper(data_dir: &Path, sequence: u64) {
    let current = std::fs::read_to_string(data_dir.join("state/CURRENT")).expect("reads");
    let database = Database::open(&data_dir.join("state").join(current.trim())).expect("opens");
    let mut staged = Staged::new(&database);
    staged.put(Family::Chain, &sequence.to_be_bytes(), vec![0; 64]);
    staged.write().expect("writes");
    database.flush().expect("flushes");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_keep_one_history_whoever_is_asked_and_a_changed_one_is_found_out() {
    let place = Place::for_nodes(3);
    let mut nodes = Vec::new();
    for node in 0..3 {
        nodes.push(place.start(node).await);
    }
    for (number, node) in nodes.iter().cycle().take(30).enumerate() {
        create_account(node, &format!("account-{number}"))
            .await
            .expect("created");
    }
    let histories: Vec<_> = nodes.iter().map(chain).collect();
    assert_eq!(
        histories[0], histories[1],
        "acknowledged is visible everywhere"
    );
    assert_eq!(histories[0], histories[2]);

    // The history of one node is changed behind its back.
    let changed = nodes.pop().expect("a node");
    changed.shutdown().await;
    drop(changed);
    let sequence = histories[0].0;
    until(|| {
        let state = place.data_dir(2).join("state/gen-000001");
        Database::open(&state).is_ok()
    })
    .await;
    tamper(&place.data_dir(2), sequence);
    let changed = Cluster::start(place.options(2)).await.expect("starts");
    let why = tokio::time::timeout(PATIENCE, changed.failed())
        .await
        .expect("is found out");
    assert!(
        why.to_string()
            .contains("the history on this node is not the cluster's"),
        "{why}"
    );
    assert!(!changed.readiness().ready);

    let rebuilt = rebuild(&place.data_dir(2), false, &mut |_, _| ());
    assert!(
        matches!(rebuilt, Err(StartError::Storage { .. })),
        "the node still has it open"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_equals_the_live_state_and_names_what_differs() {
    let place = Place::for_nodes(1);
    let node = place.start(0).await;
    for number in 0..20 {
        create_account(&node, &format!("account-{number}"))
            .await
            .expect("created");
    }
    let (sequence, live) = chain(&node);
    node.shutdown().await;
    drop(node);
    until(|| Database::open(&place.data_dir(0).join("state/gen-000001")).is_ok()).await;

    let rebuilt = rebuild(&place.data_dir(0), false, &mut |_, _| ()).expect("folds");
    assert_eq!((rebuilt.events, Some(rebuilt.chain)), (sequence, live));
    assert_eq!(rebuilt.differences, Vec::<String>::new());

    tamper(&place.data_dir(0), sequence);
    let rebuilt = rebuild(&place.data_dir(0), true, &mut |_, _| ()).expect("folds");
    assert_eq!(rebuilt.differences.len(), 1);
    assert!(
        rebuilt.differences[0].starts_with("chain/"),
        "{:?}",
        rebuilt.differences
    );
    let mended = rebuild(&place.data_dir(0), false, &mut |_, _| ()).expect("folds");
    assert_eq!(mended.differences, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_with_certificates_agree_and_one_without_is_not_let_in() {
    let place = Place::for_nodes(3);
    let tls = place.certificates();
    let mut nodes = Vec::new();
    for node in 0..2 {
        let options = NodeOptions {
            tls: Some(tls.clone()),
            ..place.options(node)
        };
        let node = Cluster::start(options).await.expect("starts");
        until(|| node.readiness().ready).await;
        nodes.push(node);
    }
    create_account(&nodes[1], "alice").await.expect("created");
    assert_eq!(chain(&nodes[0]), chain(&nodes[1]));

    let stranger = Cluster::start(place.options(2)).await.expect("starts");
    let members = || async { nodes[0].status().await.expect("status").members.len() };
    create_account(&nodes[0], "bob").await.expect("created");
    assert_eq!(members().await, 2);
    assert_eq!(
        stranger.readiness().reason,
        "this node is not in a cluster yet"
    );
    stranger.shutdown().await;
}

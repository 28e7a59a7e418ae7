//! Every way in which a peer's certificate can be wrong, at both ends of a connection, and what happens when files change.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cratekeeper_wire::pb::peer as pb;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::client::{PeerNetwork, stamped};
use super::dial::{Dialer, Purpose};
use super::host::PeerHost;
use super::identity::Identity;
use super::peers::{AppliedReport, Peers};
use super::server::bind;
use super::tls::{PeerCertificates, check_peer_certificate, read};
use crate::cluster_tests::{Place, create_account, until};
use crate::raft::types::Member;
use crate::{Cluster, Failure, NodeOptions, NodeRole, PeerTls};

const SERVER: &str = "127.0.0.2";
const CLIENT: &str = "127.0.0.3";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }
}

/// Days from now between which a certificate is valid, and what else it says.
#[derive(Clone)]
struct Leaf {
    hosts: Vec<&'static str>,
    cluster: Option<&'static str>,
    days: (i64, i64),
    uses: Vec<ExtendedKeyUsagePurpose>,
}

impl Leaf {
    fn good(host: &'static str) -> Leaf {
        Leaf {
            hosts: vec![host],
            cluster: Some("of-tests"),
            days: (-1, 1),
            uses: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        }
    }
}

/// A directory with the three files of one node.
struct Files {
    directory: TempDir,
    tls: PeerTls,
}

impl Files {
    fn new(leaf: &Leaf, signer: &Authority, trusted: &str) -> Files {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { directory.path().join(name) };
        let tls = PeerTls {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            ca: path("ca.crt"),
            require_cluster: false,
        };
        let files = Files { directory, tls };
        files.write(leaf, signer, trusted);
        files
    }

    fn write(&self, leaf: &Leaf, signer: &Authority, trusted: &str) {
        let hosts: Vec<String> = leaf.hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        if let Some(cluster) = leaf.cluster {
            let uri = format!("cratekeeper://{cluster}").try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        let now = OffsetDateTime::now_utc();
        params.not_before = now + time::Duration::days(leaf.days.0);
        params.not_after = now + time::Duration::days(leaf.days.1);
        params.extended_key_usages.clone_from(&leaf.uses);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &signer.issuer).unwrap();
        std::fs::write(&self.tls.certificate, certificate.pem()).unwrap();
        std::fs::write(&self.tls.key, key.serialize_pem()).unwrap();
        std::fs::write(&self.tls.ca, trusted).unwrap();
    }

    fn load(&self, host: &str) -> Arc<PeerCertificates> {
        let cluster = Some("of-tests".to_owned());
        let address = format!("{host}:1");
        PeerCertificates::load(&self.tls, &address, cluster).unwrap_or_else(|_| {
            // What an honest node would not start with is shown to others all the same.
            let certificates = PeerCertificates::load(&self.tls, &address, None).unwrap();
            certificates.belong_to("of-tests").unwrap_err();
            certificates
        })
    }
}

struct Served {
    address: String,
    stopping: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// A node in no cluster, at `SERVER`.
async fn serve(tls: Option<Arc<PeerCertificates>>) -> Served {
    let bound = bind(format!("{SERVER}:0").parse().unwrap()).await.unwrap();
    let address = bound.address().to_string();
    let (_, applied) = watch::channel(AppliedReport::default());
    let stopping = CancellationToken::new();
    let host = PeerHost {
        incarnation: "volume".into(),
        name: "served".into(),
        state_format: 1,
        feature_level_max: 2,
        incoming: PathBuf::new(),
        applied,
        invite: Arc::new(|_| Ok(())),
        stopping: stopping.clone(),
        joined: OnceLock::new(),
        receiving: Arc::default(),
    };
    tokio::spawn(bound.serve(Arc::new(host), tls));
    Served { address, stopping }
}

async fn hello(dialer: &Dialer, server: &Served) -> Result<String, String> {
    let hello = pb::HelloRequest {
        name: String::new(),
        address: format!("{CLIENT}:8081"),
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let reply = dialer.hello(&server.address, hello, deadline).await;
    reply.map(|reply| reply.incarnation)
}

fn with(change: impl FnOnce(&mut Leaf), host: &'static str) -> Leaf {
    let mut leaf = Leaf::good(host);
    change(&mut leaf);
    leaf
}

/// Each with what the refusing side says of it.
fn wrong_leaves(host: &'static str) -> Vec<(Leaf, &'static str)> {
    vec![
        (with(|leaf| leaf.days = (-2, -1), host), "expired on 20"),
        (
            with(|leaf| leaf.days = (1, 2), host),
            "is not valid before 20",
        ),
        (
            with(|leaf| leaf.cluster = Some("another"), host),
            "is for the cluster `another`, not for `of-tests`",
        ),
        (
            with(
                |leaf| leaf.hosts = vec!["elsewhere.example.org", "127.0.0.9"],
                host,
            ),
            "is for `elsewhere.example.org`, `127.0.0.9`, not for `127.0.0.",
        ),
    ]
}

#[tokio::test]
async fn a_server_whose_certificate_is_wrong_is_not_spoken_to() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let client = Files::new(&Leaf::good(CLIENT), &ours, &ours.pem);
    let dialer = Dialer::new(Some(client.load(CLIENT)));

    let good = Files::new(&Leaf::good(SERVER), &ours, &ours.pem);
    let served = serve(Some(good.load(SERVER))).await;
    assert_eq!(hello(&dialer, &served).await.as_deref(), Ok("volume"));

    let mut wrong = wrong_leaves(SERVER);
    let only_client = vec![ExtendedKeyUsagePurpose::ClientAuth];
    wrong.push((
        with(|leaf| leaf.uses = only_client, SERVER),
        "may not be used to serve: its extended key usage lacks serverAuth",
    ));
    for (leaf, expected) in wrong {
        let files = Files::new(&leaf, &ours, &ours.pem);
        let served = serve(Some(files.load(SERVER))).await;
        let why = hello(&dialer, &served).await.unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
    }
    let files = Files::new(&Leaf::good(SERVER), &others, &ours.pem);
    let served = serve(Some(files.load(SERVER))).await;
    let why = hello(&dialer, &served).await.unwrap_err();
    assert!(why.contains("is signed by no authority in `"), "{why}");
}

#[tokio::test]
async fn a_caller_whose_certificate_is_wrong_is_not_answered() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let files = Files::new(&Leaf::good(SERVER), &ours, &ours.pem);
    let served = serve(Some(files.load(SERVER))).await;
    let ask = async |leaf: &Leaf, signer: &Authority| {
        let client = Files::new(leaf, signer, &ours.pem);
        hello(&Dialer::new(Some(client.load(CLIENT))), &served).await
    };
    assert_eq!(
        ask(&Leaf::good(CLIENT), &ours).await.as_deref(),
        Ok("volume")
    );
    let only_server = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut wrong = wrong_leaves(CLIENT);
    wrong.push((
        with(|leaf| leaf.uses = only_server, CLIENT),
        "UnsupportedCertificate",
    ));
    for (leaf, sentence) in &wrong {
        let why = ask(leaf, &ours).await.unwrap_err();
        // A refusal in the handshake comes over as an alert without words.
        let alert = ["CertificateExpired", "UnsupportedCertificate"];
        let said = why.contains(sentence) || alert.iter().any(|alert| why.contains(alert));
        assert!(said, "{sentence}: {why}");
    }
    let why = ask(&Leaf::good(CLIENT), &others).await.unwrap_err();
    assert!(why.contains("UnknownCA"), "{why}");
}

#[tokio::test]
async fn a_certificate_that_names_no_cluster_is_for_any_unless_a_name_is_demanded() {
    let ours = Authority::new("ours");
    let nameless = Files::new(&with(|leaf| leaf.cluster = None, CLIENT), &ours, &ours.pem);
    let dialer = Dialer::new(Some(nameless.load(CLIENT)));
    let mut files = Files::new(&Leaf::good(SERVER), &ours, &ours.pem);
    let served = serve(Some(files.load(SERVER))).await;
    assert_eq!(hello(&dialer, &served).await.as_deref(), Ok("volume"));

    files.tls.require_cluster = true;
    let strict = serve(Some(files.load(SERVER))).await;
    let why = hello(&dialer, &strict).await.unwrap_err();
    assert!(why.contains("names no cluster"), "{why}");

    let mut demanding = nameless.tls.clone();
    demanding.require_cluster = true;
    let why = check_peer_certificate(&demanding, "127.0.0.3:1", None).unwrap_err();
    assert!(why.contains("tls.crt` names no cluster"), "{why}");
}

#[tokio::test]
async fn plain_text_and_tls_tell_each_other_what_is_the_matter() {
    let ours = Authority::new("ours");
    let files = Files::new(&Leaf::good(SERVER), &ours, &ours.pem);
    let secured = serve(Some(files.load(SERVER))).await;
    let why = hello(&Dialer::new(None), &secured).await.unwrap_err();
    assert!(
        why.contains("speaks plain text, while this one demands TLS"),
        "{why}"
    );
    let plain = serve(None).await;
    let client = Files::new(&Leaf::good(CLIENT), &ours, &ours.pem);
    let dialer = Dialer::new(Some(client.load(CLIENT)));
    let why = hello(&dialer, &plain).await.unwrap_err();
    assert!(
        why.contains("answers in plain text, while this one speaks TLS"),
        "{why}"
    );
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let ours = Authority::new("ours");
    let files = Files::new(&Leaf::good(SERVER), &ours, &ours.pem);
    let certificates = files.load(SERVER);
    let served = serve(Some(certificates.clone())).await;
    let config = certificates.without_own_certificate();
    let tcp = tokio::net::TcpStream::connect(&served.address)
        .await
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls_pki_types::ServerName::try_from(SERVER).unwrap();
    let mut stream = connector.connect(name, tcp).await.unwrap();
    let mut first = [0];
    let error = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn other_authorities_end_what_the_old_ones_began_and_a_bundle_bridges() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let both = format!("{}{}", old.pem, new.pem);
    let here = Files::new(&Leaf::good(SERVER), &old, &old.pem);
    let there = Files::new(&Leaf::good(CLIENT), &old, &old.pem);
    let (server, client) = (here.load(SERVER), there.load(CLIENT));
    let served = serve(Some(server.clone())).await;
    let dialer = Dialer::new(Some(client.clone()));
    assert_eq!(hello(&dialer, &served).await.as_deref(), Ok("volume"));
    let step = |files: &Files, host, signer, trusted: &str, at: &PeerCertificates| {
        files.write(&Leaf::good(host), signer, trusted);
        at.take(&read(&files.tls)).unwrap();
    };

    let trust = dialer.trust();
    for (server_signer, client_signer, server_trusts, client_trusts) in [
        (&old, &old, &both, &old.pem),
        (&old, &old, &both, &both),
        (&new, &old, &both, &both),
        (&new, &new, &both, &both),
        (&new, &new, &new.pem, &both),
        (&new, &new, &new.pem, &new.pem),
    ] {
        step(&here, SERVER, server_signer, server_trusts, &server);
        step(&there, CLIENT, client_signer, client_trusts, &client);
        assert_eq!(hello(&dialer, &served).await.as_deref(), Ok("volume"));
    }
    assert!(trust.is_cancelled());

    // The server goes back, and what the client still holds open is of no use.
    step(&here, SERVER, &old, &old.pem, &server);
    let refused = async || hello(&dialer, &served).await.is_err();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !refused().await {
        assert!(Instant::now() < deadline, "the old connection goes on");
    }
}

#[tokio::test]
async fn files_that_do_not_fit_change_nothing() {
    let ours = Authority::new("ours");
    let files = Files::new(&Leaf::good(SERVER), &ours, &ours.pem);
    let certificates = files.load(SERVER);
    let before = certificates.facts().not_after;
    let good = std::fs::read(&files.tls.certificate).unwrap();
    let other_cluster = with(|leaf| leaf.cluster = Some("another"), SERVER);

    std::fs::write(&files.tls.certificate, &good[..good.len() / 2]).unwrap();
    let half = certificates.take(&read(&files.tls)).unwrap_err();
    std::fs::write(&files.tls.certificate, &good).unwrap();
    std::fs::write(&files.tls.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let unfit = certificates.take(&read(&files.tls)).unwrap_err();
    files.write(&other_cluster, &ours, &ours.pem);
    let foreign = certificates.take(&read(&files.tls)).unwrap_err();
    files.write(&Leaf::good(SERVER), &ours, "");
    let nobody = certificates.take(&read(&files.tls)).unwrap_err();
    for (why, expected) in [
        (half, "tls.crt` "),
        (unfit, "do not fit together"),
        (foreign, "is for the cluster `another`, not for `of-tests`"),
        (nobody, "ca.crt` holds no PEM certificate"),
    ] {
        assert!(why.contains(expected), "{expected}: {why}");
    }
    assert_eq!(certificates.facts().not_after, before);
    drop(files.directory);
}

/// Two nodes with a certificate each, and whatever a third party with one can do.
struct Pair {
    _place: Place,
    nodes: Vec<Cluster>,
    _files: Vec<Files>,
    authority: Authority,
    first: Member,
    second: Identity,
}

async fn pair() -> Pair {
    let authority = Authority::new("ours");
    let place = Place::at(&[SERVER, CLIENT]);
    let (mut nodes, mut files) = (Vec::new(), Vec::new());
    for (node, host) in [SERVER, CLIENT].into_iter().enumerate() {
        let own = Files::new(&Leaf::good(host), &authority, &authority.pem);
        let options = NodeOptions {
            tls: Some(own.tls.clone()),
            ..place.options(node)
        };
        let node = Cluster::start(options).await.unwrap();
        until(|| node.readiness().ready).await;
        nodes.push(node);
        files.push(own);
    }
    create_account(&nodes[1], "alice").await.unwrap();
    let volume = |node: usize| {
        let file = std::fs::read(place.data_dir(node).join("NODE")).unwrap();
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
        file["incarnation"].as_str().unwrap().to_owned()
    };
    Pair {
        first: Member {
            address: place.addresses[0].clone(),
            incarnation: volume(0),
            name: "node-0".into(),
            role: NodeRole::Voter,
        },
        second: Identity {
            cluster: "of-tests".into(),
            node: 2,
            incarnation: volume(1),
        },
        _place: place,
        nodes,
        _files: files,
        authority,
    }
}

impl Pair {
    /// Every kind of call to the first node, in the name of the second, with that certificate.
    async fn calls_as_the_second(&self, hosts: &[&'static str]) -> Vec<Result<(), Status>> {
        let leaf = with(|leaf| leaf.hosts = hosts.to_vec(), CLIENT);
        let files = Files::new(&leaf, &self.authority, &self.authority.pem);
        let dialer = Dialer::new(Some(files.load(CLIENT)));
        let network = PeerNetwork::new(dialer, self.second.clone(), Peers::new());
        let (mut client, stamp) = network.client(1, &self.first, Purpose::Commands).unwrap();
        let nothing = futures::stream::empty::<pb::AppendRequest>;
        let mut append = tonic::Request::new(nothing());
        stamp.put(append.metadata_mut());
        let mut snapshot = tonic::Request::new(futures::stream::empty::<pb::SnapshotPart>());
        stamp.put(snapshot.metadata_mut());
        vec![
            client.append(append).await.map(drop),
            client.snapshot(snapshot).await.map(drop),
            client
                .append_entries(stamped(&stamp, pb::AppendRequest::default()))
                .await
                .map(drop),
            client
                .vote(stamped(&stamp, pb::VoteRequest::default()))
                .await
                .map(drop),
            client
                .transfer_leader(stamped(&stamp, pb::TransferLeaderRequest::default()))
                .await
                .map(drop),
            client
                .execute(stamped(&stamp, pb::ExecuteRequest::default()))
                .await
                .map(drop),
            client
                .read_index(stamped(&stamp, pb::ReadIndexRequest::default()))
                .await
                .map(drop),
            client
                .status(stamped(&stamp, pb::StatusRequest::default()))
                .await
                .map(drop),
            client
                .remove(stamped(&stamp, pb::RemoveRequest::default()))
                .await
                .map(drop),
            client
                .hand_over(stamped(&stamp, pb::HandOverRequest::default()))
                .await
                .map(drop),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_a_member_whose_host_its_certificate_does_not_name() {
    let pair = pair().await;
    for refused in pair.calls_as_the_second(&["127.0.0.9"]).await {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            status.message(),
            "the call is from node 2, but the certificate shown is for `127.0.0.9`, not for `127.0.0.3`"
        );
    }
    // One certificate for all nodes is allowed.
    let answers = pair.calls_as_the_second(&["127.0.0.9", CLIENT]).await;
    for answer in answers {
        let refused = answer.is_err_and(|status| status.code() == Code::PermissionDenied);
        assert!(!refused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_removed_is_refused_on_every_call_and_does_not_come_back_by_joining() {
    let mut pair = pair().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    pair.nodes[0]
        .transfer_leader(Some(1), deadline)
        .await
        .unwrap();
    // Refused while the second is still being made a voter.
    while let Err(error) = pair.nodes[0].remove(2, deadline).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = pair.nodes.pop().unwrap();
    assert!(matches!(second.failed().await, Failure::Refused(_)));
    second.shutdown().await;

    for refused in pair.calls_as_the_second(&[CLIENT]).await {
        let status = refused.unwrap_err();
        assert_eq!(
            status.message(),
            "node 2 is not a member of this cluster any more"
        );
    }

    let files = Files::new(&Leaf::good(CLIENT), &pair.authority, &pair.authority.pem);
    let join = pb::JoinRequest {
        incarnation: pair.second.incarnation.clone(),
        name: "node-1".into(),
        address: format!("{CLIENT}:8081"),
        state_format: crate::store::STATE_FORMAT,
        feature_level_max: Some(2),
        ..pb::JoinRequest::default()
    };
    let dialer = Dialer::new(Some(files.load(CLIENT)));
    let answer = dialer
        .join(&pair.first.address, join, deadline)
        .await
        .unwrap();
    let Some(pb::join_reply::Outcome::Refused(why)) = answer.outcome else {
        panic!("{answer:?}");
    };
    assert!(
        why.starts_with("node 2 was removed from this cluster"),
        "{why}"
    );
}

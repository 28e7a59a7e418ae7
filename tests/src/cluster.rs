//! A cluster of real nodes, as a test wants it: how many, which tarball store, with or without a load balancer in front.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use toml::Table;

use crate::balancer::{Balance, Balancer};
use crate::binary::cratekeeper;
use crate::cargo::Cargo;
use crate::client::Client;
use crate::node::{Node, set};
use crate::scratch::Scratch;
use crate::wait::{wait_for, wait_until};

/// Where the nodes keep tarballs.
#[derive(Debug, Clone)]
pub enum Store {
    /// A directory they share.
    Disk,
    S3 {
        endpoint: String,
        region: String,
        bucket: String,
        key_id: String,
        secret: String,
    },
}

/// What a test asks for.
#[derive(Debug, Clone)]
pub struct Setup {
    nodes: usize,
    balance: Option<Balance>,
    binary: Option<PathBuf>,
    by_ordinal: bool,
    store: Store,
    settings: Table,
}

impl Setup {
    pub fn nodes(nodes: usize) -> Setup {
        Setup {
            nodes,
            balance: None,
            binary: None,
            by_ordinal: false,
            store: Store::Disk,
            settings: Table::new(),
        }
    }

    /// With haproxy in front; the public URL is the balancer's.
    pub fn balanced(self) -> Setup {
        self.behind(Balance::Forgiving)
    }

    pub fn behind(mut self, balance: Balance) -> Setup {
        self.balance = Some(balance);
        self
    }

    /// All nodes have one configuration, and the first one founds because its name ends in `-0`.
    pub fn by_ordinal(mut self) -> Setup {
        self.by_ordinal = true;
        self
    }

    /// Nodes run another binary than the one under test, until they are told otherwise.
    pub fn binary(mut self, binary: &Path) -> Setup {
        self.binary = Some(binary.to_owned());
        self
    }

    pub fn store(mut self, store: Store) -> Setup {
        self.store = store;
        self
    }

    /// A setting of every node, as `section.key`.
    pub fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Setup {
        set(&mut self.settings, key, value.into());
        self
    }

    /// Starts everything in an empty directory named after the test and waits until all nodes are voters and ready.
    pub async fn start(self, test: &str) -> Cluster {
        let scratch = Scratch::new(test);
        self.start_in(scratch).await
    }

    pub async fn start_in(self, scratch: Scratch) -> Cluster {
        let together = self.by_ordinal;
        let mut cluster = Cluster::lay_out(self, scratch);
        cluster.start(together).await;
        cluster
    }

    /// Configured and not started, for a test that has more to say about each node; then `prepared` is called, once ports are known.
    pub async fn start_with(self, test: &str, prepared: impl FnOnce(&mut Cluster)) -> Cluster {
        let mut cluster = Cluster::lay_out(self, Scratch::new(test));
        prepared(&mut cluster);
        cluster.tell_urls();
        cluster.tell_peers();
        cluster.start(false).await;
        cluster
    }
}

/// Nodes, balancer and directory; all processes end with it.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub balancer: Option<Balancer>,
    pub admin_token: String,
    /// What clients are told: the balancer, or the first node.
    pub public_url: String,
    settings: Table,
    pub scratch: Scratch,
}

impl Cluster {
    fn lay_out(setup: Setup, scratch: Scratch) -> Cluster {
        let mut settings = setup.settings;
        let token_file = scratch.path().join("admin-token");
        let admin_token = cratekeeper_domain::TokenText::from_random(rand_bytes());
        let admin_token = admin_token.as_str().to_owned();
        fs::write(&token_file, &admin_token).expect("the test's directory is writable");
        let token_file = token_file.display().to_string();
        set(&mut settings, "cluster.admin_token_file", token_file.into());
        set(&mut settings, "cluster.id", "tests".into());
        // The balancer looks several times a second.
        let linger = settings
            .get("node")
            .and_then(|node| node.get("drain_linger_seconds"));
        if linger.is_none() {
            set(&mut settings, "node.drain_linger_seconds", 1.into());
        }
        set(&mut settings, "peer.insecure", true.into());
        set(&mut settings, "log.level", "info,openraft=warn".into());
        store_settings(&mut settings, &setup.store, &scratch);

        let first = usize::from(!setup.by_ordinal);
        let mut nodes: Vec<Node> = (first..first + setup.nodes)
            .map(|number| Node::new(&scratch, &format!("node-{number}"), &settings))
            .collect();
        for node in &mut nodes {
            node.binary.clone_from(&setup.binary);
        }
        let balance = setup.balance;
        let balancer = balance.map(|balance| Balancer::start(&scratch, &nodes, balance));
        for (place, node) in nodes.iter_mut().enumerate() {
            node.set("cluster.start", if place == 0 { "found" } else { "join" });
        }
        let mut cluster = Cluster {
            nodes,
            balancer,
            admin_token,
            public_url: String::new(),
            settings,
            scratch,
        };
        cluster.tell_urls();
        cluster.tell_peers();
        if setup.by_ordinal {
            cluster.share_peers();
        }
        cluster
    }

    /// All nodes are told all addresses, their own too.
    fn share_peers(&mut self) {
        let peers: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.peer.to_string())
            .collect();
        for node in &mut self.nodes {
            node.set("cluster.start", "ordinal");
            node.set("cluster.peers", peers.clone());
        }
    }

    async fn start(&mut self, together: bool) {
        self.nodes[0].start();
        if !together {
            self.nodes[0].wait_ready().await;
        }
        for node in &mut self.nodes[1..] {
            node.start();
        }
        self.wait_voters(self.nodes.len()).await;
        if let Some(balancer) = &mut self.balancer {
            balancer.wait_serving().await;
        }
    }

    /// Every node, also one that comes later, is told where clients reach the registry.
    fn tell_urls(&mut self) {
        let public_url = match &self.balancer {
            Some(balancer) => balancer.url(),
            None => self.nodes[0].url(),
        };
        let known = public_url.clone().into();
        set(&mut self.settings, "http.public_url", known);
        for node in &mut self.nodes {
            node.set("http.public_url", public_url.clone());
        }
        self.public_url = public_url;
    }

    /// Every node that joins is told where all others are.
    fn tell_peers(&mut self) {
        let addresses: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.peer.to_string())
            .collect();
        for (place, node) in self.nodes.iter_mut().enumerate().skip(1) {
            let others = addresses
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place);
            let others: Vec<String> = others.map(|(_, address)| address.clone()).collect();
            node.set("cluster.peers", others);
        }
    }

    /// A further node, not started, that joins by asking the others.
    pub fn add_node(&mut self) -> &mut Node {
        let name = format!("node-{}", self.nodes.len() + 1);
        let mut node = Node::new(&self.scratch, &name, &self.settings);
        let others: Vec<String> = self
            .nodes
            .iter()
            .map(|node| node.peer.to_string())
            .collect();
        node.set("cluster.start", "join");
        node.set("cluster.peers", others);
        self.nodes.push(node);
        self.nodes.last_mut().expect("just added")
    }

    /// A further node that joins as a reader; not started.
    pub fn add_reader(&mut self) -> &mut Node {
        let node = self.add_node();
        node.set("node.role", "reader");
        node
    }

    /// An administrator at the public URL.
    pub fn admin(&self) -> Client {
        if self.balancer.is_none() {
            return self.admin_at(0);
        }
        Client::new(&self.public_url, &self.admin_token)
    }

    /// An administrator at one node.
    pub fn admin_at(&self, node: usize) -> Client {
        self.nodes[node].client(&self.admin_token)
    }

    /// What cargo is told: `sparse+…/index/`.
    pub fn index(&self) -> String {
        format!("sparse+{}/index/", self.public_url)
    }

    /// Cargo with a home of its own, the registry `mine` and an administrator's token.
    pub fn cargo(&self, who: &str) -> Cargo {
        Cargo::new(&self.scratch, who, &self.index(), &self.admin_token)
    }

    /// The command line against the public URL; panics unless it succeeds, and gives what it printed.
    pub async fn command(&self, arguments: &[&str]) -> String {
        let token_file = self.scratch.path().join("admin-token");
        let output = tokio::process::Command::new(cratekeeper())
            .args(arguments)
            .args(["--server", &self.public_url, "--token-file"])
            .arg(token_file)
            .kill_on_drop(true)
            .output()
            .await
            .expect("the binary starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text
    }

    /// The place in `nodes` of the leader, as the running nodes agree on it.
    pub async fn leader(&self) -> usize {
        wait_for(
            "a leader that every node knows",
            Duration::from_secs(30),
            async || {
                let mut leaders = Vec::new();
                for node in self.nodes.iter().filter(|node| node.running()) {
                    let state = state_of(node, &self.admin_token).await?;
                    leaders.push(leader_name(&state)?);
                }
                leaders.dedup();
                let [leader] = leaders.as_slice() else {
                    return None;
                };
                let place = self.nodes.iter().position(|node| node.name == *leader)?;
                self.nodes[place].running().then_some(place)
            },
        )
        .await
    }

    /// Waits until every running node is ready and the members are `count` voters.
    pub async fn wait_voters(&mut self, count: usize) {
        self.wait_members(count, 0).await;
    }

    /// The same with `readers` readers.
    pub async fn wait_members(&mut self, count: usize, readers: usize) {
        for node in self.nodes.iter_mut().filter(|node| node.running()) {
            node.wait_ready().await;
        }
        let what = format!("{count} voters and {readers} readers");
        wait_until(&what, Duration::from_secs(60), async || {
            for node in self.nodes.iter().filter(|node| node.running()) {
                let Some(state) = state_of(node, &self.admin_token).await else {
                    return false;
                };
                let all = members(&state).len();
                let voting = in_role(&state, "voter").len();
                let reading = in_role(&state, "reader").len();
                if (voting, reading, all) != (count, readers, count + readers) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Waits until every running node is at the same sequence with the same chain hash; gives both.
    pub async fn wait_converged(&self) -> (u64, String) {
        wait_for(
            "one sequence and chain hash everywhere",
            Duration::from_secs(60),
            async || {
                let mut ends = Vec::new();
                for node in self.nodes.iter().filter(|node| node.running()) {
                    let state = state_of(node, &self.admin_token).await?;
                    let chain = state["chain"].as_str()?.to_owned();
                    ends.push((state["sequence"].as_u64()?, chain));
                }
                ends.dedup();
                let [end] = ends.as_slice() else { return None };
                Some(end.clone())
            },
        )
        .await
    }

    /// Asserts that every running node tells the same history, event by event; gives it.
    pub async fn one_history(&self) -> Vec<Value> {
        self.wait_converged().await;
        let mut first: Option<Vec<Value>> = None;
        for (place, node) in self.nodes.iter().enumerate() {
            if !node.running() {
                continue;
            }
            let history = self.admin_at(place).history().await;
            let known = first.get_or_insert_with(|| history.clone());
            assert!(*known == history, "{} tells another history", node.name);
        }
        first.expect("a node runs")
    }

    /// No process ended by itself.
    pub fn assert_all_run(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.running()) {
            let ended = node.exited();
            assert!(ended.is_none(), "{} ended: {ended:?}", node.name);
        }
    }
}

/// The node's own view, or nothing if it does not answer now.
async fn state_of(node: &Node, token: &str) -> Option<Value> {
    let client = node.client(token);
    let answer = client
        .try_send(reqwest::Method::GET, "/api/v1/cluster", None, &[])
        .await;
    answer
        .ok()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.json())
}

pub(crate) fn members(state: &Value) -> Vec<Value> {
    state["members"].as_array().cloned().unwrap_or_default()
}

fn in_role(state: &Value, role: &str) -> Vec<Value> {
    let mut members = members(state);
    members.retain(|member| member["role"] == role);
    members
}

fn leader_name(state: &Value) -> Option<String> {
    let leader = state["leader"].as_u64()?;
    let leader = members(state)
        .into_iter()
        .find(|member| member["node"] == leader)?;
    leader["name"].as_str().map(str::to_owned)
}

fn store_settings(settings: &mut Table, store: &Store, scratch: &Scratch) {
    match store {
        Store::Disk => {
            let directory = scratch.path().join("tarballs").display().to_string();
            set(settings, "tarballs.kind", "disk".into());
            set(settings, "tarballs.directory", directory.into());
        }
        Store::S3 {
            endpoint,
            region,
            bucket,
            key_id,
            secret,
        } => {
            set(settings, "tarballs.kind", "s3".into());
            set(settings, "tarballs.path_style", true.into());
            let texts = [
                ("endpoint", endpoint),
                ("region", region),
                ("bucket", bucket),
                ("access_key_id", key_id),
                ("secret_access_key", secret),
            ];
            for (key, text) in texts {
                set(settings, &format!("tarballs.{key}"), text.as_str().into());
            }
        }
    }
}

fn rand_bytes() -> [u8; 32] {
    use std::io::Read;
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .expect("the system has random bytes");
    bytes
}

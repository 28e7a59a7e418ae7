//! The load balancer in front of the nodes: haproxy, asking each node's `/readyz`.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use crate::client::{Client, NO_TOKEN};
use crate::node::Node;
use crate::ports::free_port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::wait_until;

/// How much the balancer helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// A request whose node dies before it answers is sent to another one. That is safe for writes too, because every call of cargo
    /// is idempotent here; it is possible for bodies up to the buffer's size. Looks several times a second.
    Forgiving,
    /// As haproxy comes, but that it looks every second: three bad answers take a node out, a connection that is refused is tried
    /// three times at the same node, and no request is ever sent twice.
    Stock,
}

const FORGIVING: &str = "\
  option http-buffer-request
  option redispatch 1
  retries 6
  retry-on conn-failure empty-response
  timeout connect 1s
  timeout queue 5s
  default-server check inter 150ms fastinter 100ms fall 1 rise 1
";
const STOCK: &str = "\
  timeout connect 5s
  default-server check inter 1s
";
/// Without its own time a check has only the interval to be answered, which a busy machine misses.
const ALWAYS: &str = "\
global
  maxconn 2000
  tune.bufsize 1048576
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout check 5s
  balance roundrobin
";

#[derive(Debug)]
pub struct Balancer {
    port: u16,
    _process: Process,
}

/// Where requests may be sent.
#[derive(Debug, Clone)]
pub struct Backend {
    pub name: String,
    /// `host:port`.
    pub http: String,
    pub ops_port: u16,
}

impl Balancer {
    pub(crate) fn start(scratch: &Scratch, nodes: &[Node], balance: Balance) -> Balancer {
        let backends = nodes.iter().map(|node| Backend {
            name: node.name.clone(),
            http: node.http.to_string(),
            ops_port: node.ops.port(),
        });
        let backends: Vec<Backend> = backends.collect();
        Balancer::listen(scratch, &backends, balance, None)
    }

    /// In front of hosts that the name server `names` knows. A host without an address gets no requests.
    pub fn in_front_of(scratch: &Scratch, backends: &[Backend], names: Ipv4Addr) -> Balancer {
        Balancer::listen(scratch, backends, Balance::Forgiving, Some(names))
    }

    fn listen(
        scratch: &Scratch,
        backends: &[Backend],
        balance: Balance,
        names: Option<Ipv4Addr>,
    ) -> Balancer {
        let port = free_port();
        let mut text = ALWAYS.to_owned();
        text.push_str(match balance {
            Balance::Forgiving => FORGIVING,
            Balance::Stock => STOCK,
        });
        let mut resolved = "";
        if let Some(names) = names {
            // Containers may be slow to answer; one that is gone refuses at once.
            text.push_str("  timeout check 2s\n");
            let _ = writeln!(text, "resolvers names\n  nameserver own {names}:53");
            text.push_str("  hold valid 500ms\n  hold nx 500ms\n  timeout resolve 500ms\n");
            resolved = "resolvers names init-addr none";
        }
        text.push_str("listen registry\n");
        let _ = writeln!(text, "  bind 127.0.0.1:{port}");
        text.push_str("  option httpchk GET /readyz\n");
        text.push_str("  http-check expect status 200\n");
        for backend in backends {
            let (name, http, ops) = (&backend.name, &backend.http, backend.ops_port);
            let _ = writeln!(text, "  server {name} {http} port {ops} {resolved}");
        }
        let config = scratch.path().join("haproxy.cfg");
        fs::write(&config, text).expect("the test's directory is writable");
        let arguments = ["-db".as_ref(), "-f".as_ref(), config.as_os_str()];
        let log = scratch.log("haproxy");
        let process = Process::start("haproxy", haproxy(), arguments, &log);
        Balancer {
            port,
            _process: process,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until it has a node to send requests to.
    pub async fn wait_serving(&mut self) {
        let client = Client::new(&self.url(), NO_TOKEN);
        wait_until("the balancer serves", Duration::from_secs(20), async || {
            let path = "/index/config.json";
            let answer = client.try_send(reqwest::Method::GET, path, None, &[]).await;
            answer.is_ok_and(|answer| [200, 401].contains(&answer.status))
        })
        .await;
    }
}

/// The installed program.
pub fn haproxy() -> &'static Path {
    // Debian keeps it out of an ordinary user's path.
    let installed = Path::new("/usr/sbin/haproxy");
    if installed.exists() {
        installed
    } else {
        Path::new("haproxy")
    }
}

//! Who listens where: as last time where that is possible, else on a free port, which is then kept.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, bail};

use super::directory::{Directory, NodeEntry};
use crate::cli::print;

/// Below the ports that systems give to outgoing connections, so that a kept port is seldom taken at the next start.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The nodes of this start; `http` is where the first one listens.
pub(super) fn entries(
    directory: &Directory,
    http: SocketAddr,
    count: u32,
    kept: &[NodeEntry],
) -> anyhow::Result<Vec<NodeEntry>> {
    let mut ports = Ports::default();
    let mut entries = Vec::new();
    for node in 1..=count {
        let kept = kept.iter().find(|kept| kept.node == node);
        let first = node == 1 && http.port() != 0;
        let home = directory.node(node);
        entries.push(NodeEntry {
            node,
            name: format!("node-{node}"),
            pid: None,
            http: if first {
                ports.exactly(http)?
            } else {
                ports.keep(
                    kept.map(|kept| kept.http),
                    http.ip(),
                    &format!("node {node}'s http"),
                )?
            },
            peer: ports.keep(
                kept.map(|kept| kept.peer),
                LOOPBACK,
                &format!("node {node}'s peer"),
            )?,
            ops: ports.keep(
                kept.map(|kept| kept.ops),
                LOOPBACK,
                &format!("node {node}'s ops"),
            )?,
            directory: home.join("data"),
            config: home.join("cratekeeper.toml"),
        });
    }
    Ok(entries)
}

/// A URL under which this machine reaches `http`.
pub(super) fn public_url(http: SocketAddr) -> String {
    let ip = if http.ip().is_unspecified() {
        LOOPBACK
    } else {
        http.ip()
    };
    format!("http://{}", SocketAddr::new(ip, http.port()))
}

/// The ports given out so far.
#[derive(Default)]
struct Ports {
    given: BTreeSet<u16>,
}

impl Ports {
    fn exactly(&mut self, address: SocketAddr) -> anyhow::Result<SocketAddr> {
        TcpListener::bind(address)
            .with_context(|| format!("listen on {address}; choose another address with --http"))?;
        self.given.insert(address.port());
        Ok(address)
    }

    fn keep(
        &mut self,
        kept: Option<SocketAddr>,
        ip: IpAddr,
        what: &str,
    ) -> anyhow::Result<SocketAddr> {
        let Some(kept) = kept else {
            return self.choose(ip);
        };
        let same = SocketAddr::new(ip, kept.port());
        if self.take(same) {
            return Ok(same);
        }
        let other = self.choose(ip)?;
        print::note(format!(
            "{what} port {} is taken; it is {} now",
            kept.port(),
            other.port()
        ));
        Ok(other)
    }

    /// Begins anywhere, so that several registries started together seldom meet.
    fn choose(&mut self, ip: IpAddr) -> anyhow::Result<SocketAddr> {
        let mut random = [0; 2];
        getrandom::fill(&mut random).context("draw randomness from the operating system")?;
        let count = PORTS.end - PORTS.start;
        let begin = u16::from_le_bytes(random) % count;
        for step in 0..count {
            let port = PORTS.start + (begin + step) % count;
            if self.take(SocketAddr::new(ip, port)) {
                return Ok(SocketAddr::new(ip, port));
            }
        }
        bail!(
            "no port of {ip} from {} to {} is free",
            PORTS.start,
            PORTS.end
        )
    }

    fn take(&mut self, address: SocketAddr) -> bool {
        !self.given.contains(&address.port())
            && TcpListener::bind(address).is_ok()
            && self.given.insert(address.port())
    }
}

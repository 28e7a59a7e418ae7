//! A network for containers on this machine: a bridge, and a network namespace with an address of its own for each of them.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Interfaces have short names, and two tests (or two runs) may have networks at once.
static NUMBER: AtomicU32 = AtomicU32::new(0);
/// Networks for benchmarks (RFC 2544): nothing that a machine talks to lies there.
const NETWORK: [u8; 2] = [198, 18];
const FIRST_HOST: u8 = 10;

#[derive(Debug)]
pub struct Bridge {
    name: String,
    third: u8,
    hosts: AtomicU8,
}

/// One end on the bridge, the other one inside of a namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    pub address: Ipv4Addr,
}

impl Bridge {
    /// Needs root.
    pub(crate) fn new() -> Bridge {
        let taken = ip(&["-o", "-4", "address"]);
        let third = (0..=u8::MAX)
            .map(|offset| offset.wrapping_add(std::process::id().to_le_bytes()[0]))
            .find(|third| !taken.contains(&format!(" {}.{}.{third}.", NETWORK[0], NETWORK[1])))
            .expect("one of 256 networks is free");
        let bridge = Bridge {
            name: name(std::process::id(), "b"),
            third,
            hosts: AtomicU8::new(FIRST_HOST),
        };
        ip(&["link", "add", &bridge.name, "type", "bridge"]);
        let address = format!("{}/24", bridge.gateway());
        ip(&["address", "add", &address, "dev", &bridge.name]);
        ip(&["link", "set", &bridge.name, "up"]);
        bridge
    }

    /// This machine's own address on it.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(NETWORK[0], NETWORK[1], self.third, 1)
    }

    /// A namespace with an address that nobody had before.
    pub fn attach(&self) -> Namespace {
        let host = self.hosts.fetch_add(1, Ordering::Relaxed);
        assert!(host < u8::MAX, "a test needs fewer addresses");
        let address = Ipv4Addr::new(NETWORK[0], NETWORK[1], self.third, host);
        let namespace = Namespace {
            name: name(std::process::id(), "n"),
            address,
        };
        let (inside, outside) = (name(std::process::id(), "i"), name(std::process::id(), "o"));
        let own = namespace.name.as_str();
        ip(&["netns", "add", own]);
        ip(&[
            "link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", own,
        ]);
        ip(&["link", "set", &outside, "master", &self.name, "up"]);
        ip(&["-n", own, "link", "set", &inside, "name", "eth0"]);
        let address = format!("{address}/24");
        ip(&["-n", own, "address", "add", &address, "dev", "eth0"]);
        ip(&["-n", own, "link", "set", "eth0", "up"]);
        ip(&["-n", own, "link", "set", "lo", "up"]);
        namespace
    }
}

impl Namespace {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As `podman run --network` and `nsenter --net` want it.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        try_ip(&["netns", "delete", &self.name]);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        try_ip(&["link", "delete", &self.name]);
    }
}

/// Removes what tests left behind that were killed.
pub(crate) fn remove_stale() {
    let alive = |name: &str| {
        let digits: String = name[2..].chars().take_while(char::is_ascii_digit).collect();
        fs::exists(format!("/proc/{digits}")).unwrap_or(true)
    };
    let entries = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_ours(name) && !alive(name))
            .collect()
    };
    for name in entries("/run/netns") {
        try_ip(&["netns", "delete", &name]);
    }
    for name in entries("/sys/class/net") {
        try_ip(&["link", "delete", &name]);
    }
}

fn name(process: u32, kind: &str) -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("ck{process}{kind}{number}")
}

/// `ck`, a process id, a letter, a number.
fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("ck") else {
        return false;
    };
    let mut parts = rest.split(|letter: char| letter.is_ascii_lowercase());
    let numbers = parts.by_ref().take(2).collect::<Vec<_>>();
    let number = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    numbers.len() == 2 && numbers.iter().all(number) && parts.next().is_none()
}

/// Runs `ip`; panics with what it says unless it succeeds.
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output();
    let output = output.expect("ip is installed");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// For tidying up, where nobody is left to complain to.
fn try_ip(arguments: &[&str]) {
    let _ = Command::new("ip").args(arguments).output();
}

//! The name server of a container network: names to IPv4 addresses, which come and go as pods do.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const TYPE_A: [u8; 2] = [0, 1];
const NO_SUCH_NAME: u8 = 3;
/// Long enough for one connection, short enough to follow a pod that moves.
const TTL: [u8; 4] = [0, 0, 0, 1];

type Names = Arc<Mutex<BTreeMap<String, Ipv4Addr>>>;

#[derive(Debug)]
pub struct NameServer {
    names: Names,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Answers on port 53 of `address`.
    pub(crate) async fn start(address: Ipv4Addr) -> NameServer {
        let names = Names::default();
        let socket = UdpSocket::bind(SocketAddr::from((address, 53))).await;
        let socket = socket.expect("nobody else listens on a new bridge");
        let task = tokio::spawn(serve(socket, names.clone()));
        NameServer { names, task }
    }

    pub fn set(&self, name: &str, address: Ipv4Addr) {
        let mut names = self.names.lock().expect("nobody panics with it");
        names.insert(name.to_ascii_lowercase(), address);
    }

    pub fn remove(&self, name: &str) {
        let mut names = self.names.lock().expect("nobody panics with it");
        names.remove(&name.to_ascii_lowercase());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, names: Names) {
    let mut packet = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut packet).await {
        let answer = {
            let names = names.lock().expect("nobody panics with it");
            answer(&packet[..length], &names)
        };
        if let Some(answer) = answer {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

/// The answer to a packet with one question, or nothing where the packet is none.
fn answer(packet: &[u8], names: &BTreeMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let (header, question) = packet.split_at_checked(12)?;
    let (name, end) = name_of(question)?;
    let question = question.get(..end + 4)?;
    let address = names.get(&name);
    let wanted = question[end..end + 2] == TYPE_A;
    let records = u8::from(wanted && address.is_some());
    let code = if address.is_some() { 0 } else { NO_SUCH_NAME };
    // An answer, from whom to ask, recursion as asked for; one question; no further records.
    let mut answer = vec![header[0], header[1], 0x84 | (header[2] & 1), 0x80 | code];
    answer.extend([0, 1, 0, records, 0, 0, 0, 0]);
    answer.extend(question);
    if let (Some(address), true) = (address, wanted) {
        // The name is the one at byte 12.
        answer.extend([0xc0, 12]);
        answer.extend(TYPE_A);
        answer.extend([0, 1]);
        answer.extend(TTL);
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name in lower case, and where it ends.
fn name_of(question: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut place = 0;
    loop {
        let length = usize::from(*question.get(place)?);
        place += 1;
        if length == 0 {
            return Some((labels.join("."), place));
        }
        let label = question.get(place..place + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        place += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, kind: u8) -> Vec<u8> {
        let mut packet = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            packet.push(u8::try_from(label.len()).expect("labels are short"));
            packet.extend(label.bytes());
        }
        packet.extend([0, 0, kind, 0, 1]);
        packet
    }

    #[test]
    fn a_known_name_has_an_address_of_one_kind_and_an_unknown_one_does_not_exist() {
        let names = BTreeMap::from([("pod-0.peers".to_owned(), Ipv4Addr::new(198, 18, 0, 10))]);
        let found = answer(&asked("Pod-0.peers", 1), &names).expect("an answer");
        assert_eq!(found[..4], [7, 9, 0x85, 0x80]);
        assert_eq!(found[7], 1);
        assert!(found.ends_with(&[0, 4, 198, 18, 0, 10]));
        let other_kind = answer(&asked("pod-0.peers", 28), &names).expect("an answer");
        assert_eq!((other_kind[3], other_kind[7]), (0x80, 0));
        let unknown = answer(&asked("pod-1.peers", 1), &names).expect("an answer");
        assert_eq!((unknown[3], unknown[7]), (0x83, 0));
        assert_eq!(answer(&[1, 2, 3], &names), None);
    }
}

//! Where a request comes from: the peer of the connection, or, behind proxies that the operator trusts, whom they name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Of the client itself, as far as it can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

impl ClientAddress {
    /// `None` only where there is no connection, as in a test of the router alone.
    pub(crate) fn of(request: &Request, trusted: &[IpNet]) -> Option<ClientAddress> {
        let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
        let peer = peer.ip().to_canonical();
        let address = if is_trusted(peer, trusted) {
            behind(peer, request.headers(), trusted)
        } else {
            peer
        };
        Some(ClientAddress(address))
    }

    /// What one client has for itself: a whole IPv4 address, or a /64 of IPv6, which every home has.
    pub(crate) fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
        }
    }
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Each proxy appends whom it was asked by, so the list is read from its end, for as long as who wrote an entry is trusted:
/// what stands before that, anybody may have made up.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer;
    for named in named_by_proxies(headers).into_iter().rev() {
        if !is_trusted(address, trusted) {
            break;
        }
        let Some(named) = named else {
            break;
        };
        address = named;
    }
    address
}

/// First what came first; `None` where an entry is no address (`unknown`). `Forwarded` counts only where there is no
/// `X-Forwarded-For`, because a proxy that writes the one may hand on the other as it came.
fn named_by_proxies(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let words = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values
            .flat_map(|value| value.to_str().unwrap_or("unknown").split(','))
            .map(|word| word.trim().to_owned())
            .collect()
    };
    if headers.contains_key(X_FORWARDED_FOR) {
        let entries = words(X_FORWARDED_FOR);
        return entries.iter().map(|entry| address_in(entry)).collect();
    }
    let entries = words(FORWARDED.as_str());
    entries.iter().map(|entry| forwarded_for(entry)).collect()
}

/// The `for` of one element of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next()?;
    address_in(value.trim().trim_matches('"'))
}

/// An address, with or without a port, IPv6 with or without brackets.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address
        .or_else(bare)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"]
            .map(|network| network.parse().expect("a network"))
            .to_vec();
        let mut request = Request::new(Body::empty());
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1);
        request.extensions_mut().insert(ConnectInfo(peer));
        for (name, value) in headers {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        let client = ClientAddress::of(&request, &trusted).expect("there is a connection");
        client.0.to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let headers = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(client("192.0.2.1", &headers), "192.0.2.1");
        assert_eq!(client("::ffff:192.0.2.1", &headers), "192.0.2.1");
    }

    #[test]
    fn a_list_is_believed_from_its_end_as_far_as_proxies_are_trusted() {
        for (value, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            // The client itself claimed to be 1.1.1.1.
            ("1.1.1.1, 192.0.2.7", "192.0.2.7"),
            ("1.1.1.1, 192.0.2.7, 10.0.0.3", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("10.0.0.3", "10.0.0.3"),
            ("1.1.1.1, nonsense", "10.0.0.2"),
            ("", "10.0.0.2"),
        ] {
            let headers = [("x-forwarded-for", value)];
            assert_eq!(client("10.0.0.2", &headers), expected, "{value}");
        }
        let twice = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(client("fd00::1", &twice), "192.0.2.7");
    }

    #[test]
    fn forwarded_is_read_where_the_older_header_is_not_there() {
        for (value, expected) in [
            ("for=192.0.2.7;proto=https", "192.0.2.7"),
            ("proto=https;For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=1.1.1.1, for=192.0.2.7", "192.0.2.7"),
            ("for=unknown", "10.0.0.2"),
            ("by=192.0.2.7", "10.0.0.2"),
        ] {
            let headers = [("forwarded", value)];
            assert_eq!(client("10.0.0.2", &headers), expected, "{value}");
        }
        let both = [
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(client("10.0.0.2", &both), "192.0.2.7");
    }

    #[test]
    fn one_client_of_ipv6_has_a_whole_network() {
        let network = |text: &str| ClientAddress(text.parse().expect("an address")).network();
        assert_eq!(network("2001:db8:0:1::7"), network("2001:db8:0:1:ffff::8"));
        assert_ne!(network("2001:db8:0:1::7"), network("2001:db8:0:2::7"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}

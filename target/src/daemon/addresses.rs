//! Where initiators find a portal: a portal on every address of the host is told as the addresses that the host has.

use std::net::{IpAddr, SocketAddr};

use super::spec::{Announce, host_of};

/// The `HOST:PORT`s under which a portal bound to `bound` is reached, the most useful first, at least one.
/// `interfaces` are the addresses of the host.
#[must_use]
pub fn reachable(bound: SocketAddr, announce: Option<&Announce>, interfaces: &[IpAddr]) -> Vec<String> {
    if let Some(announce) = announce {
        return vec![format!("{}:{}", announce.host, announce.port.unwrap_or(bound.port()))];
    }
    let shown = |ip: IpAddr| format!("{}:{}", host_of(ip), bound.port());
    if !bound.ip().is_unspecified() {
        return vec![shown(bound.ip())];
    }
    // A link-local address is useless without the name of the initiator's interface.
    let usable = |ip: &&IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && bound.is_ipv4(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && bound.is_ipv6(),
    };
    let mut found: Vec<IpAddr> = interfaces.iter().filter(usable).copied().collect();
    found.sort_by_key(IpAddr::is_loopback);
    found.dedup();
    if found.is_empty() {
        found.push(bound.ip());
    }
    found.into_iter().map(shown).collect()
}

/// The addresses of the host's interfaces that are up; none when the host does not tell.
#[must_use]
pub fn of_host() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().filter(|interface| interface.is_oper_up()).map(if_addrs::Interface::ip).collect()
}

/// Whether the host has IPv6 at all.
#[must_use]
pub fn has_ipv6() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok() || std::net::UdpSocket::bind("[::]:0").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces() -> Vec<IpAddr> {
        ["127.0.0.1", "192.168.1.10", "169.254.3.4", "::1", "fe80::1", "fd00::10"]
            .map(|ip| ip.parse().unwrap())
            .into()
    }

    fn at(bound: &str, announce: Option<&str>) -> Vec<String> {
        let announce = announce.map(|text| text.parse().unwrap());
        reachable(bound.parse().unwrap(), announce.as_ref(), &interfaces())
    }

    #[test]
    fn a_portal_on_every_address_is_reached_at_those_of_its_family_and_loopback_comes_last() {
        assert_eq!(at("0.0.0.0:3260", None), ["192.168.1.10:3260", "127.0.0.1:3260"]);
        assert_eq!(at("[::]:3261", None), ["[fd00::10]:3261", "[::1]:3261"]);
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap(), None, &[]), ["0.0.0.0:1"]);
    }

    #[test]
    fn a_portal_on_one_address_is_reached_there() {
        assert_eq!(at("127.0.0.1:40001", None), ["127.0.0.1:40001"]);
        assert_eq!(at("[::1]:40001", None), ["[::1]:40001"]);
    }

    #[test]
    fn an_announced_address_is_the_one_that_is_told() {
        assert_eq!(at("127.0.0.1:40001", Some("storage.example")), ["storage.example:40001"]);
        assert_eq!(at("0.0.0.0:40001", Some("10.0.2.2:3260")), ["10.0.2.2:3260"]);
    }
}

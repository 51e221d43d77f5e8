//! Whether the name a browser came by is one of ours.
//!
//! A foreign site can let its own name point to 127.0.0.1 or into the plant (DNS rebinding) and
//! then read the page with the visitor's browser. The Host header still carries the foreign
//! name, so it gives the attempt away (RFC 9110, section 7.2).

use std::net::{IpAddr, SocketAddr};

/// True when `host`, the Host header with or without port, names this box: `localhost`, one of
/// `names`, or an address. On loopback only loopback addresses count.
pub(super) fn is_ours(host: &str, listening: SocketAddr, names: &[String]) -> bool {
    let Some(name) = without_port(host) else { return false };
    if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        // No name service was asked, so nobody could have bent its answer.
        return !listening.ip().is_loopback() || address.is_loopback();
    }
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || names.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_is_fine =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (port_is_fine && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_box_are_answered() {
        let loopback: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        let plant: SocketAddr = "0.0.0.0:8080".parse().expect("an address");
        let names = ["box1.plant.example".to_owned()];
        for host in
            ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]", "[::1]:8080", "Box1.plant.example:80"]
        {
            assert!(is_ours(host, loopback, &names), "{host}");
        }
        for host in
            ["", "evil.example", "127.0.0.1.evil.example", "localhost:x", "10.0.0.7", "[::1", "[::1]x", ":80"]
        {
            assert!(!is_ours(host, loopback, &names), "{host}");
        }
        assert!(is_ours("10.0.0.7:8080", plant, &names));
        assert!(!is_ours("evil.example", plant, &names));
    }
}

//! What this host's own addresses are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The addresses from which datagrams to `destinations` would leave this host.
///
/// Connecting a UDP socket makes the kernel choose a route and sends nothing.
pub fn local_addresses(destinations: &[SocketAddr]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for destination in destinations {
        let unbound: SocketAddr = match destination {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        // A destination without a route has no address of ours.
        let local = UdpSocket::bind(unbound).and_then(|socket| {
            socket.connect(destination)?;
            socket.local_addr()
        });
        if let Ok(local) = local
            && !found.contains(&local.ip())
        {
            found.push(local.ip());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_destination_is_reached_from_loopback() {
        let to: SocketAddr = "127.0.0.1:9".parse().expect("an address");
        assert_eq!(local_addresses(&[to, to]), vec![to.ip()]);
    }
}

//! The prober on a station behind a gateway, its server on a station in front of it.

use std::net::{SocketAddr, SocketAddrV4};

use natrig_capture::{Icmp, IcmpError, Transport, Udp};
use natrig_probe::{Action, Failed, Plan, Prober, Report};
use natrig_stun::{Endpoint, Server};

use super::{Arrival, Net, Seat, packet};
use crate::Trouble;

/// Measures what is between two stations; the server's addresses are the outside one's. Within, why nothing was found out.
pub fn probe(
    net: &mut impl Net,
    [inside, outside]: [Seat; 2],
    plan: Plan,
) -> Result<Result<Report, Failed>, Trouble> {
    let server = Server::new(plan.server, Some(plan.other));
    let mut prober = Prober::new(plan, net.now());
    let mut sockets: Vec<SocketAddr> = Vec::new();
    loop {
        while let Some(action) = prober.poll_action() {
            match action {
                Action::Bind { local, .. } => sockets.push(local),
                Action::Send { socket, to, datagram } => {
                    if let (Some(SocketAddr::V4(from)), SocketAddr::V4(to)) =
                        (sockets.get(usize::from(socket)), to)
                    {
                        net.send(inside, packet::udp(*from, to, &datagram))?;
                    }
                }
            }
        }
        if let Some(outcome) = prober.outcome() {
            return Ok(outcome.clone());
        }
        let until = prober.poll_timeout().unwrap_or_else(|| net.now());
        match net.receive(until)? {
            Some(arrival) if arrival.at == outside => {
                if let Some(reply) = serve(&server, plan.closed, &arrival) {
                    net.send(outside, reply)?;
                }
                if let Some((from, to)) = refused(&arrival) {
                    prober.handle_refusal(net.now(), from.into(), to.into());
                }
            }
            Some(arrival) if arrival.at == inside => {
                let socket = |local: SocketAddrV4| {
                    sockets.iter().position(|bound| *bound == local.into())?.try_into().ok()
                };
                if let Some(udp) = datagram(&arrival)
                    && let Some(socket) = socket(udp.destination)
                {
                    prober.handle_datagram(net.now(), socket, udp.source.into(), udp.payload);
                }
                if let Some((from, to)) = refused(&arrival)
                    && let Some(socket) = socket(from)
                {
                    prober.handle_icmp_error(net.now(), socket, to.into());
                }
            }
            _ => {}
        }
        prober.handle_timeout(net.now());
    }
}

/// What the outside station sends back: the server's answer, or where nobody listens the news of that.
fn serve(server: &Server, closed: Option<SocketAddr>, arrival: &Arrival) -> Option<Vec<u8>> {
    let udp = datagram(arrival)?;
    if closed == Some(udp.destination.into()) {
        let (own, asker) = (*udp.destination.ip(), *udp.source.ip());
        return Some(packet::icmp_error(own, asker, packet::PORT_UNREACHABLE, &arrival.packet));
    }
    let at = Endpoint::ALL.into_iter().find(|at| server.address(*at) == Some(udp.destination.into()))?;
    let reply = server.answer(at, udp.source.into(), udp.payload)?;
    match (server.address(reply.from)?, reply.to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => Some(packet::udp(from, to, &reply.datagram)),
        _ => None,
    }
}

/// The datagram that an ICMP error says was refused, by its two ends.
fn refused(arrival: &Arrival) -> Option<(SocketAddrV4, SocketAddrV4)> {
    let Transport::Icmp(Icmp::Error(IcmpError { kind: 3, quoted: Some(quoted), .. })) =
        arrival.ipv4()?.transport
    else {
        return None;
    };
    let (from, to) = quoted.ports.filter(|_| quoted.protocol == packet::UDP)?;
    Some((SocketAddrV4::new(quoted.source, from), SocketAddrV4::new(quoted.destination, to)))
}

fn datagram(arrival: &Arrival) -> Option<Udp<'_>> {
    match arrival.ipv4()?.transport {
        Transport::Udp(udp) if udp.complete => Some(udp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use natrig_nat::{Engine, Preset, Profile, bytes::Gateway, engine::Addresses};

    use super::*;
    use crate::station::Memory;

    #[test]
    fn a_gateway_in_memory_is_what_its_profile_says() {
        for preset in Preset::ALL {
            let mut net = Memory::new();
            let outside = vec![Ipv4Addr::new(192, 168, 100, 1)];
            let addresses = Addresses { outside, inside: "10.0.1.0/24".parse().unwrap() };
            let engine = Engine::new(Profile::of(preset), addresses, 7).unwrap();
            let gateway = net.gateway(Gateway::new(engine, Ipv4Addr::new(10, 0, 1, 1)));
            let inside = net.station([Ipv4Addr::new(10, 0, 1, 250)], Some(gateway));
            let server = [250, 251].map(|host| Ipv4Addr::new(192, 168, 100, host));
            let outside = net.station(server, None);
            let plan = Plan::fast(
                "192.168.100.250:3478".parse().unwrap(),
                "192.168.100.251:3479".parse().unwrap(),
                "10.0.1.250:61000".parse().unwrap(),
                1,
            );
            let report = probe(&mut net, [inside, outside], plan).unwrap().unwrap();
            assert_eq!(
                (report.mapping, report.filtering),
                (preset.mapping(), preset.filtering()),
                "{preset}"
            );
            assert_ne!(report.early_packet_harmless, Some(false), "{preset}");
        }
    }
}

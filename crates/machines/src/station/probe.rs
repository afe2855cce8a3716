//! The prober on a station behind a gateway, its server on a station in front of it.

use std::net::{SocketAddr, SocketAddrV4};

use natrig_capture::{Transport, Udp};
use natrig_probe::{Action, Plan, Prober, Report};
use natrig_stun::{Endpoint, Server};

use super::{Arrival, Net, Seat, packet};
use crate::Trouble;

/// Measures what is between two stations; the server's addresses are the outside one's.
pub fn probe(net: &mut impl Net, [inside, outside]: [Seat; 2], plan: Plan) -> Result<Report, Trouble> {
    let server = Server::new(plan.server, Some(plan.other));
    let mut prober = Prober::new(plan, net.now());
    loop {
        while let Some(action) = prober.poll_action() {
            if let Action::Send { socket, to, datagram } = action
                && let (Some(from), SocketAddr::V4(to)) = (endpoint(&plan, socket), to)
            {
                net.send(inside, packet::udp(from, to, &datagram))?;
            }
        }
        if let Some(outcome) = prober.outcome() {
            return outcome.clone().map_err(Trouble::lab);
        }
        let until = prober.poll_timeout().unwrap_or_else(|| net.now());
        match net.receive(until)? {
            Some(arrival) if arrival.at == outside => answer(net, outside, &server, &arrival)?,
            Some(arrival) if arrival.at == inside => {
                let now = net.now();
                if let Some(udp) = datagram(&arrival)
                    && let Some(socket) = socket(&plan, udp.destination)
                {
                    prober.handle_datagram(now, socket, udp.payload);
                }
            }
            _ => {}
        }
        prober.handle_timeout(net.now());
    }
}

fn answer(net: &mut impl Net, outside: Seat, server: &Server, arrival: &Arrival) -> Result<(), Trouble> {
    let Some(udp) = datagram(arrival) else {
        return Ok(());
    };
    let asked = Endpoint::ALL.into_iter().find(|at| server.address(*at) == Some(udp.destination.into()));
    let reply = asked.and_then(|at| server.answer(at, udp.source.into(), udp.payload));
    if let Some(reply) = reply
        && let (Some(SocketAddr::V4(from)), SocketAddr::V4(to)) = (server.address(reply.from), reply.to)
    {
        net.send(outside, packet::udp(from, to, &reply.datagram))?;
    }
    Ok(())
}

fn datagram(arrival: &Arrival) -> Option<Udp<'_>> {
    match arrival.ipv4()?.transport {
        Transport::Udp(udp) if udp.complete => Some(udp),
        _ => None,
    }
}

fn endpoint(plan: &Plan, socket: u8) -> Option<SocketAddrV4> {
    match plan.inside {
        SocketAddr::V4(first) => {
            Some(SocketAddrV4::new(*first.ip(), first.port().checked_add(socket.into())?))
        }
        SocketAddr::V6(_) => None,
    }
}

fn socket(plan: &Plan, at: SocketAddrV4) -> Option<u8> {
    let SocketAddr::V4(first) = plan.inside else {
        return None;
    };
    (at.ip() == first.ip()).then(|| at.port().checked_sub(first.port())?.try_into().ok()).flatten()
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
            let plan = Plan {
                server: "192.168.100.250:3478".parse().unwrap(),
                other: "192.168.100.251:3479".parse().unwrap(),
                inside: "10.0.1.250:61000".parse().unwrap(),
                seed: 1,
            };
            let report = probe(&mut net, [inside, outside], plan).unwrap();
            assert_eq!(
                (report.mapping, report.filtering),
                (preset.mapping(), preset.filtering()),
                "{preset}"
            );
            assert_ne!(report.early_packet_harmless, Some(false), "{preset}");
        }
    }
}

//! The engine, one behaviour after the other.

use std::{net::SocketAddrV4, time::Duration};

use natrig_nat::{
    Engine, Filtering, Mapping, Preset, Profile,
    engine::{Addresses, Content, IcmpError, Packet, Protocol, Reason, Side, TcpFlags, Verdict},
    profile::{Allocation, Block, Hairpin, Pool, Pooling, PortRange, Refresh, Unsolicited},
};

const A: &str = "10.0.0.2:7000";
const B: &str = "10.0.0.3:7000";
const SERVER: &str = "198.51.100.3:3478";
const STRANGER: &str = "198.51.100.9:9";

fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn gateway(profile: Profile) -> Engine {
    let outside = (1..=profile.pool.addresses as u8).map(|last| [192, 0, 2, last].into()).collect();
    Engine::new(profile, Addresses { outside, inside: "10.0.0.0/16".parse().unwrap() }, 7).unwrap()
}

fn home(change: impl FnOnce(&mut Profile)) -> Engine {
    let mut profile = Profile::of(Preset::PortRestrict);
    change(&mut profile);
    gateway(profile)
}

/// Sends a datagram out and says from where it comes.
fn send(gateway: &mut Engine, now: Duration, from: &str, to: &str) -> Result<SocketAddrV4, Reason> {
    match gateway.outbound(now, Packet::udp(at(from), at(to))) {
        Verdict::Forward { to: Side::Outside, packet } => Ok(packet.source),
        Verdict::Drop(reason) => Err(reason),
        other => panic!("{other:?}"),
    }
}

/// Sends a datagram in and says to whom it goes.
fn receive(gateway: &mut Engine, now: Duration, from: &str, to: SocketAddrV4) -> Option<SocketAddrV4> {
    match gateway.inbound(now, Packet::udp(at(from), to)) {
        Verdict::Forward { to: Side::Inside, packet } => Some(packet.destination),
        Verdict::Drop(_) | Verdict::Reject(_) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_hosts_on_one_port_get_two_ports_and_their_own_packets() {
    for preset in [Preset::FullCone, Preset::AddrRestrict, Preset::PortRestrict] {
        let mut gateway = gateway(Profile::of(preset));
        let a = send(&mut gateway, s(0), A, SERVER).unwrap();
        let b = send(&mut gateway, s(0), B, SERVER).unwrap();
        assert_eq!(a, at("192.0.2.1:7000"), "{preset}");
        assert_ne!(a, b, "{preset}");
        assert_eq!(send(&mut gateway, s(1), B, "203.0.113.5:80"), Ok(b), "{preset}");
        assert_eq!(receive(&mut gateway, s(1), SERVER, a), Some(at(A)), "{preset}");
        assert_eq!(receive(&mut gateway, s(1), SERVER, b), Some(at(B)), "{preset}");
        let stranger = receive(&mut gateway, s(1), "203.0.113.5:80", a);
        let open = preset == Preset::FullCone;
        assert_eq!(stranger, open.then(|| at(A)), "{preset}: what B contacted does not open A");
    }
}

#[test]
fn a_strictly_preserving_gateway_refuses_who_comes_second() {
    let mut gateway = home(|profile| profile.ports.allocation = Allocation::Preserving);
    assert!(send(&mut gateway, s(0), A, SERVER).is_ok());
    assert_eq!(send(&mut gateway, s(0), B, SERVER), Err(Reason::NoPort));
    assert!(send(&mut gateway, s(40), B, SERVER).is_ok(), "the first one's time is over");
}

#[test]
fn an_overloading_gateway_shares_a_port_until_both_want_one_destination() {
    let mut gateway = home(|profile| profile.ports.overload = true);
    let a = send(&mut gateway, s(0), A, SERVER).unwrap();
    assert_eq!(send(&mut gateway, s(0), B, STRANGER), Ok(a));
    assert_eq!(receive(&mut gateway, s(0), SERVER, a), Some(at(A)));
    assert_eq!(receive(&mut gateway, s(0), STRANGER, a), Some(at(B)));
    assert_ne!(send(&mut gateway, s(0), B, SERVER), Ok(a));
}

#[test]
fn a_sequence_steps_by_its_delta() {
    let mut profile = Profile::of(Preset::Symmetric);
    profile.ports.allocation = Allocation::Sequential { delta: 2 };
    profile.ports.range = PortRange::new(40_000, 40_999).unwrap();
    let mut gateway = gateway(profile);
    let ports: Vec<u16> = (1..=700)
        .map(|port| send(&mut gateway, s(0), A, &format!("198.51.100.3:{port}")).unwrap().port())
        .collect();
    let wrapped = |port: u16| if port + 2 > 40_999 { port + 2 - 1000 } else { port + 2 };
    assert!(ports[..400].windows(2).all(|pair| pair[1] == wrapped(pair[0])), "{ports:?}");
    let distinct: std::collections::HashSet<_> = ports.iter().collect();
    assert_eq!(distinct.len(), 700, "when the even ports are used up, the odd ones are there");
}

#[test]
fn parity_is_kept_by_every_allocation() {
    let allocations =
        [Allocation::Random, Allocation::PreservingUntilCollision, Allocation::Sequential { delta: 4 }];
    for allocation in allocations {
        let mut gateway = home(|profile| {
            profile.ports.allocation = allocation;
            profile.ports.parity = true;
            profile.ports.range = PortRange::new(2001, 2200).unwrap();
        });
        for host in 1..=100 {
            let (even, odd) = (format!("10.0.1.{host}:2100"), format!("10.0.1.{host}:2101"));
            assert_eq!(send(&mut gateway, s(0), &even, SERVER).unwrap().port() % 2, 0, "{allocation:?}");
            assert_eq!(send(&mut gateway, s(0), &odd, SERVER).unwrap().port() % 2, 1, "{allocation:?}");
        }
        let full = send(&mut gateway, s(0), "10.0.2.1:2100", SERVER);
        assert_eq!(full, Err(Reason::NoPort), "{allocation:?}");
    }
}

#[test]
fn a_host_draws_from_its_own_block_and_no_further() {
    let mut gateway = home(|profile| {
        profile.ports.allocation = Allocation::Random;
        profile.ports.block = Some(Block { size: 8, most: 2 });
        profile.ports.range = PortRange::new(40_000, 40_031).unwrap();
    });
    let mut draw = |host: u8, count: u16| -> Vec<Result<u16, Reason>> {
        (0..count)
            .map(|port| send(&mut gateway, s(0), &format!("10.0.0.{host}:{}", 5000 + port), SERVER))
            .map(|sent| sent.map(|endpoint| endpoint.port()))
            .collect()
    };
    let first = draw(2, 17);
    let block = |port: &Result<u16, Reason>| port.map(|port| (port - 40_000) / 8);
    assert!(first[..8].iter().all(|port| block(port) == block(&first[0])), "{first:?}");
    assert!(first[8..16].iter().all(|port| block(port) == block(&first[8])), "{first:?}");
    assert_ne!(block(&first[0]), block(&first[8]));
    assert_eq!(first[16], Err(Reason::NoPort));
    let second = draw(3, 16);
    assert!(second.iter().all(|port| port.is_ok() && !first.contains(port)), "{second:?}");
    assert_eq!(draw(4, 1), [Err(Reason::NoPort)], "all four blocks are given");
    assert!(
        send(&mut gateway, s(31), "10.0.0.4:5000", SERVER).is_ok(),
        "blocks come back with their last mapping"
    );
}

#[test]
fn a_paired_pool_keeps_a_hosts_address_and_an_arbitrary_one_does_not() {
    for pooling in [Pooling::Paired, Pooling::Arbitrary] {
        let mut gateway = home(|profile| profile.pool = Pool { addresses: 4, pooling });
        let mut per_host: Vec<usize> = Vec::new();
        for host in 1..=20 {
            let addresses: std::collections::HashSet<_> = (1..=20)
                .map(|port| {
                    *send(&mut gateway, s(0), &format!("10.0.3.{host}:{}", 4000 + port), SERVER).unwrap().ip()
                })
                .collect();
            per_host.push(addresses.len());
        }
        match pooling {
            Pooling::Paired => assert!(per_host.iter().all(|count| *count == 1)),
            Pooling::Arbitrary => assert!(per_host.iter().all(|count| *count > 1), "{per_host:?}"),
        }
    }
}

#[test]
fn hairpin_shows_the_source_that_the_profile_says() {
    for (hairpin, seen) in [
        (Hairpin::None, None),
        (Hairpin::InternalSource, Some(at("10.0.0.3:7001"))),
        (Hairpin::ExternalSource, Some(at("192.0.2.1:7001"))),
    ] {
        let mut gateway = gateway(Profile { hairpin, ..Profile::of(Preset::FullCone) });
        let a = send(&mut gateway, s(0), A, SERVER).unwrap();
        let verdict = gateway.outbound(s(0), Packet::udp(at("10.0.0.3:7001"), a));
        match seen {
            None => assert_eq!(verdict, Verdict::Drop(Reason::NoHairpin)),
            Some(source) => {
                assert_eq!(
                    verdict,
                    Verdict::Forward { to: Side::Inside, packet: Packet::udp(source, at(A)) }
                );
            }
        }
    }
}

#[test]
fn hairpin_is_filtered_like_all_else_and_answers_come_back() {
    let mut gateway = home(|profile| profile.hairpin = Hairpin::ExternalSource);
    let a = send(&mut gateway, s(0), A, SERVER).unwrap();
    let b = send(&mut gateway, s(0), B, SERVER).unwrap();
    assert_eq!(gateway.outbound(s(0), Packet::udp(at(A), b)), Verdict::Drop(Reason::Filtered));
    let punched = gateway.outbound(s(0), Packet::udp(at(B), a));
    assert_eq!(punched, Verdict::Forward { to: Side::Inside, packet: Packet::udp(b, at(A)) });
    let answer = gateway.outbound(s(0), Packet::udp(at(A), b));
    assert_eq!(answer, Verdict::Forward { to: Side::Inside, packet: Packet::udp(a, at(B)) });
    let spoofed = gateway.inbound(s(0), Packet::udp(b, a));
    assert_eq!(spoofed, Verdict::Drop(Reason::NotOurs), "nobody outside has the gateway's address");
}

#[test]
fn a_flow_lives_longer_once_it_is_answered() {
    let mut gateway = home(|_| {});
    let a = send(&mut gateway, s(0), A, SERVER).unwrap();
    assert_eq!(receive(&mut gateway, s(29), SERVER, a), Some(at(A)));
    assert_eq!(receive(&mut gateway, s(29 + 119), SERVER, a), Some(at(A)));
    assert_eq!(receive(&mut gateway, s(29 + 119 + 120), SERVER, a), None, "at its time it is over");
    assert_eq!(gateway.mappings(s(268)), 0);
    send(&mut gateway, s(300), A, SERVER).unwrap();
    assert_eq!(receive(&mut gateway, s(330), SERVER, a), None, "30 s without an answer");
}

#[test]
fn packets_from_outside_keep_a_mapping_alive_only_where_the_profile_says() {
    for (refresh, alive) in [(Refresh::Both, true), (Refresh::Outbound, false)] {
        let mut gateway = home(|profile| {
            profile.refresh = refresh;
            profile.timers.stream_after = Duration::ZERO;
        });
        let a = send(&mut gateway, s(0), A, SERVER).unwrap();
        receive(&mut gateway, s(1), SERVER, a);
        send(&mut gateway, s(2), A, SERVER).unwrap();
        assert_eq!(receive(&mut gateway, s(100), SERVER, a), Some(at(A)));
        assert_eq!(receive(&mut gateway, s(130), SERVER, a).is_some(), alive, "{refresh:?}");
    }
}

#[test]
fn a_lifetime_ends_the_busiest_mapping() {
    let mut gateway = home(|profile| {
        profile.ports.allocation = Allocation::Random;
        profile.timers.lifetime = Some(s(300));
    });
    let first = send(&mut gateway, s(0), A, SERVER).unwrap();
    for now in 1..300 {
        assert_eq!(send(&mut gateway, s(now), A, SERVER), Ok(first), "{now} s");
        assert_eq!(receive(&mut gateway, s(now), SERVER, first), Some(at(A)));
    }
    assert_eq!(receive(&mut gateway, s(300), SERVER, first), None);
    assert_ne!(send(&mut gateway, s(300), A, SERVER), Ok(first));
}

#[test]
fn limits_hold_per_host_and_in_all_and_end_with_the_mappings() {
    let mut gateway = home(|profile| {
        profile.limits.per_host = Some(2);
        profile.limits.mappings = 3;
    });
    assert!(send(&mut gateway, s(0), "10.0.0.2:1", SERVER).is_ok());
    assert!(send(&mut gateway, s(0), "10.0.0.2:2", SERVER).is_ok());
    assert_eq!(send(&mut gateway, s(0), "10.0.0.2:3", SERVER), Err(Reason::HostLimit));
    assert!(send(&mut gateway, s(0), "10.0.0.3:1", SERVER).is_ok());
    assert_eq!(send(&mut gateway, s(0), "10.0.0.4:1", SERVER), Err(Reason::TableFull));
    assert!(send(&mut gateway, s(0), "10.0.0.2:1", SERVER).is_ok(), "what is mapped goes on");
    assert!(send(&mut gateway, s(30), "10.0.0.2:3", SERVER).is_ok());
}

#[test]
fn a_full_table_of_flows_refuses_the_next_one() {
    let mut gateway = home(|profile| profile.limits.flows = 5);
    for port in 1..=5 {
        assert!(send(&mut gateway, s(0), A, &format!("198.51.100.3:{port}")).is_ok());
    }
    assert_eq!(send(&mut gateway, s(0), A, "198.51.100.3:6"), Err(Reason::TableFull));
}

#[test]
fn a_closed_table_takes_what_ended_again_and_no_more() {
    let mut gateway = home(|_| {});
    assert!(send(&mut gateway, s(0), A, "198.51.100.3:1").is_ok());
    assert!(send(&mut gateway, s(1), A, "198.51.100.3:2").is_ok());
    gateway.close(s(1));
    assert_eq!(send(&mut gateway, s(1), A, "198.51.100.3:3"), Err(Reason::TableFull));
    assert!(send(&mut gateway, s(1), A, "198.51.100.3:2").is_ok(), "what is there goes on");
    assert!(send(&mut gateway, s(30), A, "198.51.100.3:3").is_ok(), "the first one has ended");
    assert_eq!(send(&mut gateway, s(30), A, "198.51.100.3:4"), Err(Reason::TableFull));
    gateway.reboot(s(30));
    assert!((1..9).all(|port| send(&mut gateway, s(30), A, &format!("198.51.100.3:{port}")).is_ok()));
}

#[test]
fn unsolicited_input_gets_what_the_profile_says() {
    let packet = Packet::udp(at(STRANGER), at("192.0.2.1:7000"));
    assert_eq!(home(|_| {}).inbound(s(0), packet), Verdict::Drop(Reason::NoMapping));
    let mut rejecting = home(|profile| profile.unsolicited = Unsolicited::Reject);
    let Verdict::Reject(refusal) = rejecting.inbound(s(0), packet) else { panic!() };
    assert_eq!(
        (*refusal.source.ip(), *refusal.destination.ip()),
        (*packet.destination.ip(), *packet.source.ip())
    );
    let Content::Error(error) = refusal.content else { panic!() };
    assert_eq!(
        (error.kind, error.code, error.source),
        (IcmpError::UNREACHABLE, IcmpError::PORT, packet.source)
    );
    assert_eq!(
        send(&mut rejecting, s(0), A, STRANGER),
        Ok(at("192.0.2.1:7000")),
        "a refusal does not poison"
    );
}

#[test]
fn an_early_packet_moves_the_port_of_a_poisoned_gateway_only() {
    for (unsolicited, moved) in [(Unsolicited::Drop, false), (Unsolicited::Poison, true)] {
        let mut gateway = home(|profile| profile.unsolicited = unsolicited);
        let a = send(&mut gateway, s(0), A, SERVER).unwrap();
        assert_eq!(receive(&mut gateway, s(0), STRANGER, a), None);
        assert_eq!(send(&mut gateway, s(1), A, STRANGER) != Ok(a), moved);
        assert_eq!(send(&mut gateway, s(1), A, "203.0.113.5:80"), Ok(a), "to all others it stays");
        assert_eq!(send(&mut gateway, s(2), A, SERVER), Ok(a));
    }
}

#[test]
fn a_blocked_protocol_passes_in_neither_direction() {
    let mut gateway = home(|profile| profile.udp_blocked = true);
    assert_eq!(send(&mut gateway, s(0), A, SERVER), Err(Reason::UdpBlocked));
    let syn = Packet::tcp(at(A), at("198.51.100.3:443"), TcpFlags::SYN);
    assert!(matches!(gateway.outbound(s(0), syn), Verdict::Forward { .. }));
}

#[test]
fn a_router_without_nat_passes_all_and_a_firewall_what_was_asked_for() {
    let mut router = gateway(Profile::of(Preset::Public));
    assert_eq!(receive(&mut router, s(0), STRANGER, at(A)), Some(at(A)));
    assert_eq!(send(&mut router, s(0), A, SERVER), Ok(at(A)));
    assert_eq!(router.flows(s(0)), 0);
    let mut firewall =
        gateway(Profile { filtering: Filtering::AddressDependent, ..Profile::of(Preset::Public) });
    assert_eq!(receive(&mut firewall, s(0), STRANGER, at(A)), None);
    assert_eq!(send(&mut firewall, s(0), A, SERVER), Ok(at(A)));
    assert_eq!(receive(&mut firewall, s(0), "198.51.100.3:99", at(A)), Some(at(A)));
    assert_eq!(receive(&mut firewall, s(0), STRANGER, at(A)), None);
}

#[test]
fn a_rebind_moves_every_port_and_a_reboot_only_forgets() {
    for preset in [Preset::FullCone, Preset::PortRestrict, Preset::Symmetric] {
        let mut gateway = gateway(Profile::of(preset));
        let hosts: Vec<String> = (2..250).map(|host| format!("10.0.0.{host}:{}", 6000 + host)).collect();
        let before: Vec<_> =
            hosts.iter().map(|host| send(&mut gateway, s(0), host, SERVER).unwrap()).collect();
        gateway.rebind(s(1));
        assert_eq!(receive(&mut gateway, s(1), SERVER, before[0]), None, "{preset}");
        for (host, before) in hosts.iter().zip(&before) {
            assert_ne!(send(&mut gateway, s(1), host, SERVER).unwrap(), *before, "{preset} {host}");
        }
        gateway.reboot(s(2));
        assert_eq!(gateway.mappings(s(2)), 0, "{preset}");
        if preset == Preset::FullCone {
            assert_eq!(send(&mut gateway, s(2), A, SERVER), Ok(at("192.0.2.1:7000")));
        }
    }
}

#[test]
fn a_new_address_and_a_new_profile_take_effect_at_once() {
    let mut gateway = home(|_| {});
    let old = send(&mut gateway, s(0), A, SERVER).unwrap();
    gateway.renumber(s(1), vec!["203.0.113.77".parse().unwrap()]).unwrap();
    assert_eq!(receive(&mut gateway, s(1), SERVER, old), None);
    assert_eq!(send(&mut gateway, s(1), A, SERVER), Ok(at("203.0.113.77:7000")));
    gateway.reconfigure(s(2), Profile::of(Preset::Symmetric)).unwrap();
    let first = send(&mut gateway, s(2), A, SERVER).unwrap();
    assert_ne!(send(&mut gateway, s(2), A, STRANGER), Ok(first));
    assert!(gateway.renumber(s(3), vec![]).is_err());
}

#[test]
fn tcp_lives_by_its_state() {
    let mut gateway = home(|_| {});
    let (inside, server) = (at(A), at("198.51.100.3:443"));
    let mut out = |now, flags| gateway.outbound(s(now), Packet::tcp(inside, server, flags));
    assert!(matches!(out(0, TcpFlags::SYN), Verdict::Forward { .. }));
    assert!(matches!(out(239, TcpFlags::SYN), Verdict::Forward { .. }));
    let mut back = |now, flags| gateway.inbound(s(now), Packet::tcp(server, at("192.0.2.1:7000"), flags));
    assert!(matches!(back(240, TcpFlags::SYN_ACK), Verdict::Forward { .. }));
    assert!(
        matches!(back(240 + 7439, TcpFlags::ACK), Verdict::Forward { .. }),
        "open, it lives for 2 h 4 min"
    );
    assert!(matches!(back(7700, TcpFlags::FIN), Verdict::Forward { .. }));
    let mut out = |now, flags| gateway.outbound(s(now), Packet::tcp(inside, server, flags));
    assert!(matches!(out(7701, TcpFlags::FIN), Verdict::Forward { .. }));
    assert_eq!(gateway.flows(s(7701 + 239)), 1);
    assert_eq!(gateway.flows(s(7701 + 240)), 0, "closed, for 4 min");
    let rst = gateway.outbound(s(8000), Packet::tcp(inside, server, TcpFlags::RST));
    assert_eq!(rst, Verdict::Drop(Reason::NoConnection));
}

#[test]
fn a_syn_from_outside_is_refused_late_unless_the_inside_opens_too() {
    let mut gateway = home(|profile| profile.unsolicited = Unsolicited::Reject);
    let (inside, peer) = (at(A), at("198.51.100.3:443"));
    let outside = at("192.0.2.1:7000");
    let early = Packet::tcp(peer, outside, TcpFlags::SYN);
    assert_eq!(gateway.inbound(s(0), early), Verdict::Drop(Reason::Held));
    assert_eq!(gateway.poll_timeout(), Some(s(6)));
    assert_eq!(gateway.poll(s(5)), None);
    let refusal = gateway.poll(s(6)).unwrap();
    assert!(matches!(refusal.content, Content::Error(error) if error.source == peer));
    assert_eq!(gateway.inbound(s(10), early), Verdict::Drop(Reason::Held));
    assert!(matches!(
        gateway.outbound(s(12), Packet::tcp(inside, peer, TcpFlags::SYN)),
        Verdict::Forward { .. }
    ));
    assert_eq!(gateway.poll(s(16)), None, "simultaneous open");
    assert!(matches!(gateway.inbound(s(17), early), Verdict::Forward { .. }));
}

#[test]
fn icmp_errors_find_their_owner_and_keep_nothing_alive() {
    let mut gateway = home(|_| {});
    let a = send(&mut gateway, s(0), A, SERVER).unwrap();
    let router = "203.0.113.1".parse().unwrap();
    let sent = Packet::udp(a, at(SERVER));
    let error = sent.error(router, 11, 0).unwrap();
    let Verdict::Forward { to: Side::Inside, packet } = gateway.inbound(s(1), error) else { panic!() };
    assert_eq!(*packet.destination.ip(), *at(A).ip());
    assert!(
        matches!(packet.content, Content::Error(inner) if inner.source == at(A) && inner.destination == at(SERVER))
    );
    let forged = Packet::udp(a, at(STRANGER)).error(router, 3, 3).unwrap();
    assert_eq!(
        gateway.inbound(s(1), forged),
        Verdict::Drop(Reason::NoMapping),
        "about a packet that was not sent"
    );
    assert_eq!(gateway.flows(s(30)), 0);
}

#[test]
fn icmp_errors_from_inside_bear_the_outside_address() {
    let mut gateway = home(|_| {});
    let a = send(&mut gateway, s(0), A, SERVER).unwrap();
    let answer = Packet::udp(at(SERVER), at(A));
    let error = answer.error(*at(A).ip(), IcmpError::UNREACHABLE, IcmpError::PORT).unwrap();
    let Verdict::Forward { to: Side::Outside, packet } = gateway.outbound(s(1), error) else { panic!() };
    assert_eq!((*packet.source.ip(), *packet.destination.ip()), (*a.ip(), *at(SERVER).ip()));
    assert!(matches!(packet.content, Content::Error(inner) if inner.destination == a));
}

#[test]
fn pings_go_out_and_their_answers_come_back() {
    let mut gateway = home(|_| {});
    let (inside, server) = (*at(A).ip(), *at(SERVER).ip());
    let Verdict::Forward { packet, .. } = gateway.outbound(s(0), Packet::echo_request(inside, server, 4321))
    else {
        panic!()
    };
    let reply = Packet::echo_reply(server, *packet.source.ip(), packet.source.port());
    let Verdict::Forward { packet, .. } = gateway.inbound(s(59), reply) else { panic!() };
    assert_eq!(packet.destination, SocketAddrV4::new(inside, 4321));
    let ping = Packet::echo_request(server, "192.0.2.1".parse().unwrap(), 1);
    assert!(matches!(gateway.inbound(s(59), ping), Verdict::Drop(_)));
    assert_eq!(gateway.outside_of(s(200), Protocol::Echo, SocketAddrV4::new(inside, 4321), at(SERVER)), None);
}

#[test]
fn what_is_on_the_wrong_side_does_not_pass() {
    let mut gateway = home(|_| {});
    assert_eq!(send(&mut gateway, s(0), STRANGER, SERVER), Err(Reason::NotOurs));
    assert_eq!(send(&mut gateway, s(0), A, B), Err(Reason::NotOurs));
    assert_eq!(receive(&mut gateway, s(0), A, at("192.0.2.1:7000")), None);
    assert_eq!(receive(&mut gateway, s(0), STRANGER, at(A)), None);
}

#[test]
fn an_address_dependent_gateway_has_one_port_for_each_address() {
    let mut profile = Profile { mapping: Some(Mapping::AddressDependent), ..Profile::of(Preset::Symmetric) };
    profile.filtering = Filtering::AddressDependent;
    let mut gateway = gateway(profile);
    let a = send(&mut gateway, s(0), A, "198.51.100.3:1").unwrap();
    assert_eq!(send(&mut gateway, s(0), A, "198.51.100.3:2"), Ok(a));
    assert_ne!(send(&mut gateway, s(0), A, "198.51.100.4:1"), Ok(a));
    assert_eq!(receive(&mut gateway, s(0), "198.51.100.3:77", a), Some(at(A)));
    assert_eq!(receive(&mut gateway, s(0), "198.51.100.4:1", a), None);
}

#[test]
fn an_engine_is_refused_with_what_is_wrong() {
    let addresses = |outside: &[[u8; 4]]| Addresses {
        outside: outside.iter().map(|ip| (*ip).into()).collect(),
        inside: "10.0.0.0/8".parse().unwrap(),
    };
    let refused =
        |outside: &[[u8; 4]]| Engine::new(Profile::default(), addresses(outside), 1).unwrap_err().to_string();
    assert!(refused(&[]).contains("1 outside addresses, 0 were given"));
    assert!(refused(&[[10, 0, 0, 1]]).contains("lies inside"));
    let mut profile = Profile::default();
    profile.pool.addresses = 2;
    let twice = Engine::new(profile, addresses(&[[1, 1, 1, 1], [1, 1, 1, 1]]), 1).unwrap_err();
    assert!(twice.to_string().contains("twice"));
}

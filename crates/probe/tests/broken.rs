//! Gateways that are not what they say, each refused for its true reason; and those that are only slow, or lose packets.

mod way;

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natrig_lab::proof::compare;
use natrig_nat::{
    Engine, Filtering, Preset, Profile,
    engine::{Content, Packet, Side},
    profile::{Allocation, Named},
};
use natrig_probe::{Answered, Plan, Report};
use rand::{Rng, SeedableRng, rngs::StdRng};
use way::{Chain, Way};

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 3);
const LAN_SIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);

fn engine(profile: &Profile) -> Engine {
    Chain::new(std::slice::from_ref(profile), 1).0.remove(0)
}

fn whole(declared: &Profile, way: &mut impl Way) -> Report {
    let plan = Plan { timers: Some(declared.timers), ..way::whole(1) };
    way::measure(plan, way).unwrap()
}

fn differs(declared: &Profile, way: &mut impl Way) -> Vec<String> {
    compare("nat", declared, &whole(declared, way)).differs
}

/// Its map of ports is keyed by the inside port alone: who calls the second host reaches the first.
struct OneMapForAll {
    engine: Engine,
    contacts: HashSet<(SocketAddrV4, SocketAddrV4)>,
    ports: HashSet<u16>,
}

impl Way for OneMapForAll {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        if from == Side::Inside {
            self.contacts.insert((packet.source, packet.destination));
            if *packet.source.ip() == FIRST {
                self.ports.insert(packet.source.port());
            }
        }
        let mut passed = self.engine.pass(now, from, packet);
        for (to, packet) in &mut passed {
            let inside = packet.destination;
            let asked = self.contacts.contains(&(inside, packet.source));
            if *to == Side::Inside && *inside.ip() == SECOND && !asked && self.ports.contains(&inside.port())
            {
                packet.destination = SocketAddrV4::new(FIRST, inside.port());
            }
        }
        passed
    }
}

#[test]
fn a_gateway_that_gives_one_host_what_is_for_another_is_refused() {
    let declared = Profile::of(Preset::FullCone);
    let mut way = OneMapForAll { engine: engine(&declared), contacts: HashSet::new(), ports: HashSet::new() };
    assert_eq!(differs(&declared, &mut way), ["owner_only"]);
}

/// Its set of contacts is keyed by the inside port alone: whom one host contacted may call the other.
struct OneSetForAll {
    open: Engine,
    by_address: bool,
    contacts: HashSet<(u16, SocketAddrV4)>,
}

impl Way for OneSetForAll {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        let key = |inside: SocketAddrV4, remote: SocketAddrV4| {
            let port = if self.by_address { 0 } else { remote.port() };
            (inside.port(), SocketAddrV4::new(*remote.ip(), port))
        };
        if from == Side::Inside {
            self.contacts.insert(key(packet.source, packet.destination));
        }
        let passed = self.open.pass(now, from, packet);
        let may = |(to, packet): &(Side, Packet)| {
            *to == Side::Outside
                || packet.content != Content::Udp
                || self.contacts.contains(&key(packet.destination, packet.source))
        };
        passed.into_iter().filter(may).collect()
    }
}

#[test]
fn a_gateway_that_one_host_opens_for_another_is_refused() {
    for preset in [Preset::AddrRestrict, Preset::PortRestrict] {
        let declared = Profile::of(preset);
        let open = Profile { filtering: Filtering::EndpointIndependent, ..declared.clone() };
        let by_address = preset == Preset::AddrRestrict;
        let mut way = OneSetForAll { open: engine(&open), by_address, contacts: HashSet::new() };
        assert_eq!(differs(&declared, &mut way), ["own_contacts_only"], "{preset}");
    }
}

#[test]
fn a_gateway_that_ends_flows_early_is_refused() {
    let declared = Profile::of(Preset::PortRestrict);
    for preset in [Preset::FullCone, Preset::PortRestrict, Preset::Symmetric] {
        let declared = Profile::of(preset);
        let mut is = declared.clone();
        is.timers.stream = Duration::from_secs(70);
        assert_eq!(differs(&declared, &mut engine(&is)), ["timer_stream"], "{preset}");
        is = declared.clone();
        is.timers.unreplied = Duration::from_secs(20);
        assert_eq!(differs(&declared, &mut engine(&is)), ["timer_unreplied", "timer_young"], "{preset}");
        is = declared.clone();
        is.timers.lifetime = Some(Duration::from_secs(140));
        assert_eq!(differs(&declared, &mut engine(&is)), ["lifetime"], "{preset}");
    }
    let mut is = declared.clone();
    is.timers.stream = Duration::from_secs(200);
    assert_eq!(differs(&declared, &mut engine(&is)), ["timer_stream"], "later than declared");
    // A lifetime of half the declared one, whose mapping comes back with the same port.
    let mut declared = declared.clone();
    declared.timers.lifetime = Some(Duration::from_secs(100));
    is = declared.clone();
    is.timers.lifetime = Some(Duration::from_secs(50));
    assert!(differs(&declared, &mut engine(&is)).contains(&"lifetime".to_owned()));
}

/// A careless rule for hairpins masquerades all that comes in.
struct Masquerading {
    engine: Engine,
}

impl Way for Masquerading {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        let mut passed = self.engine.pass(now, from, packet);
        for (to, packet) in &mut passed {
            if *to == Side::Inside && packet.content == Content::Udp {
                packet.source.set_ip(LAN_SIDE);
            }
        }
        passed
    }
}

#[test]
fn a_gateway_that_hides_who_sent_is_refused_by_the_fast_steps_too() {
    for preset in [Preset::FullCone, Preset::PortRestrict, Preset::Symmetric] {
        let declared = Profile::of(preset);
        let mut way = Masquerading { engine: engine(&declared) };
        let report = way::measure(way::fast(1), &mut way).unwrap();
        assert_eq!(compare("nat", &declared, &report).differs, ["true_sources"], "{preset}");
    }
}

/// A rule that accepts `established` and forgets `related`.
struct Mute {
    engine: Engine,
}

impl Way for Mute {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        let error = matches!(packet.content, Content::Error(_));
        if error { Vec::new() } else { self.engine.pass(now, from, packet) }
    }
}

#[test]
fn a_gateway_that_keeps_errors_to_itself_is_refused() {
    let declared = Profile::of(Preset::FullCone);
    assert_eq!(differs(&declared, &mut Mute { engine: engine(&declared) }), ["icmp_errors"]);
}

/// The seed's symmetric rule: the right class, but the gateway's own stack answers what nobody asked for.
#[test]
fn a_symmetric_gateway_with_open_input_is_refused_for_that_alone() {
    let declared = Profile::of(Preset::Symmetric);
    let mut is = declared.clone();
    is.unsolicited = natrig_nat::profile::Unsolicited::Poison;
    let report = way::measure(Plan { eyes: true, ..way::fast(1) }, &mut engine(&is)).unwrap();
    assert_eq!(report.unsolicited, Some(Answered::Icmp));
    assert_eq!(compare("nat", &declared, &report).differs, ["unsolicited"]);
}

/// Packets take up to a time, each its own; they overtake each other.
struct Slow {
    engine: Engine,
    most: Duration,
    luck: StdRng,
}

impl Way for Slow {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        self.engine.pass(now, from, packet)
    }

    fn takes(&mut self, to: Side) -> Duration {
        match to {
            Side::Inside => self.luck.random_range(Duration::ZERO..self.most),
            Side::Outside => Duration::from_millis(5),
        }
    }
}

#[test]
fn a_gateway_that_is_only_slow_is_not_refused() {
    for (number, named) in Named::all().into_iter().enumerate() {
        let [declared] = named.chain.as_slice() else { continue };
        if declared.udp_blocked {
            continue;
        }
        for seed in 0..10 {
            let luck = StdRng::seed_from_u64(100 * number as u64 + seed);
            let mut way = Slow { engine: engine(declared), most: Duration::from_secs(3), luck };
            let proof = compare("nat", declared, &whole(declared, &mut way));
            assert!(proof.holds, "{}, seed {seed}:\n{}", named.name, proof.side_by_side().join("\n"));
        }
    }
}

/// A link that loses packets, either way.
struct Lossy {
    engine: Engine,
    luck: StdRng,
}

impl Way for Lossy {
    fn pass(&mut self, now: Duration, from: Side, packet: Packet) -> Vec<(Side, Packet)> {
        if self.luck.random_bool(0.02) { Vec::new() } else { self.engine.pass(now, from, packet) }
    }
}

#[test]
fn what_must_come_is_asked_for_again_where_packets_are_lost() {
    for preset in Preset::ALL {
        let declared = Profile::of(preset);
        for seed in 0..20 {
            let mut way = Lossy { engine: engine(&declared), luck: StdRng::seed_from_u64(seed) };
            let report = way::measure(Plan { timers: Some(declared.timers), ..way::whole(seed) }, &mut way);
            assert_eq!(report.unwrap().mapping, declared.mapping, "{preset}, seed {seed}");
        }
    }
}

#[test]
fn a_sequence_is_told_from_chance() {
    let mut declared = Profile::of(Preset::Symmetric);
    declared.ports.allocation = Allocation::Sequential { delta: 1 };
    assert_eq!(differs(&declared, &mut engine(&Profile::of(Preset::Symmetric))), ["ports"]);
}

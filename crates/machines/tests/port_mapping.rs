//! Hosts ask their gateway for a port, by every protocol, and strangers come in by it; or do not, where it is broken.

mod rig;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use natrig_capture::Transport as Carried;
use natrig_lab::{
    Place, Stand,
    proof::refuse,
    station::{Net, packet},
};
use natrig_machines::{Lab, gateway, life::Life, port_mapping, station::Stations};
use natrig_portmap::{PORT, Transport, nat_pmp, pcp};
use natrig_scenario::{GatewayFault, Machine, Scenario};
use natrig_stun::{Class, Message};
use rig::{boot, rig, shell};

/// How long anything may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

/// The seats of the host behind the gateway and of the stranger in front of it.
const HOST: usize = 0;
const STRANGER: usize = 1;

/// The host's port that is mapped, and the gateway's that is asked for.
const INSIDE: u16 = 8000;
const OUTSIDE: u16 = 18_000;

/// From where the host asks.
const ASKER: u16 = 5_000;

/// A gateway between two stations; nothing else of the lab takes part unless it is told to.
struct Bench {
    lab: Lab,
    scenario: Scenario,
    place: Place,
    /// The gateways as they stand, once something has happened to one.
    listing: Option<gateway::Listing>,
    host: Stand,
    stranger: Stand,
    stations: Stations,
    /// Datagrams that came while others were waited for.
    waiting: VecDeque<Datagram>,
    knocks: u16,
    folder: tempfile::TempDir,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Datagram {
    at: usize,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    payload: Vec<u8>,
}

impl Bench {
    fn new(nat: &str, port_mapping: &str) -> Self {
        let text = format!(
            "name: test\nnat1: {nat}\nnat2: symmetric\nexpected: relay\nport_mapping: {port_mapping}\n"
        );
        let scenario = Scenario::parse("test.yaml", &text).unwrap().remove(0);
        let folder = tempfile::tempdir().unwrap();
        let lab = boot(&scenario, folder.path());
        gateway::load(&lab, &scenario, folder.path()).unwrap();
        let place = lab.topology().gateways().iter().find(|place| place.machine == Machine::NAT1);
        let place = place.unwrap().clone();
        let [host, stranger] = lab.topology().stands(&place);
        let stations = lab.stations([&host, &stranger]).unwrap();
        let waiting = VecDeque::new();
        Bench { lab, scenario, place, listing: None, host, stranger, stations, waiting, knocks: 0, folder }
    }

    fn send(&mut self, from: usize, source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) {
        self.stations.send(from, packet::udp(source, destination, payload)).unwrap();
    }

    /// The first datagram of this kind; others wait, in their order.
    fn await_datagram(&mut self, wanted: impl Fn(&Datagram) -> bool) -> Option<Datagram> {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at);
        }
        let deadline = self.stations.now() + PATIENCE;
        while let Some(arrival) = self.stations.receive(deadline).unwrap() {
            let Some(Carried::Udp(udp)) = arrival.ipv4().map(|ipv4| ipv4.transport) else { continue };
            let datagram = Datagram {
                at: arrival.at,
                source: udp.source,
                destination: udp.destination,
                payload: udp.payload.to_vec(),
            };
            if wanted(&datagram) {
                return Some(datagram);
            }
            self.waiting.push_back(datagram);
        }
        None
    }

    /// What the gateway answers a host.
    fn ask(&mut self, question: &[u8]) -> Vec<u8> {
        let (asker, server) = (self.host.endpoint(0, ASKER), SocketAddrV4::new(self.place.inside, PORT));
        self.send(HOST, asker, server, question);
        let answer =
            self.await_datagram(|datagram| (datagram.source, datagram.destination) == (server, asker));
        answer.expect("the gateway answers").payload
    }

    fn ask_nat_pmp(&mut self, request: nat_pmp::Request) -> nat_pmp::Answer {
        let answer = self.ask(&request.encode());
        nat_pmp::Response::decode(&answer).unwrap().result.unwrap()
    }

    /// Has NAT-PMP map the host's port for so many seconds.
    fn map(&mut self, lifetime: u32) -> nat_pmp::Mapping {
        let asked =
            nat_pmp::Mapping { transport: Transport::Udp, inside: INSIDE, outside: OUTSIDE, lifetime };
        match self.ask_nat_pmp(nat_pmp::Request::Map(asked)) {
            nat_pmp::Answer::Map(mapping) => mapping,
            answer => panic!("{answer:?}"),
        }
    }

    fn outside(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.place.addresses.outside[0], port)
    }

    /// Where behind the gateway a stranger's datagram to one of its ports arrives, if it does. That it does not is known
    /// by another one that was sent after it, and let in because the host had asked for it.
    fn knock(&mut self, port: u16) -> Option<SocketAddrV4> {
        self.knocks += 1;
        let (caller, friend) =
            (self.host.endpoint(1, 40_000 + self.knocks), self.stranger.endpoint(0, 9_000 + self.knocks));
        self.send(HOST, caller, friend, b"call");
        let called = self.await_datagram(|datagram| datagram.destination == friend).expect("the way out");
        let knocker = self.stranger.endpoint(1, 7_000 + self.knocks);
        self.send(STRANGER, knocker, self.outside(port), b"knock");
        self.send(STRANGER, friend, called.source, b"answer");
        self.await_datagram(|datagram| datagram.destination == caller).expect("the way back");
        let arrived = self.waiting.iter().position(|datagram| datagram.source == knocker)?;
        self.waiting.remove(arrived).map(|datagram| datagram.destination)
    }

    /// By which endpoint outside the host's mapped port reaches somebody new.
    fn goes_out_by(&mut self) -> SocketAddrV4 {
        self.knocks += 1;
        let somebody = self.stranger.endpoint(1, 9_000 + self.knocks);
        self.send(HOST, self.host.endpoint(0, INSIDE), somebody, b"hello");
        self.await_datagram(|datagram| datagram.destination == somebody).expect("the way out").source
    }

    /// What the peer's own client for UPnP does and says.
    fn upnpc(&self, arguments: &str) -> String {
        // The lab's addresses are all reserved, which the client takes for a sign of no connection.
        shell(&self.lab, Machine::PEER1, &format!("upnpc -i -m lan {arguments} 2>&1")).0
    }

    /// Has a stranger ask a STUN server in the peer by one of the gateway's ports; it must see the stranger as it is.
    fn stun(&mut self, port: u16) -> Option<SocketAddrV4> {
        self.knocks += 1;
        let asker = self.stranger.endpoint(1, 7_000 + self.knocks);
        let request = Message::new(Class::Request, [self.knocks as u8; 12]);
        self.send(STRANGER, asker, self.outside(port), &request.encode());
        let answer = self.await_datagram(|datagram| datagram.destination == asker)?;
        assert_eq!(answer.source, self.outside(port));
        match Message::decode(&answer.payload).unwrap().mapped_address {
            Some(SocketAddr::V4(seen)) if seen == asker => Some(seen),
            seen => panic!("the peer sees {seen:?}, not {asker}"),
        }
    }

    /// Has something happen to the gateway.
    fn befall(&mut self, fault: &GatewayFault) {
        let mut listing = match self.listing.take() {
            Some(listing) => listing,
            None => gateway::flush(&self.lab, &self.scenario).unwrap(),
        };
        let life = Life { rig: rig(), scenario: &self.scenario, folder: self.folder.path() };
        life.befall(&mut self.lab, &mut listing, Machine::NAT1, fault).unwrap();
        self.place = listing.of(Machine::NAT1).unwrap().place.clone();
        self.listing = Some(listing);
    }
}

#[test]
fn a_mapped_port_is_the_hosts_both_ways() {
    let mut bench = Bench::new("symmetric", "{nat1: {protocols: [nat-pmp]}}");
    assert_eq!(bench.knock(OUTSIDE), None);
    assert_ne!(bench.goes_out_by(), bench.outside(OUTSIDE));

    let address = bench.ask_nat_pmp(nat_pmp::Request::Address);
    assert_eq!(address, nat_pmp::Answer::Address(bench.place.addresses.outside[0]));
    let mapping = bench.map(600);
    assert_eq!((mapping.inside, mapping.outside, mapping.lifetime), (INSIDE, OUTSIDE, 600));

    assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)));
    assert_eq!(bench.knock(OUTSIDE + 1), None);
    assert_eq!(bench.goes_out_by(), bench.outside(OUTSIDE));

    bench.map(0);
    assert_eq!(bench.knock(OUTSIDE), None);
    assert_ne!(bench.goes_out_by(), bench.outside(OUTSIDE));
}

#[test]
#[ignore = "long: make test-full"]
fn pcp_maps_a_port_and_renews_it() {
    let mut bench = Bench::new("port-restrict", "{nat1: {protocols: [pcp]}}");
    let (client, outside) = (*bench.host.endpoint(0, 0).ip(), bench.outside(OUTSIDE));
    let mapping = pcp::Mapping {
        nonce: *b"twelve bytes",
        transport: Transport::Udp,
        inside: INSIDE,
        outside: OUTSIDE,
        address: Ipv4Addr::UNSPECIFIED,
    };
    for lifetime in [600, 1200] {
        let answer = bench.ask(&pcp::Request { lifetime, client, mapping }.encode());
        let answer = pcp::Response::decode(&answer).unwrap();
        assert_eq!((answer.code, answer.lifetime), (0, lifetime));
        assert_eq!(answer.mapping, pcp::Mapping { address: *outside.ip(), ..mapping });
        assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)));
        assert_eq!(bench.goes_out_by(), outside);
    }
    let answer = bench.ask(&pcp::Request { lifetime: 0, client, mapping }.encode());
    assert_eq!(pcp::Response::decode(&answer).unwrap().code, 0);
    assert_eq!(bench.knock(OUTSIDE), None);
}

#[test]
#[ignore = "long: make test-full"]
fn upnp_is_found_by_multicast_and_maps_a_port() {
    let mut bench = Bench::new("addr-restrict", "{nat1: {protocols: [upnp]}}");
    shell(&bench.lab, Machine::PEER1, "stun-server 10.0.1.2:8000 127.0.0.1:8001 >/dev/null 2>&1 &");
    let said = bench.upnpc("-a 10.0.1.2 8000 18000 udp 600");
    assert!(said.contains("st: urn:schemas-upnp-org:device:InternetGatewayDevice:1"), "{said}");
    assert!(
        said.contains("external 192.168.100.1:18000 UDP is redirected to internal 10.0.1.2:8000"),
        "{said}"
    );
    bench.stun(OUTSIDE).expect("the stranger reaches the peer");
    let said = bench.upnpc("-l");
    assert!(said.contains("UDP 18000->10.0.1.2:8000"), "{said}");
    bench.upnpc("-d 18000 udp");
    let said = bench.upnpc("-l");
    assert!(!said.contains("18000"), "{said}");
    assert_eq!(bench.knock(OUTSIDE), None);
}

/// The proof holds with it, what a mapping changes is no change of the gateway's rules, and anything else is.
#[test]
#[ignore = "long: make test-full"]
fn a_gateway_that_maps_ports_is_proven_like_any_other() {
    for nat in ["full-cone", "addr-restrict", "port-restrict", "symmetric"] {
        let mut bench = Bench::new(nat, "{nat1: {protocols: [nat-pmp, pcp, upnp]}}");
        let (lab, scenario) = (&bench.lab, &bench.scenario);
        gateway::start_stun(lab).unwrap();
        let proofs = gateway::measure(lab, scenario).unwrap();
        refuse(&proofs).unwrap();
        let proven = gateway::flush(lab, scenario).unwrap();
        let [host, stranger] = lab.topology().stands(&bench.place);
        bench.stations = lab.stations([&host, &stranger]).unwrap();
        bench.map(600);
        assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)), "{nat}");
        assert_eq!(bench.goes_out_by(), bench.outside(OUTSIDE), "{nat}");
        let (lab, scenario, folder) = (&bench.lab, &bench.scenario, bench.folder.path());
        let files = gateway::gather(lab, scenario, Some(&proven), folder).unwrap();
        assert!(files.contains(&"nat1.leases".to_owned()), "{files:?}");
        let leases = std::fs::read_to_string(folder.join("nat1.leases")).unwrap();
        assert!(leases.starts_with("UDP:18000:10.0.1.250:8000:"), "{leases}");
        shell(lab, Machine::NAT1, "nft add table inet miniupnpd2");
        let changed = gateway::gather(lab, scenario, Some(&proven), folder).unwrap_err();
        assert_eq!(changed.message, "nat1: the rules are not those that were proven");
    }
}

#[test]
#[ignore = "long: make test-full"]
fn a_dead_mapping_is_granted_and_listed_and_lets_nobody_in() {
    let mut bench = Bench::new("full-cone", "{nat1: {protocols: [nat-pmp, upnp], fault: dead}}");
    assert_eq!(bench.map(600).outside, OUTSIDE);
    let said = bench.upnpc("-l");
    assert!(said.contains("UDP 18000->10.0.1.250:8000"), "{said}");
    assert_eq!(bench.knock(OUTSIDE), None);
    // One that comes to life is not the gateway that was asked for.
    let (lab, scenario, place) = (&bench.lab, &bench.scenario, &bench.place);
    port_mapping::gather(lab, scenario, place, bench.folder.path()).unwrap();
    let chain = "add chain inet miniupnpd late { type nat hook prerouting priority -110; }";
    let jump = "add rule inet miniupnpd late jump prerouting_miniupnpd";
    shell(lab, Machine::NAT1, &format!("nft '{chain}'; nft {jump}"));
    let told = port_mapping::gather(lab, scenario, place, bench.folder.path()).unwrap_err();
    assert!(told.message.contains("leads somewhere"), "{told:?}");
}

#[test]
#[ignore = "long: make test-full"]
fn a_mapping_goes_astray_when_it_is_renewed() {
    let broken = "{nat1: {protocols: [nat-pmp, upnp], fault: wrong-port-after-renewal}}";
    let mut bench = Bench::new("port-restrict", broken);
    bench.map(600);
    assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)));
    // Whose answer was lost.
    bench.map(600);
    assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)));
    assert_eq!(bench.map(1200).inside, INSIDE);
    assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE + 1)));
    let said = bench.upnpc("-l");
    assert!(said.contains("UDP 18000->10.0.1.250:8000"), "{said}");
}

#[test]
#[ignore = "long: make test-full"]
fn mappings_outlive_a_reboot_unless_they_are_lost_there() {
    let mut bench = Bench::new("port-restrict", "{nat1: {protocols: [nat-pmp]}}");
    bench.map(600);
    for fault in [GatewayFault::Reboot, GatewayFault::Rebind, GatewayFault::Renumber] {
        bench.befall(&fault);
        assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)), "{fault:?}");
        assert_eq!(bench.goes_out_by(), bench.outside(OUTSIDE), "{fault:?}");
    }
    let address = *bench.outside(0).ip();
    assert_ne!(address, Ipv4Addr::new(192, 168, 100, 1));
    assert_eq!(bench.ask_nat_pmp(nat_pmp::Request::Address), nat_pmp::Answer::Address(address));
    let mut bench = Bench::new("port-restrict", "{nat1: {protocols: [nat-pmp], fault: lost-at-reboot}}");
    bench.map(600);
    bench.befall(&GatewayFault::Rebind);
    assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)));
    bench.befall(&GatewayFault::Reboot);
    assert_eq!(bench.knock(OUTSIDE), None);
}

#[test]
#[ignore = "long: make test-full"]
fn a_mapping_ends_with_its_lifetime() {
    let mut bench = Bench::new("port-restrict", "{nat1: {protocols: [nat-pmp]}}");
    let began = Instant::now();
    bench.map(8);
    assert_eq!(bench.knock(OUTSIDE), Some(bench.host.endpoint(0, INSIDE)));
    assert!(began.elapsed() < Duration::from_secs(8), "the host is too slow to tell");
    while shell(&bench.lab, Machine::NAT1, "grep -c UDP /run/miniupnpd.leases").0 != "0" {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert!(began.elapsed() >= Duration::from_secs(7), "{:?}", began.elapsed());
    assert_eq!(bench.knock(OUTSIDE), None);
}

/// What is not offered is not there: a gateway that says nothing of it, and the other of two protocols on one port.
#[test]
#[ignore = "long: make test-full"]
fn nothing_answers_what_is_not_offered() {
    let mut bench = Bench::new("full-cone", "{nat2: {protocols: [pcp]}}");
    assert!(port_mapping::of(&bench.scenario, &bench.place).is_none());
    assert!(bench.upnpc("-l").contains("No IGD UPnP Device found"));
    let (listening, _) = shell(&bench.lab, Machine::NAT1, "ss -lnu; ss -lnt");
    assert!(!listening.contains(":5351") && !listening.contains(":1900"), "{listening}");
    let (tables, _) = shell(&bench.lab, Machine::NAT1, "nft list tables");
    assert_eq!(tables, "table ip natrig");
    let server = SocketAddrV4::new(bench.place.inside, PORT);
    bench.send(HOST, bench.host.endpoint(0, ASKER), server, &nat_pmp::Request::Address.encode());
    assert_eq!(bench.knock(1), None);
    assert!(bench.waiting.iter().all(|datagram| datagram.source != server), "{:?}", bench.waiting);

    let mut bench = Bench::new("full-cone", "{nat1: {protocols: [pcp]}}");
    bench.send(HOST, bench.host.endpoint(0, ASKER), server, &nat_pmp::Request::Address.encode());
    let mapping = pcp::Mapping {
        nonce: [7; 12],
        transport: Transport::Udp,
        inside: INSIDE,
        outside: OUTSIDE,
        address: Ipv4Addr::UNSPECIFIED,
    };
    let request = pcp::Request { lifetime: 600, client: *bench.host.endpoint(0, 0).ip(), mapping };
    // Asked later and answered first.
    assert!(pcp::Response::decode(&bench.ask(&request.encode())).is_ok());
    assert!(bench.upnpc("-l").contains("No IGD UPnP Device found"));
}

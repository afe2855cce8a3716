//! Coordinators near and far, a STUN server, and sites of one or more hosts: what tests of detection and punching live in.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use natrig_capture::Direction;
use natrig_nat::{
    Engine, Profile,
    bytes::Gateway,
    engine::{Addresses, Prefix},
    profile::Named,
};
use natrig_netmodel::Conditions;
use natrig_sim::{Body, Distances, MachineId, MeshNode, Nic, PortId, Region, SegmentId, StunServer, World};
use omerta_mesh_core::{
    Bootstrap, Config, Detection, Event, Identity, Kind, Node, PathKind, PeerId, Service, StandInCrypto,
    Strategy,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

const PORT: u16 = 4400;
/// To anybody on the internet, one way.
const DELAY: Duration = Duration::from_millis(5);
const STUN: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
/// Somebody who has nothing to do with it.
pub const VICTIM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

pub struct Estate {
    pub world: World,
    internet: SegmentId,
    pub relays: Vec<Host>,
    pub sites: Vec<Site>,
    victim: MachineId,
    open_homes: u8,
}

/// A host with a node.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    pub machine: MachineId,
    pub id: PeerId,
    pub address: SocketAddr,
    /// Its cable to the internet, or its site's.
    pub wan: PortId,
}

/// A LAN behind a gateway.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    lan: SegmentId,
    number: u8,
    hosts: u8,
    pub gateway: MachineId,
    pub wan: PortId,
}

impl Estate {
    /// One relay, and nobody else yet.
    pub fn new(seed: u64) -> Self {
        let mut estate = Self::without_relay(seed);
        estate.relay();
        estate
    }

    pub fn without_relay(seed: u64) -> Self {
        let mut world = World::divided(seed, 1);
        let internet = world.wide_segment("internet", Distances::between(1, |_, _| DELAY));
        let nic = nic("stun.wan", internet, STUN.map(|address| (address, 32)).into());
        let host = world
            .host(0, Body { name: "stun".into(), nics: vec![nic], routes: anywhere(), ..Body::default() });
        let [primary, alternate] = stun();
        world.start(host, StunServer::new(primary, alternate)).unwrap();
        let nic = self::nic("victim.wan", internet, vec![(VICTIM, 32)]);
        let victim = world.station(
            0,
            Body { name: "victim".into(), nics: vec![nic], routes: anywhere(), ..Body::default() },
        );
        Estate { world, internet, relays: Vec::new(), sites: Vec::new(), victim, open_homes: 0 }
    }

    /// Adds a public node that serves others.
    pub fn relay(&mut self) -> Host {
        self.public(|config| config.service = Service::Relay { sessions: 50 })
    }

    /// Adds a public node with settings of its own. Nodes that come later begin with it.
    pub fn public(&mut self, change: impl FnOnce(&mut Config)) -> Host {
        let number = self.relays.len() as u8;
        let name = format!("relay{number}");
        let own = Ipv4Addr::new(203, 0, 113, 10 + number);
        let (machine, wan) = self.on_the_internet(&name, own);
        let host = self.start(&name, machine, own, wan, Vec::new(), change);
        self.relays.push(host);
        host
    }

    fn on_the_internet(&mut self, name: &str, own: Ipv4Addr) -> (MachineId, PortId) {
        let nics = vec![nic(&format!("{name}.wan"), self.internet, vec![(own, 32)])];
        let body = Body { name: name.to_owned(), nics, routes: anywhere(), ..Body::default() };
        let machine = self.world.host(0, body);
        (machine, self.world.port(&format!("{name}.wan")).unwrap())
    }

    /// Adds a site behind a gateway of this name.
    pub fn site(&mut self, profile: &str) -> usize {
        self.site_behind(Named::find(profile).unwrap_or_else(|error| panic!("{error}")).chain.remove(0))
    }

    pub fn site_behind(&mut self, profile: Profile) -> usize {
        let outside = Ipv4Addr::new(198, 51, 100, self.sites.len() as u8 + 1);
        self.site_at(self.internet, (outside, 32), anywhere(), profile)
    }

    /// Adds a site whose gateway is in the LAN of another site.
    pub fn site_within(&mut self, site: usize, profile: Profile) -> usize {
        let Site { lan, number, hosts, .. } = self.sites[site];
        self.sites[site].hosts += 1;
        let outside = Ipv4Addr::new(192, 168, number, 2 + hosts);
        let routes = vec![(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(192, 168, number, 1))];
        self.site_at(lan, (outside, 24), routes, profile)
    }

    fn site_at(
        &mut self,
        segment: SegmentId,
        (outside, length): (Ipv4Addr, u8),
        routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
        profile: Profile,
    ) -> usize {
        let number = self.sites.len() as u8 + 1;
        let lan = self.world.segment(&format!("lan{number}"));
        let inside = Ipv4Addr::new(192, 168, number, 1);
        let addresses = Addresses { outside: vec![outside], inside: Prefix::new(inside, 24).unwrap() };
        let name = format!("nat{number}");
        let engine = Engine::new(profile, addresses, self.world.seed_of(&name)).unwrap();
        let nics = vec![
            nic(&format!("{name}.wan"), segment, vec![(outside, length)]),
            nic(&format!("{name}.lan"), lan, vec![(inside, 24)]),
        ];
        let body = Body { name: name.clone(), nics, routes, ..Body::default() };
        let gateway = self.world.gateway(0, body, Gateway::new(engine, inside));
        let wan = self.world.port(&format!("{name}.wan")).unwrap();
        self.sites.push(Site { lan, number, hosts: 0, gateway, wan });
        self.sites.len() - 1
    }

    /// Adds a host with a node to a site.
    pub fn host(&mut self, site: usize) -> Host {
        self.host_with(site, |_| ())
    }

    pub fn host_with(&mut self, site: usize, change: impl FnOnce(&mut Config)) -> Host {
        let Site { lan, number, hosts, wan, .. } = self.sites[site];
        self.sites[site].hosts += 1;
        let own = Ipv4Addr::new(192, 168, number, 2 + hosts);
        let name = format!("peer{number}-{hosts}");
        let nics = vec![nic(&format!("{name}.lan"), lan, vec![(own, 24)])];
        let routes = vec![(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::new(192, 168, number, 1))];
        let machine = self.world.host(0, Body { name: name.clone(), nics, routes, ..Body::default() });
        self.start(&name, machine, own, wan, stun().map(SocketAddr::V4).into(), change)
    }

    /// A site with one host; a public one is on the internet itself.
    pub fn home(&mut self, profile: &str) -> Host {
        self.home_with(profile, |_| ())
    }

    pub fn home_with(&mut self, profile: &str, change: impl FnOnce(&mut Config)) -> Host {
        if profile == "public" {
            self.open_homes += 1;
            let own = Ipv4Addr::new(198, 51, 100, 200 + self.open_homes);
            let name = format!("open{}", self.open_homes);
            let (machine, wan) = self.on_the_internet(&name, own);
            return self.start(&name, machine, own, wan, stun().map(SocketAddr::V4).into(), change);
        }
        let site = self.site(profile);
        self.host_with(site, change)
    }

    fn start(
        &mut self,
        name: &str,
        machine: MachineId,
        own: Ipv4Addr,
        wan: PortId,
        stun: Vec<SocketAddr>,
        change: impl FnOnce(&mut Config),
    ) -> Host {
        let mut random = StdRng::seed_from_u64(self.world.seed_of(name));
        let identity = Identity::from_seed(&random.random());
        let mut config = Config::new(random.random(), 1);
        config.port = PORT;
        config.host_addresses = vec![own.into()];
        config.stun = stun;
        // Pairs shall not speak before they are told to.
        config.peer_contact = false;
        let bootstrap = |relay: &Host| Bootstrap { id: relay.id, address: relay.address };
        config.bootstrap = self.relays.iter().map(bootstrap).collect();
        change(&mut config);
        let crypto = Arc::new(StandInCrypto::new(identity.id(), &config.seed));
        let id = identity.id();
        self.world.start(machine, MeshNode::new(identity, config, crypto)).unwrap();
        Host { machine, id, address: SocketAddr::new(own.into(), PORT), wan }
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.world.run(end);
    }

    pub fn connect(&mut self, from: Host, to: Host) {
        self.world.tell(from.machine, 0, |node: &mut MeshNode, io| node.connect(io, to.id)).unwrap();
    }

    pub fn say(&mut self, from: Host, to: Host, data: &[u8]) {
        let data = data.to_vec();
        self.world.tell(from.machine, 0, |node: &mut MeshNode, io| node.send(io, to.id, data)).unwrap();
    }

    /// Does something with a node.
    pub fn with<T>(&mut self, whom: Host, work: impl FnOnce(&mut Node) -> T) -> T {
        let node = |node: &mut MeshNode, io: &mut natrig_sim::Io<'_>| node.with(io, |node, _| work(node));
        self.world.tell(whom.machine, 0, node).unwrap().expect("a node that runs")
    }

    /// What a node has told since it was last asked, with the time of its host's clock.
    pub fn events(&mut self, of: Host) -> Vec<(Duration, Event)> {
        let all = |node: &mut MeshNode, _: &mut natrig_sim::Io<'_>| {
            std::iter::from_fn(|| node.poll_event()).collect()
        };
        self.world.tell(of.machine, 0, all).unwrap()
    }

    /// Looks at a node.
    pub fn look<T>(&mut self, at: Host, look: impl FnOnce(&Node) -> T) -> T {
        self.world.tell(at.machine, 0, |node: &mut MeshNode, _| node.as_node().map(look)).unwrap().unwrap()
    }

    /// Lets something happen to a site's gateway.
    pub fn gateway<T>(&mut self, site: usize, what: impl FnOnce(&mut Engine, Duration) -> T) -> T {
        let machine = self.sites[site].gateway;
        self.world.with_gateway(machine, |gateway, now| what(gateway.engine(), now)).unwrap()
    }

    /// What the last detection of a node was.
    pub fn detection(&mut self, of: Host) -> Option<Detection> {
        let detected = |(_, event)| match event {
            Event::NatDetected(detection) => Some(detection),
            _ => None,
        };
        self.events(of).into_iter().rev().find_map(detected)
    }

    /// Makes a cable slow.
    pub fn slow(&mut self, wan: PortId, delay: Duration) {
        let conditions = Conditions { delay, ..Conditions::default() };
        self.world.condition(wan, Direction::Inbound, conditions);
        self.world.condition(wan, Direction::Outbound, conditions);
    }

    /// Keeps two cables apart, or from now on no more.
    pub fn part(&mut self, a: PortId, b: PortId) {
        self.world.block(a, b);
        self.world.block(b, a);
    }

    /// Packets that have come to somebody who asked for none.
    pub fn sent_to_victim(&mut self) -> usize {
        std::iter::from_fn(|| self.world.receive(self.victim)).count()
    }

    /// Brings two together and waits until the attempts are over; what the initiator has told.
    pub fn meet(&mut self, a: Host, b: Host) -> Meeting {
        self.run_for(Duration::from_secs(3));
        self.events(a);
        self.connect(a, b);
        self.run_for(Duration::from_secs(20));
        Meeting { told: self.events(a) }
    }
}

/// What the initiator tells of a contact.
pub struct Meeting {
    pub told: Vec<(Duration, Event)>,
}

impl Meeting {
    pub fn path(&self) -> Option<(PathKind, Kind)> {
        self.told.iter().find_map(|(_, event)| match event {
            Event::Settled { path, kind, .. } => Some((*path, *kind)),
            _ => None,
        })
    }

    /// In the order in which they were tried.
    pub fn strategies(&self) -> Vec<Strategy> {
        let strategy = |(_, event): &(Duration, Event)| match event {
            Event::PunchStarted { strategy, .. } => Some(*strategy),
            _ => None,
        };
        self.told.iter().filter_map(strategy).collect()
    }

    /// Whether the first attempt was successful, and its probes.
    pub fn result(&self) -> Option<(bool, u64)> {
        self.told.iter().find_map(|(_, event)| match event {
            Event::PunchResult { success, probes, .. } => Some((*success, *probes)),
            _ => None,
        })
    }
}

fn stun() -> [SocketAddrV4; 2] {
    [SocketAddrV4::new(STUN[0], 3478), SocketAddrV4::new(STUN[1], 3479)]
}

/// The STUN server as a single address, which can tell nothing but what it sees.
pub fn plain_stun() -> SocketAddr {
    SocketAddr::V4(stun()[0])
}

fn anywhere() -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    vec![(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::UNSPECIFIED)]
}

fn nic(link: &str, segment: SegmentId, addresses: Vec<(Ipv4Addr, u8)>) -> Nic {
    let [_, b, c, d] = addresses[0].0.octets();
    Nic { link: link.to_owned(), segment, region: Region(0), mac: [2, 0, 0, b, c, d], addresses }
}

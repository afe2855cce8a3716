//! A public relay with a STUN server, and sites behind gateways: what the tests of this crate are about.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use natrig_nat::{
    Engine, Preset, Profile,
    bytes::Gateway,
    engine::{Addresses, Prefix},
};
use natrig_sim::{Body, Distances, MachineId, MeshNode, Nic, Region, SegmentId, StunServer, World};
use omerta_mesh_core::{Bootstrap, Config, Event, Identity, PeerId, Service, StandInCrypto};
use rand::{Rng, SeedableRng, rngs::StdRng};

const PORT: u16 = 4400;
const RELAY: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];

/// A world with a relay, and hosts that are added.
pub struct Town {
    pub world: World,
    internet: SegmentId,
    relay: PeerId,
    parts: usize,
    pub hosts: Vec<Resident>,
}

/// A host with a node, behind a gateway.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    pub host: MachineId,
    pub gateway: MachineId,
    pub id: PeerId,
}

impl Town {
    pub fn new(seed: u64, parts: usize) -> Self {
        let mut world = World::divided(seed, parts);
        let far = Distances::between(1, |_, _| Duration::from_millis(5));
        let internet = world.wide_segment("internet", far);
        let nic = nic("relay.wan", internet, RELAY.map(|address| (address, 32)).into());
        let host = world
            .host(0, Body { name: "relay".into(), nics: vec![nic], routes: anywhere(), ..Body::default() });
        let [primary, alternate] = stun();
        world.start(host, StunServer::new(primary, alternate)).unwrap();
        let mut config = config(&world, "relay");
        config.service = Service::Relay { sessions: 50 };
        let (relay, node) = node(&world, "relay", config);
        world.start(host, node).unwrap();
        Town { world, internet, relay, parts, hosts: Vec::new() }
    }

    /// Adds a site.
    pub fn add(&mut self, preset: Preset) -> Resident {
        self.settle(Profile::of(preset))
    }

    /// Adds a site behind one gateway.
    pub fn settle(&mut self, profile: Profile) -> Resident {
        let number = self.hosts.len() as u8 + 1;
        let part = usize::from(number) % self.parts;
        let world = &mut self.world;
        let lan = world.segment(&format!("lan{number}"));
        let (outside, inside) = (Ipv4Addr::new(198, 51, 100, number), Ipv4Addr::new(10, 0, number, 1));
        let prefix = Prefix::new(inside, 24).unwrap();
        let addresses = Addresses { outside: vec![outside], inside: prefix };
        let name = format!("nat{number}");
        let engine = Engine::new(profile, addresses, world.seed_of(&name)).unwrap();
        let nics = vec![
            nic(&format!("{name}.wan"), self.internet, vec![(outside, 32)]),
            nic(&format!("{name}.lan"), lan, vec![(inside, 24)]),
        ];
        let body = Body { name, nics, routes: anywhere(), ..Body::default() };
        let gateway = world.gateway(part, body, Gateway::new(engine, inside));
        let own = Ipv4Addr::new(10, 0, number, 2);
        let name = format!("peer{number}");
        let nics = vec![nic(&format!("{name}.lan"), lan, vec![(own, 24)])];
        let routes = vec![(Ipv4Addr::UNSPECIFIED, 0, inside)];
        let host = world.host(part, Body { name: name.clone(), nics, routes, ..Body::default() });
        let mut config = config(world, &name);
        config.host_addresses = vec![own.into()];
        config.stun = stun().map(SocketAddr::V4).into();
        let address = SocketAddr::new(RELAY[0].into(), PORT);
        config.bootstrap = vec![Bootstrap { id: self.relay, address }];
        let (id, node) = node(world, &name, config);
        world.start(host, node).unwrap();
        let resident = Resident { host, gateway, id };
        self.hosts.push(resident);
        resident
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.world.run(end);
    }

    pub fn connect(&mut self, from: Resident, to: Resident) {
        self.world.tell(from.host, 0, |node: &mut MeshNode, io| node.connect(io, to.id)).unwrap();
    }

    pub fn say(&mut self, from: Resident, to: Resident, data: Vec<u8>) {
        self.world.tell(from.host, 0, |node: &mut MeshNode, io| node.send(io, to.id, data)).unwrap();
    }

    /// Lets something happen to a gateway.
    pub fn gateway(&mut self, of: Resident, what: impl FnOnce(&mut Engine, Duration)) {
        self.world.with_gateway(of.gateway, |gateway, now| what(gateway.engine(), now)).unwrap();
    }

    pub fn events(&mut self, of: Resident) -> Vec<(Duration, Event)> {
        self.world
            .tell(of.host, 0, |node: &mut MeshNode, _| std::iter::from_fn(|| node.poll_event()).collect())
            .unwrap()
    }
}

fn stun() -> [SocketAddrV4; 2] {
    [SocketAddrV4::new(RELAY[0], 3478), SocketAddrV4::new(RELAY[1], 3479)]
}

fn anywhere() -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    vec![(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::UNSPECIFIED)]
}

fn nic(link: &str, segment: SegmentId, addresses: Vec<(Ipv4Addr, u8)>) -> Nic {
    let [.., c, d] = addresses[0].0.octets();
    Nic { link: link.to_owned(), segment, region: Region(0), mac: [2, 0, 0, 0, c, d], addresses }
}

fn config(world: &World, name: &str) -> Config {
    let mut random = StdRng::seed_from_u64(world.seed_of(name));
    let mut config = Config::new(random.random(), 1);
    config.port = PORT;
    config
}

fn node(world: &World, name: &str, config: Config) -> (PeerId, MeshNode) {
    let mut random = StdRng::seed_from_u64(world.seed_of(&format!("{name} identity")));
    let identity = Identity::from_seed(&random.random());
    let crypto = Arc::new(StandInCrypto::new(identity.id(), &config.seed));
    (identity.id(), MeshNode::new(identity, config, crypto))
}

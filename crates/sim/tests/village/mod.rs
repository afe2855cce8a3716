//! Public nodes that know of each other what a test tells them, and nodes behind gateways among them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use natrig_nat::{
    Engine, Preset, Profile,
    bytes::Gateway,
    engine::{Addresses, Prefix},
};
use natrig_sim::{Body, Distances, MachineId, MeshNode, Nic, Region, SegmentId, World};
use omerta_mesh_core::{Bootstrap, Config, Event, Identity, PeerId, Service, StandInCrypto};
use rand::{Rng, SeedableRng, rngs::StdRng};

const PORT: u16 = 4400;

/// A world of nodes.
pub struct Village {
    pub world: World,
    internet: SegmentId,
    pub all: Vec<Villager>,
    settings: Vec<([u8; 32], Config)>,
    /// How often each has moved.
    moves: BTreeMap<usize, u8>,
}

/// A host with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Villager {
    pub number: usize,
    pub host: MachineId,
    pub id: PeerId,
    pub address: SocketAddr,
}

impl Villager {
    pub fn bootstrap(&self) -> Bootstrap {
        Bootstrap { id: self.id, address: self.address }
    }
}

impl Village {
    /// Nobody yet; datagrams take `delay` to anybody.
    pub fn new(seed: u64, delay: Duration) -> Self {
        let mut world = World::divided(seed, 1);
        let internet = world.wide_segment("internet", Distances::between(1, |_, _| delay));
        Village { world, internet, all: Vec::new(), settings: Vec::new(), moves: BTreeMap::new() }
    }

    /// Adds a public node that serves others, with these bootstrap nodes.
    pub fn public(&mut self, bootstrap: &[Villager]) -> Villager {
        self.settle(bootstrap, None, |config| config.service = Service::Relay { sessions: 500 })
    }

    /// Adds an ordinary node behind a gateway.
    pub fn home(&mut self, preset: Preset, bootstrap: &[Villager]) -> Villager {
        self.settle(bootstrap, Some(preset), |_| ())
    }

    /// Adds a node with settings.
    pub fn settle(
        &mut self,
        bootstrap: &[Villager],
        preset: Option<Preset>,
        change: impl FnOnce(&mut Config),
    ) -> Villager {
        let number = self.all.len();
        let [high, low] = [number / 200, number % 200].map(|part| part as u8);
        let outside = outside(number);
        let name = format!("node{number}");
        let anywhere = |hop| vec![(Ipv4Addr::UNSPECIFIED, 0, hop)];
        let (own, host) = match preset {
            None => {
                let nics = vec![nic(&format!("{name}.wan"), self.internet, outside, 32)];
                let routes = anywhere(Ipv4Addr::UNSPECIFIED);
                (outside, self.world.host(0, Body { name: name.clone(), nics, routes, ..Body::default() }))
            }
            Some(preset) => {
                let (inside, own) = (Ipv4Addr::new(10, high, low, 1), Ipv4Addr::new(10, high, low, 2));
                let lan = self.world.segment(&format!("lan{number}"));
                let title = format!("nat{number}");
                let prefix = Prefix::new(inside, 24).unwrap();
                let addresses = Addresses { outside: vec![outside], inside: prefix };
                let seed = self.world.seed_of(&title);
                let engine = Engine::new(Profile::of(preset), addresses, seed).unwrap();
                let nics = vec![
                    nic(&format!("{title}.wan"), self.internet, outside, 32),
                    nic(&format!("{title}.lan"), lan, inside, 24),
                ];
                let routes = anywhere(Ipv4Addr::UNSPECIFIED);
                let body = Body { name: title, nics, routes, ..Body::default() };
                self.world.gateway(0, body, Gateway::new(engine, inside));
                let nics = vec![nic(&format!("{name}.lan"), lan, own, 24)];
                let routes = anywhere(inside);
                (own, self.world.host(0, Body { name: name.clone(), nics, routes, ..Body::default() }))
            }
        };
        let mut random = StdRng::seed_from_u64(self.world.seed_of(&name));
        let key = random.random();
        let identity = Identity::from_seed(&key);
        let mut config = Config::new(random.random(), 1);
        config.port = PORT;
        config.host_addresses = vec![own.into()];
        config.bootstrap = bootstrap.iter().map(Villager::bootstrap).collect();
        change(&mut config);
        let id = identity.id();
        self.settings.push((key, config.clone()));
        let crypto = Arc::new(StandInCrypto::new(id, &config.seed));
        self.world.start(host, MeshNode::new(identity, config, crypto)).unwrap();
        let address = SocketAddr::new(outside.into(), PORT);
        let villager = Villager { number, host, id, address };
        self.all.push(villager);
        villager
    }

    /// Ends a node without a word and starts it again: the same identity, and no memory.
    pub fn restart(&mut self, whom: Villager) {
        let (key, config) = &mut self.settings[whom.number];
        config.epoch += 1_000_000;
        config.seed[0] = config.seed[0].wrapping_add(1);
        let (identity, config) = (Identity::from_seed(key), config.clone());
        let crypto = Arc::new(StandInCrypto::new(identity.id(), &config.seed));
        self.world.restart(whom.host, 0, MeshNode::new(identity, config, crypto));
    }

    /// Gives the gateway of a home another address outside.
    pub fn renumber(&mut self, whom: Villager) {
        let gateway = self.world.find(&format!("nat{}", whom.number)).unwrap();
        let moves = self.moves.entry(whom.number).or_insert(0);
        *moves += 1;
        let [_, _, high, low] = outside(whom.number).octets();
        let address = Ipv4Addr::new(198, 60 + *moves, high, low);
        self.world
            .with_gateway(gateway, |gateway, now| gateway.engine().renumber(now, vec![address]))
            .unwrap()
            .unwrap();
        self.world.readdress(gateway, 0, vec![(address, 32)]);
    }

    /// Moves the host of a home to another address of its site.
    pub fn move_host(&mut self, whom: Villager) {
        let moves = self.moves.entry(whom.number).or_insert(0);
        *moves += 1;
        let address = Ipv4Addr::new(10, (whom.number / 200) as u8, (whom.number % 200) as u8, 10 + *moves);
        self.world.readdress(whom.host, 0, vec![(address, 24)]);
    }

    /// Cuts the cable of a home's gateway, or mends it.
    pub fn cut(&mut self, whom: Villager, cut: bool) {
        let port = self.world.port(&format!("nat{}.wan", whom.number)).unwrap();
        self.world.cut(port, cut);
    }

    pub fn run_for(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.world.run(end);
    }

    /// Does something with a node.
    pub fn tell<T>(
        &mut self,
        whom: Villager,
        work: impl FnOnce(&mut MeshNode, &mut natrig_sim::Io<'_>) -> T,
    ) -> T {
        self.world.tell(whom.host, 0, work).unwrap()
    }

    pub fn connect(&mut self, from: Villager, to: Villager) {
        self.tell(from, |node, io| node.connect(io, to.id));
    }

    pub fn say(&mut self, from: Villager, to: Villager, data: &[u8]) {
        self.tell(from, |node, io| node.send(io, to.id, data.to_vec()));
    }

    pub fn events(&mut self, of: Villager) -> Vec<(Duration, Event)> {
        self.tell(of, |node, _| std::iter::from_fn(|| node.poll_event()).collect())
    }

    /// The relays by which `of` reaches `peer`, the one in use first.
    pub fn sessions(&self, of: Villager, peer: Villager) -> Vec<PeerId> {
        let node = self.world.program::<MeshNode>(of.host, 0).and_then(MeshNode::as_node);
        node.map_or(Vec::new(), |node| node.relays_to(&peer.id))
    }

    /// How many sessions a relay serves.
    pub fn served(&self, relay: Villager) -> usize {
        let node = self.world.program::<MeshNode>(relay.host, 0).and_then(MeshNode::as_node);
        node.map_or(0, |node| node.sessions())
    }

    /// Whom a node knows of now.
    pub fn known(&mut self, to: Villager) -> usize {
        self.tell(to, |node, _| node.as_node().map_or(0, |node| node.known_peers()))
    }

    /// When each of all nodes had heard of `peer`; drops all other events.
    pub fn heard_of(&mut self, peer: Villager) -> Vec<Option<Duration>> {
        let all = self.all.clone();
        let of = |event: &Event| matches!(event, Event::PeerDiscovered { peer: id } if *id == peer.id);
        all.into_iter()
            .map(|one| self.events(one).into_iter().find(|(_, event)| of(event)).map(|(at, _)| at))
            .collect()
    }

    /// Switches a node's machine off or on.
    pub fn switch(&mut self, whom: Villager, on: bool) {
        self.world.switch(whom.host, on);
    }

    /// Lets nothing pass between two nodes.
    pub fn part(&mut self, a: Villager, b: Villager) {
        let port = |world: &World, villager: Villager| {
            let name = format!("node{}.wan", villager.number);
            world.port(&name).or_else(|| world.port(&format!("nat{}.wan", villager.number))).unwrap()
        };
        let (a, b) = (port(&self.world, a), port(&self.world, b));
        self.world.block(a, b);
        self.world.block(b, a);
    }
}

fn nic(link: &str, segment: SegmentId, address: Ipv4Addr, length: u8) -> Nic {
    let [_, b, c, d] = address.octets();
    let addresses = vec![(address, length)];
    Nic { link: link.to_owned(), segment, region: Region(0), mac: [2, 0, 0, b, c, d], addresses }
}

fn outside(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, (number / 200) as u8, (number % 200) as u8 + 1)
}

//! How long messages take over links with declared delays, and how much goes through (T5.1, T1.1.3): for the tests, which
//! hold it against the plan's targets, and for the bench, which prints it.
//!
//! Delays between and within regions, and lines to members, are those of `scenarios/populations/internet-2025.yaml`. Nodes
//! need no time of their own in a world: what is measured is the wire and what the protocol makes of it.

#![allow(dead_code, reason = "tests and bench use their part each")]

use std::{iter, num::NonZeroU64, path::Path, time::Duration};

use natrig_capture::Direction;
use natrig_nat::Preset;
use natrig_netmodel::{Conditions, Queue, Rate};
use natrig_scenario::population::{Access, Mix};
use natrig_sim::{Io, MeshNode};
use omerta_mesh_core::{Event, PathKind, Service};

use crate::{
    estate::{Estate, Host},
    village::{Village, Villager},
};

const SECOND: Duration = Duration::from_secs(1);
/// Pairs of members, each in a world of its own; one in twenty of their lines is 5 % of a mix.
const PAIRS: usize = 20;
/// Of each pair.
const MESSAGES: u32 = 60;
/// Between two messages.
const GAP: Duration = Duration::from_millis(50);
/// Longer than attempts at a better path take.
const SETTLED: Duration = Duration::from_secs(20);
/// One way in a LAN.
const LAN: Duration = Duration::from_micros(250);
/// What is sent in bulk, and the link that it goes over.
const BULK: usize = 64 << 20;
const GIGABIT: u64 = 1_000_000_000;

/// How long each of the messages took from one owner to the other, and each ping there and back.
#[derive(Debug, Default)]
pub struct Times {
    pub messages: Vec<Duration>,
    pub pings: Vec<Duration>,
}

impl Times {
    fn add(&mut self, more: Times) {
        self.messages.extend(more.messages);
        self.pings.extend(more.pings);
    }

    /// The median and the 99th of a hundred, in milliseconds.
    pub fn percentiles(mut times: Vec<Duration>) -> [f64; 2] {
        times.sort();
        [50, 99].map(|part| times[times.len() * part / 100].as_secs_f64() * 1000.0)
    }
}

/// The mix, and the number of a region of it.
fn mix() -> Mix {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/populations/internet-2025.yaml");
    Mix::load(&file).unwrap_or_else(|problem| panic!("{problem}"))
}

fn region(mix: &Mix, name: &str) -> usize {
    mix.regions.iter().position(|region| region.of == name).unwrap()
}

/// The lines of all pairs: each kind as often as the mix has it, at both ends.
fn lines(mix: &Mix) -> Vec<[Access; 2]> {
    let line = |line: &natrig_scenario::population::Share<Access>| {
        iter::repeat_n(line.of, (line.share * PAIRS as f64).round() as usize)
    };
    let lines: Vec<Access> = mix.access.iter().flat_map(line).collect();
    assert_eq!(lines.len(), PAIRS);
    // 7 has no divisor in common with 20, so that the other ends are all lines, too.
    (0..PAIRS).map(|at| [lines[at], lines[(7 * at + 3) % PAIRS]]).collect()
}

/// T5.1.1: two hosts of one LAN.
pub fn lan() -> Times {
    let (mut estate, [a, b]) = one_lan(1, Conditions::delayed(LAN / 2));
    let mut times = Times::default();
    let mut sent = Vec::new();
    estate.events(b);
    for number in 0..PAIRS as u32 * MESSAGES {
        sent.push(estate.world.now());
        estate.say(a, b, &number.to_be_bytes());
        estate.run_for(GAP);
    }
    estate.run_for(SECOND);
    times.messages = arrivals(estate.events(b), &sent, PathKind::Direct);
    times
}

/// A LAN of two hosts that are connected, with such cables.
fn one_lan(seed: u64, cables: Conditions) -> (Estate, [Host; 2]) {
    let mut estate = Estate::new(seed);
    let site = estate.site("port-restrict");
    let hosts = [(); 2].map(|()| estate.host(site));
    for name in ["peer1-0.lan", "peer1-1.lan"] {
        let port = estate.world.port(name).unwrap();
        estate.world.condition(port, Direction::Inbound, cables);
        estate.world.condition(port, Direction::Outbound, cables);
    }
    estate.meet(hosts[0], hosts[1]);
    (estate, hosts)
}

/// When each message came, after it was sent.
fn arrivals(events: Vec<(Duration, Event)>, sent: &[Duration], wanted: PathKind) -> Vec<Duration> {
    let took = |(at, event): (Duration, Event)| match event {
        Event::MessageReceived { data, path, .. } => {
            assert_eq!(path, wanted);
            Some(at - sent[number(&data)])
        }
        Event::RoutedReceived { data, .. } => Some(at - sent[number(&data)]),
        _ => None,
    };
    let times: Vec<Duration> = events.into_iter().filter_map(took).collect();
    assert_eq!(times.len(), sent.len(), "all arrive");
    times
}

fn number(data: &[u8]) -> usize {
    u32::from_be_bytes(data.try_into().unwrap()) as usize
}

/// T5.1.2: directly, within Europe.
pub fn direct_in_region() -> Times {
    over_lines("europe", |seed, way, lines| pair(seed, way, lines, PathKind::Direct))
}

/// T5.1.3: over a relay, all within Europe.
pub fn relay_in_region() -> Times {
    over_lines("europe", |seed, way, lines| pair(seed, way, lines, PathKind::Relay))
}

/// T5.1.4: from Europe over a relay there to this region.
pub fn relay_across(to: &str) -> Times {
    over_lines(to, |seed, way, lines| pair(seed, way, lines, PathKind::Relay))
}

/// T5.1.5: over two members in Europe, with three links between the two ends.
pub fn three_hops() -> Times {
    over_lines("europe", hops)
}

/// The way of a packet within Europe, and what it takes beyond that to where the second of a pair is.
#[derive(Clone, Copy)]
struct Way {
    near: Duration,
    beyond: Duration,
}

fn over_lines(to: &str, times: impl Fn(u64, Way, [Access; 2]) -> Times) -> Times {
    let mix = mix();
    let (here, there) = (region(&mix, "europe"), region(&mix, to));
    let near = mix.round_trip(here, here) / 2;
    let way = Way { near, beyond: mix.round_trip(here, there) / 2 - near };
    let mut all = Times::default();
    for (seed, lines) in lines(&mix).into_iter().enumerate() {
        all.add(times(seed as u64 + 1, way, lines));
    }
    all
}

/// Puts a home's gateway on its line.
fn join(village: &mut Village, home: Villager, line: Access, beyond: Duration) {
    let port = village.world.port(&format!("nat{}.wan", home.number)).unwrap();
    let conditions = Conditions { delay: line.delay + beyond, ..Conditions::lossy(line.loss) };
    village.world.condition(port, Direction::Inbound, conditions);
    village.world.condition(port, Direction::Outbound, conditions);
}

/// Two homes that reach each other directly, or over the relay alone.
fn pair(seed: u64, way: Way, lines: [Access; 2], path: PathKind) -> Times {
    let mut village = Village::new(seed, way.near);
    let relay = village.public(&[]);
    let preset = if path == PathKind::Direct { Preset::PortRestrict } else { Preset::Symmetric };
    let [a, b] = [(lines[0], Duration::ZERO), (lines[1], way.beyond)].map(|(line, beyond)| {
        let home = village.settle(&[relay], Some(preset), |config| config.birthday = false);
        join(&mut village, home, line, beyond);
        home
    });
    village.run_for(5 * SECOND);
    village.connect(a, b);
    village.run_for(SETTLED);
    let mut times = Times { messages: spoken(&mut village, a, b, path, say), pings: Vec::new() };
    village.events(a);
    for _ in 0..MESSAGES {
        village.tell(a, |node, io| node.with(io, |node, now| node.ping(now, b.id)));
        village.run_for(GAP);
    }
    village.run_for(SECOND);
    let took = |(_, event)| match event {
        Event::PingAnswered { peer, took, .. } if peer == b.id => Some(took),
        _ => None,
    };
    times.pings.extend(village.events(a).into_iter().filter_map(took));
    times
}

/// Two homes that share no public node: theirs know each other and do not relay.
fn hops(seed: u64, way: Way, lines: [Access; 2]) -> Times {
    let mut village = Village::new(seed, way.near);
    let coordinator = |config: &mut omerta_mesh_core::Config| config.service = Service::Coordinator;
    let first = village.settle(&[], None, coordinator);
    let second = village.settle(&[first], None, coordinator);
    let [a, b] = [(first, lines[0]), (second, lines[1])].map(|(public, line)| {
        let home = village.home(Preset::Symmetric, &[public]);
        join(&mut village, home, line, Duration::ZERO);
        home
    });
    village.run_for(SETTLED);
    let route = |node: &mut MeshNode, io: &mut Io<'_>, to: Villager, data: &[u8]| {
        assert_eq!(node.with(io, |node, now| node.send_routed(now, to.id, data, None)), Some(true));
    };
    Times { messages: spoken(&mut village, a, b, PathKind::Relay, route), pings: Vec::new() }
}

fn say(node: &mut MeshNode, io: &mut Io<'_>, to: Villager, data: &[u8]) {
    node.send(io, to.id, data.to_vec());
}

/// How long messages take, one after the other.
fn spoken(
    village: &mut Village,
    from: Villager,
    to: Villager,
    path: PathKind,
    say: impl Fn(&mut MeshNode, &mut Io<'_>, Villager, &[u8]),
) -> Vec<Duration> {
    village.events(to);
    let mut sent = Vec::new();
    for number in 0..MESSAGES {
        sent.push(village.world.now());
        village.tell(from, |node, io| say(node, io, to, &number.to_be_bytes()));
        village.run_for(GAP);
    }
    village.run_for(5 * SECOND);
    arrivals(village.events(to), &sent, path)
}

/// T1.1.3: how many Mbit/s of messages go over a LAN of 1 Gbit/s.
pub fn bulk() -> f64 {
    let rate = Rate {
        bits_per_second: NonZeroU64::new(GIGABIT).unwrap(),
        queue: Queue::Time(Duration::from_millis(5)),
    };
    let cables = Conditions { rate: Some(rate), ..Conditions::delayed(LAN / 2) };
    let (mut estate, [a, b]) = one_lan(2, cables);
    estate.events(b);
    let begun = estate.world.now();
    let message = vec![0x5a; 1 << 20];
    for _ in 0..BULK / message.len() {
        estate.say(a, b, &message);
    }
    estate.run_for(30 * SECOND);
    let length = |(at, event): (Duration, Event)| match event {
        Event::MessageReceived { data, .. } => Some((at, data.len())),
        _ => None,
    };
    let came: Vec<(Duration, usize)> = estate.events(b).into_iter().filter_map(length).collect();
    assert_eq!(came.iter().map(|(_, length)| length).sum::<usize>(), BULK);
    let took = came.last().unwrap().0 - begun;
    BULK as f64 * 8.0 / 1e6 / took.as_secs_f64()
}

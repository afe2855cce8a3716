//! What a node costs: `cargo bench -p omerta-mesh-core`. With the stand-in for QUIC's cryptography, on one core.
//!
//! A relay and pairs of nodes on a flat network with a delay. Each node says something to its partner once a second, on
//! the direct path or through the relay; then all are silent but for keepalives. What is counted is this thread's time on
//! the processor, network and all, and the bytes that are allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use omerta_mesh_core::{Bootstrap, Config, Event, Identity, Node, Service, SocketId, StandInCrypto};

const DELAY: Duration = Duration::from_millis(10);
const PORT: u16 = 4400;

/// The system's allocator, counting what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as demanded of our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as demanded of our caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Datagram {
    at: Instant,
    order: u64,
    from: usize,
    to: usize,
    payload: Vec<u8>,
}

impl PartialEq for Datagram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Datagram {}

impl PartialOrd for Datagram {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Datagram {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Node 0 is the relay, 1 and 2 are partners, 3 and 4, and so on.
struct Town {
    now: Instant,
    nodes: Vec<Node>,
    timers: BTreeSet<(Instant, usize)>,
    timer_of: Vec<Option<Instant>>,
    flying: BinaryHeap<Reverse<Datagram>>,
    /// Whether partners hear each other.
    direct: bool,
    datagrams: u64,
    wakes: u64,
    received: u64,
    connected: u64,
}

fn address(n: usize) -> SocketAddr {
    let [_, a, b, c] = (n as u32 + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, a, b, c)), PORT)
}

impl Town {
    fn new(pairs: usize, direct: bool) -> Self {
        let now = Instant::now();
        let mut town = Self {
            now,
            nodes: Vec::new(),
            timers: BTreeSet::new(),
            timer_of: Vec::new(),
            flying: BinaryHeap::new(),
            direct,
            datagrams: 0,
            wakes: 0,
            received: 0,
            connected: 0,
        };
        for n in 0..=2 * pairs {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
            let identity = Identity::from_seed(&seed);
            let mut config = Config::new(seed, 1);
            config.port = PORT;
            config.host_addresses = vec![address(n).ip()];
            if n == 0 {
                config.service = Service::Relay { sessions: pairs };
            } else {
                config.bootstrap = vec![Bootstrap { id: town.nodes[0].id(), address: address(0) }];
            }
            let crypto = Arc::new(StandInCrypto::new(identity.id(), &seed));
            town.nodes.push(Node::new(town.now, identity, config, crypto));
            town.timer_of.push(None);
            town.drain(n);
            // Not all at one moment: their timers should not be in step.
            town.run(Duration::from_micros(2_000_000 / (2 * pairs as u64 + 1)));
        }
        town.run(Duration::from_secs(3));
        town
    }

    fn drain(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        while node.poll_socket().is_some() {}
        while let Some(transmit) = node.poll_transmit() {
            let IpAddr::V4(ip) = transmit.path.remote.ip() else {
                continue;
            };
            let to = (u32::from(ip) & 0xff_ffff) as usize - 1;
            if self.direct || n == 0 || to == 0 {
                self.datagrams += 1;
                self.flying.push(Reverse(Datagram {
                    at: self.now + DELAY,
                    order: self.datagrams,
                    from: n,
                    to,
                    payload: transmit.payload,
                }));
            }
        }
        while let Some(event) = node.poll_event() {
            match event {
                Event::MessageReceived { .. } => self.received += 1,
                Event::Connected { .. } => self.connected += 1,
                _ => {}
            }
        }
        let timer = node.poll_timeout();
        if timer != self.timer_of[n] {
            if let Some(old) = self.timer_of[n] {
                self.timers.remove(&(old, n));
            }
            self.timers.extend(timer.map(|timer| (timer, n)));
            self.timer_of[n] = timer;
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timer = self.timers.first().map(|&(at, _)| at);
            let arrival = self.flying.peek().map(|Reverse(datagram)| datagram.at);
            let Some(next) = timer.into_iter().chain(arrival).min().filter(|next| *next < end) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                if let Some(Reverse(datagram)) = self.flying.pop() {
                    let from = address(datagram.from);
                    self.nodes[datagram.to].handle_datagram(
                        self.now,
                        SocketId::MAIN,
                        from,
                        &datagram.payload,
                    );
                    self.drain(datagram.to);
                }
            } else if let Some(&(_, n)) = self.timers.first() {
                self.wakes += 1;
                self.nodes[n].handle_timeout(self.now);
                self.drain(n);
            }
        }
        self.now = end;
    }

    /// Every node says something to its partner; spread over a second.
    fn second(&mut self) {
        let members = self.nodes.len() - 1;
        let gap = Duration::from_secs(1) / members as u32;
        for n in 1..=members {
            let partner = self.nodes[((n - 1) ^ 1) + 1].id();
            self.nodes[n].send(self.now, partner, vec![n as u8; 100]);
            self.drain(n);
            self.run(gap);
        }
    }

    fn connect(&mut self) {
        let members = self.nodes.len() - 1;
        for n in (1..members).step_by(2) {
            let partner = self.nodes[n + 1].id();
            self.nodes[n].connect(self.now, partner);
            self.drain(n);
            self.run(Duration::from_millis(2));
        }
        self.run(Duration::from_secs(20));
        assert_eq!(self.connected as usize, members, "all are connected");
    }
}

/// This thread's, from the kernel's scheduler.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or_default())
}

fn per(bytes: usize, count: usize) -> f64 {
    bytes as f64 / 1024.0 / count as f64
}

/// By itself, so that a profiler can be told to look at nothing else.
#[inline(never)]
fn steady(town: &mut Town, seconds: usize) {
    (0..seconds).for_each(|_| town.second());
}

fn measure(pairs: usize, direct: bool) {
    let before = HELD.load(Ordering::Relaxed);
    let mut town = Town::new(pairs, direct);
    town.run(Duration::from_secs(60));
    let idle = HELD.load(Ordering::Relaxed) - before;
    town.connect();
    (0..10).for_each(|_| town.second());
    town.run(Duration::from_secs(5));
    let connected = HELD.load(Ordering::Relaxed) - before;

    let rounds = (4000 / pairs).clamp(5, 60);
    let (received, datagrams, wakes) = (town.received, town.datagrams, town.wakes);
    let calls = CALLS.load(Ordering::Relaxed);
    let started = processor_time();
    steady(&mut town, rounds);
    let took = processor_time() - started;
    let calls = CALLS.load(Ordering::Relaxed) - calls;
    let messages = (town.received - received) as f64;
    let (datagrams, wakes) = ((town.datagrams - datagrams) as f64, (town.wakes - wakes) as f64);

    let started = processor_time();
    town.run(Duration::from_secs(120));
    let silence = processor_time() - started;
    let members = 2 * pairs;
    println!(
        "{:6} {pairs:5} pairs: {:6.2} us a message ({:.2} datagrams, {:.2} wakes, {:.0} allocations), {:5.2} us a datagram; \
         silent node {:5.1} us/s; KiB: idle node {:.1}, with its partner {:.1}",
        if direct { "direct" } else { "relay" },
        took.as_secs_f64() * 1e6 / messages,
        datagrams / messages,
        wakes / messages,
        calls as f64 / messages,
        took.as_secs_f64() * 1e6 / datagrams,
        silence.as_secs_f64() * 1e6 / 120.0 / members as f64,
        per(idle, members),
        per(connected, members),
    );
}

fn main() {
    // Cargo passes this when it measures, and not when it tests.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let only: Option<usize> = std::env::args().find_map(|argument| argument.parse().ok());
    for direct in [true, false] {
        for pairs in [1, 10, 50, 250] {
            if only.is_none_or(|only| only == pairs) {
                measure(pairs, direct);
            }
        }
    }
}

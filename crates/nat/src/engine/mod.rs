//! The NAT as a state machine: a packet in, a verdict out.
//!
//! [`Engine`] knows every axis of a [`Profile`]. It has no clock, no socket and no randomness of its own: the caller says
//! what time it is and gives a seed, and the same calls give the same verdicts. Time never goes back; a packet with an
//! earlier time than the last is taken as if it came with the last one's.
//!
//! [`Engine::outbound`] takes what comes from the LAN, [`Engine::inbound`] what comes from outside. State ends by itself
//! when its time has come. [`Engine::poll`] gives the refusals that wait for a while (RFC 5382 REQ-4); drivers call it
//! when [`Engine::poll_timeout`] is reached.
//!
//! ```
//! # use std::time::Duration;
//! # use natrig_nat::{Engine, Preset, Profile, engine::{Addresses, Packet, Side, Verdict}};
//! let addresses = Addresses { outside: vec!["192.0.2.1".parse()?], inside: "10.0.0.0/24".parse()? };
//! let mut gateway = Engine::new(Profile::of(Preset::PortRestrict), addresses, 1)?;
//! let packet = Packet::udp("10.0.0.2:5000".parse()?, "198.51.100.7:53".parse()?);
//! let Verdict::Forward { to: Side::Outside, packet } = gateway.outbound(Duration::ZERO, packet) else { panic!() };
//! assert_eq!(packet.source, "192.0.2.1:5000".parse()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bitmap;
mod ends;
mod icmp;
mod inbound;
mod index;
mod life;
mod outbound;
mod packet;
mod ports;
mod table;

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{
    Filtering, Mapping,
    profile::{Contradictions, Profile, Refresh, Unsolicited},
};
use index::Place;
use ports::{Endpoints, Wish};
use table::{Marks, Table};

pub use packet::{Content, IcmpError, Packet, Prefix, Protocol, TcpFlags, WrongPrefix};

/// Where a gateway stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Its outside addresses; none are needed without NAT.
    pub outside: Vec<Ipv4Addr>,
    /// The network behind it.
    pub inside: Prefix,
}

/// A side of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The LAN.
    Inside,
    /// The rest of the world.
    Outside,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent on, rewritten.
    Forward {
        /// To this side; a packet from inside that is sent inside was turned back (hairpin).
        to: Side,
        /// As this.
        packet: Packet,
    },
    /// Nothing more is heard of it.
    Drop(Reason),
    /// This ICMP error is sent back to the side it came from.
    Reject(Packet),
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Source or destination are on the wrong side of this gateway.
    #[error("it does not pass this gateway")]
    NotOurs,
    /// The profile passes no UDP.
    #[error("UDP is blocked")]
    UdpBlocked,
    /// No mapping has its destination.
    #[error("no mapping")]
    NoMapping,
    /// The mapping is not open to its sender.
    #[error("filtered")]
    Filtered,
    /// It belongs to no connection and cannot open one.
    #[error("no connection")]
    NoConnection,
    /// The profile turns no packets back.
    #[error("no hairpin")]
    NoHairpin,
    /// The host has as many mappings as it may have.
    #[error("the host's limit is reached")]
    HostLimit,
    /// There are as many mappings or flows as there may be.
    #[error("the table is full")]
    TableFull,
    /// No outside port is free.
    #[error("no port is free")]
    NoPort,
    /// It waits whether the inside opens the same connection; the refusal comes later.
    #[error("held")]
    Held,
}

/// Why there is no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongGateway {
    /// The profile contradicts itself.
    #[error(transparent)]
    Profile(#[from] Contradictions),
    /// There are more or fewer addresses than the profile says.
    #[error("the profile has {declared} outside addresses, {given} were given")]
    Addresses {
        /// As the profile says.
        declared: usize,
        /// As was given.
        given: usize,
    },
    /// An address is there twice.
    #[error("the outside address {0} is given twice")]
    Twice(Ipv4Addr),
    /// An outside address lies in the network behind the gateway.
    #[error("the outside address {0} lies inside")]
    Inside(Ipv4Addr),
}

/// What a gateway remembers of one inside and one remote endpoint; the flows of a mapping share its outside one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// UDP, TCP or ICMP queries.
    pub protocol: Protocol,
    /// The endpoint on the LAN.
    pub inside: SocketAddrV4,
    /// What others see in its place.
    pub outside: SocketAddrV4,
    /// Whom it talks to.
    pub remote: SocketAddrV4,
    /// Whether the inside has sent to it.
    pub sent: bool,
    /// Whether it has sent.
    pub answered: bool,
    /// How old it is.
    #[serde(with = "humantime_serde")]
    pub age: Duration,
    /// How long it lives if nothing refreshes it.
    #[serde(with = "humantime_serde")]
    pub left: Duration,
}

/// A gateway.
#[derive(Debug)]
pub struct Engine {
    profile: Profile,
    addresses: Addresses,
    seed: u64,
    timers: Nanos,
    now: u64,
    table: Table,
    endpoints: Endpoints,
    /// Flows that unsolicited packets have taken, and until when; only where the profile lets them.
    poisoned: HashMap<u128, u64, FixedState>,
    next_purge: usize,
    /// SYNs from outside that may yet be met by one from inside.
    held: VecDeque<(u64, Packet)>,
    /// What endpoints had before a rebind, and do not get again.
    before: HashMap<u128, SocketAddrV4, FixedState>,
    /// The most flows, where they are fewer than the profile says.
    ceiling: usize,
}

/// The profile's timers.
#[derive(Debug, Clone, Copy)]
struct Nanos {
    unreplied: u64,
    stream: u64,
    stream_after: u64,
    lifetime: Option<u64>,
    tcp_established: u64,
    tcp_transitory: u64,
    tcp_unsolicited: u64,
    icmp: u64,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Nanos {
    fn of(profile: &Profile) -> Self {
        let timers = &profile.timers;
        Nanos {
            unreplied: nanos(timers.unreplied),
            stream: nanos(timers.stream),
            stream_after: nanos(timers.stream_after),
            lifetime: timers.lifetime.map(nanos),
            tcp_established: nanos(timers.tcp_established),
            tcp_transitory: nanos(timers.tcp_transitory),
            tcp_unsolicited: nanos(timers.tcp_unsolicited),
            icmp: nanos(timers.icmp),
        }
    }
}

impl Engine {
    /// A gateway that has seen nothing yet.
    pub fn new(profile: Profile, addresses: Addresses, seed: u64) -> Result<Self, WrongGateway> {
        profile.validate()?;
        fits(&profile, &addresses)?;
        let hasher = FixedState::with_seed(seed);
        Ok(Engine {
            timers: Nanos::of(&profile),
            now: 0,
            table: Table::new(profile.filtering == Filtering::AddressDependent, seed),
            endpoints: Endpoints::new(&profile, &addresses.outside, seed),
            poisoned: HashMap::with_hasher(hasher),
            next_purge: 1024,
            held: VecDeque::new(),
            before: HashMap::with_hasher(hasher),
            ceiling: usize::MAX,
            profile,
            addresses,
            seed,
        })
    }

    /// Whether no flow more can be.
    fn is_full(&self) -> bool {
        self.table.flow_count() >= self.ceiling.min(self.profile.limits.flows as usize)
    }

    /// The profile it follows.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Where it stands.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// How many mappings are alive.
    pub fn mappings(&mut self, now: Duration) -> usize {
        self.advance(now);
        self.table.mappings.len()
    }

    /// How many flows are alive.
    pub fn flows(&mut self, now: Duration) -> usize {
        self.advance(now);
        self.table.flow_count()
    }

    /// All flows that are alive, in no order; times to the millisecond.
    pub fn table(&mut self, now: Duration) -> Vec<Flow> {
        let now = self.advance(now);
        let span = |from: u64, to: u64| Duration::from_millis(to.saturating_sub(from) / 1_000_000);
        let flow = |flow: &table::Flow| Flow {
            protocol: flow.protocol,
            inside: flow.inside,
            outside: flow.outside,
            remote: flow.remote,
            sent: flow.marks.has(Marks::CONTACTED),
            answered: flow.marks.has(Marks::IN),
            age: span(flow.created, now),
            left: span(now, flow.expires),
        };
        self.table.flows().map(flow).collect()
    }

    /// The outside endpoint that an inside one has towards a remote one.
    pub fn outside_of(
        &mut self,
        now: Duration,
        protocol: Protocol,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        self.advance(now);
        let exact = table::key(protocol, inside, remote);
        let index = self
            .table
            .by_inside(exact)
            .or_else(|| self.table.by_inside(self.inside_key(protocol, inside, remote)))?;
        Some(self.table.mappings[index as usize].outside)
    }

    /// Makes ready for packets that are about to be taken, and changes nothing.
    ///
    /// A flow is in memory wherever there was room for it. One packet's look-up does not wait for another's, so that
    /// memory serves several at once; with a million flows a driver that calls this with every few dozen packets it has
    /// read is several times as fast.
    pub fn look_ahead(&self, from: Side, packets: &[Packet]) {
        let out = from == Side::Inside;
        for packets in packets.chunks(table::BATCH) {
            let ends = packets.iter().filter_map(|packet| {
                let (near, remote) = if out {
                    (packet.source, packet.destination)
                } else {
                    (packet.destination, packet.source)
                };
                Some((packet.protocol()?, near, remote))
            });
            self.table.fetch(out, ends);
        }
    }

    /// When [`Engine::poll`] has something to say.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.held.front().map(|(due, _)| Duration::from_nanos(*due))
    }

    /// A refusal that has come due, to be sent outside; call again until there is none.
    pub fn poll(&mut self, now: Duration) -> Option<Packet> {
        let now = self.advance(now);
        while self.held.front().is_some_and(|(due, _)| *due <= now) {
            let (_, syn) = self.held.pop_front()?;
            let met = self.table.flow_back(Protocol::Tcp, syn.destination, syn.source).is_some();
            if !met {
                return syn.error(*syn.destination.ip(), IcmpError::UNREACHABLE, IcmpError::PORT);
            }
        }
        None
    }

    /// Lets time pass: what has had its time ends.
    fn advance(&mut self, now: Duration) -> u64 {
        self.now = self.now.max(nanos(now));
        let endpoints = &mut self.endpoints;
        let translates = self.profile.mapping.is_some();
        self.table.expire(self.now, |mapping| {
            let wish = Wish { protocol: mapping.protocol, inside: mapping.inside };
            // Without NAT nothing was taken, and only the host's count goes down.
            let outside = if translates { mapping.outside } else { table::ANY };
            endpoints.release(wish, outside);
        });
        self.now
    }

    /// Whether everything passes and nothing is remembered.
    pub(crate) fn stateless(&self) -> bool {
        self.profile.mapping.is_none() && self.profile.filtering == Filtering::EndpointIndependent
    }

    /// For which remote endpoints a mapping is that is made for one of them, looked up from inside.
    fn toward(&self, remote: SocketAddrV4) -> SocketAddrV4 {
        match self.profile.mapping {
            _ if self.profile.ports.overload => remote,
            None | Some(Mapping::EndpointIndependent) => table::ANY,
            Some(Mapping::AddressDependent) => SocketAddrV4::new(*remote.ip(), 0),
            Some(Mapping::AddressAndPortDependent) => remote,
        }
    }

    /// The same, looked up from outside.
    fn from(&self, remote: SocketAddrV4) -> SocketAddrV4 {
        if self.profile.ports.overload { remote } else { table::ANY }
    }

    /// What mappings are looked up by from inside.
    fn inside_key(&self, protocol: Protocol, inside: SocketAddrV4, remote: SocketAddrV4) -> u128 {
        table::key(protocol, inside, self.toward(remote))
    }

    /// What mappings are looked up by from outside.
    fn outside_key(&self, protocol: Protocol, outside: SocketAddrV4, remote: SocketAddrV4) -> u128 {
        table::key(protocol, outside, self.from(remote))
    }

    /// Whether a mapping is open to an endpoint that has no flow with it.
    fn open_to(&self, mapping: Place, remote: SocketAddrV4) -> bool {
        match self.profile.filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => self.table.has_peer(mapping, *remote.ip()),
            Filtering::AddressAndPortDependent => false,
        }
    }

    /// Notes a packet of a flow and lets it live on.
    fn touch(&mut self, index: Place, packet: &Packet, side: Side) {
        let now = self.now;
        let timers = self.timers;
        let flow = self.table.flow(index);
        let (seen, fin) = match side {
            Side::Inside => (Marks::OUT, Marks::FIN_OUT),
            Side::Outside => (Marks::IN, Marks::FIN_IN),
        };
        let flags = packet.flags();
        let closed = |marks: Marks| marks.has(Marks::RST) || marks.has(Marks::FIN_OUT.and(Marks::FIN_IN));
        if flags.opens() && closed(flow.marks) {
            flow.marks.keep(Marks::CONTACTED.and(Marks::HAIRPIN));
        }
        flow.marks.set(seen);
        if flags.fin {
            flow.marks.set(fin);
        }
        if flags.rst {
            flow.marks.set(Marks::RST);
        }
        let answered = flow.marks.has(Marks::OUT.and(Marks::IN));
        let life = match flow.protocol {
            Protocol::Udp if answered && now - flow.created >= timers.stream_after => timers.stream,
            Protocol::Udp => timers.unreplied,
            Protocol::Tcp if answered && !closed(flow.marks) => timers.tcp_established,
            Protocol::Tcp => timers.tcp_transitory,
            Protocol::Echo => timers.icmp,
        };
        let refreshes =
            side == Side::Inside || flow.protocol != Protocol::Udp || self.profile.refresh == Refresh::Both;
        if refreshes {
            self.table.extend(index, now.saturating_add(life));
        }
        if side == Side::Inside {
            self.table.contacted(index);
        }
    }

    /// What a packet that nothing lets in gets.
    fn refuse(&mut self, packet: &Packet, reason: Reason) -> Verdict {
        match self.profile.unsolicited {
            Unsolicited::Drop => return Verdict::Drop(reason),
            Unsolicited::Reject => {}
            Unsolicited::Poison => self.poison(packet),
        }
        if packet.flags().rst {
            return Verdict::Drop(reason);
        }
        if packet.flags().opens()
            && self.timers.tcp_unsolicited > 0
            && !self.endpoints.has(*packet.source.ip())
        {
            if self.held.len() >= inbound::HELD {
                return Verdict::Drop(reason);
            }
            self.held.push_back((self.now.saturating_add(self.timers.tcp_unsolicited), *packet));
            return Verdict::Drop(Reason::Held);
        }
        match packet.error(*packet.destination.ip(), IcmpError::UNREACHABLE, IcmpError::PORT) {
            Some(error) => Verdict::Reject(error),
            None => Verdict::Drop(reason),
        }
    }
}

fn fits(profile: &Profile, addresses: &Addresses) -> Result<(), WrongGateway> {
    let given = addresses.outside.len();
    let declared = usize::from(profile.pool.addresses);
    if profile.mapping.is_some() && given != declared {
        return Err(WrongGateway::Addresses { declared, given });
    }
    for (index, address) in addresses.outside.iter().enumerate() {
        if addresses.outside[..index].contains(address) {
            return Err(WrongGateway::Twice(*address));
        }
        if addresses.inside.contains(*address) {
            return Err(WrongGateway::Inside(*address));
        }
    }
    Ok(())
}

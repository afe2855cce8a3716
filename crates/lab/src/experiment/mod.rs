//! What two gateways come to, found out without a node: stations behind both send alone, together, in either order, and
//! from many ports, and what arrives tells the kind of path.
//!
//! Every trial has ports of its own, so that no trial helps another. That a packet did not arrive is proven by one that
//! was sent after it, must arrive, and did.

mod cell;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natrig_capture::Transport;
use natrig_record::Kind;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    Trouble,
    station::{Net, Seat, packet},
};

pub use cell::{judge, seats, witness};

/// How long one packet may take, and how often it is sent before the lab is at fault.
const PATIENCE: Duration = Duration::from_millis(500);
const TRIES: usize = 10;

/// How often a side sends in a trial: the first may wait in its gateway for a hardware address.
const ROUNDS: usize = 3;

/// The birthday search: sockets of the side whose ports nobody knows, probes of the other one, their pace, and how often
/// the sockets send again.
const SOCKETS: u16 = 256;
const PROBES: usize = 4096;
const BURST: usize = 8;
const PAUSE: Duration = Duration::from_millis(16);
const AGAIN: Duration = Duration::from_secs(5);

/// The coordinator's port.
const COORDINATOR: u16 = 3478;

/// The first port of a trial.
const PORTS: u16 = 20_000;

/// What stations' packets begin with.
const MARK: &[u8; 6] = b"natrig";

/// A station that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// Where it sits.
    pub seat: Seat,
    /// Its address.
    pub address: Ipv4Addr,
}

/// The stations of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    /// Behind the two gateways, the initiator first.
    pub peers: [Party; 2],
    /// On the internet.
    pub coordinator: Party,
    /// Another address of the same station.
    pub other_address: Ipv4Addr,
}

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Order {
    /// The initiator alone.
    InitiatorAlone,
    /// The responder alone.
    ResponderAlone,
    /// Both in turn, the initiator first.
    InitiatorFirst,
    /// Both in turn, the responder first.
    ResponderFirst,
    /// Both at once.
    AtOnce,
}

impl Order {
    /// All, in the order in which they are tried.
    pub const ALL: [Order; 5] = [
        Order::InitiatorAlone,
        Order::ResponderAlone,
        Order::InitiatorFirst,
        Order::ResponderFirst,
        Order::AtOnce,
    ];

    /// Who sends in each turn.
    fn turns(self) -> &'static [&'static [usize]] {
        match self {
            Order::InitiatorAlone => &[&[0]],
            Order::ResponderAlone => &[&[1]],
            Order::InitiatorFirst => &[&[0], &[1]],
            Order::ResponderFirst => &[&[1], &[0]],
            Order::AtOnce => &[&[0, 1]],
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Order::InitiatorAlone => "initiator alone",
            Order::ResponderAlone => "responder alone",
            Order::InitiatorFirst => "both, initiator first",
            Order::ResponderFirst => "both, responder first",
            Order::AtOnce => "both at once",
        })
    }
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Who sent.
    pub order: Order,
    /// Whether a packet arrived and its answer did.
    pub connected: bool,
    /// The packets that did not arrive, by the side that sent them, with their payload: for a witness on the wire.
    pub filtered: Vec<(usize, Vec<u8>)>,
}

/// A birthday search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// How many probes were sent.
    pub probes: usize,
    /// Whether one met a socket and was answered.
    pub connected: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind of path.
    pub kind: Kind,
    /// The trials behind it.
    pub trials: Vec<Trial>,
    /// The birthday search, if there was one.
    pub search: Option<Search>,
}

impl Finding {
    /// Whether it made a difference who sent first.
    pub fn order_matters(&self) -> bool {
        let together = |trial: &&Trial| !matches!(trial.order, Order::InitiatorAlone | Order::ResponderAlone);
        let mut connected = self.trials.iter().filter(together).map(|trial| trial.connected);
        let first = connected.next();
        connected.any(|other| Some(other) != first)
    }
}

/// Finds the kind of path between two stations; the seed draws the ports of a birthday search, if there is to be one.
pub fn find(net: &mut impl Net, parties: Parties, seed: u64, birthday: bool) -> Result<Finding, Trouble> {
    let mut experiment = Experiment {
        net,
        parties,
        random: StdRng::seed_from_u64(seed),
        tokens: 0,
        ports: [PORTS; 2],
        heard: HashMap::new(),
    };
    let trials: Vec<Trial> =
        Order::ALL.into_iter().map(|order| experiment.trial(order)).collect::<Result<_, _>>()?;
    let connected = |order| trials.iter().any(|trial: &Trial| trial.order == order && trial.connected);
    let together = [Order::InitiatorFirst, Order::ResponderFirst, Order::AtOnce].into_iter().all(connected);
    let (kind, search) = if connected(Order::InitiatorAlone) {
        (Kind::Direct, None)
    } else if connected(Order::ResponderAlone) {
        (Kind::Reversal, None)
    } else if together {
        (Kind::Punch, None)
    } else {
        let search = if birthday { experiment.birthday()? } else { None };
        let met = search.is_some_and(|search| search.connected);
        (if met { Kind::Birthday } else { Kind::Relay }, search)
    };
    Ok(Finding { kind, trials, search })
}

struct Experiment<'a, N> {
    net: &'a mut N,
    parties: Parties,
    random: StdRng,
    tokens: u64,
    ports: [u16; 2],
    heard: HashMap<u64, Heard>,
}

/// A packet as it arrived.
#[derive(Debug, Clone, Copy)]
struct Heard {
    from: SocketAddrV4,
    to: SocketAddrV4,
}

impl<N: Net> Experiment<'_, N> {
    fn trial(&mut self, order: Order) -> Result<Trial, Trouble> {
        let own = [self.fresh(0), self.fresh(1)];
        let known = [self.learn(0, own[0])?, self.learn(1, own[1])?];
        let mut sent = Vec::new();
        for turn in std::iter::repeat_n(order.turns(), ROUNDS).flatten() {
            let mut tokens = Vec::new();
            for side in turn.iter().copied() {
                // Who was called answers where the call came from.
                let called = sent
                    .iter()
                    .filter(|(from, _)| *from != side)
                    .find_map(|(_, token)| self.heard.get(token))
                    .map_or(known[1 - side], |heard| heard.from);
                let token = self.say(self.parties.peers[side].seat, own[side], called)?;
                tokens.push((side, token));
            }
            for side in turn.iter().copied() {
                self.fence(side, own, known)?;
            }
            sent.extend(tokens);
        }
        let arrived = sent.iter().find_map(|(side, token)| Some((*side, *self.heard.get(token)?)));
        let connected = match arrived {
            Some((side, heard)) => self.answered(1 - side, heard)?,
            None => false,
        };
        let filtered = sent
            .into_iter()
            .filter(|(_, token)| !self.heard.contains_key(token))
            .map(|(side, token)| (side, payload(token)))
            .collect();
        Ok(Trial { order, connected, filtered })
    }

    /// Whether the answer to a packet that a side got comes back.
    fn answered(&mut self, side: usize, heard: Heard) -> Result<bool, Trouble> {
        let seat = self.parties.peers[side].seat;
        for _ in 0..TRIES {
            let token = self.say(seat, heard.to, heard.from)?;
            if self.hear(token)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The outside endpoint of a peer's port, as the coordinator sees it.
    fn learn(&mut self, side: usize, own: SocketAddrV4) -> Result<SocketAddrV4, Trouble> {
        self.seen_by(self.coordinator(), side, own)
    }

    fn seen_by(
        &mut self,
        coordinator: SocketAddrV4,
        side: usize,
        own: SocketAddrV4,
    ) -> Result<SocketAddrV4, Trouble> {
        let seat = self.parties.peers[side].seat;
        let heard = self.certainly(seat, own, coordinator)?;
        Ok(heard.from)
    }

    /// Waits until all that a side sent has passed the far gateway or been kept by it: a packet to the coordinator has
    /// left the near gateway after it, and one from the coordinator comes to the far one later still.
    fn fence(
        &mut self,
        side: usize,
        own: [SocketAddrV4; 2],
        known: [SocketAddrV4; 2],
    ) -> Result<(), Trouble> {
        let coordinator = self.coordinator();
        self.certainly(self.parties.peers[side].seat, own[side], coordinator)?;
        self.certainly(self.parties.coordinator.seat, coordinator, known[1 - side])?;
        Ok(())
    }

    /// Sends what nothing filters until it arrives.
    fn certainly(&mut self, seat: Seat, from: SocketAddrV4, to: SocketAddrV4) -> Result<Heard, Trouble> {
        for _ in 0..TRIES {
            let token = self.say(seat, from, to)?;
            if let Some(heard) = self.hear(token)? {
                return Ok(heard);
            }
        }
        Err(Trouble::lab(format!(
            "a packet from {from} to {to}, which nothing should filter, did not arrive"
        )))
    }

    /// One side's ports are known, the other's are not: many sockets there, many probes here. None where neither or both
    /// are known.
    fn birthday(&mut self) -> Result<Option<Search>, Trouble> {
        let (one, two) = (self.is_known(0)?, self.is_known(1)?);
        let hard = match (one, two) {
            (true, false) => 1,
            (false, true) => 0,
            _ => return Ok(None),
        };
        let easy = 1 - hard;
        let [hard_seat, easy_seat] = [hard, easy].map(|side| self.parties.peers[side].seat);
        let own = self.fresh(easy);
        let known = self.learn(easy, own)?;
        let probe_at = self.fresh(hard);
        let far = *self.learn(hard, probe_at)?.ip();
        let sockets: Vec<SocketAddrV4> = (0..SOCKETS).map(|_| self.fresh(hard)).collect();
        let mut ports: Vec<u16> = (1024..=u16::MAX).collect();
        ports.shuffle(&mut self.random);
        let mut probes = HashSet::new();
        let mut resend = self.net.now();
        for (burst, chunk) in ports[..PROBES].chunks(BURST).enumerate() {
            if self.net.now() >= resend {
                for socket in &sockets {
                    self.say(hard_seat, *socket, known)?;
                }
                resend = self.net.now() + AGAIN;
            }
            for port in chunk {
                let token = self.say(easy_seat, own, SocketAddrV4::new(far, *port))?;
                probes.insert(token);
            }
            let last = burst * BURST + chunk.len() == PROBES;
            let until = self.net.now() + if last { PATIENCE } else { PAUSE };
            self.listen(until, |heard| probes.iter().any(|token| heard.contains_key(token)))?;
            let met = probes.iter().find_map(|token| self.heard.get(token).copied());
            if let Some(heard) = met
                && self.answered(hard, heard)?
            {
                return Ok(Some(Search { probes: probes.len(), connected: true }));
            }
        }
        Ok(Some(Search { probes: PROBES, connected: false }))
    }

    /// Whether a peer's outside endpoint is the same for another destination.
    fn is_known(&mut self, side: usize) -> Result<bool, Trouble> {
        let own = self.fresh(side);
        let other = SocketAddrV4::new(self.parties.other_address, COORDINATOR + 1);
        Ok(self.learn(side, own)? == self.seen_by(other, side, own)?)
    }

    fn coordinator(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.parties.coordinator.address, COORDINATOR)
    }

    fn fresh(&mut self, side: usize) -> SocketAddrV4 {
        // Not in a row, so that nothing depends on it.
        self.ports[side] += 1 + self.random.random_range(0..4);
        SocketAddrV4::new(self.parties.peers[side].address, self.ports[side])
    }

    fn say(&mut self, seat: Seat, from: SocketAddrV4, to: SocketAddrV4) -> Result<u64, Trouble> {
        self.tokens += 1;
        self.net.send(seat, packet::udp(from, to, &payload(self.tokens)))?;
        Ok(self.tokens)
    }

    /// Waits for a packet.
    fn hear(&mut self, token: u64) -> Result<Option<Heard>, Trouble> {
        let until = self.net.now() + PATIENCE;
        self.listen(until, |heard| heard.contains_key(&token))?;
        Ok(self.heard.get(&token).copied())
    }

    fn listen(
        &mut self,
        until: Duration,
        enough: impl Fn(&HashMap<u64, Heard>) -> bool,
    ) -> Result<(), Trouble> {
        while !enough(&self.heard)
            && let Some(arrival) = self.net.receive(until)?
        {
            let Some(Transport::Udp(udp)) = arrival.ipv4().map(|ipv4| ipv4.transport) else {
                continue;
            };
            if let Some(token) = token(udp.payload) {
                self.heard.insert(token, Heard { from: udp.source, to: udp.destination });
            }
        }
        Ok(())
    }
}

fn payload(token: u64) -> Vec<u8> {
    [&MARK[..], &token.to_be_bytes()].concat()
}

fn token(payload: &[u8]) -> Option<u64> {
    payload.strip_prefix(MARK)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use natrig_nat::{Engine, Preset, Profile, bytes::Gateway, engine::Addresses, profile::Unsolicited};
    use natrig_scenario::Truth;

    use super::*;
    use crate::station::Memory;

    fn between(profiles: [Profile; 2], seed: u64) -> Finding {
        let mut net = Memory::new();
        let peers = [1, 2].map(|number: u8| {
            let addresses = Addresses {
                outside: vec![Ipv4Addr::new(192, 168, 100, number)],
                inside: format!("10.0.{number}.0/24").parse().unwrap(),
            };
            let profile = profiles[usize::from(number) - 1].clone();
            let engine = Engine::new(profile, addresses, seed + u64::from(number)).unwrap();
            let gateway = net.gateway(Gateway::new(engine, Ipv4Addr::new(10, 0, number, 1)));
            let address = Ipv4Addr::new(10, 0, number, 250);
            Party { seat: net.station([address], Some(gateway)), address }
        });
        let [address, other_address] = [250, 251].map(|host| Ipv4Addr::new(192, 168, 100, host));
        let coordinator = Party { seat: net.station([address, other_address], None), address };
        find(&mut net, Parties { peers, coordinator, other_address }, seed, true).unwrap()
    }

    #[test]
    fn every_pair_of_the_table_comes_to_what_it_says_in_any_order() {
        for initiator in Preset::ALL {
            for responder in Preset::ALL {
                let finding = between([initiator, responder].map(Profile::of), 7);
                let truth = Truth::standard().lookup(initiator, responder, true);
                assert_eq!(finding.kind, truth, "{initiator} to {responder}: {finding:?}");
                assert!(!finding.order_matters(), "{initiator} to {responder}: {finding:?}");
            }
        }
    }

    #[test]
    fn where_packets_poison_it_matters_who_sends_first() {
        let poison = Profile { unsolicited: Unsolicited::Poison, ..Profile::of(Preset::PortRestrict) };
        let finding = between([poison.clone(), Profile::of(Preset::PortRestrict)], 7);
        assert!(finding.order_matters(), "{finding:?}");
        // With an easy side that poisons, the search finds nothing: every socket's call has come before the probe.
        let finding = between([poison, Profile::of(Preset::Symmetric)], 7);
        let nothing = Some(Search { probes: PROBES, connected: false });
        assert_eq!((finding.kind, finding.search), (Kind::Relay, nothing));
    }
}

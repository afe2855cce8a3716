//! The engine on IPv4 packets as they are on the wire.
//!
//! [`Gateway`] reads a packet, asks the [`Engine`], and rewrites the packet in place: addresses, ports, what an ICMP error
//! quotes, checksums, and the TTL. It answers what runs out of hops, and it translates fragments in any order. Give it
//! what comes from each side with [`Gateway::handle`] and send what [`Gateway::poll_transmit`] gives until it gives
//! nothing; when [`Gateway::poll_timeout`] is reached, call [`Gateway::handle_timeout`].
//!
//! No bytes make it panic.

pub mod control;
mod field;
mod fragments;
mod view;

use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

use crate::engine::{Content, Engine, Packet, Reason, Side, Verdict};
use fragments::{Datagram, Fragments, Way};
use view::Header;

/// The most SYNs whose refusal waits.
const HELD: usize = 256;

/// A gateway between two interfaces.
#[derive(Debug)]
pub struct Gateway {
    engine: Engine,
    /// Its address on the LAN, for what it has to say there.
    inside: Ipv4Addr,
    fragments: Fragments,
    /// SYNs that are refused later, to be quoted then.
    held: VecDeque<(Packet, Vec<u8>)>,
    transmits: VecDeque<Transmit>,
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// To this side.
    pub to: Side,
    /// From the IPv4 header on.
    pub packet: Vec<u8>,
}

impl Transmit {
    /// Whom it is for.
    pub fn destination(&self) -> Option<Ipv4Addr> {
        field::address(&self.packet, 16)
    }
}

/// Why nothing was forwarded, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// It is no IPv4 packet, or it is cut off.
    #[error("malformed")]
    Malformed,
    /// A checksum that the gateway must trust is wrong.
    #[error("wrong checksum")]
    Checksum,
    /// A protocol that is not translated.
    #[error("IP protocol {0} is not translated")]
    Protocol(u8),
    /// An ICMP type that is not translated.
    #[error("ICMP type {0} is not translated")]
    Icmp(u8),
    /// It ran out of hops, and its sender is told.
    #[error("out of hops")]
    Hops,
    /// A fragment that waits for the first of its datagram.
    #[error("waiting for the first fragment")]
    Waiting,
    /// A fragment too many is waiting.
    #[error("too many fragments wait")]
    TooManyFragments,
    /// The engine dropped it.
    #[error(transparent)]
    Dropped(Reason),
    /// The engine refused it, and its sender is told.
    #[error("rejected")]
    Rejected,
}

impl Gateway {
    /// A gateway with an address on the LAN.
    pub fn new(engine: Engine, inside: Ipv4Addr) -> Self {
        Gateway {
            engine,
            inside,
            fragments: Fragments::default(),
            held: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    /// The engine, to look at or to let something happen to it.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Takes an IPv4 packet that came from a side; what follows its total length is cut off.
    pub fn handle(&mut self, now: Duration, from: Side, mut bytes: Vec<u8>) -> Result<(), Lost> {
        let header = Header::read(&bytes)?;
        if bytes.len() < header.total {
            return Err(Lost::Malformed);
        }
        bytes.truncate(header.total);
        if from == Side::Inside && header.destination == self.inside {
            return self.answer(&header, &bytes);
        }
        if self.engine.stateless() {
            return self.route(from, &header, bytes);
        }
        if header.offset > 0 {
            let way = self.fragments.way(now, Datagram::of(from, &header), &bytes)?;
            return self.follow(way, bytes);
        }
        let packet = view::packet(&header, &bytes)?;
        if from == Side::Inside && header.ttl <= 1 {
            return self.out_of_hops(from, &packet, &bytes);
        }
        let verdict = match from {
            Side::Inside => self.engine.outbound(now, packet),
            Side::Outside => self.engine.inbound(now, packet),
        };
        match verdict {
            Verdict::Forward { .. } if header.ttl <= 1 => self.out_of_hops(from, &packet, &bytes),
            Verdict::Forward { to, packet: translated } => {
                view::rewrite(&header, &mut bytes, &packet, &translated);
                self.transmits.push_back(Transmit { to, packet: bytes });
                if header.is_fragment() {
                    let way = Way {
                        to,
                        source: *translated.source.ip(),
                        destination: *translated.destination.ip(),
                    };
                    for waiting in self.fragments.learn(now, Datagram::of(from, &header), way) {
                        // One without hops left does not stop the others.
                        let _ = self.follow(way, waiting);
                    }
                }
                Ok(())
            }
            Verdict::Drop(reason) => {
                if reason == Reason::Held {
                    if self.held.len() >= HELD {
                        self.held.pop_front();
                    }
                    self.held.push_back((packet, bytes));
                }
                Err(Lost::Dropped(reason))
            }
            Verdict::Reject(refusal) => {
                self.refuse(from, &refusal, &bytes);
                Err(Lost::Rejected)
            }
        }
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(refusal) = self.engine.poll(now) {
            let Content::Error(error) = refusal.content else {
                continue;
            };
            let about =
                |packet: &Packet| packet.source == error.source && packet.destination == error.destination;
            if let Some(index) = self.held.iter().position(|(packet, _)| about(packet))
                && let Some((_, bytes)) = self.held.remove(index)
            {
                self.refuse(Side::Outside, &refusal, &bytes);
            }
        }
    }

    /// When to call [`Gateway::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.engine.poll_timeout()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Answers what is asked of the gateway itself: whether it is there (RFC 1122 section 3.2.2.6), and nothing else.
    fn answer(&mut self, header: &Header, bytes: &[u8]) -> Result<(), Lost> {
        let packet = view::echo_reply(header, bytes).ok_or(Lost::Dropped(Reason::NotOurs))?;
        self.transmits.push_back(Transmit { to: Side::Inside, packet });
        Ok(())
    }

    /// Sends on without a look inside: without NAT and filter, every protocol and every fragment passes.
    fn route(&mut self, from: Side, header: &Header, mut bytes: Vec<u8>) -> Result<(), Lost> {
        let inside = self.engine.addresses().inside;
        let (near, far) = (inside.contains(header.source), inside.contains(header.destination));
        let to = match (from, near, far) {
            (Side::Inside, true, false) => Side::Outside,
            (Side::Outside, false, true) => Side::Inside,
            _ => return Err(Lost::Dropped(Reason::NotOurs)),
        };
        if self.engine.profile().udp_blocked && header.protocol == view::UDP {
            return Err(Lost::Dropped(Reason::UdpBlocked));
        }
        if header.ttl <= 1 {
            // RFC 1122 section 3.2.2: no errors about later fragments, nor about errors.
            return match view::packet(header, &bytes) {
                Ok(packet) if header.offset == 0 => self.out_of_hops(from, &packet, &bytes),
                _ => Err(Lost::Hops),
            };
        }
        view::readdress(header, &mut bytes, header.source, header.destination);
        self.transmits.push_back(Transmit { to, packet: bytes });
        Ok(())
    }

    /// Sends a later fragment the way the first one went.
    fn follow(&mut self, way: Way, mut bytes: Vec<u8>) -> Result<(), Lost> {
        let header = Header::read(&bytes)?;
        if header.ttl <= 1 {
            // RFC 1122 section 3.2.2: no errors about fragments that are not the first.
            return Err(Lost::Hops);
        }
        view::readdress(&header, &mut bytes, way.source, way.destination);
        self.transmits.push_back(Transmit { to: way.to, packet: bytes });
        Ok(())
    }

    fn out_of_hops(&mut self, from: Side, packet: &Packet, bytes: &[u8]) -> Result<(), Lost> {
        let reporter = match from {
            Side::Inside => self.inside,
            Side::Outside if self.engine.profile().mapping.is_some() => *packet.destination.ip(),
            Side::Outside => self.engine.addresses().outside.first().copied().unwrap_or(self.inside),
        };
        if let Some(error) = packet.error(reporter, 11, 0) {
            self.refuse(from, &error, bytes);
        }
        Err(Lost::Hops)
    }

    /// Sends an ICMP error about bytes back to where they came from.
    fn refuse(&mut self, from: Side, refusal: &Packet, bytes: &[u8]) {
        let to = *refusal.destination.ip();
        let Content::Error(error) = refusal.content else {
            return;
        };
        // RFC 1122 section 3.2.2: no errors to those who are not one host.
        if to.is_unspecified() || to.is_multicast() || to.is_broadcast() || to.is_loopback() {
            return;
        }
        let packet = view::error(*refusal.source.ip(), to, error.kind, error.code, bytes);
        self.transmits.push_back(Transmit { to: from, packet });
    }
}

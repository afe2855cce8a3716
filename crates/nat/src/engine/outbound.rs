//! Packets from the LAN.

use std::{net::SocketAddrV4, time::Duration};

use super::{
    Content, Engine, Packet, Protocol, Reason, Side, Verdict,
    index::Place,
    ports::Wish,
    table::{self, Mapping, Marks},
};
use crate::profile::{Hairpin, Unsolicited};

impl Engine {
    /// Takes a packet from the LAN.
    pub fn outbound(&mut self, now: Duration, packet: Packet) -> Verdict {
        self.advance(now);
        if !self.addresses.inside.contains(*packet.source.ip()) {
            return Verdict::Drop(Reason::NotOurs);
        }
        let Some(protocol) = packet.protocol() else {
            return self.error_outbound(packet);
        };
        if protocol == Protocol::Udp && self.profile.udp_blocked {
            return Verdict::Drop(Reason::UdpBlocked);
        }
        // An answer to a query from outside; with a filter no such query was let in.
        if packet.content == Content::EchoReply && !self.stateless() {
            return Verdict::Drop(Reason::NoConnection);
        }
        let flow = match self.table.flow_out(protocol, packet.source, packet.destination) {
            Some(flow) => flow,
            None if self.addresses.inside.contains(*packet.destination.ip()) => {
                return Verdict::Drop(Reason::NotOurs);
            }
            None if self.stateless() => return Verdict::Forward { to: Side::Outside, packet },
            None => match self.new_flow(protocol, &packet) {
                Ok(flow) => flow,
                Err(reason) => return Verdict::Drop(reason),
            },
        };
        self.touch(flow, &packet, Side::Inside);
        let flow = self.table.flow(flow);
        let (outside, turned) = (flow.outside, flow.marks.has(Marks::HAIRPIN));
        let translated = Packet { source: outside, ..packet };
        if turned {
            return self.turn_back(&packet, translated);
        }
        Verdict::Forward { to: Side::Outside, packet: translated }
    }

    /// Lets a packet in again that was sent to one of the gateway's own addresses.
    fn turn_back(&mut self, sent: &Packet, translated: Packet) -> Verdict {
        match self.let_in(translated, true) {
            Verdict::Forward { packet, .. } if self.profile.hairpin == Hairpin::InternalSource => {
                Verdict::Forward { to: Side::Inside, packet: Packet { source: sent.source, ..packet } }
            }
            // The refusal quotes what the sender sent.
            Verdict::Reject(refusal) => match refusal.content {
                Content::Error(error) => sent
                    .error(*refusal.source.ip(), error.kind, error.code)
                    .map_or(Verdict::Drop(Reason::Filtered), Verdict::Reject),
                _ => Verdict::Drop(Reason::Filtered),
            },
            other => other,
        }
    }

    fn new_flow(&mut self, protocol: Protocol, packet: &Packet) -> Result<Place, Reason> {
        let (inside, remote) = (packet.source, packet.destination);
        let hairpin = self.profile.mapping.is_some() && self.endpoints.has(*remote.ip());
        if hairpin && self.profile.hairpin == Hairpin::None {
            return Err(Reason::NoHairpin);
        }
        if remote.ip().is_multicast() || remote.ip().is_broadcast() {
            return Err(Reason::NotOurs);
        }
        // A reset opens nothing.
        if packet.flags().rst {
            return Err(Reason::NoConnection);
        }
        if self.is_full() {
            return Err(Reason::TableFull);
        }
        let general = self.table.by_inside(self.inside_key(protocol, inside, remote));
        let mapping = match general {
            _ if self.profile.unsolicited == Unsolicited::Poison => {
                self.unpoisoned_mapping(protocol, inside, remote, general)?
            }
            Some(mapping) => mapping,
            None => self.new_mapping(protocol, inside, remote, self.toward(remote))?,
        };
        let marks = if hairpin { Marks::HAIRPIN } else { Marks::default() };
        Ok(self.table.add_flow(mapping, remote, self.now, marks))
    }

    /// The mapping of an endpoint where packets from outside may have taken the flow it would have.
    fn unpoisoned_mapping(
        &mut self,
        protocol: Protocol,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
        general: Option<Place>,
    ) -> Result<Place, Reason> {
        if let Some(exact) = self.table.by_inside(table::key(protocol, inside, remote)) {
            return Ok(exact);
        }
        let Some(mapping) = general else {
            return self.new_mapping(protocol, inside, remote, self.toward(remote));
        };
        let outside = self.table.mappings[mapping as usize].outside;
        if self.is_poisoned(protocol, outside, remote) {
            // Another one, for this remote endpoint alone.
            return self.new_mapping(protocol, inside, remote, remote);
        }
        Ok(mapping)
    }

    fn new_mapping(
        &mut self,
        protocol: Protocol,
        inside: SocketAddrV4,
        remote: SocketAddrV4,
        toward: SocketAddrV4,
    ) -> Result<Place, Reason> {
        let limits = self.profile.limits;
        if self.table.mappings.len() >= limits.mappings as usize {
            return Err(Reason::TableFull);
        }
        let host = *inside.ip();
        if limits.per_host.is_some_and(|most| self.endpoints.mappings_of(host) >= most) {
            return Err(Reason::HostLimit);
        }
        let outside = if self.profile.mapping.is_none() {
            self.endpoints.count(host);
            inside
        } else {
            let (table, overload) = (&self.table, self.profile.ports.overload);
            let (poisoned, now) = (&self.poisoned, self.now);
            let before = self.before.get(&table::key(protocol, inside, toward)).copied();
            let refused = |candidate: SocketAddrV4| {
                let exact = table::key(protocol, candidate, remote);
                before == Some(candidate)
                    || (overload && table.has_outside(exact))
                    || (!poisoned.is_empty() && poisoned.get(&exact).is_some_and(|until| *until > now))
            };
            self.endpoints.take(Wish { protocol, inside }, &refused).ok_or(Reason::NoPort)?
        };
        let deadline = self.timers.lifetime.map_or(u64::MAX, |lifetime| self.now.saturating_add(lifetime));
        let from = self.from(remote);
        Ok(self.table.add_mapping(Mapping { protocol, inside, outside, toward, from, flows: 0, deadline }))
    }

    fn is_poisoned(&self, protocol: Protocol, outside: SocketAddrV4, remote: SocketAddrV4) -> bool {
        self.poisoned.get(&table::key(protocol, outside, remote)).is_some_and(|until| *until > self.now)
    }
}

//! Packets from outside.

use std::time::Duration;

use super::{
    Content, Engine, Packet, Protocol, Reason, Side, Verdict,
    table::{self, Marks},
};
use crate::profile::Refresh;

/// The most SYNs that wait for the inside's own.
pub(super) const HELD: usize = 256;

impl Engine {
    /// Takes a packet from outside.
    pub fn inbound(&mut self, now: Duration, packet: Packet) -> Verdict {
        self.advance(now);
        if self.addresses.inside.contains(*packet.source.ip()) {
            // Nobody outside has such a source.
            return Verdict::Drop(Reason::NotOurs);
        }
        if packet.content == Content::Udp && self.profile.udp_blocked {
            return Verdict::Drop(Reason::UdpBlocked);
        }
        self.let_in(packet, false)
    }

    /// Lets a packet in, or not; `turned` says that it comes from inside.
    pub(super) fn let_in(&mut self, packet: Packet, turned: bool) -> Verdict {
        let Some(protocol) = packet.protocol() else {
            return self.error_inbound(packet);
        };
        let (remote, outside) = (packet.source, packet.destination);
        let query = packet.content == Content::EchoRequest;
        if !query && let Some(flow) = self.table.flow_back(protocol, outside, remote) {
            if self.table.flow(flow).marks.has(Marks::HAIRPIN) != turned {
                // Nobody outside has one of the gateway's own addresses.
                return Verdict::Drop(Reason::NotOurs);
            }
            self.touch(flow, &packet, Side::Outside);
            let inside = self.table.flow(flow).inside;
            return Verdict::Forward { to: Side::Inside, packet: Packet { destination: inside, ..packet } };
        }
        if self.profile.mapping.is_none() {
            if !self.addresses.inside.contains(*outside.ip()) {
                return Verdict::Drop(Reason::NotOurs);
            }
            if self.stateless() {
                return Verdict::Forward { to: Side::Inside, packet };
            }
        } else if !self.endpoints.has(*outside.ip()) || self.endpoints.has(*remote.ip()) != turned {
            return Verdict::Drop(Reason::NotOurs);
        }
        let Some(mapping) = self.table.by_outside(self.outside_key(protocol, outside, remote)) else {
            return self.refuse(&packet, Reason::NoMapping);
        };
        if !self.open_to(mapping, remote) {
            return self.refuse(&packet, Reason::Filtered);
        }
        let opens = match packet.content {
            Content::Tcp(flags) => flags.opens(),
            _ => !query,
        };
        if !opens {
            return self.refuse(&packet, Reason::NoConnection);
        }
        let inside = self.table.mappings[mapping as usize].inside;
        // Where packets from outside keep nothing alive, they leave nothing behind either.
        if protocol != Protocol::Udp || self.profile.refresh == Refresh::Both {
            if self.is_full() {
                return Verdict::Drop(Reason::TableFull);
            }
            let marks = if turned { Marks::HAIRPIN } else { Marks::default() };
            let flow = self.table.add_flow(mapping, remote, self.now, marks);
            self.touch(flow, &packet, Side::Outside);
        }
        Verdict::Forward { to: Side::Inside, packet: Packet { destination: inside, ..packet } }
    }

    /// Takes a flow for the gateway itself, as conntrack does with input that is accepted.
    pub(super) fn poison(&mut self, packet: &Packet) {
        let Some(protocol) = packet.protocol() else {
            return;
        };
        if self.poisoned.len() >= self.next_purge {
            let now = self.now;
            self.poisoned.retain(|_, until| *until > now);
            self.next_purge = (2 * self.poisoned.len()).max(1024);
        }
        let taken = table::key(protocol, packet.destination, packet.source);
        if self.poisoned.len() < self.profile.limits.flows as usize || self.poisoned.contains_key(&taken) {
            let life = match protocol {
                Protocol::Udp => self.timers.unreplied,
                Protocol::Tcp => self.timers.tcp_transitory,
                Protocol::Echo => self.timers.icmp,
            };
            self.poisoned.insert(taken, self.now.saturating_add(life));
        }
    }
}

//! ICMP errors: what they quote is translated like the packet they are about, and nothing is refreshed by them
//! (RFC 5508 section 4, RFC 4787 REQ-12).

use std::net::SocketAddrV4;

use super::{Content, Engine, IcmpError, Packet, Protocol, Reason, Side, Verdict};
use crate::profile::Hairpin;

impl Engine {
    /// An error from outside, about a packet that left.
    pub(super) fn error_inbound(&mut self, packet: Packet) -> Verdict {
        let Content::Error(error) = packet.content else {
            return Verdict::Drop(Reason::NoMapping);
        };
        if error.protocol == Protocol::Udp && self.profile.udp_blocked {
            return Verdict::Drop(Reason::UdpBlocked);
        }
        if self.stateless() {
            let ours = self.addresses.inside.contains(*packet.destination.ip());
            return if ours {
                Verdict::Forward { to: Side::Inside, packet }
            } else {
                Verdict::Drop(Reason::NotOurs)
            };
        }
        if error.source.ip() != packet.destination.ip() {
            return Verdict::Drop(Reason::NoMapping);
        }
        let Some(inside) = self.owner(error.protocol, error.source, error.destination) else {
            return Verdict::Drop(Reason::NoMapping);
        };
        Verdict::Forward {
            to: Side::Inside,
            packet: Packet {
                destination: SocketAddrV4::new(*inside.ip(), 0),
                content: Content::Error(IcmpError { source: inside, ..error }),
                ..packet
            },
        }
    }

    /// An error from inside, about a packet that was let in.
    pub(super) fn error_outbound(&mut self, packet: Packet) -> Verdict {
        let Content::Error(error) = packet.content else {
            return Verdict::Drop(Reason::NoMapping);
        };
        if error.protocol == Protocol::Udp && self.profile.udp_blocked {
            return Verdict::Drop(Reason::UdpBlocked);
        }
        if self.stateless() {
            return Verdict::Forward { to: Side::Outside, packet };
        }
        let (inside, remote) = (error.destination, error.source);
        let flow = self.table.flow_out(error.protocol, inside, remote);
        let outside = match flow {
            Some(flow) => self.table.flow(flow).outside,
            None => {
                let key = self.inside_key(error.protocol, inside, remote);
                match self.table.by_inside(key).filter(|mapping| self.open_to(*mapping, remote)) {
                    Some(mapping) => self.table.mappings[mapping as usize].outside,
                    None => return Verdict::Drop(Reason::NoMapping),
                }
            }
        };
        // Without NAT the reporter keeps its own address; with it only the gateway's is known outside.
        let source = if self.profile.mapping.is_none() { *packet.source.ip() } else { *outside.ip() };
        let packet = Packet {
            source: SocketAddrV4::new(source, 0),
            content: Content::Error(IcmpError { destination: outside, ..error }),
            ..packet
        };
        if self.profile.mapping.is_some() && self.endpoints.has(*packet.destination.ip()) {
            return match self.profile.hairpin {
                Hairpin::None => Verdict::Drop(Reason::NoHairpin),
                _ => self.error_inbound(packet),
            };
        }
        Verdict::Forward { to: Side::Outside, packet }
    }

    /// The inside endpoint whose packet from `outside` to `remote` is quoted.
    fn owner(
        &mut self,
        protocol: Protocol,
        outside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        if let Some(flow) = self.table.flow_back(protocol, outside, remote) {
            return Some(self.table.flow(flow).inside);
        }
        let mapping = self.table.by_outside(self.outside_key(protocol, outside, remote))?;
        self.open_to(mapping, remote).then(|| self.table.mappings[mapping as usize].inside)
    }
}

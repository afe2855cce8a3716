//! Datagrams followed from machine to machine.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddrV4},
};

use natrig_capture::{Delivery, DropReason, Frame, LinkId, Trace, Transport, decode};

use super::Cast;
use crate::{assertions::Passage, verdict::Case};

/// A datagram, or a TCP segment, and its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Followed<'a> {
    pub protocol: Protocol,
    pub payload: &'a [u8],
    /// Never empty.
    pub hops: Vec<Hop>,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Udp,
    /// With what tells two segments apart whose payload is alike.
    Tcp {
        sequence: u32,
        flags: [bool; 4],
    },
}

/// The way from one machine to the next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hop {
    pub from: usize,
    pub to: Option<usize>,
    /// Its sender's link.
    pub link: LinkId,
    pub left_ns: u64,
    pub arrived_ns: Option<u64>,
    /// The link by which it arrived.
    pub came_by: Option<LinkId>,
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    pub frame: u64,
}

/// What became of a datagram.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// It came to a machine that does not pass it on.
    Arrived,
    /// A link lost it.
    Lost(LinkId, DropReason),
    /// It came to this link other than it was sent.
    Harmed(LinkId),
    /// A gateway had it, and nothing like it left there.
    Held,
    /// There was nobody to take it.
    Nobody,
}

impl Followed<'_> {
    /// The last part of its way.
    pub fn last(&self) -> &Hop {
        &self.hops[self.hops.len() - 1]
    }

    /// The first part of its way.
    pub fn first(&self) -> &Hop {
        &self.hops[0]
    }
}

/// What a gateway leaves as it is.
type Key<'a> = (usize, Protocol, &'a [u8]);

/// The nodes' datagrams, in the order in which they were sent: all since the gateways had been proven.
pub(super) fn follow<'a>(trace: &'a Trace, case: &Case, cast: &Cast) -> Vec<Followed<'a>> {
    let from_ns = Passage::proven_ns(&case.gateways);
    let mut all: Vec<Followed<'a>> = Vec::new();
    // Datagrams that lie at a gateway.
    let mut waiting: HashMap<Key<'a>, Vec<usize>> = HashMap::new();
    for frame in trace.frames().iter().filter(|frame| frame.at_ns >= from_ns) {
        let Some((protocol, source, destination, payload)) = contents(frame) else { continue };
        let Some(from) = cast.owner(trace.name(frame.from)) else { continue };
        let (to, delivery, fate) = came(trace, cast, frame);
        let hop = Hop {
            from,
            to,
            link: frame.from,
            left_ns: frame.at_ns,
            arrived_ns: delivery.map(|delivery| delivery.at_ns),
            came_by: delivery.map(|delivery| delivery.link),
            source,
            destination,
            frame: frame.id,
        };
        let earlier = waiting.get_mut(&(from, protocol, payload)).and_then(|alike| {
            let outwards = cast.leads_out(trace.name(hop.link));
            let found = continued(&all, alike, &hop, outwards)?;
            Some(alike.remove(found))
        });
        let at = match earlier {
            Some(at) => {
                all[at].hops.push(hop);
                all[at].fate = fate;
                at
            }
            None => {
                all.push(Followed { protocol, payload, hops: vec![hop], fate });
                all.len() - 1
            }
        };
        if all[at].fate == Fate::Held
            && let Some(to) = to
        {
            waiting.entry((to, protocol, payload)).or_default().push(at);
        }
    }
    all
}

/// Which of the datagrams that lie at a gateway leaves with a hop. On the way out the destination stays, on the way in
/// the source; back to where it came from, perhaps neither. What goes out leaves in its order; of several that are
/// alike and came from outside it is the latest, since a filter may have kept the others.
fn continued(all: &[Followed<'_>], alike: &[usize], next: &Hop, outwards: bool) -> Option<usize> {
    let fits = |at: &usize| {
        let hop = all[*at].last();
        let back = hop.came_by == Some(next.link);
        let same = match outwards {
            true => hop.destination == next.destination,
            false => hop.source == next.source,
        };
        hop.arrived_ns.is_some_and(|at| at <= next.left_ns) && (same || back)
    };
    match outwards {
        true => alike.iter().position(fits),
        false => alike.iter().rposition(fits),
    }
}

/// Who got a frame, when, and what became of it there.
fn came<'a>(trace: &Trace, cast: &Cast, frame: &'a Frame) -> (Option<usize>, Option<&'a Delivery>, Fate) {
    let Some(packet) = frame.packet() else { return (None, None, Fate::Nobody) };
    let meant = cast.addressed(packet.destination);
    let owner = |link: LinkId| cast.owner(trace.name(link));
    // An unknown address is flooded: the frame is for the one whose address it bears.
    let only = frame.to.len() == 1;
    let delivery = frame.to.iter().find(|delivery| only || owner(delivery.link) == meant);
    if let Some(delivery) = delivery {
        let to = owner(delivery.link);
        let destination = packet.ipv4().map_or(Ipv4Addr::UNSPECIFIED, |ipv4| ipv4.destination);
        let fate = match to {
            _ if delivery.data != frame.data && decode(&delivery.data) != Some(packet) => {
                Fate::Harmed(delivery.link)
            }
            Some(to) if cast.forwards(to, destination) => Fate::Held,
            _ => Fate::Arrived,
        };
        return (to, Some(delivery), fate);
    }
    match frame.drops.first() {
        Some(drop) => (meant.or(owner(drop.link)), None, Fate::Lost(drop.link, drop.reason)),
        None => (meant, None, Fate::Nobody),
    }
}

fn contents(frame: &Frame) -> Option<(Protocol, SocketAddrV4, SocketAddrV4, &[u8])> {
    match frame.packet()?.ipv4()?.transport {
        Transport::Udp(udp) => Some((Protocol::Udp, udp.source, udp.destination, udp.payload)),
        Transport::Tcp(tcp) => {
            let flags = [tcp.syn, tcp.ack, tcp.fin, tcp.rst];
            let protocol = Protocol::Tcp { sequence: tcp.sequence, flags };
            Some((protocol, tcp.source, tcp.destination, tcp.payload))
        }
        _ => None,
    }
}

//! What a gateway made of the datagrams that passed it on their way out.

use std::{collections::HashMap, net::SocketAddrV4};

use natrig_capture::{LinkId, Trace, decode};

/// A datagram that came to a gateway from inside and left it outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Departure {
    /// Who sent it.
    pub inside: SocketAddrV4,
    /// For whom it is.
    pub destination: SocketAddrV4,
    /// Whose it seems to be outside.
    pub outside: SocketAddrV4,
    /// The frame outside.
    pub frame: u64,
    /// When it came to the gateway, at the earliest: of several that are alike the first that has not left yet.
    pub came_ns: u64,
    /// When it left.
    pub at_ns: u64,
}

/// All datagrams that left a gateway outside, in the order they left.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// Those whose sender is known.
    pub known: Vec<Departure>,
    /// Frames with datagrams that nobody inside had sent, and when they left.
    pub strays: Vec<(u64, u64)>,
    /// When each outsider's first datagram came to the gateway.
    pub arrivals: HashMap<SocketAddrV4, u64>,
}

/// Datagrams that are alike: a retransmission is what it was before.
#[derive(Default)]
struct Alike {
    /// Who sent each of them, and when it came.
    sent: Vec<(SocketAddrV4, u64)>,
    /// How many have left.
    left: usize,
}

impl Departures {
    /// Joins what came in on one link to what went out on another by what a NAT leaves alone on the way out: the
    /// destination and the payload. Where several sockets sent the same, nobody can tell whose it was: it is left out.
    pub fn of(trace: &Trace, lan: LinkId, wan: LinkId) -> Self {
        let mut came: HashMap<(SocketAddrV4, &[u8]), Alike> = HashMap::new();
        let mut departures = Departures::default();
        for frame in trace.frames() {
            for delivery in frame.to.iter().filter(|delivery| delivery.link == lan) {
                if let Some(udp) = decode(&delivery.data).and_then(|packet| packet.udp()) {
                    let alike = came.entry((udp.destination, udp.payload)).or_default();
                    alike.sent.push((udp.source, delivery.at_ns));
                }
            }
            for delivery in frame.to.iter().filter(|delivery| delivery.link == wan) {
                if let Some(udp) = decode(&delivery.data).and_then(|packet| packet.udp()) {
                    departures.arrivals.entry(udp.source).or_insert(delivery.at_ns);
                }
            }
        }
        for frame in trace.frames().iter().filter(|frame| frame.from == wan) {
            let Some(udp) = frame.packet().and_then(|packet| packet.udp()) else { continue };
            let alike = came.entry((udp.destination, udp.payload)).or_default();
            let before = alike.sent.partition_point(|(_, came_ns)| *came_ns <= frame.at_ns);
            let senders = alike.sent.get(..before).unwrap_or_default();
            match senders.get(alike.left).or(senders.last()) {
                None => departures.strays.push((frame.id, frame.at_ns)),
                Some((inside, came_ns)) if senders.iter().all(|(other, _)| other == inside) => {
                    departures.known.push(Departure {
                        inside: *inside,
                        destination: udp.destination,
                        outside: udp.source,
                        frame: frame.id,
                        came_ns: *came_ns,
                        at_ns: frame.at_ns,
                    });
                }
                Some(_) => {}
            }
            alike.left += 1;
        }
        departures
    }

    /// Whether an outsider's first datagram came before a time.
    pub fn called_before(&self, outsider: SocketAddrV4, at_ns: u64) -> bool {
        self.arrivals.get(&outsider).is_some_and(|arrived| *arrived < at_ns)
    }
}

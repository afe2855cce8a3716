//! Which frames went from site to site, and which touched a third machine.

use std::{collections::HashMap, net::SocketAddrV4};

use natrig_capture::{Frame, LinkId, MacAddress, Trace, Transport};
use serde::{Deserialize, Serialize};

/// The links of one site, by name; or of one machine, where both are in one LAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteLinks {
    /// The gateway's outside link, on the segment the sites share.
    pub wan: String,
    /// The gateway's hardware address there.
    pub wan_mac: [u8; 6],
    /// The gateway's inside link; none where no gateway stands in between.
    pub lan: Option<String>,
}

/// Two sites on one segment, the initiator's first; all other machines there are third machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The sites.
    pub sites: [SiteLinks; 2],
}

/// The way of an IPv4 frame on the shared segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the site with this index to the other one.
    Across { from: usize },
    /// From this site to a third machine.
    ToThird { from: usize },
    /// From a third machine to this site.
    FromThird { to: usize },
}

/// A frame that crossed from site to site, or was on its way when the switch took it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crossing<'a> {
    /// The sender's index.
    pub from: usize,
    /// When it left the sender's gateway.
    pub left_ns: u64,
    /// When it came to the far gateway; none if the switch dropped it.
    pub arrived_ns: Option<u64>,
    /// When the far gateway let it into its LAN; none if it did not.
    pub passed_ns: Option<u64>,
    /// The frame.
    pub frame: &'a Frame,
}

/// The pair's links found in a trace.
pub(crate) struct Wires<'a> {
    trace: &'a Trace,
    wan: [LinkId; 2],
    macs: [MacAddress; 2],
    lan: [Option<LinkId>; 2],
}

impl<'a> Wires<'a> {
    /// `Err` names a link that the trace does not have.
    pub fn find(trace: &'a Trace, pair: &Pair) -> Result<Self, String> {
        let link = |name: &String| trace.link(name).ok_or_else(|| name.clone());
        let [a, b] = &pair.sites;
        Ok(Wires {
            trace,
            wan: [link(&a.wan)?, link(&b.wan)?],
            macs: [MacAddress(a.wan_mac), MacAddress(b.wan_mac)],
            lan: [a.lan.as_ref().map(link).transpose()?, b.lan.as_ref().map(link).transpose()?],
        })
    }

    /// IPv4 frames of the two sites on the shared segment, each with its way. Attribution is by the switch's ports; the
    /// destination's hardware address only tells for whom a flooded frame was.
    pub fn ways(&self) -> impl Iterator<Item = (Way, &'a Frame)> + '_ {
        self.trace.frames().iter().filter_map(|frame| Some((self.way(frame)?, frame)))
    }

    fn way(&self, frame: &Frame) -> Option<Way> {
        let packet = frame.packet()?;
        packet.ipv4()?;
        let towards = |link: LinkId| {
            frame.to.iter().any(|delivery| delivery.link == link)
                || frame.drops.iter().any(|drop| drop.link == link)
        };
        let receivers = frame.to.len() + frame.drops.len();
        // An unknown address is flooded; the frame is then for the one whose address it bears.
        let meant = |site: usize| receivers < 2 || packet.destination == self.macs[site];
        for from in 0..2 {
            let to = 1 - from;
            if frame.from == self.wan[from] {
                let across = towards(self.wan[to]) && meant(to)
                    || frame.to.is_empty() && packet.destination == self.macs[to];
                return Some(if across { Way::Across { from } } else { Way::ToThird { from } });
            }
            if frame.from != self.wan[to]
                && Some(frame.from) != self.lan[from]
                && towards(self.wan[from])
                && meant(from)
            {
                return Some(Way::FromThird { to: from });
            }
        }
        None
    }

    /// UDP and TCP frames from site to site in the order they left, each followed through the far gateway. What comes
    /// out of a gateway's inside is matched to what went in by its sender and its payload, which a NAT leaves alone on an
    /// inbound packet. Of several that are alike, it is the latest that had come in: a filter may have kept the others.
    pub fn crossings(&self) -> Vec<Crossing<'a>> {
        let mut crossings: Vec<Crossing<'a>> = Vec::new();
        let mut waiting: [HashMap<Key<'a>, Vec<usize>>; 2] = Default::default();
        for (way, frame) in self.ways() {
            let (Way::Across { from }, Some(key)) = (way, key(frame)) else { continue };
            let to = 1 - from;
            let arrived_ns = frame.delivery(self.wan[to]).map(|delivery| delivery.at_ns);
            if arrived_ns.is_some() {
                waiting[to].entry(key).or_default().push(crossings.len());
            }
            let passed_ns = arrived_ns.filter(|_| self.lan[to].is_none());
            crossings.push(Crossing { from, left_ns: frame.at_ns, arrived_ns, passed_ns, frame });
        }
        for inner in self.trace.frames() {
            let Some(to) = self.lan.iter().position(|lan| *lan == Some(inner.from)) else { continue };
            let Some(alike) = key(inner).and_then(|key| waiting[to].get_mut(&key)) else { continue };
            let arrived = |index: &usize| crossings[*index].arrived_ns.is_some_and(|at| at <= inner.at_ns);
            if let Some(latest) = alike.iter().rposition(arrived) {
                crossings[alike.remove(latest)].passed_ns = Some(inner.at_ns);
            }
        }
        crossings
    }
}

/// Sender, protocol and payload.
type Key<'a> = (SocketAddrV4, u8, &'a [u8]);

/// What a NAT leaves alone on an inbound packet: the sender and the payload.
fn key(frame: &Frame) -> Option<Key<'_>> {
    match frame.packet()?.ipv4()?.transport {
        Transport::Udp(udp) => Some((udp.source, 17, udp.payload)),
        Transport::Tcp(tcp) => Some((tcp.source, 6, tcp.payload)),
        _ => None,
    }
}

/// Source and destination port of a UDP or TCP frame.
pub(crate) fn ports(frame: &Frame) -> Option<(u16, u16)> {
    match frame.packet()?.ipv4()?.transport {
        Transport::Udp(udp) => Some((udp.source.port(), udp.destination.port())),
        Transport::Tcp(tcp) => Some((tcp.source.port(), tcp.destination.port())),
        _ => None,
    }
}

/// Bytes that a frame carries for its two ends: the payload of UDP and TCP, or all that follows the IPv4 header.
pub(crate) fn payload(frame: &Frame) -> u64 {
    let Some(ipv4) = frame.packet().and_then(|packet| packet.ipv4()) else {
        return 0;
    };
    let length = match ipv4.transport {
        Transport::Udp(udp) => udp.payload.len(),
        Transport::Tcp(tcp) => tcp.payload.len(),
        Transport::LaterFragment(fragment) => fragment.payload.len(),
        Transport::Other { payload, .. } => payload.len(),
        Transport::Icmp(_) => 0,
    };
    length as u64
}

//! Where frames go: a learning bridge per segment, and the filters between ports. No sockets, no clock.

use std::collections::{HashMap, HashSet};

use natrig_capture::MacAddress;

/// A port of a switch, and the link plugged into it.
///
/// Its index is the link's place in the switch's captures, as [`natrig_capture::LinkId::index`] in a trace read
/// from the switch's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(pub(crate) usize);

impl Port {
    /// Its place among the switch's ports, in the order in which they were made.
    pub fn index(self) -> usize {
        self.0
    }
}

/// The length of an Ethernet header; shorter frames are runts.
pub(crate) const HEADER: usize = 14;

/// How many addresses a segment remembers; frames to the others are flooded.
const MAX_ADDRESSES: usize = 4096;

const ARP: [u8; 2] = [0x08, 0x06];

/// The segments and what they have learnt.
#[derive(Debug, Default)]
pub(crate) struct Fabric {
    segments: Vec<Segment>,
    ports: Vec<Attachment>,
    /// Pairs of source and destination between which only ARP passes.
    blocked: HashSet<(Port, Port)>,
}

#[derive(Debug, Default)]
struct Segment {
    ports: Vec<Port>,
    addresses: HashMap<MacAddress, Port>,
}

#[derive(Debug)]
struct Attachment {
    segment: usize,
    up: bool,
}

/// Where a frame is to go, or would have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) port: Port,
    pub(crate) blocked: bool,
}

impl Fabric {
    pub(crate) fn add_segment(&mut self) -> usize {
        self.segments.push(Segment::default());
        self.segments.len() - 1
    }

    /// Adds a port to a segment; `None` if there is no such segment.
    pub(crate) fn add_port(&mut self, segment: usize) -> Option<Port> {
        let port = Port(self.ports.len());
        self.segments.get_mut(segment)?.ports.push(port);
        self.ports.push(Attachment { segment, up: true });
        Some(port)
    }

    /// Takes note that a port's machine is there or gone; a port that goes down is forgotten, as by any bridge.
    pub(crate) fn set_up(&mut self, port: Port, up: bool) {
        let Some(attachment) = self.ports.get_mut(port.0) else { return };
        attachment.up = up;
        if !up && let Some(segment) = self.segments.get_mut(attachment.segment) {
            segment.addresses.retain(|_, owner| *owner != port);
        }
    }

    /// Plugs a port into the segment of another one.
    pub(crate) fn move_beside(&mut self, port: Port, other: Port) {
        let Some(to) = self.ports.get(other.0).map(|attachment| attachment.segment) else { return };
        let Some(attachment) = self.ports.get_mut(port.0) else { return };
        let from = std::mem::replace(&mut attachment.segment, to);
        if let Some(segment) = self.segments.get_mut(from) {
            segment.ports.retain(|one| *one != port);
            segment.addresses.retain(|_, owner| *owner != port);
        }
        if let Some(segment) = self.segments.get_mut(to) {
            segment.ports.push(port);
        }
    }

    pub(crate) fn block(&mut self, from: Port, to: Port) {
        self.blocked.insert((from, to));
    }

    pub(crate) fn unblock(&mut self, from: Port, to: Port) {
        self.blocked.remove(&(from, to));
    }

    /// Forgets what it has learnt, and all filters.
    pub(crate) fn forget(&mut self) {
        self.segments.iter_mut().for_each(|segment| segment.addresses.clear());
        self.blocked.clear();
    }

    /// Learns from a frame that came in at `from`, and tells where it goes.
    ///
    /// The source address belongs to the port that used it last: a machine that was moved is found again at once.
    /// A frame to a known address goes to its port, or nowhere if that is where it came from; all others are flooded.
    pub(crate) fn forward(&mut self, from: Port, frame: &[u8], targets: &mut Vec<Target>) {
        targets.clear();
        let Some(&[a, b, c, d, e, f, g, h, i, j, k, l, m, n]) = frame.first_chunk::<HEADER>() else { return };
        let (destination, source) = (MacAddress([a, b, c, d, e, f]), MacAddress([g, h, i, j, k, l]));
        let Some(attachment) = self.ports.get(from.0) else { return };
        let Some(segment) = self.segments.get_mut(attachment.segment) else { return };

        let known = segment.addresses.contains_key(&source);
        if !source.is_group() && (known || segment.addresses.len() < MAX_ADDRESSES) {
            segment.addresses.insert(source, from);
        }
        let is_arp = [m, n] == ARP;
        let target = |port| Target { port, blocked: !is_arp && self.blocked.contains(&(from, port)) };
        match segment.addresses.get(&destination).filter(|_| !destination.is_group()) {
            Some(port) if *port == from => {}
            Some(port) => targets.push(target(*port)),
            None => {
                let others = segment.ports.iter().copied().filter(|port| *port != from);
                targets
                    .extend(others.filter(|port| self.ports.get(port.0).is_some_and(|it| it.up)).map(target));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IPV4: [u8; 2] = [0x08, 0x00];

    fn machine(n: u8) -> [u8; 6] {
        [2, 0, 0, 0, 0, n]
    }

    fn frame(destination: [u8; 6], source: [u8; 6], ether_type: [u8; 2]) -> Vec<u8> {
        [&destination[..], &source, &ether_type, b"payload"].concat()
    }

    #[test]
    fn a_port_that_is_moved_is_in_its_new_segment_only() {
        let mut fabric = Fabric::default();
        let segments = [fabric.add_segment(), fabric.add_segment()];
        let ports: Vec<_> = (0..4).map(|n| fabric.add_port(segments[n / 2]).unwrap()).collect();
        fabric.move_beside(ports[0], ports[2]);
        let mut targets = Vec::new();
        let mut flooded = |from: Port| {
            fabric.forward(from, &[0xff; 64], &mut targets);
            let mut to: Vec<usize> = targets.iter().map(|target| target.port.index()).collect();
            to.sort_unstable();
            to
        };
        assert_eq!(
            (flooded(ports[0]), flooded(ports[1]), flooded(ports[3])),
            (vec![2, 3], vec![], vec![0, 2])
        );
    }

    fn segment_of(n: usize) -> (Fabric, Vec<Port>) {
        let mut fabric = Fabric::default();
        let segment = fabric.add_segment();
        let ports = (0..n).map(|_| fabric.add_port(segment).unwrap()).collect();
        (fabric, ports)
    }

    fn reached(fabric: &mut Fabric, from: Port, frame: &[u8]) -> Vec<Port> {
        let mut targets = Vec::new();
        fabric.forward(from, frame, &mut targets);
        targets.into_iter().filter(|target| !target.blocked).map(|target| target.port).collect()
    }

    #[test]
    fn an_unknown_address_is_flooded_and_a_learnt_one_is_not() {
        let (mut fabric, ports) = segment_of(3);
        let there = frame(machine(2), machine(1), IPV4);
        assert_eq!(reached(&mut fabric, ports[0], &there), [ports[1], ports[2]]);
        let back = frame(machine(1), machine(2), IPV4);
        assert_eq!(reached(&mut fabric, ports[1], &back), [ports[0]]);
        assert_eq!(reached(&mut fabric, ports[0], &there), [ports[1]]);
        let broadcast = frame([0xff; 6], machine(1), IPV4);
        assert_eq!(reached(&mut fabric, ports[0], &broadcast), [ports[1], ports[2]]);
    }

    #[test]
    fn a_frame_for_its_own_port_goes_nowhere() {
        let (mut fabric, ports) = segment_of(2);
        assert_eq!(reached(&mut fabric, ports[0], &frame(machine(1), machine(1), IPV4)), []);
    }

    #[test]
    fn an_address_belongs_to_the_port_that_used_it_last() {
        let (mut fabric, ports) = segment_of(3);
        reached(&mut fabric, ports[0], &frame([0xff; 6], machine(1), IPV4));
        reached(&mut fabric, ports[1], &frame([0xff; 6], machine(1), IPV4));
        assert_eq!(reached(&mut fabric, ports[2], &frame(machine(1), machine(3), IPV4)), [ports[1]]);
    }

    #[test]
    fn a_port_that_goes_down_is_forgotten() {
        let (mut fabric, ports) = segment_of(3);
        reached(&mut fabric, ports[0], &frame([0xff; 6], machine(1), IPV4));
        fabric.set_up(ports[0], false);
        let there = frame(machine(1), machine(3), IPV4);
        assert_eq!(reached(&mut fabric, ports[2], &there), [ports[1]]);
        fabric.set_up(ports[0], true);
        assert_eq!(reached(&mut fabric, ports[2], &there), [ports[0], ports[1]]);
    }

    #[test]
    fn a_filter_takes_all_but_arp_in_one_direction() {
        let (mut fabric, ports) = segment_of(2);
        fabric.block(ports[0], ports[1]);
        for (ether_type, passes) in [(IPV4, false), ([0x86, 0xdd], false), ([0x81, 0x00], false), (ARP, true)]
        {
            let there = reached(&mut fabric, ports[0], &frame([0xff; 6], machine(1), ether_type));
            assert_eq!(there.len(), usize::from(passes), "{ether_type:x?}");
            assert_eq!(reached(&mut fabric, ports[1], &frame([0xff; 6], machine(2), ether_type)), [ports[0]]);
        }
        fabric.unblock(ports[0], ports[1]);
        assert_eq!(reached(&mut fabric, ports[0], &frame(machine(2), machine(1), IPV4)), [ports[1]]);
    }

    #[test]
    fn a_flood_of_addresses_displaces_nobody() {
        let (mut fabric, ports) = segment_of(3);
        reached(&mut fabric, ports[0], &frame([0xff; 6], machine(1), IPV4));
        for n in 0..=u16::MAX {
            let [a, b] = n.to_be_bytes();
            reached(&mut fabric, ports[1], &frame([0xff; 6], [6, 6, 6, 6, a, b], IPV4));
        }
        assert!(fabric.segments[0].addresses.len() <= MAX_ADDRESSES);
        assert_eq!(reached(&mut fabric, ports[2], &frame(machine(1), machine(3), IPV4)), [ports[0]]);
    }

    proptest! {
        #[test]
        fn no_frame_leaves_its_segment_or_returns(
            frames in prop::collection::vec(
                (0usize..6, prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..20)),
                0..100,
            ),
        ) {
            let mut fabric = Fabric::default();
            let segments = [fabric.add_segment(), fabric.add_segment()];
            let ports: Vec<_> = (0..6).map(|n| fabric.add_port(segments[n % 2]).unwrap()).collect();
            let mut targets = Vec::new();
            for (from, frame) in frames {
                fabric.forward(ports[from], &frame, &mut targets);
                for target in &targets {
                    prop_assert_eq!(target.port.index() % 2, from % 2);
                    prop_assert_ne!(target.port.index(), from);
                }
            }
        }
    }
}

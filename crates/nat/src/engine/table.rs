//! Mappings and their flows, found by either side's endpoints, and ended by time.
//!
//! A mapping lives while one of its flows does. Flows are looked at when they are used and when their time comes: each is
//! once among the ends, under the time at which it would have ended when it was last looked at, so that a refresh costs
//! nothing.

use std::{
    hash::BuildHasher,
    hint::black_box,
    net::{Ipv4Addr, SocketAddrV4},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use super::{
    ends::Ends,
    index::{Index, Place},
    packet::Protocol,
};

/// Packets whose flows are fetched at once.
pub(super) const BATCH: usize = 32;

/// Stands for every endpoint in a key.
pub(super) const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// A protocol, an endpoint on this side, and one far away or [`ANY`].
pub(super) fn key(protocol: Protocol, near: SocketAddrV4, far: SocketAddrV4) -> u128 {
    let pack = |endpoint: SocketAddrV4| {
        u128::from(u64::from(u32::from(*endpoint.ip())) << 16 | u64::from(endpoint.port()))
    };
    (protocol as u128) << 96 | pack(near) << 48 | pack(far)
}

/// An inside endpoint and the outside one it has.
#[derive(Debug)]
pub(super) struct Mapping {
    pub protocol: Protocol,
    pub inside: SocketAddrV4,
    pub outside: SocketAddrV4,
    /// For which remote endpoints it is, looked up from inside.
    pub toward: SocketAddrV4,
    /// For which remote endpoints it is, looked up from outside.
    pub from: SocketAddrV4,
    pub flows: u32,
    /// When it ends at the latest.
    pub deadline: u64,
}

impl Mapping {
    pub fn inside_key(&self) -> u128 {
        key(self.protocol, self.inside, self.toward)
    }

    fn outside_key(&self) -> u128 {
        key(self.protocol, self.outside, self.from)
    }
}

/// A mapping's use for one remote endpoint; one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Flow {
    pub inside: SocketAddrV4,
    pub outside: SocketAddrV4,
    pub remote: SocketAddrV4,
    pub protocol: Protocol,
    pub marks: Marks,
    pub mapping: Place,
    pub created: u64,
    pub deadline: u64,
    pub expires: u64,
    /// The time under which it is among the ends.
    armed: u64,
}

/// What was seen of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks(u8);

impl Marks {
    pub const OUT: Marks = Marks(1);
    pub const IN: Marks = Marks(2);
    pub const FIN_OUT: Marks = Marks(4);
    pub const FIN_IN: Marks = Marks(8);
    pub const RST: Marks = Marks(16);
    /// The inside has sent to the remote; outlives a connection that is opened again.
    pub const CONTACTED: Marks = Marks(32);
    /// The remote endpoint is one of the gateway's own.
    pub const HAIRPIN: Marks = Marks(64);

    pub fn has(self, marks: Marks) -> bool {
        self.0 & marks.0 == marks.0
    }

    pub fn set(&mut self, marks: Marks) {
        self.0 |= marks.0;
    }

    pub fn keep(&mut self, marks: Marks) {
        self.0 &= marks.0;
    }

    pub const fn and(self, marks: Marks) -> Marks {
        Marks(self.0 | marks.0)
    }
}

/// All state that traffic makes.
#[derive(Debug)]
pub(super) struct Table {
    pub mappings: Slab<Mapping>,
    by_inside: Index,
    by_outside: Index,
    flows: Slab<Flow>,
    out: Index,
    back: Index,
    /// How many of a mapping's flows were used for an address; kept where filtering asks for it.
    peers: Option<HashMap<(Place, Ipv4Addr), u32, FixedState>>,
    ends: Ends,
    hasher: FixedState,
}

impl Table {
    pub fn new(by_address: bool, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Table {
            mappings: Slab::new(),
            by_inside: Index::default(),
            by_outside: Index::default(),
            flows: Slab::new(),
            out: Index::default(),
            back: Index::default(),
            peers: by_address.then(|| HashMap::with_hasher(hasher)),
            ends: Ends::default(),
            hasher,
        }
    }

    #[inline]
    fn hash(&self, key: u128) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().map(|(_, flow)| flow)
    }

    pub fn by_inside(&self, key: u128) -> Option<Place> {
        let fits =
            |place| self.mappings.get(place as usize).is_some_and(|mapping| mapping.inside_key() == key);
        self.by_inside.find(self.hash(key), fits)
    }

    pub fn by_outside(&self, key: u128) -> Option<Place> {
        let fits =
            |place| self.mappings.get(place as usize).is_some_and(|mapping| mapping.outside_key() == key);
        self.by_outside.find(self.hash(key), fits)
    }

    /// Whether an outside endpoint, for those who use the key, is some mapping's.
    pub fn has_outside(&self, key: u128) -> bool {
        self.by_outside(key).is_some()
    }

    pub fn add_mapping(&mut self, mapping: Mapping) -> Place {
        let hashes = [mapping.inside_key(), mapping.outside_key()].map(|key| self.hash(key));
        let place = self.mappings.insert(mapping) as Place;
        self.by_inside.insert(hashes[0], place);
        self.by_outside.insert(hashes[1], place);
        place
    }

    /// The flow of an inside endpoint to a remote one.
    #[inline]
    pub fn flow_out(&self, protocol: Protocol, inside: SocketAddrV4, remote: SocketAddrV4) -> Option<Place> {
        let fits = |place| {
            self.flows.get(place as usize).is_some_and(|flow| {
                flow.remote == remote && flow.inside == inside && flow.protocol == protocol
            })
        };
        self.out.find(self.hash(key(protocol, inside, remote)), fits)
    }

    /// The flow of a remote endpoint to an outside one.
    #[inline]
    pub fn flow_back(
        &self,
        protocol: Protocol,
        outside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<Place> {
        let fits = |place| {
            self.flows.get(place as usize).is_some_and(|flow| {
                flow.remote == remote && flow.outside == outside && flow.protocol == protocol
            })
        };
        self.back.find(self.hash(key(protocol, outside, remote)), fits)
    }

    /// Fetches the flows of packets that go out (near is inside) or back (near is outside) into the processor's cache.
    pub fn fetch(&self, out: bool, ends: impl Iterator<Item = (Protocol, SocketAddrV4, SocketAddrV4)>) {
        let index = if out { &self.out } else { &self.back };
        // In rounds, and nothing else in those that read, since a processor reads ahead only over so many instructions.
        let mut hashes = [0; BATCH];
        let mut count = 0;
        for (hash, (protocol, near, remote)) in hashes.iter_mut().zip(ends) {
            *hash = self.hash(key(protocol, near, remote));
            count += 1;
        }
        let hashes = hashes.get(..count).unwrap_or_default();
        hashes.iter().for_each(|hash| index.touch(*hash));
        let mut places = [Place::MAX; BATCH];
        for (place, hash) in places.iter_mut().zip(hashes) {
            *place = index.first(*hash).unwrap_or(Place::MAX);
        }
        for place in places {
            black_box(self.flows.get(place as usize).map(|flow| flow.expires));
        }
    }

    pub fn flow(&mut self, place: Place) -> &mut Flow {
        &mut self.flows[place as usize]
    }

    /// Starts a flow of a mapping that ends at once if it is not refreshed.
    pub fn add_flow(&mut self, mapping: Place, remote: SocketAddrV4, now: u64, marks: Marks) -> Place {
        let owner = &mut self.mappings[mapping as usize];
        owner.flows += 1;
        let flow = Flow {
            inside: owner.inside,
            outside: owner.outside,
            remote,
            protocol: owner.protocol,
            marks,
            mapping,
            created: now,
            deadline: owner.deadline,
            expires: now,
            armed: u64::MAX,
        };
        let [out, back] = self.hashes(&flow);
        let place = self.flows.insert(flow) as Place;
        self.out.insert(out, place);
        self.back.insert(back, place);
        place
    }

    fn hashes(&self, flow: &Flow) -> [u32; 2] {
        [flow.inside, flow.outside].map(|near| self.hash(key(flow.protocol, near, flow.remote)))
    }

    /// Lets a flow live until a time, and not longer than its mapping may.
    pub fn extend(&mut self, place: Place, until: u64) {
        let flow = &mut self.flows[place as usize];
        flow.expires = until.min(flow.deadline);
        if flow.expires < flow.armed {
            flow.armed = flow.expires;
            self.ends.push(flow.expires, place);
            if self.ends.len() > 2 * self.flows.len() + 64 {
                self.forget_stale_ends();
            }
        }
    }

    /// Notes that the inside has sent to a flow's remote endpoint.
    pub fn contacted(&mut self, place: Place) {
        let flow = &mut self.flows[place as usize];
        if flow.marks.has(Marks::CONTACTED) {
            return;
        }
        flow.marks.set(Marks::CONTACTED);
        if let Some(peers) = &mut self.peers {
            *peers.entry((flow.mapping, *flow.remote.ip())).or_insert(0) += 1;
        }
    }

    /// Whether a mapping is in use for an address.
    pub fn has_peer(&self, mapping: Place, address: Ipv4Addr) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.contains_key(&(mapping, address)))
    }

    /// Ends what has had its time; tells of every mapping that ends with it.
    pub fn expire(&mut self, now: u64, mut ended: impl FnMut(&Mapping)) {
        while let Some((at, place)) = self.ends.pop(now) {
            let Some(flow) = self.flows.get_mut(place as usize) else {
                continue;
            };
            if flow.armed != at {
                continue;
            }
            if flow.expires > now {
                flow.armed = flow.expires;
                self.ends.push(flow.expires, place);
            } else if let Some(mapping) = self.remove_flow(place) {
                ended(&mapping);
            }
        }
    }

    fn remove_flow(&mut self, place: Place) -> Option<Mapping> {
        let flow = self.flows.remove(place as usize);
        let [out, back] = self.hashes(&flow);
        self.out.remove(out, place);
        self.back.remove(back, place);
        if flow.marks.has(Marks::CONTACTED)
            && let Some(peers) = &mut self.peers
        {
            let peer = (flow.mapping, *flow.remote.ip());
            if let Some(count) = peers.get_mut(&peer) {
                *count -= 1;
                if *count == 0 {
                    peers.remove(&peer);
                }
            }
        }
        let mapping = &mut self.mappings[flow.mapping as usize];
        mapping.flows -= 1;
        if mapping.flows > 0 {
            return None;
        }
        let mapping = self.mappings.remove(flow.mapping as usize);
        self.by_inside.remove(self.hash(mapping.inside_key()), flow.mapping);
        self.by_outside.remove(self.hash(mapping.outside_key()), flow.mapping);
        Some(mapping)
    }

    /// Entries whose flow ended early, or has an earlier one, would pile up otherwise.
    fn forget_stale_ends(&mut self) {
        let flows = &self.flows;
        self.ends.retain(|at, place| flows.get(place as usize).is_some_and(|flow| flow.armed == at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_move_back_and_forth_do_not_pile_up() {
        let mut table = Table::new(false, 1);
        let inside = SocketAddrV4::new([10, 0, 0, 2].into(), 1);
        let outside = SocketAddrV4::new([192, 0, 2, 1].into(), 1);
        let mapping = table.add_mapping(Mapping {
            protocol: Protocol::Tcp,
            inside,
            outside,
            toward: ANY,
            from: ANY,
            deadline: u64::MAX,
            flows: 0,
        });
        let flow = table.add_flow(mapping, outside, 0, Marks::default());
        for now in 0..5_000 {
            // Opened and reset, again and again.
            table.extend(flow, now + 1_000);
            table.extend(flow, now + 50);
            table.expire(now, |_| panic!("it is alive"));
            assert!(table.ends.len() <= 100, "{} at {now}", table.ends.len());
        }
        let mut ended = 0;
        table.expire(5_049, |_| ended += 1);
        assert_eq!((ended, table.flow_count(), table.mappings.len()), (1, 0, 0));
        table.expire(u64::MAX, |_| panic!("it is over"));
        assert_eq!(table.ends.len(), 0);
    }
}

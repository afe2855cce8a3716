//! Mappings and their flows, found by either side's endpoints, and ended by time.
//!
//! A mapping lives while one of its flows does. Flows are looked at when they are used and when their time comes: a heap
//! holds each flow once under the time at which it would have ended when it was last looked at, so that a refresh costs
//! nothing.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    hash::BuildHasher,
    net::{Ipv4Addr, SocketAddrV4},
};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use slab::Slab;

use super::packet::Protocol;

/// Stands for every endpoint in a key.
pub(super) const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// Names a mapping or a flow.
pub(super) type Index = u32;

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
    /// For which remote endpoints it is, by whichever side it is looked up.
    pub inside_key: u128,
    pub outside_key: u128,
    /// When it ends at the latest.
    pub deadline: u64,
    pub flows: u32,
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
    pub mapping: Index,
    pub created: u64,
    pub deadline: u64,
    pub expires: u64,
    /// The time under which the heap has it.
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
    by_inside: HashMap<u128, Index, FixedState>,
    by_outside: HashMap<u128, Index, FixedState>,
    flows: Slab<Flow>,
    out: HashTable<Index>,
    back: HashTable<Index>,
    /// How many of a mapping's flows were used for an address; kept where filtering asks for it.
    peers: Option<HashMap<(Index, Ipv4Addr), u32, FixedState>>,
    ends: BinaryHeap<Reverse<(u64, Index)>>,
    hasher: FixedState,
}

impl Table {
    pub fn new(by_address: bool, seed: u64) -> Self {
        let hasher = FixedState::with_seed(seed);
        Table {
            mappings: Slab::new(),
            by_inside: HashMap::with_hasher(hasher),
            by_outside: HashMap::with_hasher(hasher),
            flows: Slab::new(),
            out: HashTable::new(),
            back: HashTable::new(),
            peers: by_address.then(|| HashMap::with_hasher(hasher)),
            ends: BinaryHeap::new(),
            hasher,
        }
    }

    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().map(|(_, flow)| flow)
    }

    pub fn by_inside(&self, key: u128) -> Option<Index> {
        self.by_inside.get(&key).copied()
    }

    pub fn by_outside(&self, key: u128) -> Option<Index> {
        self.by_outside.get(&key).copied()
    }

    /// Whether an outside endpoint, for those who use the key, is some mapping's.
    pub fn has_outside(&self, key: u128) -> bool {
        self.by_outside.contains_key(&key)
    }

    pub fn add_mapping(&mut self, mapping: Mapping) -> Index {
        let keys = (mapping.inside_key, mapping.outside_key);
        let index = self.mappings.insert(mapping) as Index;
        self.by_inside.insert(keys.0, index);
        self.by_outside.insert(keys.1, index);
        index
    }

    /// The flow of an inside endpoint to a remote one.
    pub fn flow_out(&self, protocol: Protocol, inside: SocketAddrV4, remote: SocketAddrV4) -> Option<Index> {
        let hash = self.hasher.hash_one(key(protocol, inside, remote));
        let flows = &self.flows;
        self.out
            .find(hash, |index| {
                flows.get(*index as usize).is_some_and(|flow| {
                    flow.remote == remote && flow.inside == inside && flow.protocol == protocol
                })
            })
            .copied()
    }

    /// The flow of a remote endpoint to an outside one.
    pub fn flow_back(
        &self,
        protocol: Protocol,
        outside: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<Index> {
        let hash = self.hasher.hash_one(key(protocol, outside, remote));
        let flows = &self.flows;
        self.back
            .find(hash, |index| {
                flows.get(*index as usize).is_some_and(|flow| {
                    flow.remote == remote && flow.outside == outside && flow.protocol == protocol
                })
            })
            .copied()
    }

    pub fn flow(&mut self, index: Index) -> &mut Flow {
        &mut self.flows[index as usize]
    }

    /// Starts a flow of a mapping that ends at once if it is not refreshed.
    pub fn add_flow(&mut self, mapping: Index, remote: SocketAddrV4, now: u64, marks: Marks) -> Index {
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
        let out = self.hasher.hash_one(key(flow.protocol, flow.inside, remote));
        let back = self.hasher.hash_one(key(flow.protocol, flow.outside, remote));
        let index = self.flows.insert(flow) as Index;
        let (flows, hasher) = (&self.flows, &self.hasher);
        self.out.insert_unique(out, index, |index| {
            let flow = &flows[*index as usize];
            hasher.hash_one(key(flow.protocol, flow.inside, flow.remote))
        });
        self.back.insert_unique(back, index, |index| {
            let flow = &flows[*index as usize];
            hasher.hash_one(key(flow.protocol, flow.outside, flow.remote))
        });
        index
    }

    /// Lets a flow live until a time, and not longer than its mapping may.
    pub fn extend(&mut self, index: Index, until: u64) {
        let flow = &mut self.flows[index as usize];
        flow.expires = until.min(flow.deadline);
        if flow.expires < flow.armed {
            flow.armed = flow.expires;
            self.ends.push(Reverse((flow.expires, index)));
            if self.ends.len() > 2 * self.flows.len() + 64 {
                self.forget_stale_ends();
            }
        }
    }

    /// Notes that the inside has sent to a flow's remote endpoint.
    pub fn contacted(&mut self, index: Index) {
        let flow = &mut self.flows[index as usize];
        if flow.marks.has(Marks::CONTACTED) {
            return;
        }
        flow.marks.set(Marks::CONTACTED);
        if let Some(peers) = &mut self.peers {
            *peers.entry((flow.mapping, *flow.remote.ip())).or_insert(0) += 1;
        }
    }

    /// Whether a mapping is in use for an address.
    pub fn has_peer(&self, mapping: Index, address: Ipv4Addr) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.contains_key(&(mapping, address)))
    }

    /// Ends what has had its time; tells of every mapping that ends with it.
    pub fn expire(&mut self, now: u64, mut ended: impl FnMut(&Mapping)) {
        while let Some(Reverse((at, index))) = self.ends.peek().copied() {
            if at > now {
                return;
            }
            self.ends.pop();
            let Some(flow) = self.flows.get_mut(index as usize) else {
                continue;
            };
            if flow.armed != at {
                continue;
            }
            if flow.expires > now {
                flow.armed = flow.expires;
                self.ends.push(Reverse((flow.expires, index)));
            } else if let Some(mapping) = self.remove_flow(index) {
                ended(&mapping);
            }
        }
    }

    fn remove_flow(&mut self, index: Index) -> Option<Mapping> {
        let flow = self.flows.remove(index as usize);
        let out = self.hasher.hash_one(key(flow.protocol, flow.inside, flow.remote));
        let back = self.hasher.hash_one(key(flow.protocol, flow.outside, flow.remote));
        for (table, hash) in [(&mut self.out, out), (&mut self.back, back)] {
            if let Ok(entry) = table.find_entry(hash, |other| *other == index) {
                entry.remove();
            }
        }
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
        self.by_inside.remove(&mapping.inside_key);
        self.by_outside.remove(&mapping.outside_key);
        Some(mapping)
    }

    /// Entries whose flow ended early, or has an earlier one, would pile up otherwise.
    fn forget_stale_ends(&mut self) {
        let flows = &self.flows;
        self.ends
            .retain(|Reverse((at, index))| flows.get(*index as usize).is_some_and(|flow| flow.armed == *at));
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
            inside_key: key(Protocol::Tcp, inside, ANY),
            outside_key: key(Protocol::Tcp, outside, ANY),
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
        assert!(table.ends.is_empty());
    }
}

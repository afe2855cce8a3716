//! Which outside endpoint a new mapping gets.

use std::net::{Ipv4Addr, SocketAddrV4};

use hashbrown::{HashMap, hash_map::Entry};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::{bitmap::Bitmap, packet::Protocol};
use crate::{
    Profile,
    profile::{Allocation, Pool, Pooling, PortRange, Ports},
};

/// Draws from a range before the free ports are looked through in order.
const DRAWS: usize = 8;
/// Tries where no table says what is free (Linux: 128).
const TRIES: usize = 128;
/// Steps of a sequence over taken ports before the next free one is taken.
const STEPS: usize = 4096;

/// The outside endpoints, and who has which.
#[derive(Debug)]
pub(super) struct Endpoints {
    ports: Ports,
    pool: Pool,
    addresses: Vec<Address>,
    /// Whether hosts have limits or blocks.
    by_host: bool,
    hosts: HashMap<Ipv4Addr, Host, foldhash::fast::FixedState>,
    /// What inside endpoints were given last, where one may have several.
    last: HashMap<(Protocol, SocketAddrV4), Last, foldhash::fast::FixedState>,
    seed: u64,
    randomness: Pcg64Mcg,
}

#[derive(Debug)]
struct Address {
    ip: Ipv4Addr,
    used: [Bitmap; 3],
    /// Where the sequence goes on, for each protocol.
    next: [u16; 3],
    /// Which blocks belong to a host.
    blocks: Vec<bool>,
}

/// What belongs to an inside address while it has a mapping, where that matters.
#[derive(Debug, Default)]
struct Host {
    mappings: u32,
    blocks: Vec<HostBlock>,
}

/// What an inside endpoint was given last.
#[derive(Debug, Clone, Copy)]
struct Last {
    outside: SocketAddrV4,
    mappings: u32,
}

#[derive(Debug, Clone, Copy)]
struct HostBlock {
    address: usize,
    number: usize,
    next: [u16; 3],
}

/// Who wants an outside endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub protocol: Protocol,
    pub inside: SocketAddrV4,
}

impl Endpoints {
    pub fn new(profile: &Profile, outside: &[Ipv4Addr], seed: u64) -> Self {
        let (ports, pool) = (profile.ports.clone(), profile.pool);
        let by_host = ports.block.is_some() || profile.limits.per_host.is_some();
        let mut randomness = Pcg64Mcg::seed_from_u64(seed);
        let range = ports.range;
        let blocks = ports.block.map_or(0, |block| (range.count() / u32::from(block.size)) as usize);
        let addresses = outside
            .iter()
            .map(|ip| Address {
                ip: *ip,
                used: Default::default(),
                next: [(); 3].map(|()| randomness.random_range(range.first()..=range.last())),
                blocks: vec![false; blocks],
            })
            .collect();
        let hasher = foldhash::fast::FixedState::with_seed(seed);
        let (hosts, last) = (HashMap::with_hasher(hasher), HashMap::with_hasher(hasher));
        Endpoints { ports, pool, addresses, by_host, hosts, last, seed, randomness }
    }

    /// Gives other ports where only the inside one would have been given.
    pub fn settle_for_others(&mut self) {
        if self.ports.allocation == Allocation::Preserving {
            self.ports.allocation = Allocation::PreservingUntilCollision;
        }
    }

    /// How many mappings a host has, where that is limited.
    pub fn mappings_of(&self, host: Ipv4Addr) -> u32 {
        self.hosts.get(&host).map_or(0, |host| host.mappings)
    }

    /// Whether an address is one of the outside ones.
    pub fn has(&self, ip: Ipv4Addr) -> bool {
        self.addresses.iter().any(|address| address.ip == ip)
    }

    /// Counts a mapping that keeps its inside endpoint.
    pub fn count(&mut self, host: Ipv4Addr) {
        if self.by_host {
            self.hosts.entry(host).or_default().mappings += 1;
        }
    }

    /// Takes a free endpoint; `refused` says of one that is free by itself whether it must not be given.
    pub fn take(&mut self, wish: Wish, refused: &dyn Fn(SocketAddrV4) -> bool) -> Option<SocketAddrV4> {
        let (address, port) = if let Some(again) = self.again(wish, refused) {
            Some(again)
        } else if self.ports.block.is_some() {
            self.in_block(wish, refused)
        } else {
            self.anywhere(wish, refused)
        }?;
        let address = &mut self.addresses[address];
        let given = SocketAddrV4::new(address.ip, port);
        if self.ports.overload {
            let last = Last { outside: given, mappings: 0 };
            let last = self
                .last
                .entry((wish.protocol, wish.inside))
                .and_modify(|it| it.outside = given)
                .or_insert(last);
            last.mappings += 1;
        } else {
            address.used[wish.protocol as usize].set(port);
        }
        self.count(*wish.inside.ip());
        Some(given)
    }

    /// Gives back what a mapping had.
    pub fn release(&mut self, wish: Wish, outside: SocketAddrV4) {
        if self.ports.overload {
            if let Entry::Occupied(mut last) = self.last.entry((wish.protocol, wish.inside)) {
                last.get_mut().mappings -= 1;
                if last.get().mappings == 0 {
                    last.remove();
                }
            }
        } else if let Some(address) = self.addresses.iter_mut().find(|address| address.ip == *outside.ip()) {
            address.used[wish.protocol as usize].clear(outside.port());
        }
        if !self.by_host {
            return;
        }
        let Entry::Occupied(mut host) = self.hosts.entry(*wish.inside.ip()) else {
            return;
        };
        host.get_mut().mappings -= 1;
        if host.get().mappings == 0 {
            for block in host.remove().blocks {
                self.addresses[block.address].blocks[block.number] = false;
            }
        }
    }

    /// What an inside endpoint was given last, where it may have several and the last one is free for this destination, too
    /// (as in Linux, `find_appropriate_src`): so it keeps one until another host is in its way.
    fn again(&self, wish: Wish, refused: &dyn Fn(SocketAddrV4) -> bool) -> Option<(usize, u16)> {
        let keeps =
            matches!(self.ports.allocation, Allocation::Preserving | Allocation::PreservingUntilCollision);
        let last = self.last.get(&(wish.protocol, wish.inside)).filter(|_| keeps)?.outside;
        let address = self.addresses.iter().position(|address| address.ip == *last.ip())?;
        (!refused(last)).then_some((address, last.port()))
    }

    /// The addresses a host may have, the best first.
    fn order(&mut self, host: Ipv4Addr) -> impl Iterator<Item = usize> + use<> {
        let count = self.addresses.len();
        let (first, tries) = match self.pool.pooling {
            Pooling::Paired if count > 0 => {
                let mut draw = Pcg64Mcg::seed_from_u64(self.seed ^ (u64::from(u32::from(host)) << 20));
                (draw.random_range(0..count), 1)
            }
            Pooling::Arbitrary if count > 0 => (self.randomness.random_range(0..count), count),
            _ => (0, 0),
        };
        (0..tries).map(move |step| (first + step) % count)
    }

    fn anywhere(&mut self, wish: Wish, refused: &dyn Fn(SocketAddrV4) -> bool) -> Option<(usize, u16)> {
        for number in self.order(*wish.inside.ip()) {
            let next = self.addresses[number].next[wish.protocol as usize];
            let found = self.search(number, self.ports.range, next, wish, refused);
            if let Some(port) = found {
                self.addresses[number].next[wish.protocol as usize] = self.after(port, self.ports.range);
                return Some((number, port));
            }
        }
        None
    }

    fn in_block(&mut self, wish: Wish, refused: &dyn Fn(SocketAddrV4) -> bool) -> Option<(usize, u16)> {
        let host = *wish.inside.ip();
        let sort = self.ports.block?;
        let had = self.hosts.get(&host).map_or(0, |host| host.blocks.len());
        for index in 0..had {
            let block = self.hosts.get(&host)?.blocks[index];
            let range = self.block_range(block.number)?;
            let next = block.next[wish.protocol as usize];
            if let Some(port) = self.search(block.address, range, next, wish, refused) {
                let after = self.after(port, range);
                self.hosts.get_mut(&host)?.blocks[index].next[wish.protocol as usize] = after;
                return Some((block.address, port));
            }
        }
        if had >= usize::from(sort.most) {
            return None;
        }
        for address in self.order(host) {
            let Some(number) = self.addresses[address].blocks.iter().position(|taken| !taken) else {
                continue;
            };
            let range = self.block_range(number)?;
            let Some(port) = self.search(address, range, range.first(), wish, refused) else {
                continue;
            };
            let mut next = [range.first(); 3];
            next[wish.protocol as usize] = self.after(port, range);
            self.addresses[address].blocks[number] = true;
            self.hosts.entry(host).or_default().blocks.push(HostBlock { address, number, next });
            return Some((address, port));
        }
        None
    }

    fn block_range(&self, number: usize) -> Option<PortRange> {
        let size = self.ports.block?.size;
        let first = self.ports.range.first().checked_add(u16::try_from(number).ok()?.checked_mul(size)?)?;
        PortRange::new(first, first.checked_add(size - 1)?).ok()
    }

    /// Where a sequence goes on after a port.
    fn after(&self, port: u16, range: PortRange) -> u16 {
        let Allocation::Sequential { delta } = self.ports.allocation else {
            return port;
        };
        let step = u32::from(port - range.first()) + u32::from(delta);
        range.first() + (step % range.count()) as u16
    }

    fn search(
        &mut self,
        address: usize,
        range: PortRange,
        next: u16,
        wish: Wish,
        refused: &dyn Fn(SocketAddrV4) -> bool,
    ) -> Option<u16> {
        let Endpoints { ports, addresses, randomness, .. } = self;
        let address = &addresses[address];
        let used = &address.used[wish.protocol as usize];
        let own = wish.inside.port();
        let parity = (ports.parity && wish.protocol != Protocol::Echo).then_some(own % 2);
        let free = |port: u16| {
            parity.is_none_or(|parity| port % 2 == parity)
                && !used.has(port)
                && !refused(SocketAddrV4::new(address.ip, port))
        };
        match ports.allocation {
            Allocation::Preserving => return (range.contains(own) && free(own)).then_some(own),
            Allocation::PreservingUntilCollision if range.contains(own) && free(own) => return Some(own),
            Allocation::Sequential { delta } => {
                let step = |port: u16, delta: u16| {
                    let offset = u32::from(port - range.first()) + u32::from(delta);
                    range.first() + (offset % range.count()) as u16
                };
                let mut port = next;
                if parity.is_some_and(|parity| port % 2 != parity) {
                    port = step(port, 1);
                }
                for _ in 0..STEPS.min(range.count() as usize) {
                    if free(port) {
                        return Some(port);
                    }
                    port = step(port, delta);
                }
            }
            Allocation::PreservingUntilCollision | Allocation::Random => {}
        }
        let draws = if ports.overload { TRIES } else { DRAWS };
        let mut port = range.first();
        for _ in 0..draws {
            port = randomness.random_range(range.first()..=range.last());
            if free(port) {
                return Some(port);
            }
        }
        if ports.overload {
            return None;
        }
        // Almost full: the free ones after the last draw, in order.
        for _ in 0..TRIES {
            port = used.next_free(port, range, parity)?;
            if free(port) {
                return Some(port);
            }
            port = if port == range.last() { range.first() } else { port + 1 };
        }
        None
    }
}

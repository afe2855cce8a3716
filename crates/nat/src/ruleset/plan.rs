//! What a profile needs of the kernel.

use std::{net::Ipv4Addr, time::Duration};

use crate::{
    Filtering, Mapping, Profile,
    engine::Addresses,
    profile::{Allocation, Hairpin, Pooling, Unsolicited},
};

/// Seconds, as rules say them.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs()
}

/// A profile and the mechanisms that follow from it.
pub(super) struct Plan<'a> {
    pub profile: &'a Profile,
    pub addresses: &'a Addresses,
    /// Mappings are looked up before a port is chosen.
    pub rev: bool,
    /// The remote address is part of what is looked up.
    pub by_address: bool,
    /// Outside endpoints are looked up to let strangers in, or neighbours.
    pub fc: bool,
    /// Taken ports are known.
    pub used: bool,
    /// Who was sent to is known, beyond conntrack.
    pub peers: Option<Peers>,
    /// What tells one use of a port from another.
    pub index: Index,
    /// Mappings are counted in a set of their own.
    pub endpoints: bool,
    /// Whose tuple was taken by early packets is known.
    pub poisoned: bool,
}

/// How closely a filter looks at a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peers {
    Address,
    Endpoint,
}

/// What an outside port is taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// The only address.
    One,
    /// An address of the pool, by its number.
    Address,
    /// A block of a host, by its number.
    Block,
}

impl<'a> Plan<'a> {
    pub fn of(profile: &'a Profile, addresses: &'a Addresses) -> Self {
        let ports = &profile.ports;
        let translates = profile.mapping.is_some();
        let rev = translates && !ports.overload && profile.mapping != Some(Mapping::AddressAndPortDependent);
        let turns = translates && profile.hairpin != Hairpin::None;
        let fc = translates && (profile.filtering != Filtering::AddressAndPortDependent || turns);
        let preserving =
            matches!(ports.allocation, Allocation::Preserving | Allocation::PreservingUntilCollision);
        let peers = match profile.filtering {
            Filtering::EndpointIndependent => None,
            Filtering::AddressDependent => Some(Peers::Address),
            Filtering::AddressAndPortDependent => turns.then_some(Peers::Endpoint),
        };
        Plan {
            profile,
            addresses,
            rev,
            by_address: profile.mapping == Some(Mapping::AddressDependent),
            fc,
            used: translates && !ports.overload && (rev || fc || preserving),
            peers,
            index: match () {
                () if ports.block.is_some() => Index::Block,
                () if profile.pool.addresses > 1 => Index::Address,
                () => Index::One,
            },
            endpoints: !translates
                && profile.filtering != Filtering::EndpointIndependent
                && profile.limits.mappings < profile.limits.flows,
            poisoned: rev
                && profile.unsolicited == Unsolicited::Poison
                && ports.allocation == Allocation::PreservingUntilCollision,
        }
    }

    /// Whether everything passes and nothing is remembered.
    pub fn stateless(&self) -> bool {
        self.profile.mapping.is_none() && self.profile.filtering == Filtering::EndpointIndependent
    }

    /// Whether something is learned from the packets that pass.
    pub fn keeps(&self) -> bool {
        self.rev
            || self.fc
            || self.used
            || self.endpoints
            || self.peers.is_some()
            || self.index == Index::Block
    }

    /// Whether the room for used ports is the limit of mappings; where each flow is a mapping, flows are counted instead.
    pub fn counts_used(&self) -> bool {
        self.rev && self.profile.limits.mappings < self.profile.limits.flows
    }

    /// How many flows one host may have. A block bounds them too, where no port is remembered as taken.
    pub fn per_host(&self) -> Option<u32> {
        if self.stateless() {
            return None;
        }
        let block = self.profile.ports.block.filter(|_| !self.used && !self.profile.ports.overload);
        let ports = block.map(|block| u32::from(block.size));
        self.profile.limits.per_host.into_iter().chain(ports).min()
    }

    /// Whether packets of inside hosts to outside endpoints are turned back.
    pub fn turns(&self) -> bool {
        self.profile.mapping.is_some() && self.profile.hairpin != Hairpin::None
    }

    /// The outside addresses.
    pub fn outside(&self) -> &[Ipv4Addr] {
        &self.addresses.outside
    }

    /// Where each host has one address for all its mappings.
    pub fn paired(&self) -> bool {
        self.profile.pool.pooling == Pooling::Paired
    }

    /// What goes into a key after the remote's address.
    pub fn of_remote<'k>(&self, port: &'k str) -> &'k str {
        if self.peers == Some(Peers::Endpoint) { port } else { "" }
    }
}

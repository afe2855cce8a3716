//! Who is in a population: drawn once from the seed, and the same however many threads run it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use natrig_netmodel::seed_for;
use natrig_scenario::population::{Churn, Mix};
use omerta_mesh_core::{Bootstrap, Identity, PeerId, RememberedSignatures, StandInCrypto};
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_pcg::Pcg64Mcg;

use super::{Gossip, Partners, Settings, Traffic, lot};

/// The port of every node.
pub(super) const PORT: u16 = 4400;
/// Outside addresses that each site has room for.
const ADDRESSES: u32 = 16;
/// Where the addresses of sites, relays and STUN servers begin. Nothing of them is ever on a real wire.
const SITES: u32 = u32::from_be_bytes([20, 0, 0, 0]);
const RELAYS: u32 = u32::from_be_bytes([11, 0, 0, 1]);
const STUN: u32 = u32::from_be_bytes([12, 0, 0, 1]);

/// All that is settled before a population begins.
#[derive(Debug)]
pub(super) struct Plan {
    pub seed: u64,
    pub mix: Mix,
    pub churn: Churn,
    pub traffic: Traffic,
    pub gossip: Gossip,
    /// When the last messages are sent: what is under way then still arrives before the end.
    pub silence: Duration,
    pub members: Vec<Place>,
    pub relays: Vec<Relay>,
    /// What one node has found out about a signature, no other has to.
    pub signatures: Arc<RememberedSignatures>,
}

/// What was drawn for a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub id: PeerId,
    /// Which of the mix's NATs, regions and lines.
    pub nat: u16,
    pub region: u16,
    pub access: u16,
    /// Its own relay: one of its region.
    pub relay: u32,
    /// To whom it sends.
    pub partner: u32,
}

/// A relay, which is bootstrap node and coordinator as well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relay {
    pub id: PeerId,
    pub region: u16,
    /// Members of which it is the own one.
    pub members: u32,
}

impl Plan {
    pub fn draw(settings: &Settings) -> Plan {
        let Settings { seed, mix, churn, nodes, .. } = settings;
        let mut members: Vec<Place> = (0..*nodes)
            .map(|number| {
                let mut random = random(*seed, &format!("place {number}"));
                let nat = lot::one_of(&mix.nats, &mut random) as u16;
                let region = lot::one_of(&mix.regions, &mut random) as u16;
                let access = lot::one_of(&mix.access, &mut random) as u16;
                // Anybody but itself.
                let other = random.random_range(0..(*nodes - 1).max(1));
                let partner = if other >= number { other + 1 } else { other };
                let partner = partner.min(*nodes - 1);
                let id = identity(*seed, &member_name(number)).id();
                Place { id, nat, region, access, relay: 0, partner }
            })
            .collect();
        if settings.traffic.partners == Partners::Matched {
            let mut turns: Vec<usize> = (0..members.len()).collect();
            turns.shuffle(&mut random(*seed, "partners"));
            for pair in turns.chunks_exact(2) {
                if let [a, b] = *pair {
                    members[a].partner = b as u32;
                    members[b].partner = a as u32;
                }
            }
        }
        let mut relays: Vec<Relay> = Vec::new();
        for region in 0..mix.regions.len() as u16 {
            let count = members.iter().filter(|member| member.region == region).count() as u32;
            let (first, many) = (relays.len() as u32, count.div_ceil(settings.relays.members.get()));
            relays.extend((first..first + many).map(|number| {
                let id = identity(*seed, &relay_name(number)).id();
                Relay { id, region, members: 0 }
            }));
            let here = members.iter_mut().filter(|member| member.region == region);
            for (turn, member) in (0..).zip(here) {
                member.relay = first + turn % many;
                if let Some(relay) = relays.get_mut(member.relay as usize) {
                    relay.members += 1;
                }
            }
        }
        let silence = settings.length.saturating_sub(super::SILENCE);
        Plan {
            seed: *seed,
            mix: mix.clone(),
            churn: churn.clone(),
            traffic: settings.traffic,
            gossip: settings.gossip,
            silence,
            members,
            relays,
            signatures: Arc::default(),
        }
    }

    /// The cryptography of a node's connections.
    pub fn crypto(&self, id: PeerId, seed: &[u8; 32]) -> Arc<StandInCrypto> {
        Arc::new(StandInCrypto::new(id, seed).remembering(self.signatures.clone()))
    }

    pub fn member(&self, number: u32) -> Option<&Place> {
        self.members.get(number as usize)
    }

    pub fn relay(&self, number: u32) -> Option<&Relay> {
        self.relays.get(number as usize)
    }

    /// A relay as a node is told of it.
    pub fn bootstrap(&self, relay: u32) -> Option<Bootstrap> {
        let address = SocketAddr::new(relay_address(relay).into(), PORT);
        Some(Bootstrap { id: self.relay(relay)?.id, address })
    }

    /// Whether a member does not speak but when it is spoken to: of two that are matched, the one with the larger number.
    pub fn answers(&self, number: u32) -> bool {
        let partner_of = |number| self.member(number).map(|place| place.partner);
        self.traffic.partners == Partners::Matched
            && partner_of(number)
                .is_some_and(|partner| partner < number && partner_of(partner) == Some(number))
    }

    /// Whether UDP gets out of a member's site at all.
    pub fn has_udp(&self, member: &Place) -> bool {
        let gateways = self.mix.nats.get(usize::from(member.nat)).map(|nat| &nat.of.gateways);
        gateways.is_none_or(|gateways| gateways.iter().all(|gateway| !gateway.profile.udp_blocked))
    }
}

/// The outside addresses of a site: the first, of which the others follow.
pub(super) fn site_address(member: u32) -> Ipv4Addr {
    Ipv4Addr::from(SITES.wrapping_add(member.wrapping_mul(ADDRESSES)))
}

/// Whether an address is one of a site's.
pub(super) fn is_of_site(address: Ipv4Addr, member: u32) -> bool {
    let offset = u32::from(address).wrapping_sub(u32::from(site_address(member)));
    offset < ADDRESSES
}

pub(super) fn relay_address(relay: u32) -> Ipv4Addr {
    Ipv4Addr::from(RELAYS.wrapping_add(relay))
}

/// The two addresses of a region's STUN server.
pub(super) fn stun_addresses(region: u16) -> [Ipv4Addr; 2] {
    [0, 1].map(|other| Ipv4Addr::from(STUN + 2 * u32::from(region) + other))
}

pub(super) fn member_name(number: u32) -> String {
    format!("member{number}")
}

pub(super) fn relay_name(number: u32) -> String {
    format!("relay{number}")
}

/// Who the node of a machine with this name is.
pub(super) fn identity(seed: u64, name: &str) -> Identity {
    Identity::from_seed(&random(seed, &format!("{name} identity")).random())
}

/// A source of chance that belongs to a name.
pub(super) fn random(seed: u64, name: &str) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed_for(seed, name))
}

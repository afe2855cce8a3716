//! The world that a population lives in.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use natrig_capture::Direction;
use natrig_nat::{
    Engine, Profile,
    bytes::Gateway,
    engine::{Addresses, Prefix},
};
use natrig_netmodel::Conditions;
use natrig_scenario::population::Access;

use super::{
    Error,
    member::Member,
    plan::{self, Plan},
    relay::Relay,
};
use crate::{Body, Distances, MachineId, Nic, Region, SegmentId, StunServer, World};

/// Every home is alike, as homes are.
const LAN: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 0);
const CARRIER: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);

/// A world and where in it is what.
pub(super) struct Built {
    pub world: World,
    pub members: Vec<MachineId>,
    pub relays: Vec<MachineId>,
}

/// Makes the world; nothing in it has begun.
pub(super) fn build(plan: &Arc<Plan>, threads: usize, sessions: usize) -> Result<Built, Error> {
    let mut world = World::divided(plan.seed, threads);
    let far =
        Distances::between(plan.mix.regions.len(), |a, b| plan.mix.round_trip(a.0.into(), b.0.into()) / 2);
    let internet = world.wide_segment("internet", far);
    let parts = parts(plan, threads);
    let mut builder = Builder { world, internet, threads, parts, plan };
    for region in 0..plan.mix.regions.len() as u16 {
        builder.stun(region);
    }
    let relays = (0..plan.relays.len() as u32).filter_map(|number| builder.relay(number, sessions)).collect();
    let members =
        (0..plan.members.len() as u32).map(|number| builder.member(number)).collect::<Result<_, _>>()?;
    Ok(Built { world: builder.world, members, relays })
}

/// Members by their regions, divided evenly among parts of the world: so most that is near each other is in one part, and each
/// part may run far before it hears of another.
fn parts(plan: &Plan, threads: usize) -> Vec<usize> {
    let mut by_region: Vec<usize> = (0..plan.members.len()).collect();
    by_region.sort_by_key(|&number| plan.members.get(number).map(|place| place.region));
    let mut parts = vec![0; by_region.len()];
    for (rank, &number) in by_region.iter().enumerate() {
        if let Some(part) = parts.get_mut(number) {
            *part = rank * threads / by_region.len();
        }
    }
    parts
}

struct Builder<'a> {
    world: World,
    internet: SegmentId,
    threads: usize,
    /// In which part of the world each member is.
    parts: Vec<usize>,
    plan: &'a Arc<Plan>,
}

impl Builder<'_> {
    fn stun(&mut self, region: u16) {
        let name = format!("stun{region}");
        let addresses = plan::stun_addresses(region);
        let nic = self.nic(&name, self.internet, region, addresses.map(|address| (address, 32)).into());
        let body = Body { name, nics: vec![nic], routes: anywhere(), ..Body::default() };
        let host = self.world.host(self.part_of(region), body);
        let [primary, alternate] = addresses;
        let at = |address, port| std::net::SocketAddrV4::new(address, port);
        self.world.start(host, StunServer::new(at(primary, 3478), at(alternate, 3479)));
    }

    fn relay(&mut self, number: u32, sessions: usize) -> Option<MachineId> {
        let relay = *self.plan.relay(number)?;
        let name = plan::relay_name(number);
        let addresses = vec![(plan::relay_address(number), 32)];
        let nic = self.nic(&name, self.internet, relay.region, addresses);
        let body = Body { name, nics: vec![nic], routes: anywhere(), ..Body::default() };
        // They are numbered by region.
        let part = number as usize * self.threads / self.plan.relays.len();
        let host = self.world.host(part, body);
        self.world.start(host, Relay::new(number, self.plan.clone(), sessions));
        Some(host)
    }

    /// Adds a member with what is between it and the internet.
    fn member(&mut self, number: u32) -> Result<MachineId, Error> {
        let place = *self.plan.member(number).ok_or(Error::Nobody)?;
        let mix = &self.plan.mix;
        let nat = mix.nats.get(usize::from(place.nat)).ok_or(Error::Nobody)?;
        let access = mix.access.get(usize::from(place.access)).map(|access| access.of);
        let mut profiles: Vec<Profile> =
            nat.of.gateways.iter().map(|gateway| gateway.profile.clone()).collect();
        // A router that translates nothing and lets everything pass changes nothing either.
        profiles.retain(|profile| !is_open(profile));
        let part = self.parts.get(number as usize).copied().unwrap_or_default();
        let name = plan::member_name(number);
        let public = plan::site_address(number);
        let outermost = profiles.len().saturating_sub(1);
        // From the outside in: each gateway's inside is the next one's outside.
        let (mut segment, mut outside, mut hop) = (self.internet, vec![public], Ipv4Addr::UNSPECIFIED);
        let mut own_length = 32;
        for (depth, profile) in profiles.into_iter().enumerate().rev() {
            let translates = profile.mapping.is_some();
            if depth == outermost {
                outside = (0..profile.pool.addresses.max(1)).map(|n| next(public, n.into())).collect();
            }
            let network = match (translates, depth) {
                (true, 0) => LAN,
                (true, _) => next(CARRIER, 256 * depth as u32),
                // Behind a firewall without NAT the member has a public address, which the firewall answers for.
                (false, _) => public,
            };
            let (own, inner) = match translates {
                true => (next(network, 1), next(network, 2)),
                false => (next(public, 2), public),
            };
            let length = if translates { 24 } else { 30 };
            let title = format!("nat{number}.{depth}");
            let inside = self.world.segment(&format!("{title}.lan"));
            let mut nics = vec![
                self.nic(&format!("{title}.wan"), segment, place.region, lengths(&outside, own_length)),
                self.nic(&format!("{title}.lan"), inside, 0, vec![(own, length)]),
            ];
            if !translates && let Some(nic) = nics.first_mut() {
                nic.addresses = vec![(next(public, 1), 32), (public, 32)];
            }
            let wrong = |error: String| Error::Gateway { name: nat.of.name.clone(), error };
            let prefix = Prefix::new(network, length).map_err(|error| wrong(error.to_string()))?;
            let addresses =
                Addresses { outside: if translates { outside } else { Vec::new() }, inside: prefix };
            let seed = self.world.seed_of(&title);
            let engine = Engine::new(profile, addresses, seed).map_err(|error| wrong(error.to_string()))?;
            let routes = vec![(Ipv4Addr::UNSPECIFIED, 0, hop)];
            let body = Body { name: title.clone(), nics, routes, ..Body::default() };
            let gateway = self.world.gateway(part, body, Gateway::new(engine, own));
            if depth == outermost {
                self.line(gateway, access);
            }
            (segment, outside, hop, own_length) = (inside, vec![inner], own, length);
        }
        let is_public = segment == self.internet;
        let own = outside.first().copied().unwrap_or(public);
        let region = if is_public { place.region } else { 0 };
        let nic = self.nic(&format!("{name}.lan"), segment, region, vec![(own, own_length)]);
        let routes = vec![(Ipv4Addr::UNSPECIFIED, 0, hop)];
        let host = self.world.host(part, Body { name, nics: vec![nic], routes, ..Body::default() });
        if is_public {
            self.line(host, access);
        }
        self.world.start(host, Member::new(number, self.plan.clone(), own));
        Ok(host)
    }

    /// A part of the world in which there is somebody of a region.
    fn part_of(&self, region: u16) -> usize {
        let mut places = self.plan.members.iter().zip(&self.parts);
        places.find(|(place, _)| place.region == region).map_or(0, |(_, part)| *part)
    }

    /// Puts the conditions of a member's line in force on the cable that leads to the internet.
    fn line(&mut self, machine: MachineId, access: Option<Access>) {
        let (Some(Access { delay, loss }), Some(port)) = (access, self.world.port_of(machine, 0)) else {
            return;
        };
        if delay > Duration::ZERO || loss.value() > 0.0 {
            let conditions = Conditions { delay, loss: loss.into(), ..Conditions::default() };
            self.world.condition(port, Direction::Inbound, conditions);
            self.world.condition(port, Direction::Outbound, conditions);
        }
    }

    fn nic(&self, link: &str, segment: SegmentId, region: u16, addresses: Vec<(Ipv4Addr, u8)>) -> Nic {
        Nic { link: link.to_owned(), segment, region: Region(region), mac: [2, 0, 0, 0, 0, 0], addresses }
    }
}

fn is_open(profile: &Profile) -> bool {
    let open = natrig_nat::Filtering::EndpointIndependent;
    profile.mapping.is_none() && profile.filtering == open && !profile.udp_blocked
}

fn anywhere() -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    vec![(Ipv4Addr::UNSPECIFIED, 0, Ipv4Addr::UNSPECIFIED)]
}

fn lengths(addresses: &[Ipv4Addr], length: u8) -> Vec<(Ipv4Addr, u8)> {
    addresses.iter().map(|address| (*address, length)).collect()
}

fn next(address: Ipv4Addr, by: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address).wrapping_add(by))
}

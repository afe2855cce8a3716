//! The machines of a story, and what belongs to them.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use natrig_capture::MacAddress;
use natrig_record::{Column, Role};
use natrig_scenario::{Machine, Scenario};

use crate::Topology;

/// The machines of a scenario in the order in which they are drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cast {
    columns: Vec<Column>,
    links: HashMap<String, usize>,
    hardware: HashMap<[u8; 6], usize>,
    /// The addresses under which gateways themselves are spoken to.
    inside: HashMap<Ipv4Addr, usize>,
    /// Gateways' links outwards.
    outwards: HashSet<String>,
}

impl Cast {
    /// The initiator, its gateways outwards, public machines, the other side's gateways inwards, the responder, everybody else.
    pub fn of(scenario: &Scenario) -> Self {
        let topology = Topology::of(scenario);
        let [initiator, responder] = scenario.pair();
        let gateways = |peer: Machine| {
            let of_site = topology.gateways().iter().filter(move |place| Some(place.site) == peer.site());
            of_site.map(|place| place.machine)
        };
        let mut order = vec![initiator];
        order.extend(gateways(initiator));
        order.extend(topology.hosts().iter().map(|host| host.machine).filter(|machine| is_public(*machine)));
        if initiator.site() != responder.site() {
            let outwards: Vec<_> = gateways(responder).collect();
            order.extend(outwards.into_iter().rev());
        }
        order.push(responder);
        let others = topology.hosts().iter().map(|host| host.machine);
        let others: Vec<_> = others.filter(|machine| !order.contains(machine)).collect();
        order.extend(others);

        let mut cast = Cast::default();
        for machine in order {
            let Some(host) = topology.hosts().iter().find(|host| host.machine == machine) else { continue };
            let at = cast.columns.len();
            let profile = host.gateway.as_ref().map(|gateway| gateway.profile.name.clone());
            cast.columns.push(Column {
                name: machine.name().to_owned(),
                role: match (&profile, is_public(machine)) {
                    (Some(_), _) => Role::Gateway,
                    (None, true) => Role::Public,
                    (None, false) => Role::Peer,
                },
                detail: profile.unwrap_or_default(),
            });
            for nic in &host.nics {
                cast.links.insert(nic.link.name().to_owned(), at);
                cast.hardware.insert(nic.mac, at);
            }
        }
        for place in topology.gateways() {
            cast.outwards.insert(place.wan.name().to_owned());
            if let Some(at) = cast.links.get(place.lan.name()) {
                cast.inside.insert(place.inside, *at);
            }
        }
        cast
    }

    /// The machines.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// A machine's name.
    pub(super) fn name(&self, at: usize) -> &str {
        self.columns.get(at).map_or("?", |column| column.name.as_str())
    }

    /// Whose a link is.
    pub(super) fn owner(&self, link: &str) -> Option<usize> {
        self.links.get(link).copied()
    }

    /// Whose a hardware address is.
    pub(super) fn addressed(&self, address: MacAddress) -> Option<usize> {
        self.hardware.get(&address.0).copied()
    }

    /// Whether a link leads outwards from a gateway.
    pub(super) fn leads_out(&self, link: &str) -> bool {
        self.outwards.contains(link)
    }

    /// Whether a machine passes on what comes to it for this address.
    pub(super) fn forwards(&self, at: usize, destination: Ipv4Addr) -> bool {
        self.is_gateway(at) && self.inside.get(&destination) != Some(&at)
    }

    /// Whether a machine is a gateway.
    pub(super) fn is_gateway(&self, at: usize) -> bool {
        self.columns.get(at).is_some_and(|column| column.role == Role::Gateway)
    }

    /// Whether a machine has a node that is tested.
    pub(super) fn is_peer(&self, at: usize) -> bool {
        self.columns.get(at).is_some_and(|column| column.role == Role::Peer)
    }
}

fn is_public(machine: Machine) -> bool {
    machine.public().is_some()
}

//! What the captures of a cell must show beside the path: gateways that do with the nodes' datagrams what was proven of
//! them, and nodes that did what their path says.

mod chance;
mod departures;
mod gateway;
pub mod links;
mod mappings;
pub mod netem;
mod node;
mod share;

use std::{net::Ipv4Addr, ops::Range};

use natrig_capture::Trace;
use natrig_nat::Profile;
use natrig_record::{Assertion, Verdict};
use natrig_scenario::{Engine, GatewayFault};
use serde::{Deserialize, Serialize};

use crate::{
    Place,
    verdict::{Case, NoVerdict},
    wires::Wires,
};
use departures::Departures;

/// A gateway between two links, and what it was while nodes used it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// The gateway.
    pub gateway: String,
    /// Its link to the inside.
    pub lan: String,
    /// Its link to the outside.
    pub wan: String,
    /// One after the other: a gateway that lost its state, or became another, lives again.
    pub lives: Vec<Life>,
}

impl Passage {
    /// A gateway that lives from a time on.
    pub fn of(place: &Place, from_ns: u64) -> Self {
        Passage {
            gateway: place.machine.name().to_owned(),
            lan: place.lan.name().to_owned(),
            wan: place.wan.name().to_owned(),
            lives: vec![Life::of(place, from_ns)],
        }
    }

    /// When gateways had been proven; 0 if there are none.
    pub(crate) fn proven_ns(all: &[Passage]) -> u64 {
        let lives = all.iter().filter_map(|passage| passage.lives.first());
        lives.map(|life| life.from_ns).min().unwrap_or_default()
    }

    /// What becomes of it when something was done to it in a span of time, after which it stands as a place says.
    pub fn befallen(&mut self, what: &GatewayFault, place: &Place, during_ns: Range<u64>) {
        if let Some(life) = self.lives.last_mut() {
            life.to_ns = Some(during_ns.start);
        }
        let mut next = Life::of(place, during_ns.end);
        match what {
            // A full table throws out what it likes.
            GatewayFault::Fill => return,
            // The model keeps its profile, and gives nobody the port again that he had.
            GatewayFault::Rebind if place.gateway.engine == Engine::Model => {
                next.rebound = true;
            }
            GatewayFault::Rebind
            | GatewayFault::Reboot
            | GatewayFault::Renumber
            | GatewayFault::Become(_) => {}
        }
        self.lives.push(next);
    }
}

impl Life {
    fn of(place: &Place, from_ns: u64) -> Self {
        Life {
            from_ns,
            to_ns: None,
            profile: place.gateway.profile.clone(),
            draws_in_bursts: place.gateway.engine == Engine::Kernel,
            rebound: false,
            addresses: place.addresses.outside.clone(),
        }
    }
}

/// A gateway from one loss of its state to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// From when on, in nanoseconds since the Unix epoch.
    pub from_ns: u64,
    /// Until when; none if it lived longer than the cell.
    #[serde(default)]
    pub to_ns: Option<u64>,
    /// How it behaves.
    pub profile: Profile,
    /// Whether it looks at all datagrams of a burst before the first of them has left, so that one that belongs to a new
    /// flow may get another port than the one before it: the kernel does.
    #[serde(default)]
    pub draws_in_bursts: bool,
    /// Whether it gives nobody the port that he had before, whatever its profile says of new ones: who comes anew may
    /// keep his.
    #[serde(default)]
    pub rebound: bool,
    /// Its outside addresses.
    pub addresses: Vec<Ipv4Addr>,
}

/// What the gateways of a case have to show, on every datagram whose way through them can be told; nothing for one that
/// no datagram passed.
pub fn gateways(trace: &Trace, case: &Case) -> Result<Vec<Assertion>, NoVerdict> {
    let mut shown = Vec::new();
    for passage in &case.gateways {
        let link = |name: &String| trace.link(name).ok_or_else(|| NoVerdict::MissingLink(name.clone()));
        let departures = Departures::of(trace, link(&passage.lan)?, link(&passage.wan)?);
        for life in &passage.lives {
            shown.extend(gateway::life(&passage.gateway, life, &departures));
        }
    }
    Ok(shown)
}

/// What the nodes of a case have to show for their path.
pub fn nodes(trace: &Trace, case: &Case, verdict: &Verdict) -> Result<Vec<Assertion>, NoVerdict> {
    let wires = Wires::find(trace, &case.pair).map_err(NoVerdict::MissingLink)?;
    Ok(node::shown(trace, &wires, case, verdict))
}

#[cfg(test)]
mod tests {
    use natrig_scenario::Scenario;

    use super::*;
    use crate::Topology;

    fn passage(engine: &str) -> (Passage, Place) {
        let text = format!(
            "{{name: x, nat1: {{like: port-restrict, engine: {engine}}}, nat2: public, expected: direct}}"
        );
        let scenario = Scenario::parse("x.yaml", &text).unwrap().remove(0);
        let place = Topology::of(&scenario).gateways()[0].clone();
        (Passage::of(&place, 10), place)
    }

    #[test]
    fn a_gateway_lives_again_after_what_befell_it() {
        let (mut passage, mut place) = passage("kernel");
        place.gateway.profile = place.gateway.profile.rebound(1);
        passage.befallen(&GatewayFault::Rebind, &place, 20..30);
        let spans: Vec<_> = passage.lives.iter().map(|life| (life.from_ns, life.to_ns)).collect();
        assert_eq!(spans, [(10, Some(20)), (30, None)]);
        assert_eq!(passage.lives[1].profile, place.gateway.profile);
        passage.befallen(&GatewayFault::Fill, &place, 40..50);
        assert_eq!(passage.lives.len(), 2, "a full table is not judged");
        assert_eq!(passage.lives[1].to_ns, Some(40));
    }

    #[test]
    fn a_rebound_model_keeps_no_port() {
        let (mut passage, place) = passage("model");
        passage.befallen(&GatewayFault::Reboot, &place, 20..30);
        assert_eq!(passage.lives[1].profile, place.gateway.profile);
        passage.befallen(&GatewayFault::Rebind, &place, 40..50);
        assert_eq!(passage.lives.iter().map(|life| life.rebound).collect::<Vec<_>>(), [false, false, true]);
        assert!(!passage.lives[2].draws_in_bursts);
    }
}

//! What the captures of a cell must show beside the path: gateways that do with the nodes' datagrams what was proven of
//! them, and nodes that did what their path says.

mod chance;
mod departures;
mod gateway;
mod mappings;
mod node;

use std::net::Ipv4Addr;

use natrig_capture::Trace;
use natrig_nat::Profile;
use natrig_record::{Assertion, Verdict};
use natrig_scenario::Engine;
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
        let life = Life {
            from_ns,
            to_ns: None,
            profile: place.gateway.profile.clone(),
            draws_in_bursts: place.gateway.engine == Engine::Kernel,
            addresses: place.addresses.outside.clone(),
        };
        Passage {
            gateway: place.machine.name().to_owned(),
            lan: place.lan.name().to_owned(),
            wan: place.wan.name().to_owned(),
            lives: vec![life],
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

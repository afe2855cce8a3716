//! Looking ahead: the memory that the next things will touch is fetched while others happen.
//!
//! A large world is in no cache, and one structure leads to the next: a machine to its program, that to a node, that to a
//! connection. Each thing by itself would wait for memory as often as there are structures on its way. So a few things
//! that happen soon go their ways side by side, one structure at a time, and wait together.

use crate::{
    agenda::{PortId, What},
    cache::fetch,
    machine::Machine,
    segment::Cable,
    shard::{Map, Shard},
};

/// Things that go their ways side by side: few enough for what they touch to fit a second-level cache.
const SIDE_BY_SIDE: usize = 16;

/// Structures on a way, from a machine on.
const DEPTH: usize = 6;

/// Somebody whose turn will come soon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    machine: usize,
    /// One that is likely to have a turn at once with it.
    other: usize,
    /// When it is to be woken, if that is what happens.
    woken: Option<u64>,
}

impl Shard {
    /// Has the memory fetched that the next things will touch, if that of the ones before is used up.
    pub(crate) fn look_ahead(&mut self, map: &Map) {
        let mut ahead = std::mem::take(&mut self.ahead);
        let (machines, cables) = (&self.machines, &self.cables);
        for (at, what) in self.agenda.ahead(SIDE_BY_SIDE) {
            match what {
                What::Wake(machine) => {
                    let here = map.machines.get(machine.index()).map(|spot| spot.index as usize);
                    // A host's gateway was added before it.
                    let next =
                        |machine: usize| Next { machine, other: machine.saturating_sub(1), woken: Some(at) };
                    ahead.extend(here.map(next));
                }
                What::Forwarded(to, passing) => {
                    fetch(passing.packet.as_slice());
                    let machine = receiver(map, cables, *to).and_then(|place| machines.get(place));
                    machine.into_iter().for_each(fetch);
                }
                What::Arrived(to, passing) => {
                    fetch(passing.packet.as_slice());
                    let next = |machine| Next { machine, other: machine + 1, woken: None };
                    ahead.extend(receiver(map, cables, *to).map(next));
                }
            }
        }
        for depth in 0..DEPTH {
            for next in &ahead {
                for machine in [next.machine, next.other] {
                    if let Some(machine) = machines.get(machine) {
                        machine.look_ahead(depth);
                        look_along(map, cables, machine, depth);
                    }
                }
            }
            if depth == 0 {
                // Who thought better of it will not do anything.
                ahead.retain(|next| {
                    next.woken.is_none_or(|at| machines.get(next.machine).is_some_and(|one| one.is_due(at)))
                });
            }
        }
        ahead.clear();
        self.ahead = ahead;
    }
}

/// Has a machine's cables and what they lead to fetched, as soon as its interfaces are there.
fn look_along(map: &Map, cables: &[Cable], machine: &Machine, depth: usize) {
    let Some(beyond) = depth.checked_sub(2).filter(|beyond| *beyond < 2) else { return };
    for interface in &machine.interfaces {
        let Some(plug) = map.plugs.get(interface.port.index()) else { continue };
        if beyond == 0 {
            receiver(map, cables, interface.port);
        }
        map.segments.get(plug.segment.0 as usize).into_iter().for_each(|segment| segment.look_ahead(beyond));
    }
}

/// Has a port's cable fetched; the place of the machine at its end.
fn receiver(map: &Map, cables: &[Cable], port: PortId) -> Option<usize> {
    let spot = map.ports.get(port.index())?;
    cables.get(spot.index as usize).into_iter().for_each(fetch);
    let machine = map.plugs.get(port.index())?.machine;
    Some(map.machines.get(machine.index())?.index as usize)
}

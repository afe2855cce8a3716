//! Gateways: made, proven, emptied, and read at the end.

use std::{fs, path::Path};

use natrig_lab::{
    Place, Topology, Trouble,
    proof::{Depth, Found, Span, Untold, until_told},
};
use natrig_nat::{
    Engine,
    bytes::{
        Gateway,
        control::{Command, State},
    },
};
use natrig_record::Proof;
use natrig_scenario::{Machine, Scenario};

use super::{stage::Stage, stations::Stations};

/// The network of an outside address.
const LENGTH: u8 = 24;

/// A gateway as it stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where, and what it is.
    pub place: Place,
    /// How it behaves, as a text to compare.
    pub proven: String,
    pub renumberings: u32,
}

/// All gateways as they stand, and those that they may become.
#[derive(Debug)]
pub struct Listing {
    pub standing: Vec<Standing>,
    pub others: Vec<Standing>,
}

impl Listing {
    /// A gateway as it stands.
    pub fn of(&self, machine: Machine) -> Result<&Standing, Trouble> {
        let standing = self.standing.iter().find(|standing| standing.place.machine == machine);
        standing.ok_or_else(|| absent(machine))
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, machine: Machine) -> Result<&mut Standing, Trouble> {
        let standing = self.standing.iter_mut().find(|standing| standing.place.machine == machine);
        standing.ok_or_else(|| absent(machine))
    }
}

fn absent(machine: Machine) -> Trouble {
    Trouble::lab(format!("there is no gateway {machine}"))
}

/// A gateway as a place says, with nothing in its table.
pub fn made(place: &Place, seed: u64) -> Result<Gateway, Trouble> {
    let engine = Engine::new(place.gateway.profile.clone(), place.addresses.clone(), seed)?;
    Ok(Gateway::new(engine, place.inside))
}

/// Puts a new gateway in the place of the one that stands there.
pub fn install(stage: &mut Stage<'_>, place: &Place) -> Result<(), Trouble> {
    let machine = stage.machine(place.machine)?;
    let mut gateway = made(place, stage.world.seed_of(place.machine.name()))?;
    stage.world.with_gateway(machine, |there, _| std::mem::swap(there, &mut gateway));
    move_to_its_addresses(stage, place)
}

/// Gives its interface outside the addresses of a place.
pub fn move_to_its_addresses(stage: &mut Stage<'_>, place: &Place) -> Result<(), Trouble> {
    let machine = stage.machine(place.machine)?;
    let addresses = place.addresses.outside.iter().map(|address| (*address, LENGTH)).collect();
    stage.world.readdress(machine, 0, addresses);
    Ok(())
}

/// Has something done to a gateway, and tells how it is since.
pub fn command(stage: &mut Stage<'_>, gateway: Machine, command: Command) -> Result<State, Trouble> {
    let machine = stage.machine(gateway)?;
    let with_table = command == Command::Table;
    let done = stage.world.with_gateway(machine, |there, now| {
        there.obey(now, command)?;
        Ok::<_, natrig_nat::engine::WrongGateway>(there.state(now, with_table))
    });
    Ok(done.ok_or_else(|| absent(gateway))??)
}

/// How a gateway behaves, as a text to compare.
pub fn proven(state: &State) -> Result<String, Trouble> {
    Ok(serde_json::to_string_pretty(&(&state.profile, &state.outside))?)
}

/// Measures each gateway from its own two segments, and those that are behind one another together; the captures are the
/// witness of every silence. Rounds in one cell have different numbers.
pub fn measure(
    stage: &mut Stage<'_>,
    scenario: &Scenario,
    round: u32,
    depth: Depth,
) -> Result<Vec<Proof>, Trouble> {
    let measure = |stage: &mut Stage<'_>, round| measure_once(stage, scenario, round, depth);
    until_told(stage, scenario, round, measure, |stage| flush(stage, scenario).map(drop))
}

fn measure_once(
    stage: &mut Stage<'_>,
    scenario: &Scenario,
    round: u32,
    depth: Depth,
) -> Result<Vec<Proof>, Untold> {
    let topology = Topology::of(scenario);
    let each = topology.gateways().iter().map(|place| Span::of(&topology, place));
    let spans: Vec<Span<'_>> =
        each.chain(Span::chains(&topology, scenario)).map(|span| span.in_round(round)).collect();
    let found: Vec<Found> = spans
        .iter()
        .map(|span| {
            let measured = span.measure(&mut Stations::at(stage, span.stands())?, depth);
            measured.map_err(|trouble| trouble.at(span.name()))
        })
        .collect::<Result<_, Trouble>>()?;
    let trace = stage.trace()?;
    spans.iter().zip(&found).map(|(span, found)| span.prove(found, &trace)).collect()
}

/// Empties all gateways of what the proof left in them, shows that it is gone, and takes what must still be true of them
/// after the cell.
pub fn flush(stage: &mut Stage<'_>, scenario: &Scenario) -> Result<Listing, Trouble> {
    let places = Topology::of(scenario).gateways().to_vec();
    let mut standing = Vec::new();
    for place in places {
        let proven = empty(stage, &place).map_err(|trouble| trouble.at(place.machine))?;
        standing.push(Standing { place, proven, renumberings: 0 });
    }
    Ok(Listing { standing, others: Vec::new() })
}

/// The same for one; gives what must still be true of it.
pub fn empty(stage: &mut Stage<'_>, place: &Place) -> Result<String, Trouble> {
    let state = command(stage, place.machine, Command::Reboot)?;
    if (state.mappings, state.flows) != (0, 0) {
        let State { mappings, flows, .. } = state;
        return Err(Trouble::lab(format!("{mappings} mappings and {flows} flows are left after the flush")));
    }
    proven(&state)
}

/// Writes the gateways' tables beside the evidence and compares their profiles with the proven ones; gives the names of
/// the files.
pub fn gather(stage: &mut Stage<'_>, listing: &Listing, folder: &Path) -> Result<Vec<String>, Trouble> {
    let mut files = Vec::new();
    for standing in &listing.standing {
        let gateway = standing.place.machine;
        let state = command(stage, gateway, Command::Table)?;
        let name = format!("{gateway}.model.json");
        fs::write(folder.join(&name), serde_json::to_vec_pretty(&state)?)?;
        if proven(&state)? != standing.proven {
            return Err(Trouble::lab("it is not what was proven").at(gateway));
        }
        files.push(name);
    }
    Ok(files)
}

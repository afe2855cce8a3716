//! What becomes of a gateway in the course of its life.
//!
//! While one of this is done to it, it is off the wire, as long as a machine would be.

use std::time::Duration;

use natrig_lab::{
    Trouble,
    life::{becoming, list, renumbered, with},
    proof::{Depth, refuse},
};
use natrig_nat::bytes::control::Command;
use natrig_scenario::{Gateway, GatewayFault, Machine, Scenario};

use super::{
    fill,
    gateway::{self, Listing, Standing, command, install, move_to_its_addresses, proven},
    stage::Stage,
};

/// How long a gateway takes to start, and to be given other rules.
const BOOT: Duration = Duration::from_secs(1);
const CHANGE: Duration = Duration::from_millis(100);

/// Proves what gateways become in a scenario, and makes them what they start as; gives what is to be the same when they
/// become it.
pub fn prove_others(stage: &mut Stage<'_>, scenario: &Scenario) -> Result<Vec<Standing>, Trouble> {
    let mut others: Vec<Standing> = Vec::new();
    let mut round = 0;
    for (machine, gateway) in becoming(scenario) {
        let known = |other: &Standing| other.place.machine == machine && other.place.gateway == *gateway;
        if others.iter().any(known) {
            continue;
        }
        let another = with(scenario, machine, gateway)?;
        install_all(stage, &another)?;
        round += 1;
        refuse(&gateway::measure(stage, &another, round, Depth::Fast)?)?;
        let Listing { standing, .. } = gateway::flush(stage, &another)?;
        others.extend(standing.into_iter().filter(|standing| standing.place.machine == machine));
    }
    if !others.is_empty() {
        install_all(stage, scenario)?;
    }
    Ok(others)
}

fn install_all(stage: &mut Stage<'_>, scenario: &Scenario) -> Result<(), Trouble> {
    let topology = natrig_lab::Topology::of(scenario);
    topology.gateways().iter().try_for_each(|place| install(stage, place))
}

/// Does something to a gateway and reads it back; says what was read.
pub fn befall(
    stage: &mut Stage<'_>,
    listing: &mut Listing,
    machine: Machine,
    fault: &GatewayFault,
) -> Result<String, Trouble> {
    let place = listing.of(machine)?.place.clone();
    let links = [place.wan, place.lan];
    let done = match fault {
        GatewayFault::Fill => fill::fill(stage, &place),
        fault => stage.take_off(links).and_then(|()| {
            let done = match fault {
                GatewayFault::Reboot => reboot(stage, listing, machine),
                GatewayFault::Rebind => rebind(stage, listing, machine),
                GatewayFault::Renumber => renumber(stage, listing, machine),
                GatewayFault::Become(gateway) => turn_into(stage, listing, machine, gateway),
                GatewayFault::Fill => Ok(String::new()),
            };
            let time = if *fault == GatewayFault::Reboot { BOOT } else { CHANGE };
            let back = stage.pass(time).and_then(|()| stage.put_back(links));
            done.and_then(|shown| back.map(|()| shown))
        }),
    };
    done.map_err(|trouble| trouble.at(format!("{fault} {machine}")))
}

fn reboot(stage: &mut Stage<'_>, listing: &Listing, machine: Machine) -> Result<String, Trouble> {
    let standing = listing.of(machine)?;
    let found = gateway::empty(stage, &standing.place)?;
    same(&standing.proven, &found)?;
    Ok("it has started anew, its table is empty".to_owned())
}

fn rebind(stage: &mut Stage<'_>, listing: &Listing, machine: Machine) -> Result<String, Trouble> {
    let standing = listing.of(machine)?;
    if standing.place.gateway.profile.mapping.is_none() {
        return Err(Trouble::lab("it translates nothing, so nothing is bound to its ports")
            .hint("rebind a gateway with NAT"));
    }
    let state = command(stage, machine, Command::Rebind)?;
    if (state.mappings, state.flows) != (0, 0) {
        return Err(Trouble::lab(format!("{} flows are left", state.flows)));
    }
    same(&standing.proven, &proven(&state)?)?;
    Ok("its table is empty, and no endpoint gets the port it had".to_owned())
}

fn renumber(stage: &mut Stage<'_>, listing: &mut Listing, machine: Machine) -> Result<String, Trouble> {
    let standing = listing.of_mut(machine)?;
    let mut place = standing.place.clone();
    if place.gateway.profile.mapping.is_none() {
        return Err(Trouble::lab("it translates nothing, and others have routes by its address")
            .hint("renumber a gateway with NAT"));
    }
    let turn = standing.renumberings + 1;
    place.addresses.outside = renumbered(&place, turn);
    move_to_its_addresses(stage, &place)?;
    let outside = place.addresses.outside.clone();
    let proven = proven(&command(stage, machine, Command::Renumber { outside })?)?;
    let shown = format!("{} is now {}", list(&standing.place), list(&place));
    *standing = Standing { place, proven, renumberings: turn };
    Ok(shown)
}

fn turn_into(
    stage: &mut Stage<'_>,
    listing: &mut Listing,
    machine: Machine,
    gateway: &Gateway,
) -> Result<String, Trouble> {
    let is_it = |other: &&Standing| other.place.machine == machine && other.place.gateway == *gateway;
    let proven = listing.others.iter().find(is_it).cloned();
    let proven =
        proven.ok_or_else(|| Trouble::lab(format!("it was never proven as `{}`", gateway.profile.name)))?;
    let standing = listing.of_mut(machine)?;
    if standing.renumberings > 0 {
        return Err(Trouble::lab("it was proven with other addresses")
            .hint("let it become another before it is renumbered"));
    }
    install(stage, &proven.place)?;
    let found = gateway::empty(stage, &proven.place)?;
    same(&proven.proven, &found)?;
    let before = std::mem::replace(standing, proven).place.gateway.profile.name;
    Ok(format!("`{before}` is now `{}`, as it was proven", gateway.profile.name))
}

fn same(proven: &str, found: &str) -> Result<(), Trouble> {
    if proven == found {
        return Ok(());
    }
    Err(Trouble::lab("it is not what was proven").lines(found.lines().map(str::to_owned)))
}

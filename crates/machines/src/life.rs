//! What becomes of a gateway in the course of its life: it starts anew, gives other ports, moves, becomes another, is full.
//!
//! While one of this is done to a gateway it is off the wire, so that nothing passes that is half the old and half the new
//! one. Each is read back; what cannot be shown to have taken is the lab's error.

mod fill;

use std::{net::Ipv4Addr, path::Path};

use natrig_lab::{
    Place, Topology,
    life::{becoming, list, renumbered, with},
    proof::{Depth, refuse},
};
use natrig_nat::bytes::control::Command;
use natrig_scenario::{Engine, Gateway, GatewayFault, Machine, Scenario};

use crate::{
    Lab, Rig, Trouble,
    gateway::{self, Listing, Standing, expect},
    model,
    port_mapping::{self, Restart},
    proof,
};

/// Loads, proves and empties what gateways become in a scenario, and then the gateways that it starts with; gives what
/// is to be the same when they become it.
pub fn prove_others(lab: &Lab, scenario: &Scenario, folder: &Path) -> Result<Vec<Standing>, Trouble> {
    let mut others: Vec<Standing> = Vec::new();
    let mut round = 0;
    for (machine, gateway) in becoming(scenario) {
        let known = |other: &Standing| other.place.machine == machine && other.place.gateway == *gateway;
        if others.iter().any(known) {
            continue;
        }
        let another = with(scenario, machine, gateway)?;
        gateway::load(lab, &another, folder)?;
        round += 1;
        refuse(&proof::measure_again(lab, &another, round, |_| Depth::Fast)?)?;
        let mut proven = gateway::flush(lab, &another)?;
        others.push(proven.take(machine)?);
    }
    if !others.is_empty() {
        gateway::load(lab, scenario, folder)?;
    }
    Ok(others)
}

/// A lab whose gateways live.
#[derive(Debug)]
pub struct Life<'a> {
    /// What machines are made of.
    pub rig: &'a Rig,
    /// What runs in the lab.
    pub scenario: &'a Scenario,
    /// Where its evidence lies.
    pub folder: &'a Path,
}

impl Life<'_> {
    /// Does something to a gateway and reads it back; says what was read.
    pub fn befall(
        &self,
        lab: &mut Lab,
        listing: &mut Listing,
        machine: Machine,
        fault: &GatewayFault,
    ) -> Result<String, Trouble> {
        let done = match fault {
            GatewayFault::Fill => fill::fill(lab, &listing.of(machine)?.place),
            fault => {
                let links = [listing.of(machine)?.place.wan, listing.of(machine)?.place.lan];
                lab.take_off(links)?;
                let done = match fault {
                    GatewayFault::Reboot => self.reboot(lab, listing, machine),
                    GatewayFault::Rebind => self.rebind(lab, listing, machine),
                    GatewayFault::Renumber => self.renumber(lab, listing, machine),
                    GatewayFault::Become(gateway) => self.turn_into(lab, listing, machine, gateway),
                    GatewayFault::Fill => Ok(String::new()),
                };
                let back = lab.put_back(links);
                done.and_then(|shown| back.map(|()| shown))
            }
        };
        done.map_err(|trouble| trouble.at(format!("{fault} {machine}")))
    }

    /// Loads and proves what a gateway may become while nobody but the lab's stations reaches it; then it is again what it
    /// was, without its state.
    pub(crate) fn prove_another(
        &self,
        lab: &Lab,
        listing: &mut Listing,
        machine: Machine,
        gateway: &Gateway,
        round: u32,
    ) -> Result<(), Trouble> {
        let another = with(self.scenario, machine, gateway)?;
        let topology = Topology::of(&another);
        let place = topology.gateways().iter().find(|place| place.machine == machine);
        let place = place.ok_or_else(|| Trouble::lab(format!("there is no gateway {machine}")))?;
        let standing = listing.of(machine)?;
        with_its_first_addresses(standing)?;
        let leases = port_mapping::kept(lab, self.scenario, &standing.place, Restart::Rules)?;
        let kept_apart = lab.isolate([place.wan, place.lan], self.scenario)?;
        let prove = || {
            gateway::install(lab, &another, place, &[], self.folder)?;
            refuse(&proof::measure_one(lab, &another, place, round)?)?;
            gateway::proven(lab, &another, place)
        };
        let proven = prove();
        let back = gateway::install(lab, self.scenario, &standing.place, &leases, self.folder)
            .and_then(|()| gateway::empty(lab, self.scenario, &standing.place))
            .and_then(|found| same(&standing.proven, &found));
        lab.unblock(&kept_apart)?;
        back?;
        listing.add_other(proven?);
        Ok(())
    }

    /// Another machine takes its place, with the same cables and the same rules.
    fn reboot(&self, lab: &mut Lab, listing: &Listing, machine: Machine) -> Result<String, Trouble> {
        let standing = listing.of(machine)?;
        let leases = port_mapping::kept(lab, self.scenario, &standing.place, Restart::Reboot)?;
        let before = boot_id(lab, machine)?;
        lab.restart(self.rig, self.scenario, machine, self.folder)?;
        let after = boot_id(lab, machine)?;
        if before == after {
            return Err(Trouble::lab("the machine is the one it was"));
        }
        self.move_to_its_addresses(lab, &standing.place)?;
        gateway::install(lab, self.scenario, &standing.place, &leases, self.folder)?;
        let found = gateway::empty(lab, self.scenario, &standing.place)?;
        same(&standing.proven, &found)?;
        Ok(format!("machine {} is now {}, its table is empty", short(&before), short(&after)))
    }

    /// All state is lost, and ports are others.
    fn rebind(&self, lab: &Lab, listing: &mut Listing, machine: Machine) -> Result<String, Trouble> {
        let standing = listing.of_mut(machine)?;
        if standing.place.gateway.profile.mapping.is_none() {
            return Err(Trouble::lab("it translates nothing, so nothing is bound to its ports")
                .hint("rebind a gateway with NAT"));
        }
        if standing.place.gateway.engine == Engine::Model {
            let state = model::command(lab, machine, &Command::Rebind)?;
            if (state.mappings, state.flows) != (0, 0) {
                return Err(Trouble::lab(format!("{} flows are left", state.flows)));
            }
            same(&standing.proven, &model::proven(&state)?)?;
            return Ok("its table is empty, and no endpoint gets the port it had".to_owned());
        }
        let turn = standing.rebinds + 1;
        let mut place = standing.place.clone();
        place.gateway.profile = standing.first.rebound(turn);
        let (before, after) = (standing.place.gateway.profile.ports.range, place.gateway.profile.ports.range);
        if before == after {
            return Err(Trouble::lab(format!("there are no other ports than {before}")));
        }
        let proven = self.replace(lab, &place)?;
        if proven == standing.proven {
            return Err(Trouble::lab("its rules are those that they were"));
        }
        *standing = Standing { place, proven, rebinds: turn, ..standing.clone() };
        Ok(format!("its table is empty, and ports come from {after} where they came from {before}"))
    }

    /// Its outside addresses are others of the same network, and all state is lost.
    fn renumber(&self, lab: &Lab, listing: &mut Listing, machine: Machine) -> Result<String, Trouble> {
        let standing = listing.of_mut(machine)?;
        let mut place = standing.place.clone();
        if place.gateway.profile.mapping.is_none() {
            return Err(Trouble::lab("it translates nothing, and others have routes by its address")
                .hint("renumber a gateway with NAT"));
        }
        let turn = standing.renumberings + 1;
        place.addresses.outside = renumbered(&place, turn);
        // It would ask for its new address where the old one was, and its packets would wait there.
        port_mapping::stop(lab.member(machine)?)?;
        self.move_to_its_addresses(lab, &place)?;
        let proven = match place.gateway.engine {
            Engine::Model => {
                let outside = place.addresses.outside.clone();
                model::proven(&model::command(lab, machine, &Command::Renumber { outside })?)?
            }
            Engine::Kernel => self.replace(lab, &place)?,
        };
        let shown = format!("{} is now {}", list(&standing.place), list(&place));
        *standing = Standing { place, proven, renumberings: turn, ..standing.clone() };
        Ok(shown)
    }

    /// It behaves otherwise, as was proven before.
    fn turn_into(
        &self,
        lab: &Lab,
        listing: &mut Listing,
        machine: Machine,
        gateway: &Gateway,
    ) -> Result<String, Trouble> {
        let proven = listing
            .others()
            .iter()
            .find(|other| other.place.machine == machine && other.place.gateway == *gateway);
        let proven = proven
            .cloned()
            .ok_or_else(|| Trouble::lab(format!("it was never proven as `{}`", gateway.profile.name)))?;
        let standing = listing.of_mut(machine)?;
        with_its_first_addresses(standing)?;
        let found = self.replace(lab, &proven.place)?;
        same(&proven.proven, &found)?;
        let before = std::mem::replace(standing, proven).place.gateway.profile.name;
        Ok(format!("`{before}` is now `{}`, as it was proven", gateway.profile.name))
    }

    /// Loads a gateway with what it is now, empties it, and gives what must be true of it from now on.
    fn replace(&self, lab: &Lab, place: &Place) -> Result<String, Trouble> {
        let leases = port_mapping::kept(lab, self.scenario, place, Restart::Rules)?;
        gateway::install(lab, self.scenario, place, &leases, self.folder)?;
        gateway::empty(lab, self.scenario, place)
    }

    /// Gives the interface outside the addresses of a place, and reads them back.
    fn move_to_its_addresses(&self, lab: &Lab, place: &Place) -> Result<(), Trouble> {
        let agent = lab.agent(place.machine)?;
        let hosts = lab.topology().hosts().iter();
        let host = hosts.clone().find(|host| host.machine == place.machine);
        let length =
            host.and_then(|host| host.nics.first()?.addresses.first()).map_or(24, |(_, length)| *length);
        let mut script = "ip -4 addr flush dev wan".to_owned();
        for address in &place.addresses.outside {
            script.push_str(&format!(" && ip addr add {address}/{length} brd + dev wan"));
        }
        for (to, length, via) in host.map_or(&[][..], |host| &host.routes) {
            script.push_str(&format!(" && ip route replace {to}/{length} via {via}"));
        }
        script.push_str(" && ip -4 -o addr show dev wan");
        let output = expect(agent, &["sh", "-c", &script])?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found: Vec<Ipv4Addr> = said
            .lines()
            .filter_map(|line| {
                let address = line.split_whitespace().skip_while(|word| *word != "inet").nth(1)?;
                address.split('/').next()?.parse().ok()
            })
            .collect();
        if found != place.addresses.outside {
            return Err(Trouble::lab("its addresses are not those that were set")
                .lines(said.lines().map(str::to_owned)));
        }
        Ok(())
    }
}

/// What a gateway may become is proven with the addresses that it has at first.
fn with_its_first_addresses(standing: &Standing) -> Result<(), Trouble> {
    match standing.renumberings {
        0 => Ok(()),
        _ => Err(Trouble::lab("it was proven with other addresses")
            .hint("let it become another before it is renumbered")),
    }
}

fn same(proven: &str, found: &str) -> Result<(), Trouble> {
    if proven == found {
        return Ok(());
    }
    Err(Trouble::lab("it is not what was proven").lines(found.lines().map(str::to_owned)))
}

/// What one machine has and no other.
fn boot_id(lab: &Lab, machine: Machine) -> Result<String, Trouble> {
    let id = lab.agent(machine)?.read_file("/etc/machine-id", 64)?;
    Ok(String::from_utf8_lossy(id.trim_ascii()).into_owned())
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

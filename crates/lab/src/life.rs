//! What becomes of gateways in a scenario, whatever they are made of.

use std::net::Ipv4Addr;

use natrig_scenario::{Action, Gateway, GatewayFault, Machine, Scenario, Site};

use crate::{Place, Topology, Trouble};

/// What gateways become.
pub fn becoming(scenario: &Scenario) -> impl Iterator<Item = (Machine, &Gateway)> {
    scenario.faults.iter().filter_map(|fault| match &fault.action {
        Action::Gateway(machine, GatewayFault::Become(gateway)) => Some((*machine, &**gateway)),
        _ => None,
    })
}

/// The same scenario with another gateway.
pub fn with(scenario: &Scenario, machine: Machine, gateway: &Gateway) -> Result<Scenario, Trouble> {
    let mut another = scenario.clone();
    let topology = Topology::of(scenario);
    let places = topology.gateways();
    let place = places.iter().find(|place| place.machine == machine);
    let place = place.ok_or_else(|| Trouble::lab(format!("there is no gateway {machine}")))?;
    let at =
        places.iter().filter(|other| other.site == place.site).position(|other| other.machine == machine);
    let of_site = another.nats.get_mut(place.site.index());
    match at.zip(of_site).and_then(|(at, nat)| nat.gateways.get_mut(at)) {
        Some(slot) => *slot = gateway.clone(),
        None => return Err(Trouble::lab(format!("the scenario has no {machine}"))),
    }
    Ok(another)
}

/// The outside addresses that a gateway gets when it is renumbered for the n-th time: others of the same network, that
/// nobody else has.
pub fn renumbered(place: &Place, turn: u32) -> Vec<Ipv4Addr> {
    let even = turn.is_multiple_of(2);
    let number = place.site.number();
    // Below the stations; sites after the second have one address, the others as many as a pool can have.
    let first = match (place.site <= Site::TWO, even) {
        (true, true) => 160 + 16 * number,
        (true, false) => 96 + 16 * number,
        (false, true) => 88 + number,
        (false, false) => 80 + number,
    };
    (first..)
        .zip(&place.addresses.outside)
        .map(|(host, address)| {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, host)
        })
        .collect()
}

/// A gateway's outside addresses, for messages.
pub fn list(place: &Place) -> String {
    let addresses: Vec<String> = place.addresses.outside.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_the_address_that_a_gateway_moves_to() {
        let text = "name: test\nnat1: port-restrict\nnat2: cgn\nexpected: truth\n";
        let scenario = Scenario::parse("test.yaml", text).unwrap().remove(0);
        let topology = Topology::of(&scenario);
        let mut taken: Vec<Ipv4Addr> = topology
            .hosts()
            .iter()
            .flat_map(|host| &host.nics)
            .flat_map(|nic| &nic.addresses)
            .chain(
                topology
                    .gateways()
                    .iter()
                    .flat_map(|place| topology.stands(place))
                    .flat_map(|s| s.addresses)
                    .collect::<Vec<_>>()
                    .iter(),
            )
            .map(|(address, _)| *address)
            .collect();
        for place in topology.gateways() {
            for turn in 1..3 {
                let moved = renumbered(place, turn);
                assert_eq!(moved.len(), place.addresses.outside.len());
                for address in moved {
                    assert!(!taken.contains(&address), "{address}");
                    taken.push(address);
                }
            }
        }
    }
}

//! What is told of cells before they run.

use natrig_record::{Cable, Column, Map, Planned, Role};
use natrig_scenario::{Machine, Scenario};

/// The cells of a run, and the maps that they share.
pub(crate) fn of<'a>(runs: impl Iterator<Item = (&'a Scenario, Option<u32>)>) -> (Vec<Planned>, Vec<Map>) {
    let mut maps: Vec<Map> = Vec::new();
    let planned = runs
        .map(|(scenario, repetition)| {
            let map = map(scenario);
            let at = maps.iter().position(|known| *known == map).unwrap_or_else(|| {
                maps.push(map);
                maps.len() - 1
            });
            planned(scenario, repetition, at)
        })
        .collect();
    (planned, maps)
}

fn planned(scenario: &Scenario, repetition: Option<u32>, map: usize) -> Planned {
    Planned {
        id: scenario.id.clone(),
        nats: scenario.nats.iter().map(|nat| nat.name.clone()).collect(),
        initiator: scenario.initiator.number(),
        name: scenario.name.clone(),
        repetition,
        expected: scenario.expected.to_string(),
        pair: scenario.pair().map(|machine| machine.name().to_owned()).to_vec(),
        map: Some(map),
    }
}

/// The machines of a scenario and their cables.
pub(crate) fn map(scenario: &Scenario) -> Map {
    let layout = scenario.layout();
    let column =
        |machine: Machine, role, detail: String| Column { name: machine.name().to_owned(), role, detail };
    let mut machines = Vec::new();
    for site in layout.sites() {
        let peers = layout.peers().filter(|peer| peer.site() == Some(site));
        machines.extend(peers.map(|peer| column(peer, Role::Peer, site.number().to_string())));
        let nats = scenario.nats.get(site.index()).map_or(&[][..], |nat| &nat.gateways);
        let gateways = layout.gateways(site).zip(nats);
        machines.extend(
            gateways.map(|(machine, gateway)| column(machine, Role::Gateway, gateway.profile.name.clone())),
        );
    }
    machines.extend(layout.public().map(|machine| column(machine, Role::Public, String::new())));
    let links = layout
        .links()
        .map(|(link, segment)| Cable {
            name: link.name().to_owned(),
            machine: link.machine().name().to_owned(),
            segment: segment.name().to_owned(),
        })
        .collect();
    Map { machines, links }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Vec<Scenario> {
        Scenario::parse("test.yaml", text).unwrap()
    }

    #[test]
    fn cells_that_are_alike_share_a_map() {
        let cells = cells(include_str!("../../../scenarios/seed/test-matrix.yaml"));
        let twice: Vec<_> =
            [1, 2].into_iter().flat_map(|n| cells.iter().map(move |one| (one, Some(n)))).collect();
        let (planned, maps) = of(twice.into_iter());
        assert_eq!(planned.len(), cells.len() * 2);
        assert!(maps.len() <= cells.len(), "{}", maps.len());
        assert_eq!(planned[0].map, planned[cells.len()].map);
        assert_eq!((planned[0].repetition, planned[cells.len()].repetition), (Some(1), Some(2)));
    }

    #[test]
    fn a_map_has_every_cable_between_a_machine_and_a_segment() {
        let cells = cells(include_str!("../../../scenarios/mesh/topologies.yaml"));
        for map in of(cells.iter().map(|one| (one, None))).1 {
            for link in &map.links {
                assert!(map.machines.iter().any(|machine| machine.name == link.machine), "{link:?}");
            }
            let public = map.machines.iter().filter(|machine| machine.role == Role::Public);
            assert!(public.count() > 0);
            let gateway = map.machines.iter().find(|machine| machine.role == Role::Gateway).unwrap();
            assert!(!gateway.detail.is_empty());
        }
    }
}

//! Every pair of any gateways, held against the truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Expected, Nat, NodeOptions, Scenario, Side, Sizes, Truth, Unknown, id, read::DEFAULT_CARRY};

/// How long the nodes of a cell may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The cells of a grid: each of the gateways dials each, by rows.
#[derive(Debug)]
pub struct Matrix {
    /// Those of which the truth is known.
    pub cells: Vec<Scenario>,
    /// Why the others are left out.
    pub unknown: Vec<Unknown>,
}

impl Matrix {
    /// The grid of some gateways. A pair of the five has its number in the matrix as its ID, every other one its names.
    pub fn of(nats: &[Nat]) -> Self {
        let mut matrix = Matrix { cells: Vec::new(), unknown: Vec::new() };
        let mut ids = BTreeSet::new();
        for initiator in nats {
            for responder in nats {
                let node = NodeOptions::default();
                let kind = match Truth::standard().of(initiator, responder, node.birthday) {
                    Ok(kind) => kind,
                    Err(unknown) => {
                        matrix.unknown.push(unknown);
                        continue;
                    }
                };
                let nats = [initiator.clone(), responder.clone()];
                let id = unique(id_of(&nats), &mut ids);
                matrix.cells.push(Scenario {
                    name: "Matrix".to_owned(),
                    id,
                    file: None,
                    priority: None,
                    nats: nats.into(),
                    peers: vec![1, 1],
                    initiator: Side::One,
                    use_relay: true,
                    relays: 1,
                    expected: Expected::Exactly(kind),
                    timeout: TIMEOUT,
                    carry: DEFAULT_CARRY,
                    sizes: Sizes::default(),
                    links: Vec::new(),
                    filters: Vec::new(),
                    faults: Vec::new(),
                    talks: Vec::new(),
                    port_mapping: BTreeMap::new(),
                    node,
                    app: None,
                    attached: BTreeSet::new(),
                });
            }
        }
        matrix
    }
}

fn id_of(nats: &[Nat; 2]) -> String {
    let of_the_five = |nat: &Nat| nat.preset().filter(|preset| Nat::from(*preset) == *nat);
    match of_the_five(&nats[0]).zip(of_the_five(&nats[1])) {
        Some((one, two)) => id::matrix([one, two]),
        // Names have hyphens, so that one more would not tell where the first ends.
        None => nats.each_ref().map(|nat| id::slug(&nat.name)).join("_"),
    }
}

/// An ID that is a file name and that no other cell has.
fn unique(id: String, ids: &mut BTreeSet<String>) -> String {
    let id: String = if id.len() > id::LONGEST { id.chars().take(id::LONGEST - 4).collect() } else { id };
    let mut unique = id.clone();
    let mut count = 1;
    while !ids.insert(unique.clone()) {
        count += 1;
        unique = format!("{id}-{count}");
    }
    unique
}

#[cfg(test)]
mod tests {
    use natrig_nat::{Preset, Profile, profile::Named};

    use super::*;
    use crate::{Engine, Gateway};

    fn ids(nats: &[Nat]) -> Vec<String> {
        Matrix::of(nats).cells.into_iter().map(|cell| cell.id).collect()
    }

    #[test]
    fn the_five_are_the_seeds_file() {
        let seeds = Scenario::parse("m", include_str!("../../../scenarios/all-combinations.yaml")).unwrap();
        let matrix = Matrix::of(&Preset::ALL.map(Nat::from));
        assert_eq!((seeds.len(), matrix.unknown.len()), (25, 0));
        for (seed, cell) in seeds.into_iter().zip(matrix.cells) {
            let named = |scenario: Scenario| Scenario { name: String::new(), file: None, ..scenario };
            assert_eq!(named(cell), named(seed));
        }
    }

    #[test]
    fn a_pair_of_the_five_keeps_its_number_and_others_have_names() {
        let cgn = Nat::of(&Named::find("cgn").unwrap());
        assert_eq!(
            ids(&[Preset::Symmetric.into(), cgn]),
            ["T2.M.25", "symmetric_cgn", "cgn_symmetric", "cgn_cgn"]
        );
    }

    #[test]
    fn the_same_behaviour_of_another_engine_is_another_gateway() {
        let gateway = Gateway { profile: Profile::of(Preset::Symmetric), engine: Engine::Model, fixed: true };
        let model = Nat { name: "symmetric".to_owned(), gateways: vec![gateway] };
        assert_eq!(ids(&[model]), ["symmetric_symmetric"]);
    }

    #[test]
    fn long_names_that_begin_alike_still_differ() {
        let long = |end: &str| Nat { name: format!("{}-{end}", "x".repeat(90)), ..Preset::FullCone.into() };
        let ids = ids(&[long("a"), long("b")]);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 4);
        assert!(ids.iter().all(|id| id::is_id(id)), "{ids:?}");
    }

    #[test]
    fn pairs_without_a_truth_are_left_out_and_told() {
        let blocked = Nat::of(&Named::find("udp-blocked").unwrap());
        let matrix = Matrix::of(&[Preset::FullCone.into(), blocked]);
        assert_eq!((matrix.cells.len(), matrix.unknown.len()), (1, 3));
        assert!(matrix.unknown[0].to_string().contains("passes no UDP"), "{}", matrix.unknown[0]);
    }
}

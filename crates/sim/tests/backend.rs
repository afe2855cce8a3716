//! Scenarios in the simulator end as on machines.

use natrig_lab::{Backend, Halt};
use natrig_record::{Cell, Outcome};
use natrig_scenario::Scenario;
use natrig_sim::backend::{Experimenter, Simulator};

const MATRIX: &str = include_str!("../../../scenarios/all-combinations.yaml");

fn run(backend: &dyn Backend, scenario: &Scenario) -> Cell {
    let folder = tempfile::tempdir().unwrap();
    backend.run(scenario, 1, folder.path(), &|_| (), &Halt::default())
}

fn expect_all(backend: &dyn Backend) {
    for scenario in Scenario::parse("matrix.yaml", MATRIX).unwrap() {
        let cell = run(backend, &scenario);
        assert_eq!(cell.outcome, Outcome::AsExpected, "{}: {:#?}", scenario.id, cell.failure);
    }
}

#[test]
fn all_of_the_matrix_is_as_expected() {
    expect_all(&Simulator::new(7));
}

#[test]
fn all_of_the_matrix_is_as_expected_without_nodes() {
    expect_all(&Experimenter::new(&Simulator::new(7)));
}

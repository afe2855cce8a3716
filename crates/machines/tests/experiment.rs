//! What two real gateways come to, without a node.

mod rig;

use natrig_lab::{Backend, Halt};
use natrig_machines::Experimenter;
use natrig_nat::Preset;
use natrig_record::{Cell, Kind, Outcome};
use natrig_scenario::Truth;

fn experiment(initiator: Preset, responder: Preset) -> Cell {
    let folder = tempfile::tempdir().unwrap();
    let scenario = rig::scenario(initiator.name(), responder.name());
    Experimenter::new(rig::rig()).run(&scenario, 1, folder.path(), &|_| (), &Halt::default())
}

fn check(initiator: Preset, responder: Preset) -> Kind {
    let cell = experiment(initiator, responder);
    let found =
        cell.experiment.as_ref().unwrap_or_else(|| panic!("{initiator} to {responder}: {:#?}", cell.failure));
    assert_eq!(
        found.kind,
        Truth::standard().lookup(initiator, responder, true),
        "{initiator} to {responder}"
    );
    assert!(!found.order_matters, "{initiator} to {responder}: {found:?}");
    assert_eq!(cell.outcome, Outcome::AsExpected, "{initiator} to {responder}: {:?}", cell.failure);
    println!("{initiator} to {responder}: {}, {:?}, {:?}", found.kind, found.search, cell.figures);
    found.kind
}

#[test]
fn gateways_come_to_what_the_table_says() {
    let kinds = [
        [Preset::FullCone, Preset::PortRestrict],
        [Preset::PortRestrict, Preset::Symmetric],
        [Preset::Symmetric, Preset::Symmetric],
    ]
    .map(|[initiator, responder]| check(initiator, responder));
    assert_eq!(kinds, [Kind::Reversal, Kind::Birthday, Kind::Relay]);
}

#[test]
#[ignore = "long: make test-full"]
fn all_gateways_come_to_what_the_table_says() {
    for initiator in Preset::ALL {
        for responder in Preset::ALL {
            check(initiator, responder);
        }
    }
}

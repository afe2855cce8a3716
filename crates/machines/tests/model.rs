//! The project's own engine in a gateway machine.

mod rig;

use natrig_machines::{gateway, model};
use natrig_nat::bytes::control::Command;
use natrig_scenario::{Engine, Machine, Scenario};
use rig::{boot, scenario};

/// A scenario whose first gateway, or both, is the model's.
fn modelled(nat1: &str, nat2: &str, engines: [Engine; 2]) -> Scenario {
    let mut scenario = scenario(nat1, nat2);
    for (nat, engine) in scenario.nats.iter_mut().zip(engines) {
        nat.gateways[0].engine = engine;
    }
    scenario
}

#[test]
fn the_model_is_proven_like_any_gateway() {
    for [nat1, nat2] in
        [["public", "full-cone"], ["addr-restrict", "port-restrict"], ["symmetric", "symmetric"]]
    {
        let folder = tempfile::tempdir().unwrap();
        let scenario = modelled(nat1, nat2, [Engine::Model; 2]);
        let lab = boot(&scenario, folder.path());
        gateway::load(&lab, &scenario, folder.path()).unwrap();
        let proofs = gateway::measure(&lab, &scenario).unwrap();
        for proof in proofs {
            assert!(proof.holds, "{proof:#?}");
        }
        if nat1 != "public" {
            let state = model::command(&lab, Machine::Nat1, &Command::State).unwrap();
            assert_ne!(state.flows, 0, "the proof must have left something to flush");
        }
        let listing = gateway::flush(&lab, &scenario).unwrap();
        gateway::gather(&lab, &scenario, Some(&listing), folder.path()).unwrap();
    }
}

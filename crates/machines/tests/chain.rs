//! A site behind its carrier's gateway.

mod rig;

use natrig_machines::gateway;
use natrig_scenario::{Machine, Scenario};
use rig::{boot, scenario, shell};

fn prove(scenario: &Scenario, mend: &str) -> Vec<natrig_record::Proof> {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(scenario, folder.path());
    gateway::load(&lab, scenario, folder.path()).unwrap();
    assert!(shell(&lab, Machine::CGN1, mend).1.success(), "{mend}");
    gateway::measure(&lab, scenario).unwrap()
}

/// Which proof holds, and what was measured.
fn said(proofs: &[natrig_record::Proof]) -> Vec<String> {
    let line = |proof: &natrig_record::Proof| {
        let holds = if proof.holds { "is" } else { "is NOT" };
        format!(
            "{} {holds} {}: {} {}",
            proof.gateway, proof.profile, proof.measured.mapping, proof.measured.filtering
        )
    };
    proofs.iter().map(line).collect()
}

#[test]
fn each_gateway_is_proven_on_its_own_and_both_together() {
    let scenario = scenario("cgn", "full-cone");
    assert_eq!(
        said(&prove(&scenario, "true")),
        [
            "nat1 is cgn-home: EIM APDF",
            "cgn1 is cgn-carrier: EIM EIF",
            "nat2 is full-cone: EIM EIF",
            "nat1 behind cgn1 is cgn: EIM APDF",
        ]
    );
    // The carrier's ports are symmetric now: that is seen where it happens, and from outside.
    let symmetric = "nft flush chain ip natrig translate && nft add rule ip natrig translate oifname wan masquerade fully-random";
    let found = said(&prove(&scenario, symmetric));
    assert!(found[0].contains("nat1 is cgn-home"), "{found:?}");
    assert!(found[1].contains("cgn1 is NOT cgn-carrier: APDM"), "{found:?}");
    assert!(found[3].contains("nat1 behind cgn1 is NOT cgn: APDM"), "{found:?}");
}

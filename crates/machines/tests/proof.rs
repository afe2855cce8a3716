//! No gateway is used that is not what it says.

mod rig;

use natrig_machines::gateway;
use natrig_nat::Preset;
use natrig_scenario::{Machine, Scenario};
use rig::{boot, scenario, shell};

/// Measures gateways that were loaded with one scenario's rules against what another declares.
fn measure(loaded: &Scenario, declared: &Scenario, mend: &str) -> Vec<natrig_record::Proof> {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(declared, folder.path());
    gateway::start_stun(&lab).unwrap();
    gateway::load(&lab, loaded, folder.path()).unwrap();
    for machine in [Machine::Nat1, Machine::Nat2] {
        assert!(shell(&lab, machine, mend).1.success(), "{mend}");
    }
    gateway::measure(&lab, declared).unwrap()
}

#[test]
fn every_preset_is_what_it_says() {
    for [nat1, nat2] in [
        [Preset::Public, Preset::FullCone],
        [Preset::AddrRestrict, Preset::PortRestrict],
        [Preset::Symmetric, Preset::Symmetric],
    ] {
        let scenario = scenario(nat1.name(), nat2.name());
        for proof in measure(&scenario, &scenario, "true") {
            assert!(proof.holds, "{proof:#?}");
        }
    }
}

#[test]
fn a_gateway_that_is_another_than_it_says_is_refused_with_both_sides() {
    let proofs =
        measure(&scenario("port-restrict", "full-cone"), &scenario("full-cone", "symmetric"), "true");
    let refused = gateway::refuse(&proofs).unwrap_err();
    assert_eq!(refused.message, "nat1 is not the full-cone NAT it should be");
    assert!(refused.lines[0].contains("declared") && refused.lines[0].contains("EIF"), "{refused:?}");
    assert!(refused.lines[1].contains("measured") && refused.lines[1].contains("APDF"), "{refused:?}");
    assert_eq!((proofs[1].measured.mapping.as_str(), proofs[1].holds), ("EIM", false));
}

#[test]
fn a_poisoned_gateway_is_refused_for_its_moving_port() {
    let rules = scenario("port-restrict", "port-restrict");
    // What many a home-made lab does: input from outside is accepted, so conntrack confirms early packets, and the
    // maps that would keep the port are not there.
    let open = "nft flush chain ip natrig input && nft flush chain ip natrig learned";
    for proof in measure(&rules, &rules, open) {
        assert!(!proof.holds);
        assert_eq!(proof.measured.early_packet_harmless, Some(false), "{proof:#?}");
        assert_eq!(proof.measured.filtering, "APDF");
    }
}

#[test]
fn a_flush_leaves_nothing_and_a_changed_rule_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario("full-cone", "addr-restrict");
    let lab = boot(&scenario, folder.path());
    gateway::start_stun(&lab).unwrap();
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    gateway::measure(&lab, &scenario).unwrap();
    let (before, _) = shell(&lab, Machine::Nat1, "conntrack -C");
    assert_ne!(before, "0", "the proof must have left something to flush");
    let listing = gateway::flush(&lab, &scenario).unwrap();
    assert_eq!(shell(&lab, Machine::Nat1, "conntrack -C").0, "0");
    gateway::gather(&lab, Some(&listing), folder.path()).unwrap();
    shell(&lab, Machine::Nat2, "nft add rule ip natrig forward accept");
    let changed = gateway::gather(&lab, Some(&listing), folder.path()).unwrap_err();
    assert_eq!(changed.message, "nat2: the rules are not those that were proven");
}

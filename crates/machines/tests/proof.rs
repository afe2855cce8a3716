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
    assert!(refused.lines[0].contains("declared") && refused.lines[0].contains("measured"), "{refused:?}");
    let differs = refused.lines.iter().find(|line| line.contains("differs")).unwrap();
    assert!(differs.contains("EIF") && differs.contains("APDF"), "{refused:?}");
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

/// The rules of the seed to the letter, but for the interface's name; its restricted cones need a NAT to go with them.
const SEED_FULL_CONE: &str = r#"
table ip nat {
    chain postrouting { type nat hook postrouting priority 100; oifname "wan" masquerade persistent; }
    chain prerouting { type nat hook prerouting priority -100; }
}"#;
const SEED_RESTRICTED: &str = r#"
table ip nat {
    chain postrouting { type nat hook postrouting priority 100; oifname "wan" masquerade persistent; }
}
table ip filter {
    chain forward { type filter hook forward priority 0; ct state established,related accept; iifname "wan" drop; }
}"#;
const SEED_SYMMETRIC: &str = r#"
table ip nat {
    chain postrouting { type nat hook postrouting priority 100; oifname "wan" masquerade random,persistent; }
}"#;

/// What is measured behind the seed's rules for two NATs.
fn seed(nats: [&str; 2], rules: [&str; 2]) -> Vec<natrig_record::Proof> {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario(nats[0], nats[1]);
    let lab = boot(&scenario, folder.path());
    gateway::start_stun(&lab).unwrap();
    for (machine, rules) in [Machine::Nat1, Machine::Nat2].into_iter().zip(rules) {
        lab.agent(machine).unwrap().write_file("/run/seed.nft", 0o644, rules.into()).unwrap();
        assert!(shell(&lab, machine, "nft -f /run/seed.nft").1.success());
    }
    gateway::measure(&lab, &scenario).unwrap()
}

#[test]
fn the_seeds_cones_are_refused_for_what_they_are() {
    for nats in [["full-cone", "addr-restrict"], ["full-cone", "port-restrict"]] {
        for proof in seed(nats, [SEED_FULL_CONE, SEED_RESTRICTED]) {
            assert!(!proof.holds, "{proof:#?}");
            // All of them are one and the same: port-restricted, and their ports move.
            assert_eq!((proof.measured.mapping.as_str(), proof.measured.filtering.as_str()), ("EIM", "APDF"));
            assert_eq!(proof.measured.early_packet_harmless, Some(false), "{proof:#?}");
        }
    }
}

#[test]
fn the_seeds_symmetric_rule_maps_and_filters_as_it_says() {
    for proof in seed(["symmetric", "symmetric"], [SEED_SYMMETRIC, SEED_SYMMETRIC]) {
        assert_eq!((proof.measured.mapping.as_str(), proof.measured.filtering.as_str()), ("APDM", "APDF"));
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
    gateway::gather(&lab, &scenario, Some(&listing), folder.path()).unwrap();
    shell(&lab, Machine::Nat2, "nft add rule ip natrig forward accept");
    let changed = gateway::gather(&lab, &scenario, Some(&listing), folder.path()).unwrap_err();
    assert_eq!(changed.message, "nat2: the rules are not those that were proven");
}

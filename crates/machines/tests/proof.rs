//! No gateway is used that is not what it says.

mod rig;

use std::time::Duration;

use natrig_lab::proof::{Depth, refuse};
use natrig_machines::{gateway, proof};
use natrig_nat::{Preset, Profile, engine::Addresses, ruleset::Ruleset};
use natrig_record::Proof;
use natrig_scenario::{Machine, Scenario};
use natrig_wire::{Conditions, Direction};
use rig::{boot, scenario, shell};

/// Measures gateways that were loaded with one scenario's rules against what another declares.
fn measure(loaded: &Scenario, declared: &Scenario, mend: &str) -> Vec<Proof> {
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(declared, folder.path());
    gateway::load(&lab, loaded, folder.path()).unwrap();
    for machine in [Machine::NAT1, Machine::NAT2] {
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
    let refused = refuse(&proofs).unwrap_err();
    assert_eq!(refused.message, "nat1 is not the full-cone NAT it should be");
    assert!(refused.lines[0].contains("declared") && refused.lines[0].contains("measured"), "{refused:?}");
    let differs = refused.lines.iter().find(|line| line.contains("differs")).unwrap();
    assert!(differs.contains("EIF") && differs.contains("APDF"), "{refused:?}");
    assert_eq!((proofs[1].measured.mapping.as_str(), proofs[1].holds), ("EIM", false));
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

/// What is measured behind rules of one's own.
fn with_rules(nats: [&str; 2], rules: [&str; 2]) -> Vec<Proof> {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario(nats[0], nats[1]);
    let lab = boot(&scenario, folder.path());
    for (machine, rules) in [Machine::NAT1, Machine::NAT2].into_iter().zip(rules) {
        lab.agent(machine).unwrap().write_file("/run/rules.nft", 0o644, rules.into()).unwrap();
        assert!(shell(&lab, machine, "nft -f /run/rules.nft").1.success());
    }
    proof::measure(&lab, &scenario, |_| Depth::Whole).unwrap()
}

#[test]
fn the_seeds_rules_are_refused_each_for_what_it_is() {
    let cones = ["full-cone", "addr-restrict"];
    let symmetric = ["port-restrict", "symmetric"];
    let [full, addr] = with_rules(cones, [SEED_FULL_CONE, SEED_RESTRICTED]).try_into().unwrap();
    let [port, symmetric] = with_rules(symmetric, [SEED_RESTRICTED, SEED_SYMMETRIC]).try_into().unwrap();
    // All cones are one and the same: port-restricted, with ports that move and that two hosts share.
    for cone in [&full, &addr, &port] {
        let measured = &cone.measured;
        assert_eq!((measured.mapping.as_str(), measured.filtering.as_str()), ("EIM", "APDF"));
        assert_eq!(measured.early_packet_harmless, Some(false), "{cone:#?}");
        assert_eq!(measured.other["shared_endpoints"], "true", "{cone:#?}");
        assert!(!cone.holds && cone.differs.contains(&"early_packet".to_owned()), "{cone:#?}");
    }
    assert!(full.differs.contains(&"filtering".to_owned()) && addr.differs.contains(&"filtering".to_owned()));
    assert!(!port.differs.contains(&"filtering".to_owned()));
    // This one only for its open input.
    assert_eq!(symmetric.differs, ["unsolicited"], "{:#?}", symmetric.side_by_side());
}

#[test]
fn a_poisoned_gateway_is_refused_for_its_moving_port() {
    let (loaded, declared) = (scenario("poison", "public"), scenario("port-restrict", "public"));
    let proof = &measure(&loaded, &declared, "true")[0];
    assert_eq!(proof.measured.early_packet_harmless, Some(false), "{proof:#?}");
    assert_eq!(proof.measured.filtering, "APDF");
    assert!(!proof.holds && proof.differs.contains(&"early_packet".to_owned()), "{proof:#?}");
}

#[test]
fn a_gateway_that_leaks_after_a_collision_is_refused() {
    // A map that knows inside hosts by their own port: what strangers send to one's endpoint comes to who used that port
    // last.
    let leaking = ["192.168.100.1", "192.168.100.2"].map(|outside| {
        let inside = "10.0.0.0/16".parse().unwrap();
        let addresses = Addresses { outside: vec![outside.parse().unwrap()], inside };
        let rules = Ruleset::compile(&Profile::of(Preset::FullCone), &addresses).unwrap();
        let wrong = rules.text().replace(
            "update @fc { meta l4proto . ct reply ip daddr . ct reply proto-dst",
            "update @fc { meta l4proto . ct reply ip daddr . ct original proto-src",
        );
        assert_ne!(wrong, rules.text());
        wrong
    });
    for proof in with_rules(["full-cone", "full-cone"], leaking.each_ref().map(String::as_str)) {
        // With one host it is what it says.
        assert_eq!((proof.measured.mapping.as_str(), proof.measured.filtering.as_str()), ("EIM", "EIF"));
        assert_eq!(proof.measured.other["owner_only"], "false", "{proof:#?}");
        assert_eq!(proof.differs, ["owner_only"], "{:#?}", proof.side_by_side());
    }
}

#[test]
fn a_gateway_whose_answers_are_slow_is_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario("full-cone", "addr-restrict");
    let lab = boot(&scenario, folder.path());
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    // What comes in is slower than what a prober waits for before it asks again.
    for link in ["nat1.wan", "nat2.wan"] {
        let port = lab.switch().port(link).unwrap();
        let slow = Conditions::delayed(Duration::from_millis(700));
        lab.switch().condition(port, Direction::Outbound, slow).unwrap();
    }
    let proofs = gateway::measure(&lab, &scenario).unwrap();
    refuse(&proofs).unwrap();
}

#[test]
#[ignore = "long: make test-full"]
fn a_gateway_whose_flows_end_early_is_refused() {
    let nat = |stream: &str| format!("{{like: port-restrict, timers: {{unreplied: 3s, stream: {stream}}}}}");
    let (says, does) = (scenario(&nat("9s"), &nat("5s")), scenario(&nat("5s"), &nat("5s")));
    let folder = tempfile::tempdir().unwrap();
    let lab = boot(&says, folder.path());
    gateway::load(&lab, &does, folder.path()).unwrap();
    let proofs = proof::measure(&lab, &says, |_| Depth::Timed).unwrap();
    assert!(proofs[0].differs.contains(&"timer_stream".to_owned()), "{:#?}", proofs[0].side_by_side());
    assert!(proofs[1].holds, "{:#?}", proofs[1].side_by_side());
}

#[test]
fn a_flush_leaves_nothing_and_a_changed_rule_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = scenario("full-cone", "addr-restrict");
    let lab = boot(&scenario, folder.path());
    gateway::load(&lab, &scenario, folder.path()).unwrap();
    gateway::measure(&lab, &scenario).unwrap();
    let (before, _) = shell(&lab, Machine::NAT1, "conntrack -C");
    assert_ne!(before, "0", "the proof must have left something to flush");
    let listing = gateway::flush(&lab, &scenario).unwrap();
    assert_eq!(shell(&lab, Machine::NAT1, "conntrack -C").0, "0");
    gateway::gather(&lab, &scenario, Some(&listing), folder.path()).unwrap();
    shell(&lab, Machine::NAT2, "nft add rule ip natrig forward accept");
    let changed = gateway::gather(&lab, &scenario, Some(&listing), folder.path()).unwrap_err();
    assert_eq!(changed.message, "nat2: the rules are not those that were proven");
}

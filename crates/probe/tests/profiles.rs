//! The prober against the NAT engine: every profile is measured to be what it declares.

mod way;

use std::time::Duration;

use natrig_lab::proof::compare;
use natrig_nat::{
    Filtering, Mapping, Preset, Profile,
    profile::{Allocation, Block, Hairpin, Named, Pool, Pooling, PortRange, Refresh, Timers, Unsolicited},
};
use natrig_probe::{Failed, Plan, Report};
use proptest::prelude::*;
use way::Chain;

fn measure(profiles: &[Profile], seed: u64) -> Result<Report, Failed> {
    way::measure(way::fast(seed), &mut Chain::new(profiles, seed))
}

/// Measures all of a gateway, and holds it against its profile; the axes that were measured.
fn check(profile: &Profile, seed: u64) -> Vec<String> {
    let plan = Plan { timers: Some(profile.timers), ..way::whole(seed) };
    let report = way::measure(plan, &mut Chain::new(std::slice::from_ref(profile), seed))
        .unwrap_or_else(|failed| panic!("{}: {failed}\n{profile:#?}", profile.name));
    let proof = compare("nat", profile, &report);
    assert!(
        proof.holds,
        "{}:\n{}\n{}",
        profile.name,
        proof.side_by_side().join("\n"),
        proof.notes.join("\n")
    );
    proof.measured.axes().into_iter().map(|(axis, _)| axis).collect()
}

#[test]
fn every_named_profile_is_measured_as_declared() {
    for named in Named::all() {
        let outcome = measure(&named.chain, 5);
        if named.chain.iter().any(|profile| profile.udp_blocked) {
            assert!(matches!(outcome, Err(Failed::Silent { .. })), "{}: {outcome:?}", named.name);
            continue;
        }
        let report = outcome.unwrap_or_else(|failed| panic!("{}: {failed}", named.name));
        assert_eq!((report.mapping, report.filtering), named.composed(), "{}", named.name);
        for profile in &named.chain {
            check(profile, 5);
        }
    }
}

#[test]
fn every_axis_of_a_home_router_is_measured() {
    let mut axes = check(&Profile::of(Preset::PortRestrict), 1);
    axes.sort();
    let all = [
        "addresses",
        "early_packet",
        "filtering",
        "hairpin",
        "icmp_errors",
        "lifetime",
        "mapping",
        "own_contacts_only",
        "owner_only",
        "parity",
        "pooling",
        "port_range",
        "ports",
        "refresh",
        "second_comer",
        "shared_endpoints",
        "stable",
        "timer_stream",
        "timer_unreplied",
        "timer_young",
        "true_sources",
        "udp",
        "unsolicited",
    ];
    assert_eq!(axes, all);
}

/// One change of a home router at a time, by name.
fn variations() -> Vec<(&'static str, Profile)> {
    let mut all: Vec<(&'static str, Profile)> = Vec::new();
    let mut vary = |name, change: &dyn Fn(&mut Profile)| {
        let mut profile = Profile { name: String::from(name), ..Profile::default() };
        change(&mut profile);
        profile.validate().unwrap_or_else(|wrong| panic!("{wrong}"));
        all.push((name, profile));
    };
    let range = PortRange::new(40_000, 44_999).unwrap();
    vary("strictly preserving", &|p| p.ports.allocation = Allocation::Preserving);
    vary("preserving in a range", &|p| p.ports.range = range);
    vary("random", &|p| p.ports.allocation = Allocation::Random);
    vary("random in a range", &|p| {
        p.ports.allocation = Allocation::Random;
        p.ports.range = range;
    });
    vary("sequential", &|p| p.ports.allocation = Allocation::Sequential { delta: 1 });
    vary("sequential by 7 in a range", &|p| {
        p.ports.allocation = Allocation::Sequential { delta: 7 };
        p.ports.range = range;
    });
    vary("parity", &|p| p.ports.parity = true);
    vary("random parity", &|p| {
        p.ports.allocation = Allocation::Random;
        p.ports.parity = true;
    });
    vary("sequential parity", &|p| {
        p.ports.allocation = Allocation::Sequential { delta: 2 };
        p.ports.parity = true;
    });
    vary("blocks", &|p| {
        p.ports.allocation = Allocation::Random;
        p.ports.block = Some(Block { size: 256, most: 1 });
    });
    vary("sequential blocks", &|p| {
        p.ports.allocation = Allocation::Sequential { delta: 1 };
        p.ports.block = Some(Block { size: 256, most: 2 });
    });
    vary("overloading", &|p| p.ports.overload = true);
    vary("symmetric overloading", &|p| {
        p.mapping = Some(Mapping::AddressAndPortDependent);
        p.ports.allocation = Allocation::Random;
        p.ports.overload = true;
    });
    vary("symmetric preserving", &|p| p.mapping = Some(Mapping::AddressAndPortDependent));
    vary("paired pool", &|p| p.pool = Pool { addresses: 4, pooling: Pooling::Paired });
    vary("arbitrary pool", &|p| p.pool = Pool { addresses: 3, pooling: Pooling::Arbitrary });
    vary("sequential arbitrary pool", &|p| {
        p.pool = Pool { addresses: 2, pooling: Pooling::Arbitrary };
        p.ports.allocation = Allocation::Sequential { delta: 3 };
    });
    vary("hairpin", &|p| p.hairpin = Hairpin::ExternalSource);
    vary("internal hairpin", &|p| p.hairpin = Hairpin::InternalSource);
    vary("full-cone hairpin", &|p| {
        p.filtering = Filtering::EndpointIndependent;
        p.hairpin = Hairpin::ExternalSource;
    });
    vary("symmetric full-cone internal hairpin", &|p| {
        p.mapping = Some(Mapping::AddressAndPortDependent);
        p.filtering = Filtering::EndpointIndependent;
        p.hairpin = Hairpin::InternalSource;
    });
    vary("reject", &|p| p.unsolicited = Unsolicited::Reject);
    vary("full-cone reject", &|p| {
        p.filtering = Filtering::EndpointIndependent;
        p.unsolicited = Unsolicited::Reject;
    });
    vary("poison", &|p| p.unsolicited = Unsolicited::Poison);
    vary("symmetric poison", &|p| {
        p.mapping = Some(Mapping::AddressAndPortDependent);
        p.unsolicited = Unsolicited::Poison;
    });
    vary("outbound refresh", &|p| p.refresh = Refresh::Outbound);
    vary("lifetime", &|p| p.timers.lifetime = Some(Duration::from_secs(140)));
    vary("short lifetime", &|p| p.timers.lifetime = Some(Duration::from_secs(45)));
    vary("short timers", &|p| {
        p.timers.unreplied = Duration::from_secs(2);
        p.timers.stream = Duration::from_secs(4);
        p.timers.stream_after = Duration::from_secs(1);
    });
    vary("stream at once", &|p| p.timers.stream_after = Duration::ZERO);
    vary("firewall", &|p| p.mapping = None);
    vary("rejecting firewall", &|p| {
        p.mapping = None;
        p.filtering = Filtering::AddressDependent;
        p.unsolicited = Unsolicited::Reject;
    });
    vary("router", &|p| {
        p.mapping = None;
        p.filtering = Filtering::EndpointIndependent;
    });
    all
}

#[test]
fn every_variation_is_measured_as_declared() {
    for (_, profile) in variations() {
        for seed in 0..5 {
            check(&profile, seed);
        }
    }
}

/// What differs when a gateway of one profile is held against another one.
fn differs(is: &Profile, declared: &Profile) -> Vec<String> {
    let plan = Plan { timers: Some(declared.timers), ..way::whole(3) };
    let report = way::measure(plan, &mut Chain::new(std::slice::from_ref(is), 3)).unwrap();
    compare("nat", declared, &report).differs
}

#[test]
fn no_variation_passes_for_another() {
    let variations = variations();
    for (one, is) in &variations {
        for (other, declared) in &variations {
            if one != other && !alike(is, declared) {
                assert!(!differs(is, declared).is_empty(), "{one} passes for {other}");
            }
        }
    }
}

/// Profiles that nobody outside can tell apart.
fn alike(one: &Profile, other: &Profile) -> bool {
    let plain = |profile: &Profile| {
        let mut plain = profile.clone();
        plain.name.clear();
        plain
    };
    plain(one) == plain(other)
}

#[test]
fn every_axis_that_is_wrong_is_named() {
    let of = |name: &str| variations().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let home = Profile::default();
    for (name, axis) in [
        ("strictly preserving", "second_comer"),
        ("random", "ports"),
        ("parity", "parity"),
        ("overloading", "shared_endpoints"),
        ("arbitrary pool", "pooling"),
        ("hairpin", "hairpin"),
        ("internal hairpin", "hairpin"),
        ("reject", "unsolicited"),
        ("poison", "early_packet"),
        ("outbound refresh", "refresh"),
        ("lifetime", "lifetime"),
        ("stream at once", "timer_young"),
    ] {
        let (is, declared) =
            if name == "lifetime" { (home.clone(), of(name)) } else { (of(name), home.clone()) };
        let differs = differs(&is, &declared);
        assert!(differs.iter().any(|differs| differs == axis), "{name}: {differs:?}");
    }
    assert!(differs(&of("random in a range"), &of("random")).contains(&"port_range".to_owned()));
    assert!(differs(&of("blocks"), &of("random")).contains(&"blocks".to_owned()));
}

fn profile() -> impl Strategy<Value = Profile> {
    let mapping = prop_oneof![
        1 => Just(None),
        4 => Just(Some(Mapping::EndpointIndependent)),
        2 => Just(Some(Mapping::AddressDependent)),
        2 => Just(Some(Mapping::AddressAndPortDependent)),
    ];
    let filtering = prop_oneof![
        Just(Filtering::EndpointIndependent),
        Just(Filtering::AddressDependent),
        Just(Filtering::AddressAndPortDependent),
    ];
    let allocation = prop_oneof![
        Just(Allocation::Preserving),
        Just(Allocation::PreservingUntilCollision),
        Just(Allocation::Random),
        (1u16..50).prop_map(|delta| Allocation::Sequential { delta }),
    ];
    let range = prop_oneof![
        Just(PortRange::default()),
        (1024u16..30_000, 8_000u16..30_000)
            .prop_map(|(first, width)| PortRange::new(first, first + width).unwrap()),
    ];
    let block = proptest::option::weighted(
        0.2,
        (128u16..1024, 1u16..3).prop_map(|(size, most)| Block { size, most }),
    );
    let pooling = prop_oneof![Just(Pooling::Paired), Just(Pooling::Arbitrary)];
    let pool = (1u16..4, pooling).prop_map(|(addresses, pooling)| Pool { addresses, pooling });
    let timers = (
        2u64..40,
        0u64..100,
        prop_oneof![Just(0u64), Just(1), Just(2), Just(4)],
        proptest::option::weighted(0.2, 10u64..400),
    )
        .prop_map(|(unreplied, more, after, lifetime)| Timers {
            unreplied: Duration::from_secs(unreplied),
            stream: Duration::from_secs(unreplied + more),
            stream_after: Duration::from_secs(after),
            lifetime: lifetime.map(Duration::from_secs),
            ..Timers::default()
        });
    let hairpin =
        prop_oneof![Just(Hairpin::None), Just(Hairpin::InternalSource), Just(Hairpin::ExternalSource)];
    let unsolicited =
        prop_oneof![Just(Unsolicited::Drop), Just(Unsolicited::Reject), Just(Unsolicited::Poison)];
    let refresh = prop_oneof![Just(Refresh::Both), Just(Refresh::Outbound)];
    (
        (mapping, filtering, allocation, range, block, any::<bool>(), proptest::bool::weighted(0.2)),
        (pool, timers, refresh, hairpin, unsolicited),
    )
        .prop_map(|((mapping, filtering, allocation, range, block, parity, overload), rest)| {
            let (pool, timers, refresh, hairpin, unsolicited) = rest;
            let mut profile = Profile {
                mapping,
                filtering,
                pool,
                timers,
                refresh,
                hairpin,
                unsolicited,
                ..Profile::default()
            };
            profile.ports.allocation = allocation;
            profile.ports.range = range;
            profile.ports.block = block;
            profile.ports.parity = parity;
            profile.ports.overload = overload;
            profile
        })
        .prop_filter("contradictory", |profile| profile.validate().is_ok())
        // A sequence that starts again every few steps looks random.
        .prop_filter("large steps", |profile| match (profile.ports.allocation, profile.ports.block) {
            (Allocation::Sequential { delta }, Some(block)) => block.size > 16 * delta,
            _ => true,
        })
        // An overloading gateway draws the address for each destination; so it does with a port that it cannot keep. On the
        // proof's ports, if they are not in the range, hosts of a strict one get nothing.
        .prop_filter("another profile on these ports", |profile| {
            let strict = profile.ports.allocation == Allocation::Preserving;
            let moving = profile.ports.overload && profile.mapping == Some(Mapping::EndpointIndependent);
            let spread = profile.pool.addresses > 1 && profile.pool.pooling == Pooling::Arbitrary;
            if moving && spread {
                return false;
            }
            !(strict || moving) || [61_000, 61_100].iter().all(|port| profile.ports.range.contains(*port))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_profile_is_measured_as_declared(profile in profile(), seed in any::<u64>()) {
        check(&profile, seed);
    }
}

/// Through a carrier's NAT the two gateways are seen as one: the worse mapping, the stricter filter, and the outermost one's
/// ports, addresses and hairpin.
#[test]
fn a_chain_is_measured_as_what_it_comes_to() {
    let cgn = Named::find("cgn").unwrap();
    let carrier = cgn.chain.last().unwrap();
    let (mapping, filtering) = cgn.composed();
    let composed = Profile { name: cgn.name.clone(), mapping, filtering, ..carrier.clone() };
    let report = way::measure(way::whole(1), &mut Chain::new(&cgn.chain, 1)).unwrap();
    let proof = compare("both", &composed, &report);
    assert!(proof.holds, "{}\n{}", proof.side_by_side().join("\n"), proof.notes.join("\n"));
    assert_eq!(proof.measured.other["hairpin"], "external-source");
}

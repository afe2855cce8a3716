use super::*;
use crate::{
    Filtering, Mapping, Preset,
    profile::{Allocation, Block, Hairpin, Limits, Named, Pool, Pooling, PortRange, Unsolicited},
};

fn addresses(profile: &Profile) -> Addresses {
    let outside = (1..=profile.pool.addresses.min(200)).map(|host| [192, 0, 2, host as u8].into()).collect();
    Addresses { outside, inside: "10.0.1.0/24".parse().unwrap() }
}

fn compiled(profile: &Profile) -> Ruleset {
    profile.validate().unwrap();
    Ruleset::compile(profile, &addresses(profile)).unwrap()
}

#[test]
fn the_presets_rulesets_are_as_they_were_read_last() {
    for preset in Preset::ALL {
        insta::assert_snapshot!(preset.name(), compiled(&Profile::of(preset)).text());
    }
}

#[test]
fn the_mechanisms_of_other_axes_are_as_they_were_read_last() {
    let range = PortRange::new(40_000, 40_127).unwrap();
    let mut cases = Vec::new();
    let mut case = |name: &str, change: &dyn Fn(&mut Profile)| {
        let mut profile = Profile { name: name.into(), ..Profile::of(Preset::PortRestrict) };
        profile.timers.stream = profile.timers.unreplied;
        profile.timers.tcp_established = profile.timers.tcp_transitory;
        change(&mut profile);
        cases.push(profile);
    };
    case("adm-sequence-in-a-pool", &|profile| {
        profile.mapping = Some(Mapping::AddressDependent);
        profile.ports.range = range;
        profile.ports.allocation = Allocation::Sequential { delta: 32 };
        profile.pool = Pool { addresses: 2, pooling: Pooling::Arbitrary };
    });
    case("blocks-of-two-addresses", &|profile| {
        profile.ports.range = range;
        profile.ports.allocation = Allocation::Random;
        profile.ports.block = Some(Block { size: 64, most: 1 });
        profile.pool = Pool { addresses: 2, pooling: Pooling::Paired };
    });
    case("neighbours-who-must-both-send", &|profile| profile.hairpin = Hairpin::ExternalSource);
    case("poison", &|profile| profile.unsolicited = Unsolicited::Poison);
    case("firewall-that-rejects", &|profile| {
        profile.mapping = None;
        profile.filtering = Filtering::AddressDependent;
        profile.unsolicited = Unsolicited::Reject;
    });
    case("strict-with-quotas", &|profile| {
        profile.ports.allocation = Allocation::Preserving;
        profile.ports.overload = true;
        profile.limits = Limits { per_host: Some(8), mappings: 64, flows: 256 };
        profile.udp_blocked = true;
    });
    for profile in cases {
        insta::assert_snapshot!(profile.name.clone(), compiled(&profile).text());
    }
}

#[test]
fn every_named_gateway_compiles_or_says_why_not() {
    for profile in Named::all().iter().flat_map(|named| &named.chain) {
        match Ruleset::compile(profile, &addresses(profile)) {
            Ok(ruleset) => assert!(ruleset.text().starts_with(&format!("# {}: ", profile.name))),
            Err(lacks) => assert_eq!(profile.kernel_can(), Err(lacks)),
        }
    }
}

#[test]
fn addresses_that_are_not_the_profiles_are_refused() {
    let profile = Profile::of(Preset::FullCone);
    let two = Addresses {
        outside: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
        ..addresses(&profile)
    };
    assert_eq!(Ruleset::compile(&profile, &two).unwrap_err()[0].axis, "pool.addresses");
}

#[test]
fn a_name_cannot_leave_its_comment() {
    let profile = Profile { name: "x\nflush ruleset\ntable ip evil {}\n".into(), ..Profile::default() };
    assert!(
        compiled(&profile).text().starts_with("# xflush rulesettable ip evil {}: EIM, APDF\nflush ruleset\n")
    );
}

#[test]
fn the_kernel_has_room_for_what_the_profile_wants() {
    let sysctl = |flows| {
        let limits = Limits { per_host: None, mappings: flows, flows };
        let ruleset = compiled(&Profile { limits, ..Profile::default() });
        let value = ruleset.sysctls().iter().find(|(name, _)| name.ends_with("nf_conntrack_max")).cloned();
        (value.unwrap().1, ruleset.text().contains(&format!("ct count over {flows} drop")))
    };
    assert_eq!(sysctl(65_536), ("65536".to_owned(), false));
    assert_eq!(sysctl(256), ("65536".to_owned(), true));
    assert_eq!(sysctl(10_000), ("10000".to_owned(), false));
}

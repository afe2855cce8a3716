//! The prober against the NAT engine: every profile is measured to be what it declares.

mod way;

use natrig_nat::{
    Filtering, Mapping, Profile,
    profile::{Allocation, Named, Unsolicited},
};
use natrig_probe::{Failed, Report};
use way::Chain;

fn measure(profiles: &[Profile], seed: u64) -> Result<Report, Failed> {
    way::measure(way::fast(seed), &mut Chain::new(profiles, seed))
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
        let told = matches!(report.mapping, None | Some(Mapping::EndpointIndependent));
        let poisoned = named.chain.iter().any(|profile| profile.unsolicited == Unsolicited::Poison);
        assert_eq!(report.early_packet_harmless, told.then_some(!poisoned), "{}", named.name);
    }
}

#[test]
fn every_class_with_every_allocation_is_measured_as_declared() {
    let mappings =
        [Mapping::EndpointIndependent, Mapping::AddressDependent, Mapping::AddressAndPortDependent];
    let filterings =
        [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent];
    let allocations = [
        Allocation::PreservingUntilCollision,
        Allocation::Random,
        Allocation::Sequential { delta: 1 },
        Allocation::Sequential { delta: 2 },
    ];
    for (mapping, filtering, allocation) in mappings.into_iter().flat_map(|mapping| {
        filterings
            .into_iter()
            .flat_map(move |filtering| allocations.map(|allocation| (mapping, filtering, allocation)))
    }) {
        let mut profile = Profile { mapping: Some(mapping), filtering, ..Profile::default() };
        profile.ports.allocation = allocation;
        for seed in 0..20 {
            let report = measure(std::slice::from_ref(&profile), seed).unwrap();
            let measured = (report.mapping, report.filtering);
            assert_eq!(measured, (Some(mapping), filtering), "{allocation:?}, seed {seed}");
        }
    }
}

#[test]
fn a_firewall_without_nat_is_told_from_a_router() {
    for filtering in
        [Filtering::EndpointIndependent, Filtering::AddressDependent, Filtering::AddressAndPortDependent]
    {
        let report = measure(&[Profile { mapping: None, filtering, ..Profile::default() }], 3).unwrap();
        assert_eq!((report.mapping, report.filtering), (None, filtering));
    }
}

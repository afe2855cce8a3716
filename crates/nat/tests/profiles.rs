//! Profiles: names, files, contradictions, words.

use std::time::Duration;

use natrig_nat::{
    Filtering, Mapping, Preset, Profile,
    profile::{AXES, Allocation, Block, Hairpin, Named, Refresh},
};

#[test]
fn every_named_profile_holds_together_and_explains_itself() {
    let all = Named::all();
    let names: Vec<&str> = all.iter().map(|named| named.name.as_str()).collect();
    assert_eq!(names[..5], Preset::ALL.map(Preset::name));
    for name in
        ["symmetric-sequential", "cgn", "short-timer", "udp-blocked", "reject", "poison", "small-table"]
    {
        assert!(names.contains(&name), "{name}");
    }
    for named in &all {
        assert_eq!(Named::find(&named.name).as_ref(), Ok(named));
        for profile in &named.chain {
            assert_eq!(profile.validate(), Ok(()), "{}", profile.name);
            // The presets are what a lab is made of without the model.
            assert!(profile.kernel_can().is_ok() || !named.sources.is_empty(), "{}", profile.name);
            let text = profile.explain();
            assert!(text.starts_with(&profile.name) && text.contains("Filtering"), "{text}");
        }
    }
    assert_eq!(Named::find("Port Restricted").unwrap().name, "port-restrict");
    let unknown = Named::find("sticky").unwrap_err().to_string();
    assert!(unknown.contains("`sticky`") && unknown.contains("block-allocated"), "{unknown}");
}

/// Nobody shall take for measured what is not: an axis has a source, or is said to be assumed.
#[test]
fn every_axis_of_real_equipment_rests_on_a_source_or_is_assumed() {
    let equipment: Vec<Named> = Named::all().into_iter().filter(|named| !named.sources.is_empty()).collect();
    assert!(equipment.len() >= 8, "{}", equipment.len());
    let covers = |named: &String, axis: &str| {
        named == axis || axis.split_once('.').is_some_and(|(group, _)| group == named)
    };
    for named in equipment {
        assert!(!named.summary.is_empty(), "{}", named.name);
        for axis in AXES {
            let sourced = named.sources.iter().any(|source| source.axes.iter().any(|of| covers(of, axis)));
            let assumed = named.assumed.iter().any(|of| covers(of, axis));
            assert!(
                sourced != assumed,
                "{}: {axis} has sources: {sourced}, is assumed: {assumed}",
                named.name
            );
        }
        for source in &named.sources {
            assert!(source.url.starts_with("http") && !source.says.is_empty() && !source.axes.is_empty());
        }
    }
}

#[test]
fn a_preset_and_its_profile_agree() {
    for preset in Preset::ALL {
        let profile = Profile::of(preset);
        assert_eq!((profile.mapping, profile.filtering), (preset.mapping(), preset.filtering()));
    }
}

#[test]
fn a_chain_has_the_worse_mapping_and_the_stricter_filter() {
    let cgn = Named::find("cgn").unwrap();
    assert_eq!(cgn.chain.len(), 2);
    assert_eq!(cgn.composed(), (Some(Mapping::EndpointIndependent), Filtering::AddressAndPortDependent));
    let mut worse = cgn.clone();
    worse.chain[1] = Profile::of(Preset::Symmetric);
    assert_eq!(worse.composed().0, Some(Mapping::AddressAndPortDependent));
}

#[test]
fn a_profile_is_read_as_it_is_written() {
    let mut profile = Profile { name: "carrier".into(), refresh: Refresh::Outbound, ..Profile::default() };
    profile.ports.allocation = Allocation::Sequential { delta: 2 };
    profile.ports.block = Some(Block { size: 64, most: 2 });
    profile.timers.lifetime = Some(Duration::from_secs(300));
    for mapping in [None, Some(Mapping::AddressDependent)] {
        profile.mapping = mapping;
        let text = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), profile, "{text}");
    }
    let short: Profile = serde_json::from_str(
        r#"{"mapping": "none", "filtering": "ADF", "timers": {"stream": "5m"}, "ports": {"range": "2000-2999"}}"#,
    )
    .unwrap();
    assert_eq!((short.mapping, short.timers.stream), (None, Duration::from_secs(300)));
    let wrong = |text| serde_json::from_str::<Profile>(text).unwrap_err().to_string();
    assert!(wrong(r#"{"ports": {"range": "0-10"}}"#).contains("1024-65535"));
    assert!(wrong(r#"{"maping": "EIM"}"#).contains("maping"));
}

fn contradictions(change: impl FnOnce(&mut Profile)) -> String {
    let mut profile = Profile::default();
    change(&mut profile);
    profile.validate().unwrap_err().to_string()
}

#[test]
fn contradictions_are_all_named_with_their_remedy() {
    let odd = contradictions(|profile| {
        profile.ports.parity = true;
        profile.ports.allocation = Allocation::Sequential { delta: 1 };
        profile.timers.unreplied = Duration::from_secs(500);
    });
    assert!(odd.contains("ports.parity: an odd delta") && odd.contains("timers.stream"), "{odd}");
    let shared = contradictions(|profile| {
        profile.ports.overload = true;
        profile.filtering = Filtering::EndpointIndependent;
    });
    assert!(shared.contains("filter by APDF"), "{shared}");
    let block = contradictions(|profile| profile.ports.block = Some(Block { size: 64, most: 1 }));
    assert!(block.contains("`random` or `sequential`"), "{block}");
    let routed = contradictions(|profile| {
        profile.mapping = None;
        profile.hairpin = Hairpin::ExternalSource;
    });
    assert!(routed.contains("hairpin: without NAT"), "{routed}");
    let quota = contradictions(|profile| profile.limits.per_host = Some(1_000_000));
    assert!(quota.contains("limits.per-host"), "{quota}");
    let strict = contradictions(|profile| {
        profile.mapping = Some(Mapping::AddressAndPortDependent);
        profile.ports.allocation = Allocation::Preserving;
    });
    assert!(strict.contains("preserving-until-collision"), "{strict}");
}

#[test]
fn what_the_kernel_cannot_do_is_listed() {
    let mut profile = Profile { refresh: Refresh::Outbound, ..Profile::default() };
    profile.ports.parity = true;
    profile.timers.lifetime = Some(Duration::from_secs(60));
    let lacks = profile.kernel_can().unwrap_err();
    let axes: Vec<&str> = lacks.iter().map(|lack| lack.axis).collect();
    assert_eq!(axes, ["refresh", "timers.lifetime", "ports.parity"]);
    assert!(profile.explain().contains("Engine: natrig's model. Stock nftables do not reach\n    refresh"));
}

#[test]
fn profiles_are_explained_as_they_were_read_last() {
    let mut strange = Profile {
        name: "strange".into(),
        mapping: Some(Mapping::AddressDependent),
        filtering: Filtering::AddressDependent,
        refresh: Refresh::Outbound,
        hairpin: Hairpin::InternalSource,
        ..Profile::default()
    };
    strange.ports.allocation = Allocation::Sequential { delta: 2 };
    strange.ports.block = Some(Block { size: 64, most: 2 });
    strange.ports.parity = true;
    strange.pool.addresses = 3;
    strange.timers.lifetime = Some(Duration::from_secs(3600));
    strange.limits.per_host = Some(100);
    strange.validate().unwrap();
    let profiles = [Profile::of(Preset::Public), Profile::of(Preset::PortRestrict), strange];
    insta::assert_snapshot!(profiles.map(|profile| profile.explain()).concat());
}

//! Profiles as people write them, and what they are told when they slip.

use std::time::Duration;

use natrig_nat::{
    Mapping, Preset, Profile,
    profile::{AXES, Allocation, Block, Named, PortRange, WrongProfile},
};
use serde_json::{Value, json};

fn read(text: &str) -> Named {
    Named::parse(text).unwrap_or_else(|wrong| panic!("{text}\n{wrong}"))
}

fn wrong(text: &str) -> WrongProfile {
    Named::parse(text).expect_err(text)
}

fn first(text: &str) -> (String, bool, String) {
    let mistake = wrong(text).mistakes.remove(0);
    (mistake.path.join("."), mistake.of_key, mistake.to_string())
}

#[test]
fn nothing_but_a_name_is_the_profile_of_that_name() {
    assert_eq!(read("symmetric"), Named::find("symmetric").unwrap());
    assert_eq!(read("{like: cgn}"), Named::find("cgn").unwrap());
    assert_eq!(read("{}").chain, [Profile::default()]);
}

#[test]
fn what_is_written_overrides_what_it_is_like() {
    let named = read(
        "like: block-allocated\nname: carrier\nsummary: ours\nports: {block: {most: 3}, range: 2000-2999}\ntimers: {stream: 45s}\n",
    );
    let [profile] = named.chain.as_slice() else { panic!("{named:?}") };
    assert_eq!(
        (named.name.as_str(), profile.name.as_str(), named.summary.as_str()),
        ("carrier", "carrier", "ours")
    );
    assert_eq!(profile.ports.block, Some(Block { size: 512, most: 3 }));
    assert_eq!(profile.ports.allocation, Allocation::Random);
    assert_eq!(profile.ports.range, PortRange::new(2000, 2999).unwrap());
    assert_eq!(profile.timers.stream, Duration::from_secs(45));
    assert_eq!(profile.timers.unreplied, Duration::from_secs(30));

    let without = read("{like: block-allocated, ports: {block: null}}");
    assert_eq!((without.chain[0].ports.block, without.name.as_str()), (None, "like-block-allocated"));
    // Alternatives replace each other, their contents do not mix.
    let random = read("{like: symmetric-sequential, ports: {allocation: random}}");
    assert_eq!(random.chain[0].ports.allocation, Allocation::Random);
    let step = read("{like: symmetric, ports: {allocation: {sequential: {delta: 2}}}}");
    assert_eq!(step.chain[0].ports.allocation, Allocation::Sequential { delta: 2 });
}

#[test]
fn gateways_stand_behind_each_other_from_the_inside() {
    let named = read(
        "{name: three, chain: [port-restrict, {like: symmetric, name: mid, timers: {stream: 60s}}, public]}",
    );
    let names: Vec<&str> = named.chain.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["port-restrict", "mid", "public"]);
    assert_eq!(named.chain[1].timers.stream, Duration::from_secs(60));
    assert_eq!(named.composed().0, Some(Mapping::AddressAndPortDependent));
    assert_eq!(read("{chain: [cgn, symmetric]}").chain.len(), 3);
}

#[test]
fn a_tree_may_have_whole_numbers_that_float() {
    let value = json!({"limits": {"flows": 300.0, "per-host": 20.0}, "pool": {"addresses": 2.0}});
    let named = Named::from_value(value).unwrap();
    assert_eq!((named.chain[0].limits.flows, named.chain[0].pool.addresses), (300, 2));
    assert!(Named::from_value(json!({"limits": {"flows": 300.5}})).is_err());
}

#[test]
fn a_mistake_is_told_with_its_place_and_remedy() {
    let told: Vec<String> = [
        "timers: {strem: 45s}",
        "maping: EIM",
        "mapping: EIMM",
        "mapping: [EIM]",
        "filtering: APDM",
        "ports: {range: 0-10}",
        "ports: {allocation: sequential}",
        "ports: {allocation: {sequential: {delta: 70000}}}",
        "ports: {block: {size: many}}",
        "ports: {block: {most: 1}}",
        "ports:",
        "timers: {stream: 30}",
        "timers: {stream: soon}",
        "timers: {stream: 99999 years}",
        "pool: {addresses: -1}",
        "limits: {flows: 1.5}",
        "refresh: inbound",
        "udp-blocked: maybe",
        "like: symetric",
        "like: 7",
        "{like: cgn, hairpin: none}",
        "{chain: [symmetric], hairpin: none}",
        "{chain: [symmetric], like: public}",
        "chain: []",
        "chain: symmetric",
        "chain: [symmetric, {timers: {stream: 0s}}]",
        "chain: [{chain: [public]}]",
        "chain: [cgn, cgn, cgn, cgn, cgn]",
        "{name: my gateway}",
        "{name: symmetric, mapping: EIM}",
        "{name: x, summary: [a]}",
        "{name: x, assumed: [timers.steam]}",
        "{name: x, sources: [{title: a, url: b, retrieved: c, says: d, axes: [maping]}]}",
        "{name: x, sources: [{title: a}]}",
        "[symmetric]",
        "stiky",
        "",
        "timers: {stream: 1s}\ntimers: {}",
        "mapping: [",
        "--- public\n--- public",
    ]
    .into_iter()
    .map(|text| format!("{text}\n  {}\n", wrong(text).to_string().replace('\n', "\n  ")))
    .collect();
    insta::assert_snapshot!(told.concat());
}

#[test]
fn all_strange_keys_and_all_contradictions_are_told_at_once() {
    let strange = wrong("{maping: EIM, timers: {strem: 1s}, limits: {flow: 1}}");
    assert_eq!(strange.mistakes.len(), 3);
    assert!(strange.mistakes.iter().all(|mistake| mistake.of_key));
    let mixed = wrong(
        "{like: symetric, maping: EIM, mapping: [], timers: {stream: 30, icmp: soon}, ports: {block: {siz: 1}}}",
    );
    let mut places: Vec<String> = mixed.mistakes.iter().map(|mistake| mistake.path.join(".")).collect();
    places.sort();
    assert_eq!(places, ["like", "maping", "mapping", "ports.block.siz", "timers.icmp", "timers.stream"]);
    let contradictory = wrong("{timers: {stream: 0s}, ports: {block: {size: 0}}}");
    let places: Vec<String> = contradictory.mistakes.iter().map(|mistake| mistake.path.join(".")).collect();
    assert!(places.contains(&"timers.stream".to_owned()) && places.contains(&"ports.block.size".to_owned()));
}

/// Whoever knows where the nodes of a tree stand can find every mistake.
#[test]
fn the_path_of_a_mistake_is_in_the_tree() {
    assert_eq!(first("ports: {allocation: sequential}").0, "ports.allocation");
    assert_eq!(
        first("ports: {allocation: {sequential: {delta: 70000}}}").0,
        "ports.allocation.sequential.delta"
    );
    let (path, of_key, _) = first("chain: [public, {timers: {strem: 1s}}]");
    assert_eq!((path.as_str(), of_key), ("chain.1.timers.strem", true));
}

#[test]
fn every_axis_has_a_name() {
    let mut profile = Profile::of(Preset::PortRestrict);
    profile.ports.block = Some(Block { size: 1, most: 1 });
    profile.timers.lifetime = Some(Duration::from_secs(1));
    let mut names = Vec::new();
    let Value::Object(map) = serde_json::to_value(profile).unwrap() else { panic!() };
    for (key, value) in map.into_iter().filter(|(key, _)| key != "name") {
        match value {
            Value::Object(group) => names.extend(group.keys().map(|name| format!("{key}.{name}"))),
            _ => names.push(key),
        }
    }
    names.sort();
    let mut axes = AXES.map(str::to_owned);
    axes.sort();
    assert_eq!(names, axes);
}

#[test]
fn a_contradiction_with_a_default_names_the_default() {
    let (path, _, said) = first("timers: {unreplied: 5m}");
    assert_eq!(path, "timers");
    assert!(said.contains("`timers.stream`: an answer would shorten"), "{said}");
}

#[test]
fn every_named_profile_is_read_as_it_is_shown() {
    for named in Named::all() {
        let yaml = named.to_yaml();
        assert_eq!(Named::parse(&yaml).as_ref(), Ok(&named), "{yaml}");
        let json = serde_json::to_value(&named).unwrap();
        assert_eq!(Named::from_value(json), Ok(named));
    }
}

//! Rulesets of any profile.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use natrig_nat::{
    Filtering, Mapping, Profile,
    engine::Addresses,
    profile::{
        Allocation, Block, Hairpin, Limits, Named, Pool, Pooling, PortRange, Refresh, Timers, Unsolicited,
    },
    ruleset::Ruleset,
};
use proptest::{prelude::*, strategy::ValueTree as _};

fn addresses(profile: &Profile) -> Addresses {
    addresses_of(profile, u16::MAX)
}

/// At most so many of a profile's addresses.
fn addresses_of(profile: &Profile, most: u16) -> Addresses {
    let outside =
        (1..=profile.pool.addresses.min(most)).map(|host| [198, 18, (host >> 8) as u8, host as u8].into());
    Addresses { outside: outside.collect(), inside: "10.0.1.0/24".parse().unwrap() }
}

fn mapping() -> impl Strategy<Value = Option<Mapping>> {
    prop_oneof![
        1 => Just(None),
        3 => Just(Some(Mapping::EndpointIndependent)),
        2 => Just(Some(Mapping::AddressDependent)),
        2 => Just(Some(Mapping::AddressAndPortDependent)),
    ]
}

fn filtering() -> impl Strategy<Value = Filtering> {
    prop_oneof![
        Just(Filtering::EndpointIndependent),
        Just(Filtering::AddressDependent),
        Just(Filtering::AddressAndPortDependent),
    ]
}

fn allocation() -> impl Strategy<Value = Allocation> {
    prop_oneof![
        Just(Allocation::Preserving),
        Just(Allocation::PreservingUntilCollision),
        Just(Allocation::Random),
        (1u16..200).prop_map(|delta| Allocation::Sequential { delta }),
    ]
}

fn timers() -> impl Strategy<Value = Timers> {
    let time = || prop_oneof![9 => (1u64..10_000).prop_map(Duration::from_secs), 1 => (1u64..5000).prop_map(Duration::from_millis)];
    let age = prop_oneof![9 => Just(Duration::from_secs(2)), 1 => Just(Duration::from_secs(3))];
    ([time(), time(), time(), time(), time()], age, proptest::option::weighted(0.1, time())).prop_map(
        |([one, other, open, transitory, icmp], stream_after, lifetime)| Timers {
            unreplied: one.min(other),
            stream: one.max(other),
            stream_after,
            lifetime,
            tcp_established: open,
            tcp_transitory: transitory,
            icmp,
            ..Timers::default()
        },
    )
}

/// Valid profiles, most of them within the kernel's reach.
fn profile() -> impl Strategy<Value = Profile> {
    any_profile().prop_filter("contradictory", |profile| profile.validate().is_ok())
}

/// Profiles that may contradict themselves.
fn any_profile() -> impl Strategy<Value = Profile> {
    let behaviour = (mapping(), filtering(), timers());
    let block = (1u16..600, 1u16..3).prop_map(|(size, most)| Block { size, most });
    let range =
        (1u16..60_000, 0u16..5_000).prop_map(|(first, more)| PortRange::new(first, first + more).unwrap());
    let flag = |weight: f64| proptest::bool::weighted(weight);
    let ports = (allocation(), range, proptest::option::weighted(0.3, block), flag(0.1), flag(0.2));
    let hairpin = prop_oneof![
        2 => Just(Hairpin::None),
        1 => Just(Hairpin::InternalSource),
        1 => Just(Hairpin::ExternalSource),
    ];
    let unsolicited = prop_oneof![
        2 => Just(Unsolicited::Drop),
        1 => Just(Unsolicited::Reject),
        1 => Just(Unsolicited::Poison),
    ];
    let pool = (1u16..4, prop_oneof![Just(Pooling::Paired), Just(Pooling::Arbitrary)]);
    let limits = (proptest::option::weighted(0.2, 1u32..100), 100u32..80_000, 1u32..80_000);
    let rest = (hairpin, unsolicited, pool, limits, flag(0.05), flag(0.1));
    (behaviour, ports, rest).prop_map(|(behaviour, ports, rest)| {
        let (mapping, filtering, timers) = behaviour;
        let mut profile = Profile { mapping, filtering, timers, ..Profile::default() };
        let (hairpin, unsolicited, (addresses, pooling), (per_host, mappings, flows), outbound, blocked) =
            rest;
        if outbound {
            profile.refresh = Refresh::Outbound;
        }
        profile.limits = Limits { per_host, mappings, flows };
        profile.udp_blocked = blocked;
        profile.unsolicited = unsolicited;
        if mapping.is_some() {
            profile.hairpin = hairpin;
            profile.pool = Pool { addresses, pooling };
            (profile.ports.allocation, profile.ports.block, profile.ports.parity, profile.ports.overload) =
                (ports.0, ports.2, ports.3, ports.4);
            profile.ports.range = ports.1;
        }
        profile
    })
}

/// The words after a word, in order.
fn after<'t>(text: &'t str, word: &str) -> impl Iterator<Item = &'t str> {
    let word = word.to_owned();
    let words = text.split_whitespace();
    words.clone().zip(words.skip(1)).filter(move |(first, _)| *first == word).map(|(_, second)| second)
}

/// What is declared, by kind, with whether traffic fills it.
fn declared(text: &str) -> Vec<(&str, &str, bool)> {
    let lines = || text.lines();
    lines()
        .enumerate()
        .filter_map(|(number, line)| {
            let mut words = line.strip_prefix("    ")?.split(' ');
            let (kind, name) = (words.next()?, words.next()?);
            let mut body = lines().skip(number + 1).take_while(|line| *line != "    }");
            let known = ["map", "set", "chain"].contains(&kind);
            known.then(|| (kind, name, body.any(|line| line.contains("flags dynamic"))))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_valid_profile_compiles_or_names_what_is_lacking(profile in profile()) {
        let result = Ruleset::compile(&profile, &addresses(&profile));
        prop_assert_eq!(result.clone().err(), profile.kernel_can().err());
        prop_assert_ne!(result.err(), Some(Vec::new()));
    }

    #[test]
    fn nothing_panics_whatever_a_profile_says(
        profile in any_profile(),
        extremes in any::<(u16, u16, u16, u32, u32, bool)>(),
        turn: u32,
    ) {
        let mut wild = profile.clone();
        let (addresses, size, delta, mappings, flows, small) = extremes;
        wild.ports.block = wild.ports.block.map(|block| Block { size, ..block });
        if matches!(wild.ports.allocation, Allocation::Sequential { .. }) {
            wild.ports.allocation = Allocation::Sequential { delta };
        }
        wild.pool.addresses = if small { addresses % 8 } else { addresses };
        (wild.limits.mappings, wild.limits.flows) = (mappings, flows);
        for profile in [profile, wild] {
            let _ = Ruleset::compile(&profile, &addresses_of(&profile, 8));
            let _ = Ruleset::compile(&profile.rebound(turn), &addresses_of(&profile, 8));
        }
    }

    #[test]
    fn a_ruleset_is_whole(profile in profile()) {
        let Ok(ruleset) = Ruleset::compile(&profile, &addresses(&profile)) else { return Ok(()) };
        let text = ruleset.text();
        prop_assert_eq!(text.lines().nth(1), Some("flush ruleset"));
        let declared = declared(text);
        let filled: Vec<_> = declared.iter().filter(|(.., filled)| *filled).map(|(kind, name, _)| (*kind, *name)).collect();
        prop_assert_eq!(&filled, &ruleset.state().iter().map(|state| (state.kind, state.name)).collect::<Vec<_>>());
        let flushed: Vec<String> = filled.iter().map(|(kind, name)| format!("flush {kind} ip natrig {name}")).collect();
        let flush = ruleset.flush();
        prop_assert_eq!(flush.lines().collect::<Vec<_>>(), flushed);
        // All that is used is declared, and all that is declared is used.
        let names = |kinds: &[&str]| -> BTreeSet<String> {
            declared.iter().filter(|(kind, ..)| kinds.contains(kind)).map(|(_, name, _)| (*name).to_owned()).collect()
        };
        let used: BTreeSet<String> = text.split_whitespace().filter_map(|word| word.strip_prefix('@')).map(str::to_owned).collect();
        prop_assert_eq!(used, names(&["map", "set"]));
        // Linux 6.1 looks maps up for their values only.
        for (_, name, _) in declared.iter().filter(|(kind, ..)| *kind == "map") {
            let asked = format!("@{name}");
            let words: Vec<&str> = text.split_whitespace().collect();
            prop_assert!(words.windows(2).all(|pair| pair[1] != asked || ["map", "update"].contains(&pair[0])), "{asked}");
        }
        let hooked = ["first", "input", "forward", "dstnat", "srcnat", "keep"].map(str::to_owned);
        let jumped: BTreeSet<String> = after(text, "jump").map(str::to_owned).collect();
        let chains: BTreeSet<String> = names(&["chain"]).into_iter().filter(|name| !hooked.contains(name)).collect();
        prop_assert_eq!(jumped, chains);
    }

    #[test]
    fn unsolicited_input_is_confirmed_by_poisoned_gateways_only(profile in profile()) {
        let Ok(ruleset) = Ruleset::compile(&profile, &addresses(&profile)) else { return Ok(()) };
        let text = ruleset.text();
        let refused = text.contains("iifname \"wan\" drop") || text.contains("iifname \"wan\" jump refuse");
        prop_assert_eq!(refused, profile.unsolicited != Unsolicited::Poison);
    }

    #[test]
    fn a_rebind_moves_to_other_ports(profile in profile(), turn in 1u32..) {
        let (one, next) = (profile.rebound(turn), profile.rebound(turn.wrapping_add(1).max(1)));
        prop_assert_eq!(one.validate(), Ok(()));
        prop_assert_eq!(one.mapping, profile.mapping);
        // Only where hosts choose the ports does the kernel keep their parity.
        if profile.kernel_can().is_ok() && !profile.ports.parity {
            prop_assert_eq!(one.kernel_can(), Ok(()));
        }
        let (range, whole) = (one.ports.range, profile.ports.range);
        prop_assert!(whole.contains(range.first()) && whole.contains(range.last()));
        if range != whole {
            prop_assert!(range.last() < next.ports.range.first() || next.ports.range.last() < range.first());
        }
    }
}

/// One profile for each value of each axis, and a word for it.
fn axes() -> Vec<(String, Profile)> {
    let mut all = Vec::new();
    let base = Profile { filtering: Filtering::EndpointIndependent, ..Profile::default() };
    let mut axis = |word: &str, change: &dyn Fn(&mut Profile)| {
        let mut profile = base.clone();
        change(&mut profile);
        all.push((word.to_owned(), profile));
    };
    axis("base", &|_| {});
    axis("no NAT", &|profile| profile.mapping = None);
    axis("no NAT, ADF", &|profile| {
        (profile.mapping, profile.filtering) = (None, Filtering::AddressDependent);
    });
    axis("no NAT, APDF", &|profile| {
        (profile.mapping, profile.filtering) = (None, Filtering::AddressAndPortDependent);
    });
    axis("ADM", &|profile| profile.mapping = Some(Mapping::AddressDependent));
    axis("APDM", &|profile| profile.mapping = Some(Mapping::AddressAndPortDependent));
    axis("ADF", &|profile| profile.filtering = Filtering::AddressDependent);
    axis("APDF", &|profile| profile.filtering = Filtering::AddressAndPortDependent);
    axis("preserving", &|profile| profile.ports.allocation = Allocation::Preserving);
    axis("random", &|profile| profile.ports.allocation = Allocation::Random);
    for delta in [1, 2] {
        axis("sequential", &|profile| profile.ports.allocation = Allocation::Sequential { delta });
    }
    axis("range", &|profile| profile.ports.range = PortRange::new(2000, 2999).unwrap());
    for size in [64, 512] {
        axis("block", &|profile| {
            profile.ports.allocation = Allocation::Random;
            profile.ports.block = Some(Block { size, most: 1 });
        });
    }
    axis("overload", &|profile| {
        profile.filtering = Filtering::AddressAndPortDependent;
        profile.ports.overload = true;
    });
    for pooling in [Pooling::Paired, Pooling::Arbitrary] {
        axis("pool", &|profile| profile.pool = Pool { addresses: 3, pooling });
    }
    axis("unreplied", &|profile| profile.timers.unreplied = Duration::from_secs(10));
    axis("stream", &|profile| profile.timers.stream = Duration::from_secs(300));
    axis("established", &|profile| profile.timers.tcp_established = Duration::from_secs(300));
    axis("transitory", &|profile| profile.timers.tcp_transitory = Duration::from_secs(10));
    axis("icmp", &|profile| profile.timers.icmp = Duration::from_secs(10));
    for hairpin in [Hairpin::InternalSource, Hairpin::ExternalSource] {
        axis("hairpin", &|profile| profile.hairpin = hairpin);
    }
    for unsolicited in [Unsolicited::Reject, Unsolicited::Poison] {
        axis("unsolicited", &|profile| profile.unsolicited = unsolicited);
    }
    axis("UDP blocked", &|profile| profile.udp_blocked = true);
    axis("flows", &|profile| profile.limits.flows = 128);
    axis("mappings", &|profile| profile.limits.mappings = 128);
    axis("quota", &|profile| {
        profile.mapping = Some(Mapping::AddressAndPortDependent);
        profile.limits.per_host = Some(10);
    });
    all
}

#[test]
fn every_axis_changes_the_rules_or_the_settings() {
    let compiled: Vec<_> = axes()
        .into_iter()
        .map(|(word, profile)| {
            profile.validate().unwrap_or_else(|error| panic!("{word}: {error}"));
            let ruleset = Ruleset::compile(&profile, &addresses(&profile))
                .unwrap_or_else(|lacks| panic!("{word}: {lacks:?}"));
            // The first line is a comment that names the classes.
            let rules = ruleset.text().split_once('\n').unwrap().1.to_owned();
            (word, rules, ruleset.sysctls().to_vec())
        })
        .collect();
    for (index, (word, rules, sysctls)) in compiled.iter().enumerate() {
        for (other, theirs, settings) in &compiled[..index] {
            assert!(rules != theirs || sysctls != settings, "{word} and {other} are the same");
        }
    }
}

/// Gives commands to `nft` in a network namespace that ends with it.
fn nft(commands: &str) -> Result<(), String> {
    let mut child = Command::new("unshare")
        .args(["--map-root-user", "--net", "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    child.stdin.take().unwrap().write_all(commands.as_bytes()).map_err(|error| error.to_string())?;
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The VM tests hold the behaviour against the engine's; here the host's own nft, if it has one, reads everything.
#[test]
fn nft_takes_every_ruleset_and_empties_it() {
    if let Err(error) = nft("table ip natrig {\n}\n") {
        eprintln!("not run: nft does not work here in a namespace of its own: {error}");
        return;
    }
    let named = Named::all().into_iter().flat_map(|named| named.chain);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let random = (0..100).map(|_| profile().new_tree(&mut runner).unwrap().current());
    let mut loaded = 0;
    for profile in axes().into_iter().map(|(_, profile)| profile).chain(named).chain(random) {
        let Ok(ruleset) = Ruleset::compile(&profile, &addresses(&profile)) else { continue };
        nft(&format!("{}{}", ruleset.text(), ruleset.flush()))
            .unwrap_or_else(|error| panic!("{profile:?}\n{error}"));
        loaded += 1;
    }
    assert!(loaded > 60, "{loaded}");
}

//! What holds of every profile and of every text that is read as one.

use std::time::{Duration, Instant};

use natrig_nat::{
    Filtering, Mapping, Profile,
    profile::{
        Allocation, Block, Hairpin, Limits, Named, Pool, Pooling, PortRange, Ports, Refresh, Timers,
        Unsolicited,
    },
};
use proptest::{option, prelude::*};

fn one<T: Clone + std::fmt::Debug + 'static, const N: usize>(of: [T; N]) -> impl Strategy<Value = T> {
    proptest::sample::select(of.to_vec())
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0u64..600).prop_map(Duration::from_secs),
        (0u64..400_000_000).prop_map(Duration::from_secs),
        (0u64..100_000_000_000).prop_map(Duration::from_nanos),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let allocation = prop_oneof![
        one([Allocation::Preserving, Allocation::PreservingUntilCollision, Allocation::Random]),
        any::<u16>().prop_map(|delta| Allocation::Sequential { delta }),
    ];
    let range = any::<(u16, u16)>()
        .prop_filter_map("no range", |(one, other)| PortRange::new(one.min(other), one.max(other)).ok());
    let block = option::of(any::<(u16, u16)>().prop_map(|(size, most)| Block { size, most }));
    (allocation, range, block, any::<bool>(), any::<bool>()).prop_map(
        |(allocation, range, block, parity, overload)| Ports { allocation, range, block, parity, overload },
    )
}

fn timers() -> impl Strategy<Value = Timers> {
    let udp = (time(), time(), time(), option::of(time()));
    (udp, [time(), time(), time(), time()]).prop_map(
        |(
            (unreplied, stream, stream_after, lifetime),
            [tcp_established, tcp_transitory, tcp_unsolicited, icmp],
        )| {
            Timers {
                unreplied,
                stream: stream.max(unreplied),
                stream_after,
                lifetime,
                tcp_established,
                tcp_transitory,
                tcp_unsolicited,
                icmp,
            }
        },
    )
}

/// Any profile without a contradiction, under names that YAML might take for something else.
fn profile() -> impl Strategy<Value = Profile> {
    let name = prop_oneof![
        "[A-Za-z0-9._-]{1,64}",
        one(["null", "true", "1e3", "-", "0x1f", ".5", "no"]).prop_map(Into::into)
    ];
    let behaviour = (
        option::of(one([
            Mapping::EndpointIndependent,
            Mapping::AddressDependent,
            Mapping::AddressAndPortDependent,
        ])),
        one([
            Filtering::EndpointIndependent,
            Filtering::AddressDependent,
            Filtering::AddressAndPortDependent,
        ]),
        one([Refresh::Both, Refresh::Outbound]),
        one([Hairpin::None, Hairpin::InternalSource, Hairpin::ExternalSource]),
        one([Unsolicited::Drop, Unsolicited::Reject, Unsolicited::Poison]),
        any::<bool>(),
    );
    let pool = (any::<u16>(), one([Pooling::Paired, Pooling::Arbitrary]))
        .prop_map(|(addresses, pooling)| Pool { addresses, pooling });
    let limits = (option::of(any::<u32>()), any::<u32>(), any::<u32>())
        .prop_map(|(per_host, mappings, flows)| Limits { per_host, mappings, flows });
    (name, behaviour, ports(), pool, timers(), limits).prop_filter_map(
        "contradictory",
        |(
            name,
            (mapping, filtering, refresh, hairpin, unsolicited, udp_blocked),
            ports,
            pool,
            timers,
            limits,
        )| {
            let mut profile = Profile {
                name,
                mapping,
                filtering,
                ports,
                pool,
                timers,
                refresh,
                hairpin,
                unsolicited,
                limits,
                udp_blocked,
            };
            // Most profiles contradict themselves somewhere; a common one beneath keeps enough of them.
            for mend in [
                |profile: &mut Profile| profile.ports = Ports::default(),
                |profile: &mut Profile| profile.pool = Pool::default(),
                |profile: &mut Profile| profile.limits = Limits::default(),
                |profile: &mut Profile| profile.timers = Timers::default(),
                |profile: &mut Profile| (profile.hairpin, profile.unsolicited) = Default::default(),
            ] {
                if profile.validate().is_ok() {
                    return Some(profile);
                }
                mend(&mut profile);
            }
            None
        },
    )
}

/// The chain of these profiles, as it comes from a text.
fn named(chain: Vec<Profile>, summary: String) -> Option<Named> {
    let mut named = Named::parse("{name: of-a-test}").ok()?;
    if let [only] = chain.as_slice() {
        named.name.clone_from(&only.name);
    }
    named.summary = summary;
    named.chain = chain;
    // A name of ours stands for what we say it does.
    Named::find(&named.name).is_err().then_some(named)
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_it_was(
        chain in proptest::collection::vec(profile(), 1..4),
        summary in "\\PC*",
    ) {
        let Some(named) = named(chain, summary) else { return Ok(()) };
        prop_assume!(named.chain.iter().all(|profile| Named::find(&profile.name).is_err()));
        let yaml = named.to_yaml();
        let again = Named::parse(&yaml);
        prop_assert_eq!(again.as_ref(), Ok(&named), "{}", yaml);
        let json = serde_json::to_value(&named).unwrap();
        prop_assert_eq!(Named::from_value(json), Ok(named));
    }

    #[test]
    fn every_profile_is_explained(profile in profile()) {
        prop_assert!(profile.explain().starts_with(&profile.name));
        let Some(named) = named(vec![profile], String::new()) else { return Ok(()) };
        prop_assert!(named.explain().contains("Engine: "));
    }
}

/// What a text ends in: a profile that holds together, or mistakes.
fn read(text: &str) {
    match Named::parse(text) {
        Ok(named) => {
            for profile in &named.chain {
                profile.validate().unwrap();
            }
            assert!(!named.chain.is_empty());
            let again = Named::parse(&named.to_yaml());
            assert_eq!(again.as_ref(), Ok(&named), "{text}");
        }
        Err(wrong) => assert!(!wrong.mistakes.is_empty() && !wrong.to_string().is_empty()),
    }
}

#[test]
fn no_text_makes_it_panic() {
    bolero::check!().for_each(|bytes: &[u8]| read(&String::from_utf8_lossy(bytes)));
}

/// Texts of the words that profiles are made of come further than any bytes.
#[test]
fn no_text_of_its_own_words_makes_it_panic() {
    const WORDS: [&str; 48] = [
        "name",
        "summary",
        "like",
        "chain",
        "sources",
        "assumed",
        "mapping",
        "filtering",
        "ports",
        "pool",
        "timers",
        "refresh",
        "hairpin",
        "limits",
        "range",
        "block",
        "size",
        "most",
        "allocation",
        "sequential",
        "delta",
        "stream",
        "lifetime",
        "per-host",
        "flows",
        "axes",
        "EIM",
        "APDF",
        "none",
        "random",
        "symmetric",
        "cgn",
        "1024-65535",
        "30s",
        "0",
        "65536",
        "-1",
        "1.5",
        "~",
        "&a",
        "*a",
        "<<",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
    ];
    bolero::check!().with_type::<Vec<u8>>().for_each(|choice| {
        let mut text = String::new();
        for byte in choice {
            let word = WORDS[usize::from(*byte) % WORDS.len()];
            text += word;
            // The rest of the byte chooses what stands between two words.
            text += [" ", ": ", ", ", "\n  ", ""][usize::from(*byte) / WORDS.len() % 5];
        }
        read(&text);
    });
}

/// A profile of ours with a few bytes of another, or any, comes furthest.
#[test]
fn no_damage_to_a_profile_makes_it_panic() {
    let texts: Vec<String> = Named::all().iter().map(Named::to_yaml).collect();
    bolero::check!().with_type::<(u8, Vec<(u16, u16, u8)>)>().for_each(|(which, damage)| {
        let mut bytes = texts[usize::from(*which) % texts.len()].clone().into_bytes();
        for (at, from, byte) in damage.iter().take(8) {
            let other = texts[usize::from(*byte) % texts.len()].as_bytes();
            let from = usize::from(*from) % other.len();
            let at = usize::from(*at) % bytes.len();
            match byte % 3 {
                0 => bytes[at] = *byte,
                1 => drop(bytes.splice(at..at, other[from..other.len().min(from + 20)].iter().copied())),
                _ => drop(bytes.drain(at..bytes.len().min(at + usize::from(*byte) / 8))),
            }
            if bytes.is_empty() {
                return;
            }
        }
        read(&String::from_utf8_lossy(&bytes));
    });
}

#[test]
fn no_text_takes_long_or_much() {
    let laughs = (0..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        text + &format!("a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}]\n", n + 1, n + 1)
    });
    let chains = format!("chain: [{}]", "cgn, ".repeat(4000));
    let merges = (0..90).fold("a0: &a0 {x: 1}\n".to_owned(), |text, n| {
        text + &format!("a{}: &a{} {{<<: [*a{n}, *a{n}], b{n}: 1}}\n", n + 1, n + 1)
    });
    for text in [
        "[".repeat(200_000),
        "{a: ".repeat(60_000),
        "- ".repeat(120_000),
        (0..400).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n"),
        "x".repeat(300_000),
        format!("name: {}", "x".repeat(200_000)),
        format!("{{{}}}", (0..20_000).fold(String::new(), |text, n| text + &format!("k{n}: 1, "))),
        format!("like: \"{}\"", "\u{1b}[31m".repeat(10_000)),
        laughs,
        chains,
        merges,
    ] {
        let start = Instant::now();
        let wrong = Named::parse(&text).unwrap_err();
        // Exponential growth would not end in a day.
        assert!(start.elapsed() < Duration::from_secs(20), "{} {:?}", &text[..20], start.elapsed());
        let said = wrong.to_string();
        assert!(said.len() < 2_000_000 && !said.contains('\u{1b}'), "{}", said.len());
    }
}

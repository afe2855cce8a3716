//! The birthday search: how often it succeeds, what it costs, and whom it must not harm.

mod estate;

use std::fmt::Write as _;
use std::time::Duration;

use estate::{Estate, Meeting};
use natrig_nat::Profile;
use natrig_nat::profile::{Allocation, Named};
use omerta_mesh_core::{Event, Kind, PathKind, Strategy};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Ports that the searching side chooses from, and those of them that the other side has open.
const PORTS: f64 = 64_512.0;
const OPEN: f64 = 256.0;
/// Tried first: Linux's draw gives each of these twice as often.
const LIKELY: f64 = 1024.0;

/// The chance that `probes` different ports miss all open ones, if these are drawn as Linux draws them.
fn miss(probes: u64) -> f64 {
    // A port drawn from 65,536, of which the lowest 1,024 wrap around onto the next 1,024.
    let weight = |port: f64| if port < LIKELY { 2.0 / 65_536.0 } else { 1.0 / 65_536.0 };
    let tried: f64 = (0..probes).map(|port| weight(port as f64)).sum();
    (1.0 - tried).powf(OPEN)
}

/// The same if all are as likely.
fn miss_uniform(probes: u64) -> f64 {
    (0..probes).map(|sent| 1.0 - OPEN / (PORTS - sent as f64)).product()
}

fn search(seed: u64, hard: Profile, easy: &str, easy_dials: bool) -> (Meeting, u64) {
    let mut estate = Estate::new(seed);
    let hard = estate.site_behind(hard);
    let hard = estate.host(hard);
    let easy = estate.home(easy);
    let (a, b) = if easy_dials { (easy, hard) } else { (hard, easy) };
    let meeting = estate.meet(a, b);
    let told = if easy_dials { meeting.told.clone() } else { estate.events(b) };
    let probes = told.iter().rev().find_map(|(_, event)| match event {
        Event::PunchResult { probes, .. } => Some(*probes),
        _ => None,
    });
    (meeting, probes.unwrap_or_default())
}

fn symmetric() -> Profile {
    Profile::of(natrig_nat::Preset::Symmetric)
}

/// T2.M.20 and T2.M.24 many times over: success rate and probes of the searching side beside the theory.
fn measure(runs: u64) -> String {
    let mut probes: Vec<u64> = Vec::new();
    for seed in 0..runs {
        let (meeting, sent) = search(seed, symmetric(), "port-restrict", seed % 2 == 0);
        assert_eq!(
            meeting.path(),
            Some((PathKind::Direct, Kind::Birthday)),
            "seed {seed}: {:#?}",
            meeting.told
        );
        // The dial of the side that began is not part of the search.
        probes.push(sent);
    }
    probes.sort_unstable();
    let mut table = format!("{runs} of {runs} searches succeeded\nquantile  probes  theory there, uniform\n");
    for (number, name) in
        [(0.1, "10 %"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (0.9, "90 %"), (1.0, "all")]
    {
        let at = ((runs as f64 * number) as usize).saturating_sub(1);
        let sent = probes[at];
        writeln!(
            table,
            "{name:>8}  {sent:>6}  {:>5.1} % {:>6.1} %",
            100.0 * (1.0 - miss(sent)),
            100.0 * (1.0 - miss_uniform(sent))
        )
        .expect("a string");
    }
    // Half of the runs within the theory's number for a half, give or take what chance does to a median.
    let median = probes[probes.len() / 2];
    let share = 1.0 - miss_uniform(median);
    let slack = 3.0 * 0.5 / (runs as f64).sqrt();
    assert!(share < 0.5 + slack, "the median of {median} probes is too many: {share}\n{table}");
    assert!(probes.iter().all(|sent| *sent <= 4_110), "{table}");
    table
}

#[test]
fn the_search_finds_a_port_as_soon_as_it_should() {
    println!("{}", measure(30));
}

/// Success rate and probes over many runs, printed. `cargo test -p natrig-sim --test birthday -- --ignored --nocapture`.
#[test]
#[ignore = "long: make test-full"]
fn success_and_probes_over_a_thousand_searches() {
    println!("{}", measure(1000));
}

/// The theory as the specification has it.
#[test]
fn the_theory_is_what_others_say() {
    let within = |found: f64, said: f64| (found - said).abs() < 0.01;
    assert!(within(miss_uniform(174), 0.5));
    assert!(within(1.0 - miss_uniform(1024), 0.98));
    assert!((3_000.0..5_000.0).contains(&(1.0 / miss_uniform(2048))));
    assert!((1e7..3e7).contains(&(1.0 / miss_uniform(4096))));
}

/// An easy gateway that takes early packets for its own is none: the search fails, is told to have failed, and ends.
#[test]
fn a_search_from_behind_a_poisoned_gateway_fails_honestly() {
    for easy_dials in [true, false] {
        let (meeting, probes) = search(3, symmetric(), "poison", easy_dials);
        assert_eq!(meeting.path(), Some((PathKind::Relay, Kind::Relay)), "{:#?}", meeting.told);
        assert!(meeting.strategies().contains(&Strategy::Birthday));
        assert_eq!(meeting.result().map(|(success, _)| success), Some(false));
        assert!(probes <= 4_110, "{probes} probes");
    }
}

/// Off by policy of either side: no search, and the relay.
#[test]
fn a_search_takes_two_who_want_it() {
    for (a_searches, b_searches) in [(false, true), (true, false)] {
        let mut estate = Estate::new(4);
        let a = estate.home_with("port-restrict", |config| config.birthday = a_searches);
        let b = estate.home_with("symmetric", |config| config.birthday = b_searches);
        let meeting = estate.meet(a, b);
        assert_eq!(meeting.strategies(), [Strategy::Dial, Strategy::Impossible]);
        assert_eq!(meeting.path(), Some((PathKind::Relay, Kind::Relay)));
        let (_, probes) = meeting.result().expect("a result");
        assert!(probes <= 20, "{probes} probes");
    }
}

/// A small table on the searching side: the search ends as soon as it is full, what is connected stays so, others get
/// their flows again when the probes' have expired, and the next search takes half of what was too much.
#[test]
fn a_search_does_not_flood_a_small_table() {
    // Ports so far from the likely ones that nothing is found soon.
    let mut far = symmetric();
    far.ports.allocation = Allocation::Random;
    far.ports.range = natrig_nat::profile::PortRange::new(60_000, 65_000).expect("a range");
    let small = Named::find("small-table").expect("a preset").chain.remove(0);

    let mut estate = Estate::new(5);
    let site = estate.site_behind(small);
    let easy = estate.host(site);
    let hard = estate.site_behind(far);
    let (hard, other) = (estate.host(hard), estate.home("symmetric"));
    let neighbour = estate.host(site);
    let public = estate.home("public");
    let meeting = estate.meet(easy, hard);
    assert_eq!(meeting.path(), Some((PathKind::Relay, Kind::Relay)), "{:#?}", meeting.told);
    let (_, probes) = meeting.result().expect("a result");
    assert!(probes < 450, "{probes} probes");
    let full = meeting
        .told
        .iter()
        .any(|(_, event)| matches!(event, Event::Warning { message } if message.contains("full")));
    assert!(full, "{:#?}", meeting.told);
    estate.say(easy, hard, b"still here");
    estate.run_for(seconds(1));
    let heard = estate.events(hard);
    assert!(heard.iter().any(|(_, event)| matches!(event, Event::MessageReceived { .. })), "{heard:#?}");

    // Unanswered flows end after 30 s.
    estate.run_for(seconds(40));
    let again = estate.meet(easy, other);
    let (_, probes) = again.result().expect("a result");
    assert!(probes <= 128, "{probes} probes in the second search");
    assert!(!again.told.iter().any(|(_, event)| matches!(event, Event::Warning { .. })), "{:#?}", again.told);
    let new = estate.meet(neighbour, public);
    assert_eq!(new.path(), Some((PathKind::Direct, Kind::Direct)), "others have room: {:#?}", new.told);
}

//! The first frames of a link under each condition, to the nanosecond: a seed that somebody noted down must lead to the
//! same history on any machine and in any later version.

use std::fmt::Write;
use std::num::NonZeroU64;
use std::time::Duration;

use natrig_netmodel::{
    Chance, Conditions, Departure, Distribution, Fate, GilbertElliott, Jitter, Link, Probability, Queue, Rate,
};

const SEED: u64 = 42;

/// The fates of 40 frames of 1000 bytes that come every 10 ms, in a line each: when they leave, counted from when they came.
fn history(conditions: Conditions) -> String {
    let mut link = Link::new(conditions, SEED);
    let mut text = String::new();
    for n in 0..40 {
        let now = Duration::from_millis(10) * n;
        write!(text, "{n:2}").unwrap();
        match link.decide(now, 1000) {
            Fate::Lost(cause) => write!(text, " {cause}").unwrap(),
            Fate::Departs(departures) => {
                for Departure { at, flipped } in departures {
                    write!(text, " {}", (at - now).as_nanos()).unwrap();
                    if let Some(bit) = flipped {
                        write!(text, " without bit {}", bit.place()).unwrap();
                    }
                }
            }
        }
        text.push('\n');
    }
    text
}

fn chance(chance: f64) -> Chance {
    Probability::new(chance).unwrap().into()
}

fn correlated(of: f64, correlation: f64) -> Chance {
    Chance { correlation: Probability::new(correlation).unwrap(), ..chance(of) }
}

fn delayed() -> Conditions {
    Conditions::delayed(Duration::from_millis(50))
}

fn jitter(distribution: Distribution) -> Jitter {
    Jitter { spread: Duration::from_millis(10), distribution, ..Jitter::default() }
}

fn bursts() -> Option<GilbertElliott> {
    GilbertElliott::simple(Probability::new(0.25).unwrap(), 4.0)
}

fn rate() -> Option<Rate> {
    // A frame takes 11.43 ms, and comes every 10 ms.
    Some(Rate {
        bits_per_second: NonZeroU64::new(700_000).unwrap(),
        queue: Queue::Time(Duration::from_millis(30)),
    })
}

#[test]
fn histories_are_what_they_were() {
    let all = Conditions {
        rate: rate(),
        jitter: jitter(Distribution::Normal),
        loss: chance(0.1),
        bursts: bursts(),
        duplicate: chance(0.25),
        reorder: chance(0.25),
        corrupt: chance(0.25),
        ..delayed()
    };
    let correlation = Probability::new(0.75).unwrap();
    for (name, conditions) in [
        ("delay", delayed()),
        ("uniform jitter", Conditions { jitter: jitter(Distribution::Uniform), ..delayed() }),
        ("normal jitter", Conditions { jitter: jitter(Distribution::Normal), ..delayed() }),
        ("pareto jitter", Conditions { jitter: jitter(Distribution::Pareto), ..delayed() }),
        (
            "correlated jitter",
            Conditions { jitter: Jitter { correlation, ..jitter(Distribution::Normal) }, ..delayed() },
        ),
        (
            "overtaking jitter",
            Conditions { jitter: Jitter { overtaking: true, ..jitter(Distribution::Normal) }, ..delayed() },
        ),
        ("loss", Conditions { loss: chance(0.25), ..delayed() }),
        ("correlated loss", Conditions { loss: correlated(0.25, 0.75), ..delayed() }),
        ("bursts", Conditions { bursts: bursts(), ..delayed() }),
        ("duplicate", Conditions { duplicate: chance(0.25), ..delayed() }),
        ("correlated duplicate", Conditions { duplicate: correlated(0.25, 0.75), ..delayed() }),
        ("reorder", Conditions { reorder: chance(0.25), ..delayed() }),
        ("correlated reorder", Conditions { reorder: correlated(0.25, 0.75), ..delayed() }),
        ("corrupt", Conditions { corrupt: chance(0.25), ..delayed() }),
        ("corrupt and duplicate", Conditions { corrupt: chance(0.5), duplicate: chance(0.5), ..delayed() }),
        ("rate", Conditions { rate: rate(), ..delayed() }),
        ("all at once", all),
    ] {
        insta::assert_snapshot!(name.replace(' ', "_"), history(conditions));
    }
}

/// The far future of every source at once: what does not show in forty frames does in a million.
#[test]
fn a_million_fates_are_what_they_were() {
    let conditions = Conditions {
        jitter: jitter(Distribution::Pareto),
        loss: correlated(0.01, 0.5),
        bursts: bursts(),
        duplicate: chance(0.01),
        reorder: chance(0.01),
        corrupt: chance(0.01),
        rate: rate(),
        ..delayed()
    };
    let digest = |distribution| {
        let jitter = jitter(distribution);
        let mut link = Link::new(Conditions { jitter, ..conditions }, SEED);
        let mut digest = 0u64;
        for n in 0..1_000_000 {
            let mut add =
                |number: u64| digest = (digest ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
            match link.decide(Duration::from_millis(10) * n, 1000) {
                Fate::Lost(cause) => add(cause as u64),
                Fate::Departs(departures) => {
                    for Departure { at, flipped } in departures {
                        add(at.as_nanos() as u64);
                        add(flipped.map_or(u64::MAX, |bit| bit.place() as u64));
                    }
                }
            }
        }
        digest
    };
    let digests = [Distribution::Uniform, Distribution::Normal, Distribution::Pareto].map(digest);
    insta::assert_snapshot!("digests", format!("{digests:016x?}"));
}

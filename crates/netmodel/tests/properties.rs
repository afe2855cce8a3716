//! What holds under any conditions.

mod any;

use std::time::Duration;

use any::{conditions, frames, rate};
use natrig_netmodel::{
    Cause, Chance, Conditions, Departure, Fate, GilbertElliott, Jitter, Link, Probability, Queue, Rate,
};
use proptest::prelude::*;

type Frames = Vec<(Duration, usize)>;

fn fates(conditions: Conditions, seed: u64, frames: &Frames) -> Vec<Fate> {
    let mut link = Link::new(conditions, seed);
    frames.iter().map(|(now, length)| link.decide(*now, *length)).collect()
}

fn departures(fate: Fate) -> Vec<Departure> {
    match fate {
        Fate::Lost(_) => Vec::new(),
        Fate::Departs(departures) => departures.collect(),
    }
}

/// Conditions of which only one, by its place, is taken from another set.
fn with_one_of(of: Conditions, from: Conditions, place: usize) -> Conditions {
    match place {
        0 => Conditions { rate: from.rate, ..of },
        1 => Conditions { delay: from.delay, ..of },
        2 => Conditions { jitter: from.jitter, ..of },
        3 => Conditions { loss: from.loss, ..of },
        4 => Conditions { bursts: from.bursts, ..of },
        5 => Conditions { duplicate: from.duplicate, ..of },
        6 => Conditions { reorder: from.reorder, ..of },
        _ => Conditions { corrupt: from.corrupt, ..of },
    }
}

proptest! {
    #[test]
    fn one_seed_gives_one_history(conditions in conditions(), seed: u64, frames in frames()) {
        prop_assert_eq!(fates(conditions, seed, &frames), fates(conditions, seed, &frames));
    }

    /// Each condition draws from its own source, for every frame, and what befalls some frames on the way takes none of the
    /// others' time.
    #[test]
    fn a_condition_that_changes_leaves_what_the_others_do(
        base in conditions(),
        other in conditions(),
        place in 0..8usize,
        seed: u64,
        frames in frames(),
    ) {
        let changed = with_one_of(base, other, place);
        let pairs = fates(base, seed, &frames).into_iter().zip(fates(changed, seed, &frames));
        let same_time = [3, 4, 5, 7].contains(&place);
        let takes_frames = [0, 3, 4].contains(&place);
        for (before, after) in pairs {
            prop_assert!(takes_frames || matches!(before, Fate::Lost(_)) == matches!(after, Fate::Lost(_)));
            let (before, after) = (departures(before), departures(after));
            if before.is_empty() || after.is_empty() {
                continue;
            }
            if same_time {
                prop_assert_eq!(before[0].at, after[0].at);
            }
            if place != 7 {
                prop_assert_eq!(before[0].flipped, after[0].flipped);
            }
            if place != 5 {
                prop_assert_eq!(before.len(), after.len());
            }
            if ![5, 7].contains(&place) {
                prop_assert_eq!(before.get(1).map(|copy| copy.flipped), after.get(1).map(|copy| copy.flipped));
            }
        }
    }

    #[test]
    fn nothing_departs_before_it_came(
        history in prop::collection::vec((conditions(), frames()), 0..4),
        seed: u64,
    ) {
        let mut link = Link::new(Conditions::default(), seed);
        let mut start = Duration::ZERO;
        for (conditions, frames) in history {
            link.set_conditions(conditions);
            prop_assert_eq!(link.conditions(), conditions);
            for (now, length) in frames.iter().map(|(now, length)| (start + *now, *length)) {
                for Departure { at, flipped } in departures(link.decide(now, length)) {
                    prop_assert!(at >= now);
                    prop_assert!(flipped.is_none_or(|bit| bit.place() < length * 8));
                }
            }
            start += frames.last().map_or(Duration::ZERO, |last| last.0);
        }
    }

    /// Also when conditions change, whatever the rate, the delay and its jitter are, and behind those that overtook others.
    #[test]
    fn frames_keep_their_order_unless_the_conditions_say_otherwise(
        history in prop::collection::vec((conditions(), frames()), 0..4),
        seed: u64,
    ) {
        let mut link = Link::new(Conditions::default(), seed);
        let (mut start, mut latest) = (Duration::ZERO, Duration::ZERO);
        for (conditions, frames) in history {
            link.set_conditions(Conditions { reorder: Chance::NEVER, ..conditions });
            for (now, length) in &frames {
                for Departure { at, .. } in departures(link.decide(start + *now, *length)) {
                    prop_assert!(at >= latest || conditions.jitter.overtaking);
                    latest = latest.max(at);
                }
            }
            start += frames.last().map_or(Duration::ZERO, |last| last.0);
        }
    }

    /// Held against a line that reckons in whole fractions of a nanosecond.
    #[test]
    fn a_rate_is_kept_to_the_nanosecond(rate in rate(), delay in 0..1_000_000_000u64, frames in frames()) {
        let delay = Duration::from_nanos(delay);
        let mut link = Link::new(Conditions { rate: Some(rate), ..Conditions::delayed(delay) }, 0);
        let Rate { bits_per_second, queue } = rate;
        let per_second = u128::from(bits_per_second.get());
        // A nanosecond has as many of these as the rate has bits in a second, and a byte takes 8e9 of them.
        let (mut free, byte) = (0u128, 8_000_000_000u128);
        for (now, length) in frames {
            let (came, takes) = (now.as_nanos() * per_second, length as u128 * byte);
            let waits = free.saturating_sub(came);
            let has_room = waits == 0 || match queue {
                Queue::Bytes(bytes) => waits + takes <= u128::from(bytes) * byte,
                Queue::Time(time) => waits <= time.as_nanos() * per_second,
            };
            match link.decide(now, length) {
                Fate::Lost(cause) => {
                    prop_assert_eq!(cause, Cause::QueueFull);
                    prop_assert!(!has_room);
                }
                Fate::Departs(mut departures) => {
                    prop_assert!(has_room);
                    free = free.max(came) + takes;
                    let at = departures.next().map(|departure| departure.at.as_nanos());
                    prop_assert_eq!(at, Some(free.div_ceil(per_second) + delay.as_nanos()));
                }
            }
        }
    }

    #[test]
    fn conditions_survive_serialisation(conditions in conditions()) {
        let text = serde_json::to_string(&conditions).unwrap();
        prop_assert_eq!(serde_json::from_str::<Conditions>(&text).unwrap(), conditions, "{}", text);
    }

    #[test]
    fn simple_bursts_have_the_share_and_the_length_they_were_made_of(thousandths in 1..900u32, length in 1.0..1e6f64) {
        let loss = Probability::new(f64::from(thousandths) / 1000.0).unwrap();
        if let Some(bursts) = GilbertElliott::simple(loss, length) {
            prop_assert!((bursts.loss().value() - loss.value()).abs() < 1e-9);
            prop_assert!((bursts.to_good.value() * length - 1.0).abs() < 1e-9);
        } else {
            // Good lasts for a frame at least.
            prop_assert!(length * (1.0 - loss.value()) < loss.value() * 1.001);
        }
    }
}

/// Numbers from bytes, the ends of their ranges among them.
fn extreme(n: u64) -> u64 {
    match n % 5 {
        0 => 0,
        1 => u64::MAX,
        2 => n >> 32,
        _ => n,
    }
}

fn moment(n: u64) -> Duration {
    match n % 4 {
        0 => Duration::MAX,
        _ => Duration::from_nanos(extreme(n / 4)),
    }
}

#[test]
fn no_conditions_make_it_panic() {
    bolero::check!().with_type::<(u64, [u64; 8], [u16; 14], Vec<(u64, u64)>)>().for_each(
        |(seed, numbers, chances, frames)| {
            let mut chances = chances.iter().map(|n| Probability::new(f64::from(*n) / 65535.0).unwrap());
            let mut probability = || chances.next().unwrap_or_default();
            let mut chance = || Chance { chance: probability(), correlation: probability() };
            let [rate, queue, delay, spread, length, how, ..] = *numbers;
            let distributions = ["\"uniform\"", "\"normal\"", "\"pareto\""];
            let queue = if how % 2 == 0 { Queue::Bytes(extreme(queue)) } else { Queue::Time(moment(queue)) };
            let conditions = Conditions {
                cut: how % 17 == 0,
                rate: std::num::NonZeroU64::new(extreme(rate))
                    .map(|bits_per_second| Rate { bits_per_second, queue }),
                delay: moment(delay),
                loss: chance(),
                duplicate: chance(),
                reorder: chance(),
                corrupt: chance(),
                bursts: Some(GilbertElliott {
                    to_bad: probability(),
                    to_good: probability(),
                    loss_good: probability(),
                    loss_bad: probability(),
                }),
                jitter: Jitter {
                    spread: moment(spread),
                    distribution: serde_json::from_str(distributions[how as usize % 3]).unwrap(),
                    correlation: probability(),
                    overtaking: how % 4 < 2,
                },
            };
            let mut link = Link::new(conditions, *seed);
            for (index, (now, bytes)) in frames.iter().enumerate() {
                // Not even when time goes backwards.
                let bytes = if index % 7 == 0 { extreme(*bytes ^ length) } else { bytes % 2000 };
                departures(link.decide(moment(*now), bytes as usize));
                if index % 5 == 4 {
                    link.set_conditions(Conditions { rate: None, ..conditions });
                } else {
                    link.set_conditions(conditions);
                }
            }
        },
    );
}

#[test]
fn without_chance_a_link_is_what_its_conditions_say() {
    let ms = Duration::from_millis;
    let mut link = Link::new(Conditions::default(), 1);
    assert_eq!(departures(link.decide(ms(7), 100)), [Departure { at: ms(7), flipped: None }]);
    link.set_conditions(Conditions::delayed(ms(100)));
    assert_eq!(departures(link.decide(ms(7), 100))[0].at, ms(107));
    // Nothing overtakes what was sent before.
    link.set_conditions(Conditions::delayed(ms(10)));
    assert_eq!(departures(link.decide(ms(8), 100))[0].at, ms(107));
    assert_eq!(departures(link.decide(ms(98), 100))[0].at, ms(108));
    link.set_conditions(Conditions { cut: true, ..Conditions::default() });
    assert_eq!(link.decide(ms(200), 100), Fate::Lost(Cause::Cut));
    link.set_conditions(Conditions::default());
    assert_eq!(departures(link.decide(ms(201), 100))[0].at, ms(201));
}

#[test]
fn what_is_certain_happens_to_every_frame_and_what_is_not_to_none() {
    let (ms, frames) = (Duration::from_millis, (0..1000).map(|n| (Duration::from_millis(n), 100)).collect());
    let always = Chance::from(Probability::ALWAYS);
    let delayed = Conditions::delayed(ms(50));
    let all = |conditions| fates(conditions, 3, &frames).into_iter().map(departures);
    assert!(all(Conditions { loss: always, ..delayed }).all(|it| it.is_empty()));
    assert!(all(Conditions { duplicate: always, ..delayed }).all(|it| it.len() == 2 && it[0] == it[1]));
    assert!(all(Conditions { corrupt: always, ..delayed }).all(|it| it[0].flipped.is_some()));
    assert!(all(Conditions { reorder: always, ..delayed }).zip(0..).all(|(it, n)| it[0].at == ms(n)));
    assert!(all(delayed).zip(0..).all(|(it, n)| it == [Departure { at: ms(n + 50), flipped: None }]));
}

/// A simulated world has tens of thousands of links, and asks them about every packet.
#[test]
fn links_are_small_and_fates_are_never_on_the_heap() {
    assert!(size_of::<Link>() <= 48);
    assert!(!std::mem::needs_drop::<Fate>());
}

#[test]
fn links_of_one_network_have_seeds_of_their_own() {
    use natrig_netmodel::seed_for;
    let seeds = [seed_for(1, "peer1"), seed_for(1, "peer2"), seed_for(2, "peer1"), seed_for(2, "peer2")];
    for (index, seed) in seeds.iter().enumerate() {
        assert!(!seeds[..index].contains(seed));
    }
    assert_eq!(seed_for(1, "peer1"), seeds[0]);
}

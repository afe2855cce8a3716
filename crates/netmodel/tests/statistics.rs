//! What chance comes to in the long run, for any seed.
//!
//! Every comparison is allowed six standard deviations of what is counted, which chance exceeds once in 500 million times;
//! with all the seeds and comparisons of a test it raises a false alarm about once in a million runs.

use std::time::Duration;

use natrig_netmodel::{
    Chance, Conditions, Departure, Distribution, Fate, GilbertElliott, Jitter, Link, Probability,
};
use proptest::prelude::*;

const FRAMES: usize = 100_000;
/// Longer than any delay here: frames do not meet.
const GAP: Duration = Duration::from_secs(3600);
const LENGTH: usize = 100;

fn run(conditions: Conditions, seed: u64) -> Vec<Vec<Departure>> {
    let mut link = Link::new(conditions, seed);
    let decide = |n| match link.decide(GAP * n, LENGTH) {
        Fate::Lost(_) => Vec::new(),
        Fate::Departs(departures) => departures.map(|it| Departure { at: it.at - GAP * n, ..it }).collect(),
    };
    (0..FRAMES as u32).map(decide).collect()
}

/// Whether a count is what chance makes of `of` trials at a probability. `inflation` is by how much dependence between the
/// trials makes the variance larger.
fn plausible(count: usize, of: usize, probability: f64, inflation: f64) -> Result<(), TestCaseError> {
    let (expected, of) = (of as f64 * probability, of as f64);
    let allowed = 6.0 * (of * probability * (1.0 - probability) * inflation).sqrt() + 1e-6 * of;
    // Counts are distributed normally when there are enough of either kind.
    let enough = expected.min(of - expected) / inflation.max(1.0) > 500.0;
    prop_assert!(
        !enough || (count as f64 - expected).abs() <= allowed,
        "{} of {}, not {} +- {}",
        count,
        of,
        expected,
        allowed,
    );
    Ok(())
}

/// Events that repeat with a correlation: their share is the chance, and each fares as the last one as often as it should.
fn is_chance(events: &[bool], Chance { chance, correlation }: Chance) -> Result<(), TestCaseError> {
    let (chance, correlation) = (chance.value(), correlation.value());
    let count = events.iter().filter(|it| **it).count();
    plausible(count, events.len(), chance, (1.0 + correlation) / (1.0 - correlation))?;
    // The steps out of a state of a Markov chain are independent of each other.
    for (state, again) in [(true, chance), (false, 1.0 - chance)] {
        let steps: Vec<_> = events.windows(2).filter(|pair| pair[0] == state).collect();
        let repeats = steps.iter().filter(|pair| pair[1] == state).count();
        plausible(repeats, steps.len(), correlation + (1.0 - correlation) * again, 1.0)?;
    }
    Ok(())
}

fn chance() -> impl Strategy<Value = Chance> {
    let correlation = prop_oneof![Just(0.0), 0.0..0.95];
    (0.02..0.98, correlation).prop_map(|(chance, correlation)| Chance {
        chance: Probability::new(chance).unwrap(),
        correlation: Probability::new(correlation).unwrap(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn loss_takes_its_share(seed: u64, chance in chance()) {
        let lost: Vec<_> = run(Conditions { loss: chance, ..Conditions::default() }, seed)
            .iter().map(Vec::is_empty).collect();
        is_chance(&lost, chance)?;
    }

    #[test]
    fn duplicates_have_their_share(seed: u64, chance in chance()) {
        let copied: Vec<_> = run(Conditions { duplicate: chance, ..Conditions::default() }, seed)
            .iter().map(|it| it.len() == 2).collect();
        is_chance(&copied, chance)?;
    }

    #[test]
    fn reordering_has_its_share(seed: u64, chance in chance()) {
        let delayed = Conditions::delayed(Duration::from_millis(10));
        let hurried: Vec<_> = run(Conditions { reorder: chance, ..delayed }, seed)
            .iter().map(|it| it[0].at.is_zero()).collect();
        is_chance(&hurried, chance)?;
    }

    #[test]
    fn damage_has_its_share_and_hits_every_bit_alike(seed: u64, chance in chance()) {
        let always = Probability::ALWAYS.into();
        let frames = run(Conditions { corrupt: chance, duplicate: always, ..Conditions::default() }, seed);
        for copy in [0, 1] {
            let flipped: Vec<_> = frames.iter().map(|it| it[copy].flipped).collect();
            is_chance(&flipped.iter().map(Option::is_some).collect::<Vec<_>>(), chance)?;
            let places: Vec<_> = flipped.iter().flatten().map(|bit| bit.place()).collect();
            for part in 0..8 {
                let of_byte = places.iter().filter(|place| **place % 8 == part).count();
                plausible(of_byte, places.len(), 1.0 / 8.0, 1.0)?;
                let of_frame = places.iter().filter(|place| **place / LENGTH == part).count();
                plausible(of_frame, places.len(), 1.0 / 8.0, 1.0)?;
            }
        }
    }

    /// Conditions with the same numbers do not happen to the same frames.
    #[test]
    fn conditions_are_independent_of_each_other(seed: u64, chance in 0.05..0.95f64) {
        let some = Probability::new(chance).unwrap().into();
        let delayed = Conditions::delayed(Duration::from_millis(10));
        let conditions = Conditions { corrupt: some, duplicate: some, reorder: some, ..delayed };
        let frames = run(conditions, seed);
        let facts = |it: &Vec<Departure>| [it[0].flipped.is_some(), it.len() == 2, it[0].at.is_zero()];
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let both = frames.iter().map(facts).filter(|it| it[one] && it[other]).count();
            plausible(both, FRAMES, chance * chance, 1.0)?;
        }
        let copied = Conditions { duplicate: Probability::ALWAYS.into(), ..conditions };
        let both = |it: &&Vec<Departure>| it[0].flipped.is_some() && it[1].flipped.is_some();
        plausible(run(copied, seed).iter().filter(both).count(), FRAMES, chance * chance, 1.0)?;
        // A model that never becomes bad loses each frame by itself, beside the loss that does so anyway.
        let probability = Probability::new(chance).unwrap();
        let never = Probability::NEVER;
        let good = GilbertElliott { to_bad: never, to_good: never, loss_good: probability, loss_bad: never };
        let twice = Conditions { bursts: Some(good), ..Conditions::lossy(probability) };
        let arrived = run(twice, seed).iter().filter(|it| !it.is_empty()).count();
        plausible(arrived, FRAMES, (1.0 - chance).powi(2), 1.0)?;
        // What is lost is not seen otherwise: the share of the rest that is copied stays.
        let rest = run(Conditions { loss: some, ..conditions }, seed);
        let left: Vec<_> = rest.iter().filter(|it| !it.is_empty()).map(facts).collect();
        for fact in 0..3 {
            plausible(left.iter().filter(|it| it[fact]).count(), left.len(), chance, 1.0)?;
        }
    }

    /// The runs of losses and the gaps between them are geometric, by Gilbert's model.
    #[test]
    fn bursts_have_their_length(seed: u64, to_bad in 0.01..0.6f64, to_good in 0.05..0.95f64) {
        let [begin, end] = [to_bad, to_good].map(|it| Probability::new(it).unwrap());
        let model = GilbertElliott {
            to_bad: begin, to_good: end, loss_good: Probability::NEVER, loss_bad: Probability::ALWAYS,
        };
        let frames = run(Conditions { bursts: Some(model), ..Conditions::default() }, seed);
        let lost: Vec<_> = frames.iter().map(Vec::is_empty).collect();
        for (state, leaves) in [(true, to_good), (false, to_bad)] {
            let mut lengths: Vec<_> =
                lost.chunk_by(|a, b| a == b).filter(|run| run[0] == state).map(<[_]>::len).collect();
            lengths.pop();
            let (count, total) = (lengths.len() as f64, lengths.iter().sum::<usize>() as f64);
            let deviation = ((1.0 - leaves) / leaves.powi(2) / count).sqrt();
            prop_assert!((total / count - 1.0 / leaves).abs() <= 6.0 * deviation + 1e-3);
            for length in 1..5 {
                let at_most = lengths.iter().filter(|it| **it <= length).count();
                plausible(at_most, lengths.len(), 1.0 - (1.0 - leaves).powi(length as i32), 1.0)?;
            }
        }
    }

    /// Gilbert's and Elliott's model in full: the share lost, whose deviation is a hidden Markov chain's.
    #[test]
    fn bursts_take_their_share(
        seed: u64,
        to_bad in 0.01..0.9f64,
        to_good in 0.05..0.9f64,
        loss_good in 0.0..0.5f64,
        loss_bad in 0.5..1.0f64,
    ) {
        let [begin, end, good, bad] =
            [to_bad, to_good, loss_good, loss_bad].map(|it| Probability::new(it).unwrap());
        let model = GilbertElliott { to_bad: begin, to_good: end, loss_good: good, loss_bad: bad };
        let frames = run(Conditions { bursts: Some(model), ..Conditions::default() }, seed);
        let lost = frames.iter().filter(|it| it.is_empty()).count();
        let loss = model.loss().value();
        let memory = 1.0 - to_bad - to_good;
        let share_bad = to_bad / (to_bad + to_good);
        let between = (loss_bad - loss_good).powi(2) * share_bad * (1.0 - share_bad);
        let inflation = 1.0 + 2.0 * between * memory / (1.0 - memory) / (loss * (1.0 - loss));
        plausible(lost, FRAMES, loss, inflation)?;
    }

    /// Held against the distribution's function at marks over its whole range, and repeated as often as it should be.
    #[test]
    fn jitter_is_distributed_as_it_says(
        seed: u64,
        distribution in prop::sample::select(vec![
            Distribution::Uniform, Distribution::Normal, Distribution::Pareto,
        ]),
        correlation in prop_oneof![Just(0.0), 0.0..0.95f64],
    ) {
        let (delay, spread) = (Duration::from_secs(100), Duration::from_secs(10));
        let jitter = Jitter {
            spread,
            distribution,
            correlation: Probability::new(correlation).unwrap(),
            overtaking: false,
        };
        let delays: Vec<_> = run(Conditions { jitter, ..Conditions::delayed(delay) }, seed)
            .iter().map(|it| (it[0].at.as_secs_f64() - 100.0) / 10.0).collect();
        for (mark, share) in marks(distribution) {
            let below = delays.iter().filter(|it| **it <= mark).count();
            plausible(below, FRAMES, share, (1.0 + correlation) / (1.0 - correlation))?;
        }
        let repeats = delays.windows(2).filter(|pair| pair[0] == pair[1]).count();
        plausible(repeats, FRAMES - 1, correlation, 1.0)?;
    }
}

/// Deviations, and the share of frames that is at or below them.
fn marks(distribution: Distribution) -> Vec<(f64, f64)> {
    match distribution {
        Distribution::Uniform => [-0.9, -0.5, 0.0, 0.3, 0.8].map(|x| (x, (x + 1.0) / 2.0)).into(),
        // From the tables of the standard normal distribution.
        Distribution::Normal => vec![
            (-2.326_348, 0.01),
            (-1.281_552, 0.1),
            (-0.674_490, 0.25),
            (0.0, 0.5),
            (0.524_401, 0.7),
            (1.644_854, 0.95),
            (2.575_829, 0.995),
        ],
        Distribution::Pareto => [-0.55, -0.4, -0.2, 0.0, 0.5, 1.0, 2.0, 4.0]
            .map(|x: f64| (x, 1.0 - (x * 3f64.sqrt() / 2.0 + 1.5).powi(-3)))
            .into(),
    }
}

//! Counts and times: how far apart two backends may be.

use natrig_record::{Agreement, Aspect};

/// How far the medians of what is counted may be apart: this many, and beyond that this factor.
pub const COUNTS: (f64, f64) = (6.0, 2.0);

/// Probes go out in time: whoever settles so many milliseconds later may have sent one more.
const PACE: f64 = 50.0;

/// How far the medians of what takes time may be apart: this many milliseconds, and beyond that this factor. An emulated machine
/// is slower than a simulated one, a chain of gateways and a slow host most of all, and the seconds that nodes wait on purpose are
/// the same.
pub const TIMES: (f64, f64) = (2500.0, 1.5);

/// With as many runs of each, distributions are compared where chance decides.
const ENOUGH: usize = 20;

/// The Kolmogorov-Smirnov statistic's factor for a false alarm in a thousand.
const ALARM: f64 = 1.949;

/// Compares counts: as distributions where chance decides and there are enough, else by their medians. `later` is by how many
/// milliseconds one settled later, where what is counted goes on until then.
pub(super) fn counts(name: &str, values: [Vec<f64>; 2], chance: bool, later: f64) -> Aspect {
    if chance {
        return distributions(name, values);
    }
    let (apart, factor) = COUNTS;
    medians(name, values, (apart + (later / PACE).floor(), factor), "")
}

/// By how much the medians of times are apart, in milliseconds; 0 where one is missing.
pub(super) fn later(times: [Vec<f64>; 2]) -> f64 {
    match times.map(median) {
        [Some(a), Some(b)] => (a - b).abs(),
        _ => 0.0,
    }
}

/// Compares times by their medians, where chance decides only if there are enough; none if neither has any.
pub(super) fn times(name: &str, values: [Vec<f64>; 2], chance: bool) -> Option<Aspect> {
    if values.iter().all(Vec::is_empty) {
        return None;
    }
    let few = chance && values.iter().any(|values| values.len() < ENOUGH);
    let aspect = medians(name, values, TIMES, " ms");
    Some(if few && aspect.agreement == Agreement::Differs { unsaid(aspect) } else { aspect })
}

/// Of what chance decides, few runs say nothing.
fn unsaid(aspect: Aspect) -> Aspect {
    let note = format!("chance decides; compared with {ENOUGH} runs of each (--repeat)");
    Aspect { agreement: Agreement::Within, note: Some(note), ..aspect }
}

fn medians(name: &str, values: [Vec<f64>; 2], (apart, factor): (f64, f64), unit: &str) -> Aspect {
    let medians = values.map(median);
    let agreement = match medians {
        [Some(a), Some(b)] if a == b => Agreement::Same,
        [Some(a), Some(b)] if (a - b).abs() <= apart || a.max(b) <= a.min(b) * factor => Agreement::Within,
        _ => Agreement::Differs,
    };
    let values = medians.map(|median| median.map_or("none".to_owned(), |it| format!("{}{unit}", round(it))));
    let note = format!("medians, up to {apart}{unit} or {factor} times apart");
    Aspect { name: name.to_owned(), values, agreement, note: Some(note) }
}

fn distributions(name: &str, mut values: [Vec<f64>; 2]) -> Aspect {
    values.iter_mut().for_each(|values| values.sort_by(f64::total_cmp));
    let told =
        values.each_ref().map(|values| match (values.first(), median(values.clone()), values.last()) {
            (Some(least), Some(median), Some(most)) if least != most => {
                format!("{} ({} to {})", round(median), round(*least), round(*most))
            }
            (Some(only), ..) => round(*only).to_string(),
            _ => "none".to_owned(),
        });
    let [a, b] = &values;
    let few = values.iter().any(|values| values.len() < ENOUGH);
    let (agreement, note) = if few {
        (Agreement::Within, format!("chance decides; compared with {ENOUGH} runs of each (--repeat)"))
    } else {
        let distance = distance(a, b);
        let allowed = ALARM * ((a.len() + b.len()) as f64 / (a.len() * b.len()) as f64).sqrt();
        let agreement = if distance <= allowed { Agreement::Within } else { Agreement::Differs };
        (
            agreement,
            format!("distributions {distance:.2} apart, up to {allowed:.2} by chance (Kolmogorov-Smirnov)"),
        )
    };
    Aspect { name: name.to_owned(), values: told, agreement, note: Some(note) }
}

/// How far two sorted samples' distributions are apart at most.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let share = |sample: &[f64], at: f64| sample.partition_point(|it| *it <= at) as f64 / sample.len() as f64;
    a.iter().chain(b).map(|at| (share(a, *at) - share(b, *at)).abs()).fold(0.0, f64::max)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(from: u32, count: u32) -> Vec<f64> {
        (0..count).map(|n| f64::from(from + n * 7 % count)).collect()
    }

    #[test]
    fn the_same_distribution_is_no_difference_and_a_shifted_one_is() {
        let same = distributions("probes", [sample(0, 40), sample(0, 60)]);
        assert_eq!(same.agreement, Agreement::Within);
        let shifted = distributions("probes", [sample(0, 40), sample(30, 40)]);
        assert_eq!(shifted.agreement, Agreement::Differs, "{shifted:?}");
    }

    #[test]
    fn few_runs_say_nothing_of_chance() {
        let few = distributions("probes", [sample(0, 3), sample(300, 3)]);
        assert_eq!(few.agreement, Agreement::Within);
        assert!(few.note.unwrap().contains("--repeat"));
    }

    #[test]
    fn small_counts_may_differ_by_a_few_and_large_ones_by_a_factor() {
        let agreement = |a, b| counts("probes", [vec![a], vec![b]], false, 0.0).agreement;
        assert_eq!(agreement(3.0, 3.0), Agreement::Same);
        assert_eq!(agreement(3.0, 9.0), Agreement::Within);
        assert_eq!(agreement(3.0, 10.0), Agreement::Differs);
        assert_eq!(agreement(100.0, 190.0), Agreement::Within);
        assert_eq!(agreement(100.0, 210.0), Agreement::Differs);
    }

    #[test]
    fn who_settles_later_may_have_probed_more() {
        let agreement = |a, b| counts("probes", [vec![a], vec![b]], false, 500.0).agreement;
        assert_eq!(agreement(13.0, 5.0), Agreement::Within);
        assert_eq!(agreement(22.0, 5.0), Agreement::Differs);
        assert_eq!(later([vec![505.9], vec![4.0]]).round(), 502.0);
        assert_eq!(later([vec![505.9], vec![]]), 0.0);
    }
}

//! How many of many, where each has its chance.

use natrig_netmodel::Conditions;

/// A correct link is blamed less than once in so many times.
const ONCE_IN: f64 = 1e6;

/// A share of frames that is lost by chance, each by itself or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// In the long run.
    pub chance: f64,
    /// How far what became of one frame tells what becomes of the next: 0 not at all, 1 wholly.
    pub memory: f64,
    /// What is known of the first frame makes any run of frames at most so many times as likely.
    pub start: f64,
}

impl Share {
    /// Of the frames that conditions lose.
    pub fn lost(conditions: &Conditions) -> Self {
        let loss = conditions.loss;
        let (bursts, memory, start) = match conditions.bursts {
            None => (0.0, 0.0, 1.0),
            Some(bursts) => {
                let (to_bad, to_good) = (bursts.to_bad.value(), bursts.to_good.value());
                let good = if to_bad > 0.0 { to_good / (to_bad + to_good) } else { 1.0 };
                (bursts.loss().value(), 1.0 - to_bad - to_good, 1.0 / good)
            }
        };
        Share {
            chance: loss.chance.value() + bursts - loss.chance.value() * bursts,
            memory: loss.correlation.value().max(memory).max(0.0),
            start,
        }
    }

    /// Whether chance explains so many of so many, but once in a million times.
    ///
    /// Independent ones are held to Chernoff's bound; those that depend on each other to the bound for reversible Markov chains
    /// of León and Perron ("Optimal Hoeffding bounds for discrete reversible Markov chains", 2004), whose second eigenvalue is
    /// the memory, times what the start makes likelier.
    pub fn explains(self, count: usize, of: usize) -> bool {
        let Share { chance: p, memory, start } = self;
        let n = of as f64;
        if p <= 0.0 || p >= 1.0 {
            return count as f64 == n * p;
        }
        if of == 0 || memory >= 1.0 || !start.is_finite() {
            return true;
        }
        let x = count as f64 / n;
        let exponent = if memory > 0.0 {
            2.0 * n * (x - p) * (x - p) * (1.0 - memory) / (1.0 + memory)
        } else {
            let term = |x: f64, p: f64| if x > 0.0 { x * (x / p).ln() } else { 0.0 };
            n * (term(x, p) + term(1.0 - x, 1.0 - p))
        };
        exponent < (2.0 * start * ONCE_IN).ln()
    }
}

#[cfg(test)]
mod tests {
    use natrig_netmodel::{Chance, Fate, GilbertElliott, Link, Probability};

    use super::*;

    fn chance(chance: f64) -> Probability {
        Probability::new(chance).unwrap()
    }

    /// How many of so many frames a link loses.
    fn lost(conditions: Conditions, seed: u64, of: usize) -> usize {
        let mut link = Link::new(conditions, seed);
        let now = |frame: usize| std::time::Duration::from_millis(frame as u64);
        (0..of).filter(|frame| matches!(link.decide(now(*frame), 100), Fate::Lost(_))).count()
    }

    #[test]
    fn what_a_link_loses_is_explained_and_twice_as_much_is_not() {
        let bursts = GilbertElliott::simple(chance(0.05), 10.0);
        let correlated = Chance { chance: chance(0.1), correlation: chance(0.5) };
        for conditions in [
            Conditions::lossy(chance(0.01)),
            Conditions::lossy(chance(0.25)),
            Conditions { bursts, ..Conditions::default() },
            Conditions { loss: correlated, ..Conditions::default() },
            Conditions { loss: correlated, bursts, ..Conditions::default() },
        ] {
            let share = Share::lost(&conditions);
            for of in [10, 100, 1_000] {
                for seed in 0..300 {
                    let count = lost(conditions, seed, of);
                    assert!(share.explains(count, of), "{count} of {of} in {conditions:?}");
                }
            }
            let many = 100_000;
            assert!(!share.explains((share.chance * 2.0 * many as f64) as usize, many), "{conditions:?}");
            assert!(!share.explains(0, many), "{conditions:?}");
        }
    }

    #[test]
    fn a_link_that_loses_nothing_may_not_lose_one() {
        let share = Share::lost(&Conditions::default());
        assert!(share.explains(0, 10) && !share.explains(1, 10));
        let all = Share::lost(&Conditions::lossy(Probability::ALWAYS));
        assert!(all.explains(10, 10) && !all.explains(9, 10));
    }
}

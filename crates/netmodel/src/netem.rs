//! Conditions in the words of Linux's `tc ... netem`, as far as it does what a [`Conditions`] says.

use std::time::Duration;

use crate::{Chance, Conditions, Distribution};

/// What netem would do otherwise than a [`crate::Link`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unlike {
    /// It cuts nothing.
    #[error("netem cuts no cable")]
    Cut,
    /// Its queue counts packets, not time or bytes.
    #[error("netem's queue counts packets, not time or bytes")]
    Rate,
    /// Its correlation makes what it correlates rarer than it was told.
    #[error("netem's correlation makes what is correlated rarer than was asked for")]
    Correlation,
    /// With it, frames with a short delay always overtake those with a long one.
    #[error("with netem, frames overtake each other where the delay varies")]
    Order,
    /// It draws others than even delays from a table that a gateway does not have.
    #[error("a gateway has netem's even jitter only")]
    Distribution,
    /// It has one model of losses at a time.
    #[error("netem loses frames by themselves or in bursts, not both")]
    Losses,
}

/// Packets that netem holds at most, so that its queue drops none of a lab's.
const LIMIT: u32 = 100_000;

/// What stands behind `netem` on the command line of `tc`.
pub fn arguments(conditions: &Conditions) -> Result<Vec<String>, Unlike> {
    let Conditions { cut, rate, delay, jitter, loss, bursts, duplicate, reorder, corrupt } = *conditions;
    if cut {
        return Err(Unlike::Cut);
    }
    if rate.is_some() {
        return Err(Unlike::Rate);
    }
    let varies = !jitter.spread.is_zero();
    let correlations = [loss, duplicate, reorder, corrupt].map(|chance| chance.correlation);
    if correlations.into_iter().chain([jitter.correlation]).any(|correlation| !correlation.is_never()) {
        return Err(Unlike::Correlation);
    }
    if varies && jitter.distribution != Distribution::Uniform {
        return Err(Unlike::Distribution);
    }
    if varies && !jitter.overtaking {
        return Err(Unlike::Order);
    }
    if bursts.is_some() && !loss.chance.is_never() {
        return Err(Unlike::Losses);
    }
    let mut words = vec!["limit".to_owned(), LIMIT.to_string()];
    if varies || !delay.is_zero() {
        words.extend(["delay".to_owned(), micros(delay)]);
    }
    if varies {
        words.push(micros(jitter.spread));
    }
    let mut chance = |word: &str, chance: Chance| {
        if !chance.chance.is_never() {
            words.extend([word.to_owned(), percent(chance.chance.value())]);
        }
    };
    chance("loss", loss);
    chance("duplicate", duplicate);
    chance("reorder", reorder);
    chance("corrupt", corrupt);
    if let Some(bursts) = bursts {
        words.extend(["loss", "gemodel"].map(str::to_owned));
        let chances = [bursts.to_bad, bursts.to_good, bursts.loss_bad, bursts.loss_good];
        words.extend(chances.map(|chance| percent(chance.value())));
    }
    Ok(words)
}

/// `tc` knows nothing shorter.
fn micros(time: Duration) -> String {
    format!("{}us", time.as_secs_f64() * 1e6)
}

fn percent(share: f64) -> String {
    format!("{}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::{GilbertElliott, Jitter, Probability, Queue, Rate};

    fn chance(chance: f64) -> Probability {
        Probability::new(chance).unwrap()
    }

    fn jitter(overtaking: bool) -> Jitter {
        Jitter { spread: Duration::from_millis(10), overtaking, ..Jitter::default() }
    }

    fn check(conditions: Conditions, words: &str) {
        assert_eq!(arguments(&conditions).unwrap().join(" "), words);
    }

    #[test]
    fn says_what_the_seed_says() {
        let (delay, none) = (Duration::from_millis(50), Conditions::default());
        check(Conditions { delay, jitter: jitter(true), ..none }, "limit 100000 delay 50000us 10000us");
        check(Conditions::lossy(chance(0.01)), "limit 100000 loss 1%");
        check(
            Conditions { delay, ..Conditions::lossy(chance(0.005)) },
            "limit 100000 delay 50000us loss 0.5%",
        );
    }

    #[test]
    fn says_bursts_as_gemodel() {
        let bursts = GilbertElliott {
            to_bad: chance(0.01),
            to_good: chance(0.2),
            loss_bad: chance(0.9),
            loss_good: chance(0.001),
        };
        let conditions = Conditions { bursts: Some(bursts), ..Conditions::default() };
        check(conditions, "limit 100000 loss gemodel 1% 20% 90% 0.1%");
    }

    #[test]
    fn refuses_what_netem_does_otherwise() {
        let none = Conditions::default();
        let correlated = Chance { chance: chance(0.1), correlation: chance(0.5) };
        let rate = Rate { bits_per_second: NonZeroU64::MIN, queue: Queue::Bytes(0) };
        let pareto = Jitter { distribution: Distribution::Pareto, ..jitter(true) };
        let bursts = GilbertElliott::simple(chance(0.1), 3.0);
        for (conditions, unlike) in [
            (Conditions { cut: true, ..none }, Unlike::Cut),
            (Conditions { rate: Some(rate), ..none }, Unlike::Rate),
            (Conditions { duplicate: correlated, ..none }, Unlike::Correlation),
            (Conditions { jitter: jitter(false), ..none }, Unlike::Order),
            (Conditions { jitter: pareto, ..none }, Unlike::Distribution),
            (Conditions { bursts, ..Conditions::lossy(chance(0.1)) }, Unlike::Losses),
        ] {
            assert_eq!(arguments(&conditions), Err(unlike), "{conditions:?}");
        }
    }
}

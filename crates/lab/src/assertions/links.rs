//! Links that do to frames what a scenario says: read back from the captures, since a condition that did not take would make a
//! verdict worth nothing.
//!
//! What is checked is raised falsely less than once in a million times: shares by Chernoff's bound, times by the least that a
//! frame can have been under way. Losses in bursts and correlated ones are not checked by their share.

use std::{collections::BTreeMap, time::Duration};

use natrig_capture::{Direction, DropReason, LinkId, Trace};
use natrig_netmodel::{Conditions, Distribution};
use natrig_record::{About, Assertion};
use natrig_scenario::{Action, Flow, Link, Moment, Scenario};
use serde::{Deserialize, Serialize};

/// A correct link is blamed less than once in so many times.
const ONCE_IN: f64 = 1e6;

/// So many frames are needed to say how long the fastest of them takes.
const ENOUGH: usize = 10;

/// The fastest of many frames is no later than this, even where the host is busy.
const SLACK: Duration = Duration::from_millis(250);

/// The longest Ethernet frame.
const LONGEST: u64 = 1514;

/// What a link does in one direction, and how long that is so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The link.
    pub link: String,
    /// Whether to its machine, or from it.
    pub to_machine: bool,
    /// What happens to frames.
    pub conditions: Conditions,
    /// Until when, in nanoseconds since the Unix epoch; none if it is so to the end.
    #[serde(default)]
    pub until_ns: Option<u64>,
}

impl Condition {
    /// The conditions that a scenario begins with, as far as they can be read back: those of links that faults touch hold until
    /// the nodes connect, if they do for so long.
    pub fn all(scenario: &Scenario, connect_ns: u64) -> Vec<Condition> {
        let mut all = Vec::new();
        for impairment in &scenario.links {
            let first = scenario.faults.iter().find(|fault| touches(&fault.action, impairment.link));
            let until_ns = match first.map(|fault| fault.after) {
                None => None,
                Some(Moment::Serving | Moment::Started | Moment::Bootstrapped) => continue,
                Some(Moment::Connected | Moment::Settled | Moment::Carrying) => Some(connect_ns),
            };
            let ways: &[bool] = match impairment.flow {
                Flow::In => &[true],
                Flow::Out => &[false],
                Flow::Both => &[true, false],
            };
            all.extend(ways.iter().map(|&to_machine| Condition {
                link: impairment.link.name().to_owned(),
                to_machine,
                conditions: impairment.conditions,
                until_ns,
            }));
        }
        all
    }

    /// The least and the most that it delays, where that can be said.
    fn delay(&self) -> Option<[Duration; 2]> {
        let Conditions { delay, jitter, reorder, .. } = self.conditions;
        let bounded = jitter.spread.is_zero() || jitter.distribution == Distribution::Uniform;
        let most = delay + jitter.spread;
        (bounded && reorder.chance.is_never()).then(|| [delay.saturating_sub(jitter.spread), most])
    }
}

/// Whether something that is done changes what a link does to frames.
fn touches(action: &Action, link: Link) -> bool {
    match action {
        Action::Cut(other) | Action::Heal(other) | Action::Flap(other, ..) | Action::Mend(other) => {
            *other == link
        }
        Action::Impair(impairments) => impairments.iter().any(|one| one.link == link),
        Action::Gateway(machine, _) | Action::Machine(machine, _) | Action::Roam(machine, _) => {
            *machine == link.machine()
        }
        _ => false,
    }
}

/// What the links of a scenario have to show.
pub fn shown(trace: &Trace, conditions: &[Condition]) -> Vec<Assertion> {
    conditions.iter().filter_map(|condition| one(trace, condition, conditions)).collect()
}

fn one(trace: &Trace, condition: &Condition, all: &[Condition]) -> Option<Assertion> {
    let link = trace.link(&condition.link)?;
    let seen = Seen::of(trace, condition, link, all);
    let mut faults = Vec::new();
    faults.extend(seen.wrong_loss(&condition.conditions));
    faults.extend(seen.wrong_delay());
    faults.extend(seen.wrong_rate(&condition.conditions));
    let way = if condition.to_machine { "to its machine" } else { "from its machine" };
    let (frames, lost) = (seen.frames, seen.lost);
    Some(Assertion {
        about: About::Link,
        what: format!("{} does to frames {way} what the scenario says", condition.link),
        holds: faults.is_empty(),
        detail: match faults.is_empty() {
            true => format!("{frames} frames, {lost} of them lost"),
            false => faults.join("; "),
        },
    })
}

/// What a link did in one direction.
struct Seen {
    frames: usize,
    lost: usize,
    /// By the link at the other end: how many passed, how long the fastest was under way, and the bounds of that.
    times: BTreeMap<LinkId, (usize, Duration, [Duration; 2])>,
    /// When frames left it, and how long they were.
    departures: Vec<(u64, u64)>,
}

impl Seen {
    fn of(trace: &Trace, condition: &Condition, link: LinkId, all: &[Condition]) -> Self {
        let mut seen = Seen { frames: 0, lost: 0, times: BTreeMap::new(), departures: Vec::new() };
        let until = condition.until_ns.unwrap_or(u64::MAX);
        let direction = if condition.to_machine { Direction::Outbound } else { Direction::Inbound };
        let own = condition.delay();
        let of = |link: LinkId, to_machine: bool| {
            let name = trace.name(link);
            let other = all.iter().find(|one| one.link == name && one.to_machine == to_machine);
            // Where a fault changes the other end, nothing can be said of both together.
            other.map_or(Some([Duration::ZERO; 2]), |other| {
                if other.until_ns == condition.until_ns { other.delay() } else { None }
            })
        };
        for frame in trace.frames().iter().filter(|frame| frame.at_ns < until) {
            let here = |drop: &&natrig_capture::Drop| drop.link == link && drop.direction == direction;
            let lost = frame.drops.iter().filter(here).any(|drop| drop.reason == DropReason::Loss);
            let cut = frame.drops.iter().filter(here).any(|drop| drop.reason != DropReason::Loss);
            let deliveries =
                frame.to.iter().filter(|delivery| !condition.to_machine || delivery.link == link);
            let concerns = if condition.to_machine { frame.from != link } else { frame.from == link };
            if !concerns {
                continue;
            }
            if lost {
                (seen.frames, seen.lost) = (seen.frames + 1, seen.lost + 1);
                continue;
            }
            let mut first = true;
            for delivery in deliveries {
                if first {
                    seen.frames += 1;
                    seen.departures.push((delivery.at_ns, delivery.data.len() as u64));
                }
                first = false;
                let (from, to) = (frame.from, delivery.link);
                let both = match condition.to_machine {
                    true => of(from, false).zip(own),
                    false => of(to, true).zip(own),
                };
                let Some(([least, most], [own_least, own_most])) = both else { continue };
                let took = Duration::from_nanos(delivery.at_ns.saturating_sub(frame.at_ns));
                let other = if condition.to_machine { from } else { to };
                let bounds = [least + own_least, most + own_most];
                let (count, fastest, _) = seen.times.entry(other).or_insert((0, took, bounds));
                *count += 1;
                *fastest = (*fastest).min(took);
            }
            if first
                && !cut
                && !condition.to_machine
                && frame.to.is_empty()
                && frame.drops.iter().all(|drop| drop.link != link)
            {
                // It passed this link and was taken by the next one.
                seen.frames += 1;
            }
        }
        seen
    }

    fn wrong_loss(&self, conditions: &Conditions) -> Option<String> {
        let correlated = !conditions.loss.correlation.is_never();
        if conditions.bursts.is_some() || correlated || self.frames == 0 {
            return None;
        }
        let p = conditions.loss.chance.value();
        (!plausible(self.lost, self.frames, p)).then(|| {
            format!("{} of {} frames were lost, where {} % should be", self.lost, self.frames, p * 100.0)
        })
    }

    fn wrong_delay(&self) -> Option<String> {
        let wrong = self.times.values().find(|(count, fastest, [least, most])| {
            fastest < least || *count >= ENOUGH && *fastest > *most + SLACK
        })?;
        let (count, fastest, [least, most]) = wrong;
        Some(format!(
            "the fastest of {count} frames was under way for {fastest:?}, where {least:?} to {most:?} should be"
        ))
    }

    /// No more passes in a second than can, and a frame's length.
    fn wrong_rate(&self, conditions: &Conditions) -> Option<String> {
        let rate = conditions.rate?;
        // What comes behind the link may bring frames together again.
        if !conditions.jitter.spread.is_zero() || !conditions.duplicate.chance.is_never() {
            return None;
        }
        let a_second = rate.bits_per_second.get() / 8;
        let mut departures = self.departures.clone();
        departures.sort_unstable();
        let (mut from, mut bytes) = (0, 0);
        for (at, length) in &departures {
            bytes += length;
            while departures[from].0 + 1_000_000_000 < *at {
                bytes -= departures[from].1;
                from += 1;
            }
            if bytes > a_second + a_second / 10 + 2 * LONGEST {
                return Some(format!("{bytes} bytes passed within a second, where {a_second} can"));
            }
        }
        None
    }
}

/// Whether chance explains so many of so many, each with chance `p`, but once in a million times (Chernoff's bound).
fn plausible(count: usize, of: usize, p: f64) -> bool {
    if p <= 0.0 || p >= 1.0 {
        return count as f64 == of as f64 * p;
    }
    let (n, x) = (of as f64, count as f64 / of as f64);
    let term = |x: f64, p: f64| if x > 0.0 { x * (x / p).ln() } else { 0.0 };
    let divergence = term(x, p) + term(1.0 - x, 1.0 - p);
    n * divergence < (2.0 * ONCE_IN).ln()
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn what_chance_explains_is_plausible_and_nothing_else() {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        for p in [0.001, 0.01, 0.1, 0.5] {
            for of in [10, 100, 1_000] {
                for _ in 0..300 {
                    let count = (0..of).filter(|_| random.random_bool(p)).count();
                    assert!(plausible(count, of, p), "{count} of {of} at {p}");
                }
            }
        }
        assert!(!plausible(0, 1_000, 0.1) && !plausible(300, 1_000, 0.1) && !plausible(1, 10, 0.0));
        assert!(plausible(0, 10, 0.0) && plausible(10, 10, 1.0));
    }
}

//! Links that do to frames what a scenario says: read back from the captures, since a condition that did not take would make a
//! verdict worth nothing.
//!
//! What is checked is raised falsely less than once in a million times: shares by a bound of what chance does, times by the least
//! that a frame can have been under way.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use natrig_capture::{Direction, DropReason, Frame, LinkId, Trace};
use natrig_netmodel::{Conditions, Distribution};
use natrig_record::{About, Assertion};
use natrig_scenario::{Action, Flow, Link, Moment, Scenario, Where};
use serde::{Deserialize, Serialize};

use super::{netem, share::Share};

/// So many frames are needed to say how long the fastest of them takes.
pub(super) const ENOUGH: usize = 10;

/// The fastest of many frames is no later than this, even where the host is busy.
pub(super) const SLACK: Duration = Duration::from_millis(250);

/// By how much two readings of one clock may seem to differ.
const ROUNDING: Duration = Duration::from_millis(1);

/// What a link does in one direction, and how long that is so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The link.
    pub link: String,
    /// Whether to its machine, or from it.
    pub to_machine: bool,
    /// What happens to frames.
    pub conditions: Conditions,
    /// From when on, in nanoseconds since the Unix epoch.
    #[serde(default)]
    pub from_ns: u64,
    /// Until when, in nanoseconds since the Unix epoch; none if it is so to the end.
    #[serde(default)]
    pub until_ns: Option<u64>,
    /// Whether the link's machine does it, a gateway, before frames are on the link.
    #[serde(default)]
    pub in_gateway: bool,
}

impl Condition {
    /// The conditions that a scenario begins with, as far as they can be read back: those of links that faults touch hold until
    /// the nodes connect, if they do for so long, and those in gateways from when these have been proven.
    pub fn all(scenario: &Scenario, proven_to_connect_ns: Range<u64>) -> Vec<Condition> {
        let Range { start: proven_ns, end: connect_ns } = proven_to_connect_ns;
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
                from_ns: if impairment.at == Where::Gateway { proven_ns } else { 0 },
                until_ns,
                in_gateway: impairment.at == Where::Gateway,
            }));
        }
        all
    }

    /// The least and the most that it delays, where that can be said.
    pub(super) fn delay(&self) -> Option<[Duration; 2]> {
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
    let shown = conditions.iter().filter_map(|condition| match condition.in_gateway {
        true => netem::delay(trace, condition),
        false => one(trace, condition, conditions),
    });
    shown.collect()
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
    /// The frames that passed, in the order in which they came to this link.
    departures: Vec<Departure>,
}

impl Seen {
    fn of(trace: &Trace, condition: &Condition, link: LinkId, all: &[Condition]) -> Self {
        let mut seen = Seen { frames: 0, lost: 0, times: BTreeMap::new(), departures: Vec::new() };
        let until = condition.until_ns.unwrap_or(u64::MAX);
        let direction = if condition.to_machine { Direction::Outbound } else { Direction::Inbound };
        let own = condition.delay();
        let of = |link: LinkId, to_machine: bool| {
            let name = trace.name(link);
            let other = all.iter().filter(|one| !one.in_gateway);
            let other = other.clone().find(|one| one.link == name && one.to_machine == to_machine);
            // Where a fault changes the other end, nothing can be said of both together.
            other.map_or(Some([Duration::ZERO; 2]), |other| {
                let span = |one: &Condition| (one.from_ns, one.until_ns);
                if span(other) == span(condition) { other.delay() } else { None }
            })
        };
        let span = condition.from_ns..until;
        let concerns =
            |frame: &&Frame| span.contains(&frame.at_ns) && (frame.from == link) != condition.to_machine;
        for frame in trace.frames().iter().filter(concerns) {
            let here = |drop: &&natrig_capture::Drop| drop.link == link && drop.direction == direction;
            if frame.drops.iter().filter(here).any(|drop| drop.reason == DropReason::Loss) {
                seen.frames += 1;
                seen.lost += 1;
                continue;
            }
            let mut deliveries =
                frame.to.iter().filter(|delivery| !condition.to_machine || delivery.link == link).peekable();
            if let Some(first) = deliveries.peek() {
                seen.frames += 1;
                let bytes = first.data.len() as u64;
                seen.departures.push(Departure { came_ns: frame.at_ns, left_ns: first.at_ns, bytes });
            } else if !condition.to_machine && frame.drops.iter().all(|drop| drop.link != link) {
                // It passed this link and was taken by the next one.
                seen.frames += 1;
            }
            for delivery in deliveries {
                let (other, theirs) = match condition.to_machine {
                    true => (frame.from, of(frame.from, false)),
                    false => (delivery.link, of(delivery.link, true)),
                };
                let Some(([least, most], [own_least, own_most])) = theirs.zip(own) else { continue };
                let took = Duration::from_nanos(delivery.at_ns.saturating_sub(frame.at_ns));
                let bounds = [least + own_least, most + own_most];
                let (count, fastest, _) = seen.times.entry(other).or_insert((0, took, bounds));
                *count += 1;
                *fastest = (*fastest).min(took);
            }
        }
        if condition.to_machine {
            // Those of several senders were under way for longer or shorter before.
            seen.departures.sort_by_key(|departure| departure.left_ns);
        }
        seen
    }

    fn wrong_loss(&self, conditions: &Conditions) -> Option<String> {
        let share = Share::lost(conditions);
        (!share.explains(self.lost, self.frames)).then(|| {
            let should = share.chance * 100.0;
            format!("{} of {} frames were lost, where {should} % should be", self.lost, self.frames)
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

    /// No frame is through before all that came before it is, and its own length. A host that stands still lets frames
    /// pass later, never earlier.
    fn wrong_rate(&self, conditions: &Conditions) -> Option<String> {
        let rate = conditions.rate?;
        // What comes behind the link may let frames overtake each other, and copies take no time.
        if !conditions.jitter.spread.is_zero() || !conditions.duplicate.chance.is_never() {
            return None;
        }
        let per_second = rate.bits_per_second.get();
        let mut free_ns = 0_u128;
        for Departure { came_ns, left_ns, bytes } in &self.departures {
            let takes_ns = u128::from(*bytes) * 8 * 1_000_000_000 / u128::from(per_second);
            free_ns = free_ns.max(u128::from(*came_ns)) + takes_ns;
            let early = free_ns.saturating_sub(u128::from(*left_ns) + ROUNDING.as_nanos());
            if early > 0 {
                let early = Duration::from_nanos(u64::try_from(early).unwrap_or(u64::MAX));
                return Some(format!("a frame passed {early:?} before {per_second} bit/s allow it"));
            }
        }
        None
    }
}

/// A frame that passed a link.
struct Departure {
    came_ns: u64,
    left_ns: u64,
    bytes: u64,
}

//! Gateways that do to what they send what a scenario says, by netem: read back from what the kernel counted and from the
//! captures on both sides.

use std::{collections::HashMap, ops::Range, time::Duration};

use natrig_capture::{LinkId, Trace, decode};
use natrig_netmodel::Conditions;
use natrig_record::{About, Assertion};
use serde::{Deserialize, Serialize};

use super::{
    links::{Condition, ENOUGH, SLACK},
    share::Share,
};

/// How fast a guest's clock may be: one that is emulated was seen to be 2.3 % fast.
const FAST: f64 = 0.05;

/// Datagrams with less content may be any other's.
const TELLING: usize = 12;

/// What became of the frames that a gateway sent on a link, by its kernel's count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The link.
    pub link: String,
    /// What was in force.
    pub conditions: Conditions,
    /// Frames that were sent, or will be.
    pub passed: u64,
    /// Frames that netem took.
    pub lost: u64,
}

impl Tally {
    /// Whether so many were lost as can be expected; nothing where frames were copied, which the kernel counts as sent.
    fn shown(&self) -> Option<Assertion> {
        let Tally { link, conditions, passed, lost } = self;
        if !conditions.duplicate.chance.is_never() {
            return None;
        }
        let share = Share::lost(conditions);
        let all = passed + lost;
        let holds = share.explains(usize::try_from(*lost).ok()?, usize::try_from(all).ok()?);
        Some(Assertion {
            about: About::Link,
            what: format!("the gateway loses of what it sends on {link} what the scenario says"),
            holds,
            detail: match holds {
                true => format!("{all} frames, {lost} of them lost"),
                false => {
                    format!("{lost} of {all} frames were lost, where {} % should be", share.chance * 100.0)
                }
            },
        })
    }
}

/// Whether gateways lost what they should.
pub fn shown(tallies: &[Tally]) -> Vec<Assertion> {
    tallies.iter().filter_map(Tally::shown).collect()
}

/// Whether a gateway keeps datagrams as long as a condition says; nothing where that cannot be told.
pub(super) fn delay(trace: &Trace, condition: &Condition) -> Option<Assertion> {
    let [least, most] = condition.delay()?;
    let (gateway, end) = condition.link.rsplit_once('.')?;
    let other = match end {
        "wan" => format!("{gateway}.lan"),
        _ => format!("{gateway}.wan"),
    };
    let span = condition.from_ns..condition.until_ns.unwrap_or(u64::MAX);
    let times = times(trace, trace.link(&other)?, trace.link(&condition.link)?, span);
    let (count, fastest) = (times.len(), times.into_iter().min()?);
    let early = fastest < least.mul_f64(1.0 - FAST);
    let late = count >= ENOUGH && fastest > most + SLACK;
    Some(Assertion {
        about: About::Link,
        what: format!("the gateway delays what it sends on {} as the scenario says", condition.link),
        holds: !early && !late,
        detail: match early || late {
            false => format!("{count} datagrams, the fastest took {fastest:?}"),
            true => {
                format!(
                    "the fastest of {count} datagrams took {fastest:?}, where {least:?} to {most:?} should be"
                )
            }
        },
    })
}

/// How long datagrams were in a gateway, which leaves their content alone; of those alike only if there is one.
fn times(trace: &Trace, from: LinkId, to: LinkId, span: Range<u64>) -> Vec<Duration> {
    let mut came: HashMap<Vec<u8>, Option<u64>> = HashMap::new();
    for delivery in trace.frames().iter().flat_map(|frame| &frame.to).filter(|one| one.link == from) {
        let Some(udp) = decode(&delivery.data).and_then(|packet| packet.udp()) else { continue };
        if udp.payload.len() >= TELLING {
            came.entry(udp.payload.to_vec()).and_modify(|at| *at = None).or_insert(Some(delivery.at_ns));
        }
    }
    let mut times = Vec::new();
    for frame in trace.frames().iter().filter(|frame| frame.from == to && span.contains(&frame.at_ns)) {
        let Some(udp) = frame.packet().and_then(|packet| packet.udp()) else { continue };
        if let Some(Some(at)) = came.get(udp.payload)
            && span.contains(at)
            && let Some(took) = frame.at_ns.checked_sub(*at)
        {
            times.push(Duration::from_nanos(took));
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use natrig_netmodel::Probability;

    use super::*;

    fn tally(passed: u64, lost: u64) -> Tally {
        let conditions = Conditions::lossy(Probability::new(0.1).unwrap());
        Tally { link: "nat1.wan".to_owned(), conditions, passed, lost }
    }

    #[test]
    fn a_gateway_that_loses_nothing_is_told() {
        assert!(tally(900, 100).shown().unwrap().holds);
        let wrong = tally(1_000, 0).shown().unwrap();
        assert!(!wrong.holds);
        assert_eq!(wrong.detail, "0 of 1000 frames were lost, where 10 % should be");
    }

    #[test]
    fn copies_are_counted_as_sent_so_nothing_is_said() {
        let mut copied = tally(1_000, 0);
        copied.conditions.duplicate = Probability::ALWAYS.into();
        assert_eq!(copied.shown(), None);
    }
}

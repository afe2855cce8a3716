//! Whether the nodes did what their path says: asked, probed, tried, used the relay machine.

use std::{collections::HashMap, time::Duration};

use natrig_capture::{Frame, LinkId, Trace};
use natrig_record::{About, Assertion, Kind, Verdict};

use crate::{
    verdict::{Case, Window},
    wires::{Crossing, Way, Wires, payload},
};

const SIDES: [&str; 2] = ["the initiator", "the responder"];

/// What nodes have to show for a kind of path.
pub(super) fn shown(trace: &Trace, wires: &Wires<'_>, case: &Case, verdict: &Verdict) -> Vec<Assertion> {
    let Some(kind) = verdict.kind else { return Vec::new() };
    if case.foreign {
        // How it finds its way is its own affair; whose machine the bytes went through is not.
        let relayed = case.window.filter(|_| kind == Kind::Relay && case.intervention.is_none());
        return relayed.map(|window| relayed_by(trace, wires, case, window)).into_iter().collect();
    }
    let mut shown = Vec::new();
    if matches!(kind, Kind::Reversal | Kind::Punch | Kind::Birthday) {
        shown.push(Assertion {
            about: About::Node,
            what: "a coordinator was asked".to_owned(),
            holds: verdict.coordinator_asked,
            detail: "by a peer's datagram to or from a third machine, after the connect command".to_owned(),
        });
    }
    if matches!(kind, Kind::Punch | Kind::Birthday) {
        shown.push(probes(wires, case));
    }
    if kind == Kind::Punch {
        shown.extend(began(trace, wires, case));
    }
    if kind == Kind::Relay {
        shown.push(tried(case, verdict));
        shown.extend(case.window.map(|window| relayed_by(trace, wires, case, window)));
        shown.extend(case.window.and_then(|window| passed_on(trace, wires, case, window)));
    }
    shown
}

/// Where both must send, both have sent and both have received.
fn probes(wires: &Wires<'_>, case: &Case) -> Assertion {
    let until = case.window.map_or(u64::MAX, |window| window.from_ns);
    let crossings = wires.crossings();
    let counts = [0, 1].map(|from| {
        let sent = || {
            let mine = crossings.iter().filter(move |c| c.from == from && c.left_ns < until);
            mine.filter(|c| is_probe(c.frame, &case.probes))
        };
        let that = |there: fn(&Crossing<'_>) -> bool| sent().filter(|c| there(c)).count();
        [sent().count(), that(|c| c.arrived_ns.is_some()), that(|c| c.passed_ns.is_some())]
    });
    let told = SIDES.iter().zip(counts).map(|(who, [sent, arrived, passed])| {
        format!("{who} sent {sent}, of which {arrived} came to the far gateway and {passed} passed it")
    });
    Assertion {
        about: About::Node,
        what: "both peers sent probes and both received some".to_owned(),
        holds: counts.iter().all(|[sent, _, passed]| *sent > 0 && *passed > 0),
        detail: told.collect::<Vec<_>>().join("; "),
    }
}

/// Two that a coordinator calls begin within this of each other, on machines that may pause.
const TOGETHER: Duration = Duration::from_millis(250);

/// Words that come within this of each other need no coordination. Who waits all the same does so by a round trip time that a
/// busy machine made longer, and not for ever.
const NEAR: Duration = Duration::from_millis(200);
const NOT_FOR_EVER: Duration = Duration::from_secs(1);

/// Words further apart are about different attempts: one that had no answer is made again.
const ATTEMPT: Duration = Duration::from_secs(1);

/// When a coordinator's words began the first attempt that both sides heard of, by the times of all words to each in their
/// order; where there is none, those to each that came first.
fn called([initiator, responder]: &[Vec<u64>; 2]) -> Option<[u64; 2]> {
    let is_near = |a: u64, b: u64| Duration::from_nanos(a.abs_diff(b)) <= ATTEMPT;
    let begins = |words: &[u64]| -> Vec<u64> {
        let others = words.windows(2).filter(|pair| !is_near(pair[0], pair[1])).map(|pair| pair[1]);
        words.first().copied().into_iter().chain(others).collect()
    };
    let [initiator, responder] = [begins(initiator), begins(responder)];
    let pairs = initiator.iter().flat_map(|&to| responder.iter().map(move |&from| [to, from]));
    let first = [*initiator.first()?, *responder.first()?];
    Some(pairs.into_iter().find(|[a, b]| is_near(*a, *b)).unwrap_or(first))
}

/// When each side's first probe left after it heard from the coordinator; nothing where nodes do not say what their datagrams
/// are.
fn began(trace: &Trace, wires: &Wires<'_>, case: &Case) -> Option<Assertion> {
    let crossings = wires.crossings();
    let sites = [&case.pair.sites[0].wan, &case.pair.sites[1].wan];
    let words = [0, 1].map(|site| -> Vec<u64> {
        let Some(wan) = trace.link(sites[site]) else { return Vec::new() };
        let heard = wires.ways().filter(|(way, frame)| {
            *way == (Way::FromThird { to: site })
                && frame.at_ns >= case.connect_ns
                && first_byte(frame).is_some_and(|first| case.coordination.contains(&first))
        });
        heard.filter_map(|(_, frame)| Some(frame.delivery(wan)?.at_ns)).collect()
    });
    let told = called(&words)?;
    let began = [0, 1].map(|site| {
        let mut probes = crossings.iter().filter(|c| c.from == site && is_probe(c.frame, &case.probes));
        Some((told[site], probes.find(|c| c.left_ns >= told[site])?.left_ns))
    });
    let [Some(initiator), Some(responder)] = began else { return None };
    let apart = Duration::from_nanos(initiator.1.abs_diff(responder.1));
    let near = Duration::from_nanos(initiator.0.abs_diff(responder.0)) < NEAR;
    let allowed = if near { NOT_FOR_EVER } else { TOGETHER };
    let ms = |ns: u64| ns as f64 / 1e6;
    let since = |at: u64| ms(at.saturating_sub(case.connect_ns));
    Some(Assertion {
        about: About::Node,
        what: format!("both began to probe within {} ms of each other", allowed.as_millis()),
        holds: apart < allowed,
        detail: format!(
            "after the connect command, the coordinator's word came to the initiator at {:.1} ms and to the responder at {:.1} ms; \
             their first probes after it left at {:.1} ms and {:.1} ms, {:.1} ms apart",
            since(initiator.0),
            since(responder.0),
            since(initiator.1),
            since(responder.1),
            ms(apart.as_nanos() as u64)
        ),
    })
}

fn is_probe(frame: &Frame, kinds: &[u8]) -> bool {
    first_byte(frame).is_some_and(|first| kinds.is_empty() || kinds.contains(&first))
}

fn first_byte(frame: &Frame) -> Option<u8> {
    frame.packet()?.udp()?.payload.first().copied()
}

/// A relay is the right answer only where the direct way was tried and seen to fail.
fn tried(case: &Case, verdict: &Verdict) -> Assertion {
    let sides = verdict.attempts_arrived.iter().zip(verdict.attempts_passed);
    Assertion {
        about: About::Node,
        what: if case.pair_blocked {
            "none of the peers' attempts at the direct way passed".to_owned()
        } else {
            "both peers tried the direct way and none of it passed".to_owned()
        },
        holds: sides.clone().all(|(arrived, passed)| passed == 0 && (case.pair_blocked || *arrived > 0)),
        detail: SIDES
            .iter()
            .zip(sides)
            .map(|(who, (arrived, passed))| {
                format!("{arrived} of {who} came to the far gateway, {passed} passed it")
            })
            .collect::<Vec<_>>()
            .join("; "),
    }
}

/// The lab's bytes went to and from the relay machine, and no other.
fn relayed_by(trace: &Trace, wires: &Wires<'_>, case: &Case, window: Window) -> Assertion {
    let relays: Vec<_> = case.relays.iter().filter_map(|name| trace.link(name)).collect();
    let mut legs = [[0_u64; 2]; 2];
    for (way, frame) in wires.ways() {
        if frame.at_ns < window.from_ns || frame.at_ns > window.to_ns {
            continue;
        }
        match way {
            Way::ToThird { from } if frame.to.iter().any(|to| relays.contains(&to.link)) => {
                legs[from][0] += payload(frame);
            }
            Way::FromThird { to } if relays.contains(&frame.from) => legs[1 - to][1] += payload(frame),
            _ => {}
        }
    }
    let told = SIDES.iter().zip(legs).map(|(who, [there, on])| {
        format!("of {who}, {there} bytes went to {} and {on} came from it", case.relays.join(", "))
    });
    Assertion {
        about: About::Node,
        what: "the lab's bytes went through the relay machine".to_owned(),
        holds: legs
            .iter()
            .zip(window.sent)
            .all(|(legs, sent)| sent > 0 && legs.iter().all(|leg| *leg >= sent)),
        detail: told.collect::<Vec<_>>().join("; "),
    }
}

/// A relay adds less than this, as the seed wants it; half of the datagrams have to show it, since a machine may pause.
const ADDED: Duration = Duration::from_millis(100);
/// Datagrams are told from each other by these bytes of them, which are sealed and which relays leave alone. One that makes
/// headers longer or shorter shows nothing.
const BODY: std::ops::Range<usize> = 40..104;

/// How long relay machines kept what they passed on; nothing where no datagram is known again.
fn passed_on(trace: &Trace, wires: &Wires<'_>, case: &Case, window: Window) -> Option<Assertion> {
    let relays: Vec<LinkId> = case.relays.iter().filter_map(|name| trace.link(name)).collect();
    let mut came: HashMap<&[u8], u64> = HashMap::new();
    let mut kept: Vec<u64> = Vec::new();
    for (way, frame) in
        wires.ways().filter(|(_, frame)| (window.from_ns..=window.to_ns).contains(&frame.at_ns))
    {
        let Some(body) = body(frame) else { continue };
        match way {
            Way::ToThird { .. } => {
                let arrived = relays.iter().find_map(|relay| frame.delivery(*relay));
                came.extend(arrived.map(|delivery| (body, delivery.at_ns)));
            }
            Way::FromThird { .. } if relays.contains(&frame.from) => {
                kept.extend(came.remove(body).map(|at| frame.at_ns.saturating_sub(at)));
            }
            _ => {}
        }
    }
    kept.sort_unstable();
    let of = |share: usize| kept.get((kept.len().saturating_sub(1)) * share / 100).copied();
    let ms = |ns: u64| ns as f64 / 1e6;
    let (median, most) = (of(50)?, of(99)?);
    Some(Assertion {
        about: About::Node,
        what: format!("the relay adds less than {} ms", ADDED.as_millis()),
        holds: u128::from(median) < ADDED.as_nanos(),
        detail: format!(
            "of {} datagrams half were passed on within {:.2} ms, 99 % within {:.2} ms",
            kept.len(),
            ms(median),
            ms(most)
        ),
    })
}

/// What a datagram is known by, if it is long enough.
fn body(frame: &Frame) -> Option<&[u8]> {
    frame.packet()?.udp()?.payload.get(BODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_one_attempt_are_held_against_each_other() {
        let called = |words: [&[u64]; 2]| {
            called(&words.map(|words| words.iter().map(|ms| ms * 1_000_000).collect()))
                .map(|both| both.map(|ns| ns / 1_000_000))
        };
        assert_eq!(called([&[], &[801]]), None);
        assert_eq!(called([&[790], &[801, 1001, 1201]]), Some([790, 801]));
        // The first attempt had no answer, and the second has.
        assert_eq!(called([&[8418], &[801, 1001, 8400, 8600]]), Some([8418, 8400]));
        assert_eq!(called([&[500, 8418], &[801, 8400]]), Some([500, 801]));
        // A coordinator that has one side wait is not excused.
        assert_eq!(called([&[500], &[3000]]), Some([500, 3000]));
    }
}

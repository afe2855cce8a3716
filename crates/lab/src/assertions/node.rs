//! Whether the nodes did what their path says: asked, probed, tried, used the relay machine.

use natrig_capture::{Frame, Trace};
use natrig_record::{About, Assertion, Kind, Verdict};

use crate::{
    verdict::{Case, Window},
    wires::{Crossing, Way, Wires, payload},
};

const SIDES: [&str; 2] = ["the initiator", "the responder"];

/// What nodes have to show for a kind of path.
pub(super) fn shown(trace: &Trace, wires: &Wires<'_>, case: &Case, verdict: &Verdict) -> Vec<Assertion> {
    let Some(kind) = verdict.kind else { return Vec::new() };
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
    if kind == Kind::Relay {
        shown.push(tried(case, verdict));
        shown.extend(case.window.map(|window| relayed(trace, wires, case, window)));
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

fn is_probe(frame: &Frame, kinds: &[u8]) -> bool {
    let first = frame.packet().and_then(|packet| packet.udp()).and_then(|udp| udp.payload.first().copied());
    first.is_some_and(|first| kinds.is_empty() || kinds.contains(&first))
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
fn relayed(trace: &Trace, wires: &Wires<'_>, case: &Case, window: Window) -> Assertion {
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

//! Verdicts on captures of real runs, shrunk by `examples/shrink.rs`.

mod recording;

use natrig_capture::{Sighting, Trace, What};
use natrig_lab::verdict::verdict;
use natrig_record::{Kind, Path as WirePath, Verdict};
use recording::{Recording, recorded};

fn read(name: &str) -> Verdict {
    let Recording { trace, case } = recorded(name);
    verdict(&trace, &case).unwrap()
}

fn check(name: &str, path: WirePath, kind: Kind) -> Verdict {
    let verdict = read(name);
    assert_eq!((verdict.path, verdict.kind), (path, Some(kind)), "{name}: {verdict:#?}");
    verdict
}

#[test]
fn full_cone_to_full_cone_was_direct() {
    let verdict = check("direct", WirePath::Direct, Kind::Direct);
    assert!(!verdict.coordinator_asked);
}

#[test]
fn port_restrict_to_port_restrict_was_a_punch() {
    let verdict = check("punch", WirePath::Direct, Kind::Punch);
    assert!(verdict.coordinator_asked);
}

#[test]
fn a_punch_whose_second_frame_reached_the_gateway_before_the_first_but_was_seen_later_was_a_punch() {
    check("crossing", WirePath::Direct, Kind::Punch);
}

#[test]
fn port_restrict_to_symmetric_was_a_birthday_search() {
    let verdict = check("birthday", WirePath::Direct, Kind::Birthday);
    assert!(verdict.ports_tried > 16);
}

#[test]
fn symmetric_to_symmetric_was_relayed_after_attempts_that_failed() {
    let verdict = check("relay", WirePath::Relay, Kind::Relay);
    assert!(verdict.attempts_arrived.iter().all(|attempts| (1..=40).contains(attempts)), "{verdict:?}");
    assert_eq!(verdict.attempts_passed, [0, 0]);
}

/// The same run with some of its frames taken out of the captures.
fn without(name: &str, drop: impl Fn(&Trace, &Sighting) -> bool) -> Verdict {
    let Recording { trace, case } = recorded(name).without(drop);
    verdict(&trace, &case).unwrap()
}

#[test]
fn a_relayed_run_whose_second_leg_is_missing_is_not_relayed() {
    let leg = |trace: &Trace, sighting: &Sighting| {
        sighting.what == What::Delivered && trace.name(sighting.link) == "nat2.wan"
    };
    assert_eq!(without("relay", leg).path, WirePath::Mixed);
}

#[test]
fn a_direct_run_that_nobody_received_is_not_direct() {
    let delivered = |trace: &Trace, sighting: &Sighting| {
        sighting.what == What::Delivered && trace.name(sighting.link).ends_with(".wan")
    };
    assert_eq!(without("direct", delivered).path, WirePath::Mixed);
}

#[test]
fn a_search_over_few_ports_is_a_punch() {
    let Recording { trace, case } = recorded("birthday");
    let link = ["nat1.wan", "nat2.wan"].map(|name| trace.link(name).unwrap());
    // All frames between the sites before the window, but those of the ports that were used in the end.
    let used: Vec<u16> = trace
        .frames()
        .iter()
        .filter(|frame| frame.at_ns > case.window.unwrap().from_ns && link.contains(&frame.from))
        .filter_map(|frame| Some(frame.packet()?.udp()?.source.port()))
        .collect();
    let spurned: Vec<u64> = trace
        .frames()
        .iter()
        .filter(|frame| {
            let udp = frame.packet().and_then(|packet| packet.udp());
            let probe = udp.is_some_and(|udp| udp.payload.first() == Some(&4));
            probe
                && udp.is_some_and(|udp| {
                    !used.contains(&udp.source.port()) || !used.contains(&udp.destination.port())
                })
        })
        .map(|frame| frame.id)
        .collect();
    assert!(spurned.len() > 100, "the recording holds a search");
    let verdict = without("birthday", |_, sighting| spurned.contains(&sighting.frame));
    assert_eq!(verdict.kind, Some(Kind::Punch), "{verdict:#?}");
}

//! Verdicts on forged captures: what is true is told, and what is feigned is not.

mod wire;

use natrig_capture::Trace;
use natrig_lab::{
    assertions::nodes,
    judge::{Wanted, judge},
    verdict::{Case, Intervention, NoVerdict, Window, carried, verdict},
};
use natrig_nat::Filtering;
use natrig_record::{About, Assertion, Claim, Kind, Outcome, Path, Verdict};
use natrig_scenario::Expected;
use wire::{
    At::{Relay, Site1, Site2},
    Forger, pair,
};

const N: u64 = 256 * 1024;
const PROBE: u8 = 4;
const COORDINATE: u8 = 7;
const MESH: (u16, u16) = (4400, 4400);

/// A verdict and where it was read from.
struct Read {
    verdict: Verdict,
    trace: Trace,
    case: Case,
}

impl std::ops::Deref for Read {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        &self.verdict
    }
}

/// Frames before the lab's bytes, then the bytes.
fn read(filtering: Filtering, before: impl Fn(&mut Forger), data: impl Fn(&mut Forger)) -> Read {
    let mut forger = Forger::default();
    before(&mut forger);
    let from_ns = forger.now() + 1;
    data(&mut forger);
    let window = Window { from_ns, to_ns: forger.now(), sent: [N; 2], arrived: [N; 2] };
    let (trace, case) = (forger.trace(), case(filtering, Some(window)));
    Read { verdict: verdict(&trace, &case).unwrap(), trace, case }
}

fn judge_trace(trace: &Trace, filtering: Filtering, window: Option<Window>) -> Result<Verdict, NoVerdict> {
    verdict(trace, &case(filtering, window))
}

fn case(initiator_filtering: Filtering, window: Option<Window>) -> Case {
    Case {
        conditions: Vec::new(),
        tallies: Vec::new(),
        pair: pair(),
        initiator_filtering,
        connect_ns: 1,
        window,
        foreign: false,
        intervention: None,
        coordination: vec![COORDINATE],
        probes: vec![PROBE],
        relayed: Vec::new(),
        relays: vec!["relay.wan".to_owned()],
        pair_blocked: false,
        gateways: Vec::new(),
    }
}

fn direct(forger: &mut Forger) {
    forger.bulk(Site1, Site2, N);
    forger.bulk(Site2, Site1, N);
}

fn relayed(forger: &mut Forger) {
    for (from, to) in [(Site1, Site2), (Site2, Site1)] {
        forger.bulk(from, Relay, N);
        forger.bulk(Relay, to, N);
    }
}

fn ask(forger: &mut Forger) {
    forger.send(Site1, Relay, MESH, COORDINATE, 80, true);
}

const APDF: Filtering = Filtering::AddressAndPortDependent;
const EIF: Filtering = Filtering::EndpointIndependent;

#[test]
fn the_initiators_own_packet_that_gets_through_is_direct() {
    let verdict = read(APDF, |f| f.send(Site1, Site2, MESH, PROBE, 50, true), direct);
    assert_eq!((verdict.path, verdict.kind), (Path::Direct, Some(Kind::Direct)));
    assert!(!verdict.coordinator_asked);
}

#[test]
fn a_called_responder_is_a_reversal() {
    let called = |f: &mut Forger| {
        f.send(Site1, Site2, MESH, PROBE, 50, false);
        ask(f);
        f.send(Site2, Site1, MESH, PROBE, 50, true);
    };
    let verdict = read(EIF, called, direct);
    assert_eq!(verdict.kind, Some(Kind::Reversal));
    assert!(verdict.coordinator_asked);
    // Behind a filter the same frames are a punch: the initiator's own packet opened the way.
    assert_eq!(read(APDF, called, direct).kind, Some(Kind::Punch));
}

#[test]
fn a_call_that_an_open_gateway_lets_in_is_a_reversal_also_when_it_is_overtaken() {
    let overtaken = |f: &mut Forger| {
        ask(f);
        f.crossing(Site2, Site1, MESH.0, PROBE);
    };
    assert_eq!(read(EIF, overtaken, direct).kind, Some(Kind::Reversal));
    assert_eq!(read(APDF, overtaken, direct).kind, Some(Kind::Punch));
    // One that was lost has opened the way all the same.
    let lost = |f: &mut Forger| {
        ask(f);
        f.send(Site2, Site1, MESH, PROBE, 50, false);
        f.send(Site1, Site2, MESH, PROBE, 50, true);
    };
    assert_eq!(read(EIF, lost, direct).kind, Some(Kind::Punch));
    // Nor is a call what comes after the way was open.
    let later = |f: &mut Forger| {
        lost(f);
        f.send(Site2, Site1, MESH, PROBE, 50, true);
    };
    assert_eq!(read(EIF, later, direct).kind, Some(Kind::Punch));
}

#[test]
fn both_sending_is_a_punch() {
    let punch = |f: &mut Forger| {
        f.send(Site1, Site2, MESH, PROBE, 50, false);
        f.send(Site2, Site1, MESH, PROBE, 50, true);
    };
    assert_eq!(read(APDF, punch, direct).kind, Some(Kind::Punch));
}

#[test]
fn a_repeat_that_passes_does_not_let_the_first_one_pass() {
    // The same bytes twice: kept out, then let in after the other side had sent.
    let repeated = |f: &mut Forger| {
        f.alike = true;
        f.send(Site1, Site2, MESH, PROBE, 50, false);
        f.send(Site2, Site1, (4401, 4400), PROBE, 50, false);
        f.send(Site1, Site2, MESH, PROBE, 50, true);
        f.alike = false;
    };
    assert_eq!(read(APDF, repeated, direct).kind, Some(Kind::Punch));
}

#[test]
fn many_ports_are_a_birthday_search() {
    let search = |f: &mut Forger| {
        for port in 0..17 {
            f.send(Site2, Site1, (30_000 + port, 4400), PROBE, 50, false);
        }
        f.send(Site1, Site2, (4400, 30_003), PROBE, 50, true);
    };
    assert_eq!(read(APDF, search, direct).kind, Some(Kind::Birthday));
}

#[test]
fn bytes_through_a_third_machine_are_relayed() {
    let attempt = |f: &mut Forger| {
        f.send(Site1, Site2, MESH, PROBE, 50, false);
        f.send(Site2, Site1, MESH, PROBE, 50, false);
    };
    let verdict = read(APDF, attempt, relayed);
    assert_eq!((verdict.path, verdict.kind), (Path::Relay, Some(Kind::Relay)));
    assert_eq!((verdict.attempts_arrived, verdict.attempts_passed), ([1, 1], [0, 0]));
}

#[test]
fn one_direction_each_way_is_mixed() {
    let verdict = read(
        APDF,
        |_| (),
        |f| {
            f.bulk(Site1, Site2, N);
            f.bulk(Site2, Relay, N);
            f.bulk(Relay, Site1, N);
        },
    );
    assert_eq!((verdict.path, verdict.kind), (Path::Mixed, None));
}

#[test]
fn six_per_cent_through_the_relay_is_mixed() {
    let stray = |share: u64| {
        move |f: &mut Forger| {
            direct(f);
            f.bulk(Site1, Relay, N * share / 100);
        }
    };
    assert_eq!(read(APDF, |_| (), stray(6)).path, Path::Mixed);
    assert_eq!(read(APDF, |_| (), stray(4)).path, Path::Direct);
}

#[test]
fn padding_to_the_peer_does_not_make_a_relayed_path_direct() {
    let padded = |f: &mut Forger| {
        relayed(f);
        direct(f);
    };
    assert_eq!(read(APDF, |_| (), padded).path, Path::Mixed);
}

#[test]
fn bytes_that_did_not_arrive_are_no_path() {
    let mut forger = Forger::default();
    direct(&mut forger);
    let window = Window { from_ns: 0, to_ns: u64::MAX, sent: [N; 2], arrived: [N, N - 1] };
    assert_eq!(judge_trace(&forger.trace(), APDF, Some(window)).unwrap().path, Path::None);
    assert_eq!(judge_trace(&Forger::default_trace(), APDF, None).unwrap().path, Path::None);
}

impl Forger {
    fn default_trace() -> Trace {
        Forger::default().trace()
    }
}

#[test]
fn one_leg_without_the_other_is_no_relay() {
    let verdict = read(
        APDF,
        |_| (),
        |f| {
            f.bulk(Site1, Relay, N);
            f.bulk(Site2, Relay, N);
        },
    );
    assert_eq!(verdict.path, Path::Mixed);
}

#[test]
fn a_flooded_frame_belongs_to_the_one_it_names() {
    let verdict = read(
        APDF,
        |_| (),
        |f| {
            direct(f);
            f.flooded(Site1, Site2, MESH, 20_000);
        },
    );
    assert_eq!(verdict.path, Path::Direct);
    let verdict = read(
        APDF,
        |_| (),
        |f| {
            direct(f);
            f.flooded(Site1, Relay, MESH, 20_000);
        },
    );
    assert_eq!(verdict.path, Path::Mixed);
}

#[test]
fn sites_that_met_before_allow_no_verdict() {
    let mut forger = Forger::default();
    forger.send(Site2, Site1, MESH, PROBE, 50, false);
    let connect_ns = forger.now() + 1;
    let case = Case { connect_ns, ..case(APDF, None) };
    assert!(matches!(verdict(&forger.trace(), &case), Err(NoVerdict::MetBefore { frames: 1, .. })));
}

/// A path that changed: what was carried before a window, or after it, does not count in it.
#[test]
fn each_window_is_read_for_itself() {
    let mut forger = Forger::default();
    let mut windows = Vec::new();
    for carry in [direct, relayed, direct] {
        let from_ns = forger.now();
        carry(&mut forger);
        windows.push(Window { from_ns, to_ns: forger.now() - 1, sent: [N; 2], arrived: [N; 2] });
    }
    let trace = forger.trace();
    let paths = windows.iter().map(|window| carried(&trace, &pair(), *window).unwrap().path);
    assert_eq!(paths.collect::<Vec<_>>(), [Path::Direct, Path::Relay, Path::Direct]);
    let both = Window { to_ns: windows[1].to_ns, ..windows[0] };
    assert_eq!(carried(&trace, &pair(), both).unwrap().path, Path::Mixed);
    let lost = Window { arrived: [N, 0], ..windows[0] };
    assert_eq!(carried(&trace, &pair(), lost).unwrap().path, Path::None);
}

#[test]
fn a_missing_capture_is_named() {
    let trace = Trace::join(vec!["nat1.wan".to_owned()], []).unwrap();
    let missing = judge_trace(&trace, APDF, None);
    assert_eq!(missing, Err(NoVerdict::MissingLink("nat2.wan".to_owned())));
}

// What is made of a verdict.

fn claims(path: Path) -> Vec<Claim> {
    ["peer1", "peer2"].map(|machine| Claim { machine: machine.to_owned(), path, kind: None }).into()
}

fn outcome(wanted: Kind, relay_allowed: bool, read: &Read, claimed: Path) -> Outcome {
    let wanted = Wanted { expected: Expected::Exactly(wanted), relay_allowed };
    let assertions = nodes(&read.trace, &read.case, &read.verdict).unwrap();
    judge(wanted, &read.verdict, &claims(claimed), &assertions).0
}

fn attempted(f: &mut Forger) {
    f.send(Site1, Site2, MESH, PROBE, 50, false);
    f.send(Site2, Site1, MESH, PROBE, 50, false);
}

#[test]
fn a_relay_without_a_failed_attempt_is_not_as_expected() {
    let lazy = read(APDF, |_| (), relayed);
    assert_eq!(outcome(Kind::Relay, true, &lazy, Path::Relay), Outcome::NotAsExpected);
    let honest = read(APDF, attempted, relayed);
    assert_eq!(outcome(Kind::Relay, true, &honest, Path::Relay), Outcome::AsExpected);
    let open = read(APDF, |f| f.send(Site1, Site2, MESH, PROBE, 50, true), relayed);
    assert_eq!(outcome(Kind::Relay, true, &open, Path::Relay), Outcome::NotAsExpected);
}

#[test]
fn a_relay_that_is_forbidden_is_not_as_expected() {
    let relay = read(APDF, attempted, relayed);
    assert_eq!(outcome(Kind::Relay, false, &relay, Path::Relay), Outcome::NotAsExpected);
}

#[test]
fn blocked_attempts_are_evidence_only_where_the_lab_blocks() {
    let blocked = |f: &mut Forger| {
        f.blocked(Site1, Site2, MESH);
        f.blocked(Site2, Site1, MESH);
    };
    let mut read = read(APDF, blocked, relayed);
    assert_eq!(read.attempts_arrived, [0, 0]);
    for (pair_blocked, expected) in [(true, Outcome::AsExpected), (false, Outcome::NotAsExpected)] {
        read.case.pair_blocked = pair_blocked;
        assert_eq!(outcome(Kind::Relay, true, &read, Path::Relay), expected);
    }
}

#[test]
fn a_gateway_that_is_not_what_was_proven_outweighs_all_that_is_said_of_the_node() {
    let relay = read(APDF, attempted, relayed);
    let wanted = Wanted { expected: Expected::Exactly(Kind::Direct), relay_allowed: true };
    let broken =
        |about| Assertion { about, what: "it holds".into(), holds: false, detail: "it does not".into() };
    let outcome = |assertions: &[Assertion]| judge(wanted, &relay, &claims(Path::Direct), assertions).0;
    assert_eq!(outcome(&[broken(About::Node)]), Outcome::Disagree);
    assert_eq!(outcome(&[broken(About::Node), broken(About::Gateway)]), Outcome::LabError);
}

#[test]
fn a_liar_is_caught() {
    let relay = read(APDF, attempted, relayed);
    assert_eq!(outcome(Kind::Relay, true, &relay, Path::Direct), Outcome::Disagree);
}

#[test]
fn a_punch_that_nobody_coordinated_is_not_as_expected() {
    let punch = |f: &mut Forger| {
        f.send(Site1, Site2, MESH, PROBE, 50, false);
        f.send(Site2, Site1, MESH, PROBE, 50, true);
        f.send(Site1, Site2, MESH, PROBE, 50, true);
    };
    let alone = read(APDF, punch, direct);
    assert_eq!(outcome(Kind::Punch, true, &alone, Path::Direct), Outcome::NotAsExpected);
    let coordinated = |f: &mut Forger| {
        ask(f);
        punch(f);
    };
    let asked = read(APDF, coordinated, direct);
    assert_eq!(outcome(Kind::Punch, true, &asked, Path::Direct), Outcome::AsExpected);
}

#[test]
fn another_kind_than_expected_is_not_as_expected() {
    let verdict = read(APDF, |f| f.send(Site1, Site2, MESH, PROBE, 50, true), direct);
    assert_eq!(outcome(Kind::Direct, true, &verdict, Path::Direct), Outcome::AsExpected);
    assert_eq!(outcome(Kind::Punch, true, &verdict, Path::Direct), Outcome::NotAsExpected);
}

/// Of nodes that cannot carry bytes: what stops their messages.
#[test]
fn what_stops_a_nodes_messages_is_its_path() {
    let found = |untouched, without_third, without_direct| {
        let mut forger = Forger::default();
        forger.send(Site1, Site2, MESH, PROBE, 50, true);
        let window =
            Window { from_ns: forger.now() + 1, to_ns: forger.now() + 2, sent: [0; 2], arrived: [0; 2] };
        let intervention = Some(Intervention { untouched, without_third, without_direct });
        let case = Case { foreign: true, intervention, ..case(APDF, Some(window)) };
        let verdict = verdict(&forger.trace(), &case).unwrap();
        assert!(verdict.because.iter().any(|line| line.starts_with("found by intervention")));
        verdict
    };
    assert_eq!((found(9, 8, 0).path, found(9, 8, 0).kind), (Path::Direct, Some(Kind::Direct)));
    assert_eq!((found(9, 0, 8).path, found(9, 0, 8).kind), (Path::Relay, Some(Kind::Relay)));
    // It goes on whichever is taken off, or stops with either.
    for neither in [found(9, 8, 7), found(9, 0, 0)] {
        assert_eq!((neither.path, neither.kind), (Path::Mixed, None));
    }
    assert_eq!(found(0, 0, 0).path, Path::None);
    let wanted = Wanted { expected: Expected::Exactly(Kind::Direct), relay_allowed: true };
    let (outcome, reason) = judge(wanted, &found(0, 0, 0), &[], &[]);
    assert_eq!(
        (outcome, reason.as_deref()),
        (Outcome::NotAsExpected, Some("no message of the nodes' own arrived"))
    );
}

/// How a stranger finds its way is its own affair; through whose machine the bytes went is not.
#[test]
fn a_strangers_probes_are_not_looked_for() {
    let of = |foreign| {
        let mut forger = Forger::default();
        let from_ns = forger.now() + 1;
        relayed(&mut forger);
        let window = Window { from_ns, to_ns: forger.now(), sent: [N; 2], arrived: [N; 2] };
        let case = Case { foreign, probes: Vec::new(), ..case(APDF, Some(window)) };
        let trace = forger.trace();
        let verdict = verdict(&trace, &case).unwrap();
        assert_eq!(verdict.kind, Some(Kind::Relay));
        nodes(&trace, &case, &verdict).unwrap()
    };
    let shown = of(true);
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert!(shown[0].holds && shown[0].what == "the lab's bytes went through the relay machine");
    assert!(of(false).len() > 1);
}

//! A cell, whatever runs it: its blank record, the lab's bytes, and the reading of its captures.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use natrig_capture::Trace;
use natrig_nat::Filtering;
use natrig_record::{Cell, Evidence, Metric, Outcome, STORY, Step, Verdict};
use natrig_scenario::{Expected, Link, Machine, Scenario};
use rand::{RngCore, SeedableRng};

use crate::{
    Topology, Trouble, Who,
    assertions::{self, Passage, links::Condition},
    judge::{Wanted, broken, judge},
    node::{COORDINATION, NodeEvent, PROBES, RELAYED},
    story::{Cast, Diary, Tables, tell},
    talk::Conversation,
    verdict::{Case, Window, verdict},
    wires::{Way, Wires},
};

/// The lab's bytes, each way.
pub const BYTES: usize = 256 * 1024;

/// The capture of all links in a cell's folder.
pub const MERGED: &str = "merged.pcapng";

/// The keys of the nodes' sessions in a cell's folder.
pub const SESSION_KEYS: &str = "session-keys.log";

/// How long a node may take to start and to find its relay.
pub const READY: Duration = Duration::from_secs(30);

/// The record of a cell of which nothing is known yet.
pub fn blank(scenario: &Scenario, evidence: &Path) -> Cell {
    let folder = evidence.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Cell {
        id: scenario.id.clone(),
        name: scenario.name.clone(),
        file: scenario.file.clone(),
        priority: scenario.priority.map(|priority| priority.to_string()),
        nats: scenario.nats.iter().map(|nat| nat.name.clone()).collect(),
        initiator: scenario.initiator.number(),
        expected: scenario.expected.word().to_owned(),
        outcome: Outcome::LabError,
        figures: BTreeMap::new(),
        evidence: Evidence { folder, ..Evidence::default() },
        ..Cell::default()
    }
}

/// Puts into a record what ended its cell.
pub fn fail(cell: &mut Cell, trouble: Trouble, step: Step) {
    cell.outcome = match trouble.who {
        Who::Lab => Outcome::LabError,
        Who::Node => Outcome::NotAsExpected,
    };
    // What stood in the way is the first that people look for.
    let lines = [cell.in_the_way.as_slice(), &trouble.lines].concat();
    cell.failure = Some(Trouble { lines, ..trouble }.failure(step));
}

/// Lists the captures and logs that a cell has left, however far it came: what there is explains it. Captures of links get the
/// keys of sessions, where there are any; in the one of all links each packet stands several times, which QUIC's readers do
/// not expect.
pub fn list_evidence(cell: &mut Cell, evidence: &Path) {
    cell.evidence.captures = files(&evidence.join("captures"), "captures").unwrap_or_default();
    if let Ok(keys) = std::fs::read_to_string(evidence.join(SESSION_KEYS)) {
        for capture in &cell.evidence.captures {
            // One that cannot be read is reported by whoever reads it.
            let _ = natrig_capture::add_session_keys(&evidence.join(capture), &keys);
        }
    }
    let merged = evidence.join(MERGED);
    if cell.outcome == Outcome::LabError && !merged.exists() {
        // It did not come to a verdict, and nothing is to be said of its packets; they may show why.
        let trace = Trace::read_folder(&evidence.join("captures"));
        let _ = trace.map(|trace| natrig_capture::merge(&trace, &HashMap::new(), &merged));
    }
    if merged.is_file() {
        cell.evidence.captures.push(MERGED.to_owned());
    }
    cell.evidence.logs = files(&evidence.join("logs"), "logs").unwrap_or_default();
}

fn files(folder: &Path, under: &str) -> std::io::Result<Vec<String>> {
    let mut names = std::fs::read_dir(folder)?
        .map(|entry| Ok(format!("{under}/{}", entry?.file_name().to_string_lossy())))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The lab's bytes of one peer: random, and the same whenever they are asked for.
pub fn bytes(seed: u64, scenario: &Scenario, peer: Machine) -> Vec<u8> {
    let salt = scenario
        .id
        .bytes()
        .chain(peer.name().bytes())
        .fold(0_u64, |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    let mut bytes = vec![0; BYTES];
    rand::rngs::StdRng::seed_from_u64(seed ^ salt).fill_bytes(&mut bytes);
    bytes
}

/// How many bytes arrived: all of them or those before the first wrong one.
pub fn alike(got: &[u8], sent: &[u8]) -> u64 {
    if got.len() > sent.len() {
        return 0;
    }
    got.iter().zip(sent).take_while(|(a, b)| a == b).count() as u64
}

/// Milliseconds as they stand in a record: tenths are enough, and read better.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// What is judged of a scenario's cell, beside its captures.
pub fn case(scenario: &Scenario, connect_ns: u64, window: Option<Window>, gateways: Vec<Passage>) -> Case {
    // What is not known of a node's datagrams is not looked for.
    let ours = |kinds: &[u8]| if scenario.app.is_some() { Vec::new() } else { kinds.to_vec() };
    Case {
        pair: Topology::of(scenario)
            .pair_at(scenario.pair().map(|peer| (peer, scenario.site_in_the_end(peer)))),
        initiator_filtering: scenario
            .nats_of_pair()
            .map_or(Filtering::EndpointIndependent, |[initiator, _]| initiator.filtering()),
        connect_ns,
        window,
        foreign: scenario.app.is_some(),
        intervention: None,
        coordination: ours(COORDINATION),
        probes: ours(PROBES),
        relayed: ours(RELAYED),
        relays: relays(scenario),
        pair_blocked: pair_blocked(scenario),
        conditions: Condition::all(scenario, Passage::proven_ns(&gateways)..connect_ns),
        gateways,
        tallies: Vec::new(),
    }
}

/// The links of the public machines.
fn relays(scenario: &Scenario) -> Vec<String> {
    let links = scenario.layout().links().map(|(link, _)| link);
    links.filter(|link| link.machine().public().is_some()).map(|link| link.name().to_owned()).collect()
}

/// Whether the lab itself keeps the sites' frames from each other.
fn pair_blocked(scenario: &Scenario) -> bool {
    scenario.filters.iter().any(|filter| {
        let [a, b] = filter.between;
        matches!((a, b), (Link::NAT1_WAN, Link::NAT2_WAN) | (Link::NAT2_WAN, Link::NAT1_WAN))
    })
}

/// What is known of a cell beside its captures.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// What happened.
    pub diary: Diary,
    /// What kernels said of their tables.
    pub tables: Tables,
    /// The keys of the nodes' sessions, in the format of NSS's key log.
    pub session_keys: Option<String>,
}

/// Reads a cell's captures and puts into its record what they show. Beside them are written the case, the story and, in one
/// capture of all links, what is to be said of each packet.
pub fn read(
    cell: &mut Cell,
    scenario: &Scenario,
    trace: &Trace,
    case: &Case,
    Beside { diary, tables, session_keys }: &Beside,
    folder: &Path,
) -> Result<Verdict, Trouble> {
    std::fs::write(folder.join("case.json"), serde_json::to_vec_pretty(case)?)?;
    let told = tell(trace, case, &Cast::of(scenario), diary, tables);
    std::fs::write(folder.join(STORY), serde_json::to_vec(&told.story)?)?;
    if let Some(keys) = session_keys {
        std::fs::write(folder.join(SESSION_KEYS), keys)?;
    }
    natrig_capture::merge(trace, &told.notes, &folder.join(MERGED))?;
    cell.in_the_way = told.causes;
    cell.assertions = assertions::gateways(trace, case)?;
    cell.assertions.extend(assertions::links::shown(trace, &case.conditions));
    cell.assertions.extend(assertions::netem::shown(&case.tallies));
    let verdict = verdict(trace, case)?;
    cell.verdict = Some(verdict.clone());
    if !scenario.talks.is_empty() {
        let packets = packets_while_talking(trace, case, cell.settle_ms);
        cell.figures.extend(packets.map(|count| (Metric::PACKETS_WHILE_TALKING.to_owned(), count as f64)));
    }
    // Where any path will do, it may have been another one before.
    if cell.expected != Expected::Any.word() {
        cell.assertions.extend(assertions::nodes(trace, case, &verdict)?);
    }
    Ok(verdict)
}

/// How many packets left the two sites between the moment when the initiator had settled and the lab's bytes.
fn packets_while_talking(trace: &Trace, case: &Case, settle_ms: Option<f64>) -> Option<usize> {
    let wires = Wires::find(trace, &case.pair).ok()?;
    let from_ns = case.connect_ns + (settle_ms? * 1_000_000.0) as u64;
    let to_ns = case.window?.from_ns;
    let left = wires.ways().filter(|(way, frame)| {
        !matches!(way, Way::FromThird { .. }) && (from_ns..to_ns).contains(&frame.at_ns)
    });
    Some(left.count())
}

/// Takes from the events that brought the lab's bytes what the nodes say of the way that these took; the initiator's first.
/// Before that a node may have gone another way, and said so.
pub fn claim_again(cell: &mut Cell, brought: [Option<&NodeEvent>; 2]) {
    for (claim, event) in cell.claims.iter_mut().zip(brought) {
        let Some(event) = event else { continue };
        let now = event.claim(&claim.machine);
        if now.path != claim.path && now.path != natrig_record::Path::None {
            *claim = now;
        }
    }
}

/// Puts into a record what became of messages, and what must be true of that.
pub fn add_talks(cell: &mut Cell, talks: &[Conversation]) {
    cell.talks = talks.iter().map(Conversation::record).collect();
    cell.assertions.extend(talks.iter().flat_map(Conversation::assertions));
}

/// How far the nodes came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// They settled, and were asked to carry the lab's bytes; what kept bytes from arriving, if something did.
    Data(Option<Trouble>),
    /// They did not settle: the step that this ended, and why.
    Not(Step, Trouble),
}

/// Judges a cell by its verdict, and puts the outcome into its record; gives back what ended it, and at which step.
pub fn conclude(
    cell: &mut Cell,
    scenario: &Scenario,
    reached: Reached,
    read: Result<Verdict, Trouble>,
) -> Result<(), (Step, Trouble)> {
    let mut undelivered = match reached {
        Reached::Data(undelivered) => undelivered,
        // A gateway that is not what was proven says nothing about the node behind it.
        Reached::Not(step, trouble) => {
            return Err(match broken(&cell.assertions) {
                Some(reason) => (Step::Verdict, Trouble::lab(reason).lines([trouble.message])),
                None => (step, trouble),
            });
        }
    };
    let verdict = read.map_err(|trouble| (Step::Verdict, trouble))?;
    let wanted = Wanted { expected: scenario.expected, relay_allowed: scenario.use_relay };
    let (outcome, reason) = judge(wanted, &verdict, &cell.claims, &cell.assertions);
    cell.outcome = outcome;
    let Some(reason) = reason else {
        return Ok(());
    };
    // A machine that died, or an interrupted run, says nothing about the node.
    if let Some(trouble) = undelivered.take_if(|trouble| trouble.who == Who::Lab) {
        return Err((Step::Data, trouble));
    }
    let step = if undelivered.is_some() { Step::Data } else { Step::Verdict };
    let said =
        undelivered.into_iter().flat_map(|trouble| std::iter::once(trouble.message).chain(trouble.lines));
    let in_the_way = cell.in_the_way.clone();
    let trouble = Trouble::node(reason).lines(said).lines(in_the_way).lines(verdict.because);
    cell.failure = Some(trouble.failure(step));
    Ok(())
}

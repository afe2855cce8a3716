//! Which path the traffic took, from the wire alone.
//!
//! Neither a node's word nor an address nor the look of a datagram counts. P are frames from site to site that touched
//! no third machine, T those to or from one, by the switch's ports. In a window after the nodes report their final path
//! the lab has them carry its own random bytes, which do not compress; the shares of P and T in them are the path.

use natrig_capture::Trace;
use natrig_nat::Filtering;
use natrig_record::{Direction, Kind, Path, Verdict};
use serde::{Deserialize, Serialize};

use crate::{
    assertions::{Passage, links::Condition, netem::Tally},
    wires::{Crossing, Pair, Way, Wires, payload, ports},
};

/// The other path may carry less than this share of the lab's bytes, in per cent.
const STRAY_PER_CENT: u64 = 5;

/// More ports than this make a punch a birthday search.
const MANY_PORTS: usize = 16;

/// What is judged, beside the captures; kept as `case.json` beside them, so that a verdict can be read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The sites, the initiator's first.
    pub pair: Pair,
    /// How the initiator's gateway filters, as proven; a router without NAT is EIF.
    pub initiator_filtering: Filtering,
    /// When the initiator was told to connect, in nanoseconds since the Unix epoch.
    pub connect_ns: u64,
    /// The window in which the lab's bytes were carried; none if it did not come to that.
    pub window: Option<Window>,
    /// Whether the node is not omerta-mesh, so that nothing is known of how its datagrams look.
    #[serde(default)]
    pub foreign: bool,
    /// What stopped the nodes' own messages, where they cannot carry the lab's bytes.
    #[serde(default)]
    pub intervention: Option<Intervention>,
    /// First payload bytes that say that a datagram is about coordination.
    pub coordination: Vec<u8>,
    /// First payload bytes that say that a datagram probes a path; none if all that goes between the sites counts.
    #[serde(default)]
    pub probes: Vec<u8>,
    /// First payload bytes that say that a datagram is one that a relay passes on.
    #[serde(default)]
    pub relayed: Vec<u8>,
    /// The relay machine's links.
    #[serde(default)]
    pub relays: Vec<String>,
    /// Whether the lab keeps the sites' frames from each other, so that no attempt can arrive.
    #[serde(default)]
    pub pair_blocked: bool,
    /// The gateways that the nodes' datagrams passed.
    #[serde(default)]
    pub gateways: Vec<Passage>,
    /// What links do to frames, as the scenario has it.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// What gateways did to frames by themselves, as their kernels counted it.
    #[serde(default)]
    pub tallies: Vec<Tally>,
}

/// The lab's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Before the first byte was handed to a node.
    pub from_ns: u64,
    /// After the last one was seen to have arrived, or time was up.
    pub to_ns: u64,
    /// How many bytes were handed over, from the initiator, from the responder.
    pub sent: [u64; 2],
    /// How many of them arrived unharmed.
    pub arrived: [u64; 2],
}

/// How many messages of nodes arrived, at both together, while frames were dropped; a verdict for nodes that cannot carry bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// While nothing was.
    pub untouched: u32,
    /// While all frames to and from third machines were.
    pub without_third: u32,
    /// While all frames between the sites were.
    pub without_direct: u32,
}

impl Intervention {
    /// The way without which nothing arrives.
    fn path(self) -> Path {
        match self {
            Intervention { untouched: 0, .. } => Path::None,
            Intervention { without_third: 0, without_direct: 1.., .. } => Path::Relay,
            Intervention { without_third: 1.., without_direct: 0, .. } => Path::Direct,
            _ => Path::Mixed,
        }
    }
}

/// Why captures allow no verdict: the lab's fault, not the node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoVerdict {
    /// A capture is missing.
    #[error("the captures have no link `{0}`")]
    MissingLink(String),
    /// The sites had met before the connect command, so the truth table says nothing.
    #[error(
        "{frames} frames went between the sites before the connect command, the first {early_ms} ms before it"
    )]
    MetBefore {
        /// How many.
        frames: usize,
        /// How much earlier.
        early_ms: u64,
    },
}

/// Reads the captures.
pub fn verdict(trace: &Trace, case: &Case) -> Result<Verdict, NoVerdict> {
    let wires = Wires::find(trace, &case.pair).map_err(NoVerdict::MissingLink)?;
    let crossings = wires.crossings();
    let early = crossings.iter().filter(|crossing| crossing.left_ns < case.connect_ns);
    if let Some(first) = early.clone().next() {
        let early_ms = (case.connect_ns - first.left_ns) / 1_000_000;
        return Err(NoVerdict::MetBefore { frames: early.count(), early_ms });
    }
    let mut because = Vec::new();
    let directions = match case.intervention {
        None => counted(&wires, case.window, &mut because),
        Some(_) => Default::default(),
    };
    let path = match case.intervention {
        None => worse(way_of(&directions[0]), way_of(&directions[1])),
        Some(found) => {
            because.push(format!(
                "found by intervention: {} messages arrived untouched, {} without third machines, {} without the way between the sites",
                found.untouched, found.without_third, found.without_direct
            ));
            found.path()
        }
    };
    let attempts = |from: usize, passed: bool| {
        let count = crossings
            .iter()
            .filter(|c| c.from == from && c.arrived_ns.is_some() && (!passed || c.passed_ns.is_some()))
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let ports_tried = ports_tried(&crossings, case.window);
    let kind = match path {
        Path::Relay => Some(Kind::Relay),
        Path::Direct => Some(kind(&crossings, case, ports_tried, &mut because)),
        Path::Mixed | Path::None => None,
    };
    Ok(Verdict {
        path,
        kind,
        directions,
        coordinator_asked: coordinator_asked(&wires, case),
        ports_tried: ports_tried as u32,
        ports_probed: [0, 1].map(|side| different_ports(&crossings, case.window, side, |p| p.1) as u32),
        attempts_arrived: [attempts(0, false), attempts(1, false)],
        attempts_passed: [attempts(0, true), attempts(1, true)],
        because,
    })
}

/// Which way bytes of the lab took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The worse of both directions.
    pub path: Path,
    /// From the first of the pair to the second one, then back.
    pub directions: [Direction; 2],
}

/// Reads from the captures which way the bytes of a window took, whatever was before it. So it is not told how that way came to
/// be: that takes two who had never met, and a [case](verdict) from its beginning.
pub fn carried(trace: &Trace, pair: &Pair, window: Window) -> Result<Carried, NoVerdict> {
    let wires = Wires::find(trace, pair).map_err(NoVerdict::MissingLink)?;
    let directions = counted(&wires, Some(window), &mut Vec::new());
    Ok(Carried { path: worse(way_of(&directions[0]), way_of(&directions[1])), directions })
}

/// Counts P and T in the window.
fn counted(wires: &Wires<'_>, window: Option<Window>, because: &mut Vec<String>) -> [Direction; 2] {
    let mut directions = [Direction::default(); 2];
    let Some(window) = window else {
        because.push("the nodes were not asked to carry the lab's bytes".to_owned());
        return directions;
    };
    for (direction, (sent, arrived)) in directions.iter_mut().zip(window.sent.into_iter().zip(window.arrived))
    {
        direction.sent = sent;
        direction.arrived = arrived;
    }
    for (way, frame) in wires.ways() {
        if frame.to.is_empty() || frame.at_ns < window.from_ns || frame.at_ns > window.to_ns {
            continue;
        }
        match way {
            Way::Across { from } => directions[from].direct_bytes += payload(frame),
            Way::ToThird { from } => directions[from].to_third_bytes += payload(frame),
            Way::FromThird { to } => directions[1 - to].from_third_bytes += payload(frame),
        }
    }
    for (direction, who) in directions.iter().zip(["initiator to responder", "responder to initiator"]) {
        because.push(format!(
            "{who}: {} of {} bytes arrived; {} went from site to site, {} to and {} from third machines",
            direction.arrived,
            direction.sent,
            direction.direct_bytes,
            direction.to_third_bytes,
            direction.from_third_bytes
        ));
    }
    directions
}

fn way_of(direction: &Direction) -> Path {
    let n = direction.sent;
    let stray = |bytes: u64| bytes * 100 < n * STRAY_PER_CENT;
    let third = direction.to_third_bytes.saturating_add(direction.from_third_bytes);
    if n == 0 || direction.arrived < n {
        Path::None
    } else if direction.direct_bytes >= n && stray(third) {
        Path::Direct
    } else if direction.to_third_bytes >= n
        && direction.from_third_bytes >= n
        && stray(direction.direct_bytes)
    {
        Path::Relay
    } else {
        Path::Mixed
    }
}

fn worse(a: Path, b: Path) -> Path {
    match (a, b) {
        (Path::None, _) | (_, Path::None) => Path::None,
        (a, b) if a == b => a,
        _ => Path::Mixed,
    }
}

/// How the direct path came to be: from the first frame that passed a far gateway, and from what had left before.
fn kind(crossings: &[Crossing<'_>], case: &Case, ports_tried: usize, because: &mut Vec<String>) -> Kind {
    let first = crossings.iter().filter_map(|c| Some((c.passed_ns?, c))).min_by_key(|(at, _)| *at);
    let Some((passed_ns, first)) = first else {
        because.push("no frame was seen to pass a far gateway".to_owned());
        return Kind::Punch;
    };
    // Its own gateway may have had the other side's frame before this one came, and the switch read it after: nothing that left
    // before this one was let in can be an answer to it.
    let other_left = crossings.iter().any(|c| c.from != first.from && c.left_ns < passed_ns);
    let who = ["initiator", "responder"][first.from];
    because.push(format!(
        "the first frame to pass a far gateway was frame {}, from the {who}; the other side had {}sent before",
        first.frame.id,
        if other_left { "" } else { "not " }
    ));
    if case.pair.sites.iter().all(|site| site.lan.is_none()) {
        because.push("no gateway stands between them".to_owned());
        return Kind::Direct;
    }
    // Where both set out at once, chance decides whose frame is let in first. A gateway that lets all in needs nothing that the
    // initiator sends.
    let called = case.initiator_filtering == Filtering::EndpointIndependent
        && crossings.iter().any(|c| c.from == 1 && c.left_ns < passed_ns && c.passed_ns.is_some());
    match first.from {
        0 if !other_left => Kind::Direct,
        1 if !other_left => Kind::Reversal,
        _ if called => Kind::Reversal,
        _ if ports_tried > MANY_PORTS => {
            because.push(format!("{ports_tried} ports were tried"));
            Kind::Birthday
        }
        _ => Kind::Punch,
    }
}

/// The most ports that one side sent from or to, before the lab's bytes.
fn ports_tried(crossings: &[Crossing<'_>], window: Option<Window>) -> usize {
    let different = |from, pick| different_ports(crossings, window, from, pick);
    (0..2).flat_map(|from| [different(from, |p| p.0), different(from, |p| p.1)]).max().unwrap_or(0)
}

/// How many source or destination ports one side's frames had, before the lab's bytes.
fn different_ports(
    crossings: &[Crossing<'_>],
    window: Option<Window>,
    from: usize,
    pick: fn((u16, u16)) -> u16,
) -> usize {
    let before = window.map_or(u64::MAX, |window| window.from_ns);
    let seen = crossings.iter().filter(|c| c.from == from && c.left_ns < before);
    seen.filter_map(|c| ports(c.frame)).map(pick).collect::<std::collections::HashSet<_>>().len()
}

fn coordinator_asked(wires: &Wires<'_>, case: &Case) -> bool {
    wires.ways().any(|(way, frame)| {
        matches!(way, Way::ToThird { .. } | Way::FromThird { .. })
            && frame.at_ns >= case.connect_ns
            && frame
                .packet()
                .and_then(|packet| packet.udp())
                .and_then(|udp| udp.payload.first())
                .is_some_and(|kind| case.coordination.contains(kind))
    })
}

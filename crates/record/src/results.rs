//! What is left of a run.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Assertion, Experiment, Metric, Repeats, Talk};

/// The name and version of the JSON form of [`Results`].
pub const SCHEMA: &str = "natrig/results/1";

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: String,
    /// Where and how it ran.
    pub run: RunInfo,
    /// The cells, in the order they were asked for.
    pub cells: Vec<Cell>,
    /// How many ended in which way; every repetition counts.
    pub totals: Totals,
    /// How each cell fared that was run more than once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Repeats>,
    /// The run in figures.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Whether it was interrupted; then cells may be missing.
    pub interrupted: bool,
}

impl Results {
    /// A run with all that follows from its cells.
    pub fn of(run: RunInfo, cells: Vec<Cell>, interrupted: bool) -> Self {
        Results {
            schema: SCHEMA.to_owned(),
            run,
            totals: Totals::of(&cells),
            repeats: Repeats::of(&cells),
            metrics: Metric::of(&cells),
            cells,
            interrupted,
        }
    }
}

/// Where and how a run was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// natrig's version.
    pub natrig: String,
    /// `vm` or `sim`.
    pub backend: String,
    /// `kvm` or `tcg`; as all that only machines have, empty in the simulator.
    pub accelerator: String,
    /// Processor, cores and memory of the host, as a phrase.
    pub host: String,
    /// QEMU's version.
    pub qemu: String,
    /// The guests' kernel release.
    pub guest_kernel: String,
    /// The image, by the start of its hash.
    pub image: String,
    /// The command line.
    pub command: Vec<String>,
    /// The seed of everything random that the lab draws.
    pub seed: u64,
    /// When it started, RFC 3339.
    pub started: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
    /// The run's folder.
    pub folder: String,
}

/// One scenario with one set of NATs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Unique in a run but for repetitions, and fit for a file name, such as `T2.M.20` or `symmetric-symmetric`.
    pub id: String,
    /// Which of its cell's repetitions this is, from 1; none if the cell is run once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition: Option<u32>,
    /// What repeats this one alone, as the seed of a run, where a run can be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The scenario's name.
    pub name: String,
    /// The scenario's file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// `P1`, `P2`, where the scenario has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// The gateway profiles, site 1 first.
    pub nats: Vec<String>,
    /// Which site's peer dials: 1 or 2.
    pub initiator: u8,
    /// What the scenario expects, in its own word, such as `hole-punch`.
    pub expected: String,
    /// The judgement.
    pub outcome: Outcome,
    /// What the wire showed; none if the run did not come so far.
    pub verdict: Option<Verdict>,
    /// What the gateways came to without a node; none where nodes were run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<Experiment>,
    /// What the nodes said of their path; the initiator's first.
    pub claims: Vec<Claim>,
    /// From the connect command to the first usable path, by the initiator's events.
    pub connect_ms: Option<f64>,
    /// From the connect command to the node's final path.
    pub settle_ms: Option<f64>,
    /// What went wrong, where something did.
    pub failure: Option<Failure>,
    /// What kept datagrams from arriving before the lab's bytes were carried, and what had been done to the lab: sentences, the most
    /// frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_the_way: Vec<String>,
    /// The kernels of machines whose scenario names one, by machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kernels: BTreeMap<String, String>,
    /// The proof of each gateway.
    pub proofs: Vec<Proof>,
    /// What the captures must show beside the path, gateways first.
    #[serde(default)]
    pub assertions: Vec<Assertion>,
    /// What became of the messages that peers sent while things were broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub talks: Vec<Talk>,
    /// How long each step took, and what else was measured.
    pub figures: Figures,
    /// Where the evidence lies.
    pub evidence: Evidence,
}

/// The four judgements; never mixed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The wire shows what the scenario expects, and the nodes say the same.
    AsExpected,
    /// The wire shows something else, or no data came through.
    NotAsExpected,
    /// The wire and a node's claim differ.
    Disagree,
    /// The lab itself failed: this says nothing about the node.
    #[default]
    LabError,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::AsExpected => "as expected",
            Outcome::NotAsExpected => "NOT as expected",
            Outcome::Disagree => "DISAGREE",
            Outcome::LabError => "LAB ERROR",
        })
    }
}

/// Which way bytes took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// From site to site, touching no third machine.
    Direct,
    /// Through a third machine, both legs.
    Relay,
    /// Neither wholly; never a pass.
    Mixed,
    /// The lab's bytes did not arrive.
    None,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Path::Direct => "direct",
            Path::Relay => "relay",
            Path::Mixed => "mixed",
            Path::None => "none",
        })
    }
}

/// How a path came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The initiator's own packet got through.
    Direct,
    /// The responder was asked to call (RFC 5128 section 3.2).
    Reversal,
    /// Both had to send (RFC 5128 section 3.3).
    Punch,
    /// As punch, over many ports.
    Birthday,
    /// Nothing direct; a third machine forwards.
    Relay,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Direct => "direct",
            Kind::Reversal => "reversal",
            Kind::Punch => "punch",
            Kind::Birthday => "birthday",
            Kind::Relay => "relay",
        })
    }
}

/// What the captures show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The way of the lab's bytes, worse of both directions.
    pub path: Path,
    /// How the path came to be; none for mixed and none.
    pub kind: Option<Kind>,
    /// Initiator to responder, then back.
    pub directions: [Direction; 2],
    /// Whether a coordination datagram was seen between a peer and a third machine.
    pub coordinator_asked: bool,
    /// Different ports tried by peer-to-peer frames before the first got through.
    pub ports_tried: u32,
    /// To how many ports of the far side each peer had sent by then: initiator, responder.
    #[serde(default)]
    pub ports_probed: [u32; 2],
    /// Peer-to-peer frames that reached the far gateway, by sender: initiator, responder.
    pub attempts_arrived: [u32; 2],
    /// Peer-to-peer frames that passed the far gateway, by sender: initiator, responder.
    pub attempts_passed: [u32; 2],
    /// The reasons, one sentence each, with frame numbers where there are any.
    pub because: Vec<String>,
}

/// One direction's bytes in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// The lab's bytes that were to be carried.
    pub sent: u64,
    /// Those that arrived with the right hash.
    pub arrived: u64,
    /// P: payload bytes from site to site that touched no third machine.
    pub direct_bytes: u64,
    /// T: payload bytes to third machines.
    pub to_third_bytes: u64,
    /// T: payload bytes from third machines.
    pub from_third_bytes: u64,
}

/// What a node said of its final path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The machine.
    pub machine: String,
    /// `direct` or `relay`.
    pub path: Path,
    /// How it came to be, by the node's own word.
    pub kind: Option<String>,
}

/// Where and why a cell failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// One sentence.
    pub message: String,
    /// The few lines that matter, of logs or events.
    pub lines: Vec<String>,
    /// What to do, where that is known.
    pub hint: Option<String>,
}

/// The steps of a cell, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Machines are cloned, addressed and ready.
    Machines,
    /// Rulesets are loaded and gateways proven.
    Proof,
    /// Nodes start and report themselves ready.
    Nodes,
    /// The initiator is told to connect; until both report their final path.
    Connect,
    /// The lab's bytes are carried.
    Data,
    /// Captures are judged.
    Verdict,
    /// Logs and tables are gathered.
    Evidence,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Machines => "machines",
            Step::Proof => "proof",
            Step::Nodes => "nodes",
            Step::Connect => "connect",
            Step::Data => "data",
            Step::Verdict => "verdict",
            Step::Evidence => "evidence",
        })
    }
}

/// A gateway measured before it was used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The gateway.
    pub gateway: String,
    /// Its profile.
    pub profile: String,
    /// Which steps were taken: `fast` or `whole`.
    #[serde(default)]
    pub steps: String,
    /// What the profile says.
    pub declared: ProofSide,
    /// What was measured.
    pub measured: ProofSide,
    /// The axes in which what was measured does not fit what was declared.
    #[serde(default)]
    pub differs: Vec<String>,
    /// Whether there are none.
    pub holds: bool,
    /// What was seen, step by step.
    pub notes: Vec<String>,
}

impl Proof {
    /// Both sides in columns, a line for each axis that was measured.
    pub fn side_by_side(&self) -> Vec<String> {
        let declared = self.declared.axes();
        let said = |axis: &str| {
            let found = declared.iter().find(|(known, _)| known == axis);
            found.map_or("", |(_, value)| value.as_str())
        };
        let measured = self.measured.axes();
        let widest = |words: &mut dyn Iterator<Item = &str>| words.map(str::len).max().unwrap_or(0);
        let first = widest(&mut measured.iter().map(|(axis, _)| axis.as_str()));
        let second = widest(&mut measured.iter().map(|(axis, _)| said(axis)).chain(["declared"]));
        let head = format!("{:first$}  {:second$}  measured", "", "declared");
        let line = |(axis, value): &(String, String)| {
            let mark = if self.differs.contains(axis) { "  <- differs" } else { "" };
            format!("{axis:first$}  {:second$}  {value}{mark}", said(axis))
        };
        [head].into_iter().chain(measured.iter().map(line)).collect()
    }
}

/// One side of a proof, axis by axis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofSide {
    /// `EIM`, `ADM`, `APDM`, or `none` without NAT; empty if nothing passes that could tell.
    pub mapping: String,
    /// `EIF`, `ADF` or `APDF`; empty if nothing passes that could tell.
    pub filtering: String,
    /// Whether an early packet from outside leaves the port as it is; none where it cannot be told.
    pub early_packet_harmless: Option<bool>,
    /// All other axes by name, such as `hairpin`; those that were not measured, or that mean nothing here, are left out.
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

impl ProofSide {
    /// All axes that have a value, by name.
    pub fn axes(&self) -> Vec<(String, String)> {
        let early = self.early_packet_harmless.map(|harmless| {
            let word = if harmless { "leaves the port" } else { "moves the port" };
            ("early_packet".to_owned(), word.to_owned())
        });
        [("mapping".to_owned(), self.mapping.clone()), ("filtering".to_owned(), self.filtering.clone())]
            .into_iter()
            .chain(early)
            .chain(self.other.clone())
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }
}

/// Times in milliseconds, by step and `total`; what is no time has its unit in its name.
pub type Figures = BTreeMap<String, f64>;

/// Where the evidence of a cell lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The cell's folder in the run's folder; the other paths are relative to it.
    pub folder: String,
    /// Captures, one a link.
    pub captures: Vec<String>,
    /// Logs, one a machine.
    pub logs: Vec<String>,
    /// Rulesets and connection tables of the gateways.
    pub gateways: Vec<String>,
}

/// How many cells ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// As expected.
    pub as_expected: u32,
    /// Not as expected.
    pub not_as_expected: u32,
    /// Wire and claim differ.
    pub disagree: u32,
    /// Lab errors.
    pub lab_error: u32,
}

impl Totals {
    /// Counts cells.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Self {
        let mut totals = Totals::default();
        for cell in cells {
            *match cell.outcome {
                Outcome::AsExpected => &mut totals.as_expected,
                Outcome::NotAsExpected => &mut totals.not_as_expected,
                Outcome::Disagree => &mut totals.disagree,
                Outcome::LabError => &mut totals.lab_error,
            } += 1;
        }
        totals
    }

    /// How many there are.
    pub fn runs(&self) -> u32 {
        self.as_expected + self.not_as_expected + self.disagree + self.lab_error
    }

    /// The exit code of a run: 1 if any cell was not as expected or disagreed, else 2 after a lab error, else 0.
    pub fn exit_code(&self) -> u8 {
        if self.not_as_expected + self.disagree > 0 {
            1
        } else if self.lab_error > 0 {
            2
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(outcome: Outcome) -> Cell {
        Cell { outcome, ..Cell::default() }
    }

    #[test]
    fn a_wrong_path_outweighs_a_lab_error() {
        use Outcome::*;
        for (outcomes, code) in [
            (&[][..], 0),
            (&[AsExpected], 0),
            (&[AsExpected, LabError], 2),
            (&[LabError, NotAsExpected], 1),
            (&[Disagree], 1),
        ] {
            let cells: Vec<Cell> = outcomes.iter().copied().map(cell).collect();
            assert_eq!(Totals::of(&cells).exit_code(), code, "{outcomes:?}");
        }
    }
}

//! The raw experiment on real gateways: the machines of a cell without its nodes.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use natrig_capture::{LinkId, Trace};
use natrig_lab::{Backend, Halt, Pair, Place, Topology};
use natrig_record::{Cell, Evidence, Experiment, Outcome, Search, Step, Trial, What};
use natrig_scenario::{Scenario, Side};

use crate::{
    Lab, Rig, Trouble,
    cell::{blank, files, millis},
    experiment::{self, Finding, Parties, Party},
    gateway, proof,
};

/// Runs the gateways of scenarios between hosts that the lab plays: what they come to, held against what is expected.
#[derive(Debug)]
pub struct Experimenter<'a>(&'a Rig);

impl<'a> Experimenter<'a> {
    /// With the images and templates of a rig.
    pub fn new(rig: &'a Rig) -> Self {
        Experimenter(rig)
    }
}

impl Backend for Experimenter<'_> {
    fn run(&self, scenario: &Scenario, evidence: &Path, events: &dyn Fn(What), halt: &Halt) -> Cell {
        let started = Instant::now();
        let mut run = Run {
            rig: self.0,
            scenario,
            folder: evidence,
            halt,
            events,
            step: Step::Machines,
            entered: started,
            cell: blank(scenario, evidence),
        };
        if let Err(trouble) = run.whole() {
            run.cell.outcome = Outcome::LabError;
            run.cell.failure = Some(trouble.failure(run.step));
        }
        let captures = files(&evidence.join("captures"), "captures").unwrap_or_default();
        let logs = files(&evidence.join("logs"), "logs").unwrap_or_default();
        run.cell.evidence = Evidence { captures, logs, ..run.cell.evidence };
        run.cell.figures.insert("total".to_owned(), millis(started.elapsed()));
        run.cell
    }
}

struct Run<'a> {
    rig: &'a Rig,
    scenario: &'a Scenario,
    folder: &'a Path,
    halt: &'a Halt,
    events: &'a dyn Fn(What),
    step: Step,
    entered: Instant,
    cell: Cell,
}

impl Run<'_> {
    fn whole(&mut self) -> Result<(), Trouble> {
        self.enter(Step::Machines)?;
        let topology = Topology::of(self.scenario);
        let is_gateway = |machine| topology.gateways().iter().any(|place| place.machine == machine);
        let lab = Lab::boot_only(self.rig, self.scenario, is_gateway, self.folder, self.halt)?;

        self.enter(Step::Proof)?;
        gateway::load(&lab, self.scenario, self.folder)?;
        self.cell.proofs = proof::measure(&lab, self.scenario, |gateway| self.rig.depth(gateway))?;
        proof::refuse(&self.cell.proofs)?;
        self.rig.hold(self.scenario);
        let proven = gateway::flush(&lab, self.scenario)?;

        self.enter(Step::Connect)?;
        let finding = self.find(&lab, &topology)?;

        self.enter(Step::Verdict)?;
        witness(&lab.trace()?, &topology.pair(self.scenario.initiator), &finding)?;
        self.judge(&finding);

        self.enter(Step::Evidence)?;
        self.cell.evidence.gateways = gateway::gather(&lab, self.scenario, Some(&proven), self.folder)?;
        self.leave();
        Ok(())
    }

    fn find(&self, lab: &Lab, topology: &Topology) -> Result<Finding, Trouble> {
        let place = |innermost: bool, side: Side| {
            let mut places = topology.gateways().iter().filter(|place| place.side == side);
            let found: Option<&Place> = if innermost { places.next() } else { places.next_back() };
            found.ok_or_else(|| Trouble::lab(format!("site {} has no gateway", side.number())))
        };
        let initiator = self.scenario.initiator;
        let [behind, _] = topology.stands(place(true, initiator)?);
        let [behind_other, _] = topology.stands(place(true, initiator.other())?);
        let [_, internet] = topology.stands(place(false, initiator)?);
        let mut stations = lab.stations([&behind, &behind_other, &internet])?;
        let party = |seat, stand: &natrig_lab::Stand| Party { seat, address: *stand.endpoint(0, 0).ip() };
        let parties = Parties {
            peers: [party(0, &behind), party(1, &behind_other)],
            coordinator: party(2, &internet),
            other_address: *internet.endpoint(1, 0).ip(),
        };
        experiment::find(&mut stations, parties, self.rig.seed, self.scenario.node.birthday)
    }

    fn judge(&mut self, finding: &Finding) {
        let admitted = self.scenario.expected.admits(finding.kind);
        let order_matters = finding.order_matters();
        self.cell.outcome =
            if admitted && !order_matters { Outcome::AsExpected } else { Outcome::NotAsExpected };
        self.cell.experiment = Some(Experiment {
            kind: finding.kind,
            order_matters,
            trials: finding
                .trials
                .iter()
                .map(|trial| Trial { senders: trial.order.to_string(), connected: trial.connected })
                .collect(),
            search: finding.search.map(|search| Search {
                probes: u32::try_from(search.probes).unwrap_or(u32::MAX),
                connected: search.connected,
            }),
        });
        let reason = match (admitted, order_matters) {
            (true, false) => return,
            (_, true) => "it makes a difference who sends first".to_owned(),
            (false, false) => {
                format!("expected {}, the gateways come to {}", self.scenario.expected, finding.kind)
            }
        };
        let lines = finding.trials.iter().map(|trial| {
            format!("{}: {}", trial.order, if trial.connected { "connected" } else { "not connected" })
        });
        self.cell.failure = Some(Trouble::node(reason).lines(lines).failure(self.step));
    }

    fn enter(&mut self, step: Step) -> Result<(), Trouble> {
        if step != Step::Machines {
            self.leave();
        }
        self.step = step;
        (self.events)(What::StepStarted { step });
        if self.halt.raised() { Err(Trouble::lab("interrupted")) } else { Ok(()) }
    }

    fn leave(&mut self) {
        let now = Instant::now();
        let took: Duration = now - self.entered;
        self.cell.figures.insert(self.step.to_string(), millis(took));
        self.entered = now;
    }
}

/// Every packet that did not arrive must have come to the far gateway and not passed it: otherwise its silence proves
/// nothing.
fn witness(trace: &Trace, pair: &Pair, finding: &Finding) -> Result<(), Trouble> {
    let link =
        |name: &str| trace.link(name).ok_or_else(|| Trouble::lab(format!("there is no capture of {name}")));
    let mut links: Vec<[LinkId; 2]> = Vec::new();
    for site in &pair.sites {
        links.push([link(&site.wan)?, link(&site.lan)?]);
    }
    let mut seen: BTreeMap<(&[u8], LinkId), [bool; 2]> = BTreeMap::new();
    for frame in trace.frames() {
        let Some(udp) = frame.packet().and_then(|packet| packet.udp()) else { continue };
        seen.entry((udp.payload, frame.from)).or_default()[0] = true;
        for delivery in &frame.to {
            seen.entry((udp.payload, delivery.link)).or_default()[1] = true;
        }
    }
    for trial in &finding.trials {
        for (sender, payload) in &trial.filtered {
            let Some([wan, lan]) = links.get(1 - sender) else { continue };
            let at = |link: LinkId| seen.get(&(payload.as_slice(), link)).copied().unwrap_or_default();
            let ([_, came], [passed, _]) = (at(*wan), at(*lan));
            if !came || passed {
                let what = if passed {
                    "passed the far gateway all the same"
                } else {
                    "never came to the far gateway"
                };
                let who = ["initiator", "responder"][*sender];
                return Err(Trouble::lab(format!(
                    "{}: a packet of the {who} that did not arrive {what}: its silence proves nothing",
                    trial.order
                ))
                .hint("see captures/ of this cell"));
            }
        }
    }
    Ok(())
}

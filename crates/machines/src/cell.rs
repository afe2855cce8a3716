//! One cell from start to verdict.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use natrig_lab::{
    Backend, Halt,
    assertions::{self, Passage},
    judge::{Wanted, judge, refuted},
    verdict::{Case, Window, verdict},
};
use natrig_record::{About, Cell, Claim, Evidence, Outcome, Path as WirePath, Step, Verdict, What};
use natrig_scenario::{Action, Link, Moment, Scenario, Side};
use rand::{RngCore, SeedableRng};
use serde_json::json;

use crate::{
    COORDINATION, Lab, PROBES, Rig, Trouble, Who,
    app::INBOX,
    gateway::{self, Listing, both, each_side},
    lab::over,
    life::{self, Life},
    node::{Node, NodeEvent},
    nodes::{Events, Nodes, Public, start_public},
    proof,
    reuse::reusable,
};

/// How often a lab that is left alone looks whether the run is halted.
const LOOK: Duration = Duration::from_millis(100);

/// The lab's bytes, each way.
const BYTES: usize = 256 * 1024;

/// Where they lie before they are sent.
const OUTBOX: &str = "/run/natrig.bin";

/// How long the lab's bytes may take. Emulated relays are slow when cells run side by side.
const CARRY: Duration = Duration::from_secs(30);

impl Backend for Rig {
    fn run(&self, scenario: &Scenario, evidence: &Path, events: &dyn Fn(What), halt: &Halt) -> Cell {
        let mut run = Run {
            rig: self,
            scenario,
            folder: evidence,
            halt,
            step: Step::Machines,
            entered: Instant::now(),
            passages: Vec::new(),
            cell: blank(scenario, evidence),
        };
        let started = run.entered;
        let (sender, receiver) = std::sync::mpsc::channel();
        // Nodes report from other threads; the caller's function stays on this one.
        let result = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let result = run.whole(&sender);
                drop(sender);
                result
            });
            for what in receiver {
                events(what);
            }
            work.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked")))
        });
        if let Err(trouble) = result {
            run.cell.outcome = match trouble.who {
                Who::Lab => Outcome::LabError,
                Who::Node => Outcome::NotAsExpected,
            };
            run.cell.failure = Some(trouble.failure(run.step));
        }
        // However far it came, what there is explains it.
        run.cell.evidence.captures = files(&evidence.join("captures"), "captures").unwrap_or_default();
        run.cell.evidence.logs = files(&evidence.join("logs"), "logs").unwrap_or_default();
        run.cell.figures.insert("total".to_owned(), millis(started.elapsed()));
        run.cell
    }
}

struct Run<'a> {
    rig: &'a Rig,
    scenario: &'a Scenario,
    folder: &'a Path,
    halt: &'a Halt,
    step: Step,
    entered: Instant,
    passages: Vec<Passage>,
    cell: Cell,
}

impl Run<'_> {
    fn whole(&mut self, events: &Events) -> Result<(), Trouble> {
        self.enter(Step::Machines, events)?;
        let mut lab = self.rig.lab(self.scenario, self.folder, self.halt)?;
        self.cell.figures.insert("own_memory_mib".to_owned(), lab.own_memory()? as f64 / f64::from(1 << 20));
        self.cell.figures.insert("cells_before_in_these_machines".to_owned(), lab.served().into());
        let before = if lab.served() == 0 { Duration::ZERO } else { lab.processor_time()? };
        let result = self.within(&mut lab, events);
        let spent = lab.processor_time()?.saturating_sub(before);
        self.cell.figures.insert("processor_time_of_machines".to_owned(), millis(spent));
        let retired = lab.retire(self.folder);
        let failed = match &result {
            Ok(()) => self.cell.outcome == Outcome::LabError,
            Err(trouble) => trouble.who == Who::Lab,
        };
        if !failed && retired.is_ok() && reusable(self.scenario) {
            self.rig.take_back(lab);
        }
        result.and(retired)
    }

    /// All that happens while the machines run.
    fn within(&mut self, lab: &mut Lab, events: &Events) -> Result<(), Trouble> {
        self.enter(Step::Proof, events)?;
        let (stun, loaded) =
            both(|| gateway::start_stun(lab), || gateway::load(lab, self.scenario, self.folder));
        stun.and(loaded)?;
        let public = || start_public(lab, self.scenario, self.folder, self.halt, events);
        let (public, proven) = both(public, || {
            let others = life::prove_others(lab, self.scenario, self.folder)?;
            self.cell.proofs = proof::measure(lab, self.scenario, |gateway| self.rig.depth(gateway))?;
            proof::refuse(&self.cell.proofs)?;
            self.rig.hold(self.scenario);
            Ok(gateway::flush(lab, self.scenario)?.with_others(others))
        });
        let mut gateways = proven?;

        let judged = self.experiment(lab, &mut gateways, public, events);
        // Whatever came of it, the tables and logs are what explains it.
        let failed_at = self.step;
        let gathered = self.gather(lab, &gateways, events);
        if judged.is_err() {
            self.step = failed_at;
        }
        judged.and(gathered)
    }

    fn experiment(
        &mut self,
        lab: &mut Lab,
        gateways: &mut Listing,
        public: Result<Public, Trouble>,
        events: &Events,
    ) -> Result<(), Trouble> {
        let proven_ns = lab.switch().time_of(Instant::now());
        self.passages = lab.topology().gateways().iter().map(|place| Passage::of(place, proven_ns)).collect();
        self.enter(Step::Nodes, events)?;
        let public = public?;
        let outboxes = || {
            each_side(|side| {
                let agent = lab.agent(side.peer())?;
                Ok(agent.write_file(OUTBOX, 0o644, bytes(self.rig.seed, self.scenario, side))?)
            })
        };
        let (filled, nodes) =
            both(outboxes, || Nodes::start(lab, self.scenario, public, self.folder, self.halt, events));
        let nodes = filled.and(nodes)?;
        self.faults(lab, gateways, Moment::Bootstrapped, events)?;

        self.enter(Step::Connect, events)?;
        let connect = Instant::now();
        let settled = self.connect(lab, gateways, &nodes, connect, events);

        let window = match &settled {
            Ok(()) => {
                self.faults(lab, gateways, Moment::Settled, events)?;
                self.enter(Step::Data, events)?;
                Some(self.carry(lab, &nodes))
            }
            Err(_) => None,
        };
        // A verdict is read in any case: it shows how far things came.
        let failed_at = self.step;
        self.enter(Step::Verdict, events)?;
        let read = self.read(lab, connect, window.as_ref().map(|(window, _)| *window));
        if let Err(trouble) = settled {
            // A gateway that is not what was proven says nothing about the node behind it.
            if let Some(reason) = refuted(&self.cell.assertions, About::Gateway) {
                return Err(Trouble::lab(reason).lines([trouble.message]));
            }
            self.step = failed_at;
            return Err(trouble);
        }
        let verdict = read?;
        let wanted = Wanted { expected: self.scenario.expected, relay_allowed: self.scenario.use_relay };
        let (outcome, reason) = judge(wanted, &verdict, &self.cell.claims, &self.cell.assertions);
        self.cell.outcome = outcome;
        let lines = verdict.because.clone();
        if let Some(reason) = reason {
            let mut undelivered = window.and_then(|(_, undelivered)| undelivered);
            // A machine that died, or an interrupted run, says nothing about the node.
            if let Some(trouble) = undelivered.take_if(|trouble| trouble.who == Who::Lab) {
                self.step = Step::Data;
                return Err(trouble);
            }
            let step = if undelivered.is_some() { Step::Data } else { Step::Verdict };
            let trouble = Trouble::node(reason).lines(
                undelivered
                    .into_iter()
                    .flat_map(|trouble| std::iter::once(trouble.message).chain(trouble.lines)),
            );
            self.cell.failure = Some(trouble.lines(lines).failure(step));
        }
        Ok(())
    }

    /// Tells the initiator to connect and waits until both peers have reported their final path.
    fn connect(
        &mut self,
        lab: &mut Lab,
        gateways: &mut Listing,
        nodes: &Nodes,
        since: Instant,
        events: &Events,
    ) -> Result<(), Trouble> {
        let deadline = since + self.scenario.timeout;
        let [initiator, responder] = &nodes.peers;
        let [own, target] = &nodes.ids;
        initiator.command(&json!({"do": "connect", "peer": target}))?;
        let known = |event: &NodeEvent| {
            ["connected", "settled", "connectFailed"].iter().any(|name| event.about(name, target))
        };
        let first = initiator.wait_for("it was connected", deadline, self.halt, known)?;
        if !first.is("connectFailed") {
            self.cell.connect_ms = Some(millis(first.at - since));
            self.faults(lab, gateways, Moment::Connected, events)?;
        }
        let last = initiator.wait_for("it reported its final path", deadline, self.halt, |event| {
            event.about("settled", target) || event.about("connectFailed", target)
        })?;
        if last.is("connectFailed") {
            let why = last.text("reason").unwrap_or("it did not say why").to_owned();
            return Err(Trouble::node(format!("{} could not connect: {why}", initiator.name()))
                .lines(initiator.tail()));
        }
        self.cell.settle_ms = Some(millis(last.at - since));
        let other = responder.wait_for("it reported its final path", deadline, self.halt, |event| {
            event.about("settled", own)
        })?;
        self.cell.claims =
            [(initiator, &last), (responder, &other)].map(|(node, event)| claim(node, event)).into();
        Ok(())
    }

    /// Has both nodes carry the lab's bytes at once. What did not arrive is told beside the window.
    fn carry(&self, lab: &Lab, nodes: &Nodes) -> (Window, Option<Trouble>) {
        let from_ns = lab.switch().time_of(Instant::now());
        let deadline = Instant::now() + CARRY;
        let sides = [self.scenario.initiator, self.scenario.initiator.other()];
        let mut undelivered = None;
        for (node, target) in nodes.peers.iter().zip(nodes.ids.iter().rev()) {
            if let Err(trouble) = node.command(&json!({"do": "send", "peer": target, "file": OUTBOX})) {
                undelivered = Some(trouble);
            }
        }
        let mut arrived = [0, 0];
        for sender in 0..2 {
            let receiver = &nodes.peers[1 - sender];
            match self.received(lab, receiver, &nodes.ids[sender], deadline) {
                Ok(content) => {
                    arrived[sender] = alike(&content, &bytes(self.rig.seed, self.scenario, sides[sender]))
                }
                Err(trouble) => undelivered = undelivered.or(Some(trouble)),
            }
        }
        let to_ns = lab.switch().time_of(Instant::now());
        (Window { from_ns, to_ns, sent: [BYTES as u64; 2], arrived }, undelivered)
    }

    fn received(&self, lab: &Lab, node: &Node, from: &str, deadline: Instant) -> Result<Vec<u8>, Trouble> {
        let message = node.wait_for("it had received the lab's bytes", deadline, self.halt, |event| {
            event.about("messageReceived", from)
        })?;
        let file = message
            .text("file")
            .ok_or_else(|| Trouble::node(format!("{}: a messageReceived without its file", node.name())))?;
        if !file.starts_with(INBOX) {
            return Err(Trouble::node(format!("{}: `{file}` is not in its inbox", node.name())));
        }
        Ok(lab.agent(node.name())?.read_file(file, 2 * BYTES as u64)?)
    }

    fn read(&mut self, lab: &Lab, connect: Instant, window: Option<Window>) -> Result<Verdict, Trouble> {
        let trace = lab.trace()?;
        let case = Case {
            pair: lab.topology().pair(self.scenario.initiator),
            initiator_filtering: self.scenario.initiator_nat().filtering(),
            connect_ns: lab.switch().time_of(connect),
            window,
            coordination: COORDINATION.to_vec(),
            probes: PROBES.to_vec(),
            relays: vec![Link::RelayWan.name().to_owned()],
            pair_blocked: self.pair_blocked(),
            gateways: self.passages.clone(),
        };
        let text = serde_json::to_vec_pretty(&case).map_err(Trouble::lab)?;
        std::fs::write(self.folder.join("case.json"), text)?;
        self.cell.assertions = assertions::gateways(&trace, &case).map_err(Trouble::lab)?;
        let verdict = verdict(&trace, &case).map_err(Trouble::lab)?;
        self.cell.verdict = Some(verdict.clone());
        self.cell.assertions.extend(assertions::nodes(&trace, &case, &verdict).map_err(Trouble::lab)?);
        Ok(verdict)
    }

    fn gather(&mut self, lab: &Lab, proven: &Listing, events: &Events) -> Result<(), Trouble> {
        self.enter(Step::Evidence, events)?;
        self.cell.evidence.gateways = gateway::gather(lab, self.scenario, Some(proven), self.folder)?;
        self.leave();
        Ok(())
    }

    fn faults(
        &mut self,
        lab: &mut Lab,
        gateways: &mut Listing,
        moment: Moment,
        events: &Events,
    ) -> Result<(), Trouble> {
        let life = Life { rig: self.rig, scenario: self.scenario, folder: self.folder };
        for fault in self.scenario.faults.iter().filter(|fault| fault.after == moment) {
            let shown = match &fault.action {
                Action::Gateway(machine, what) => {
                    let began_ns = lab.switch().time_of(Instant::now());
                    let shown = life.befall(lab, gateways, *machine, what)?;
                    let over_ns = lab.switch().time_of(Instant::now());
                    let place = &gateways.of(*machine)?.place;
                    self.passages.iter_mut().filter(|one| one.gateway == machine.name()).for_each(
                        |passage| {
                            passage.befallen(what, place, began_ns..over_ns);
                        },
                    );
                    format!(": {shown}")
                }
                Action::Idle(time) => self.idle(*time).map(|()| String::new())?,
                link => lab.apply(link).map(|()| String::new())?,
            };
            let _ = events.send(What::Fault { message: format!("{} after {moment}{shown}", fault.action) });
        }
        Ok(())
    }

    /// Leaves everything alone for a while.
    fn idle(&self, time: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + time;
        while !over(until, self.halt) {
            std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LOOK));
        }
        if self.halt.raised() { Err(Trouble::lab("interrupted")) } else { Ok(()) }
    }

    /// Whether the lab itself keeps the sites' frames from each other.
    fn pair_blocked(&self) -> bool {
        self.scenario.filters.iter().any(|filter| {
            let [a, b] = filter.between;
            matches!((a, b), (Link::Nat1Wan, Link::Nat2Wan) | (Link::Nat2Wan, Link::Nat1Wan))
        })
    }

    fn enter(&mut self, step: Step, events: &Events) -> Result<(), Trouble> {
        if step != Step::Machines {
            self.leave();
        }
        self.step = step;
        let _ = events.send(What::StepStarted { step });
        // Evidence is gathered all the same.
        if self.halt.raised() && step != Step::Evidence {
            return Err(Trouble::lab("interrupted"));
        }
        Ok(())
    }

    fn leave(&mut self) {
        let now = Instant::now();
        self.cell.figures.insert(self.step.to_string(), millis(now - self.entered));
        self.entered = now;
    }
}

/// The lab's bytes of one side: random, and the same whenever they are asked for.
fn bytes(seed: u64, scenario: &Scenario, side: Side) -> Vec<u8> {
    let salt = scenario
        .id
        .bytes()
        .fold(u64::from(side.number()), |sum, byte| sum.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
    let mut bytes = vec![0; BYTES];
    rand::rngs::StdRng::seed_from_u64(seed ^ salt).fill_bytes(&mut bytes);
    bytes
}

fn claim(node: &Node, event: &NodeEvent) -> Claim {
    let path = match event.text("path") {
        Some("direct") => WirePath::Direct,
        Some("relay") => WirePath::Relay,
        _ => WirePath::None,
    };
    Claim { machine: node.name().name().to_owned(), path, kind: event.text("kind").map(str::to_owned) }
}

/// How many bytes arrived: all of them or those before the first wrong one.
fn alike(got: &[u8], sent: &[u8]) -> u64 {
    if got.len() > sent.len() {
        return 0;
    }
    got.iter().zip(sent).take_while(|(a, b)| a == b).count() as u64
}

pub(crate) fn files(folder: &Path, under: &str) -> Result<Vec<String>, Trouble> {
    let mut names = std::fs::read_dir(folder)?
        .map(|entry| Ok(format!("{under}/{}", entry?.file_name().to_string_lossy())))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

pub(crate) fn blank(scenario: &Scenario, evidence: &Path) -> Cell {
    let folder = evidence.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Cell {
        id: scenario.id.clone(),
        name: scenario.name.clone(),
        file: scenario.file.clone(),
        priority: scenario.priority.map(|priority| priority.to_string()),
        nats: scenario.nats.each_ref().map(|nat| nat.name.clone()).into(),
        initiator: scenario.initiator.number(),
        expected: scenario.expected.word().to_owned(),
        outcome: Outcome::LabError,
        figures: BTreeMap::new(),
        evidence: Evidence { folder, ..Evidence::default() },
        ..Cell::default()
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    // Tenths are enough, and read better.
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

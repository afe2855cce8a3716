//! One cell from start to verdict.

use std::{collections::BTreeMap, path::Path, time::Duration};

use natrig_lab::{
    App, Halt, Trouble, Who,
    assertions::Passage,
    cell::{self, BYTES, Beside, READY, Reached, alike, blank, bytes, millis},
    proof::{Depth, refuse},
    story::Diary,
    talk::Conversation,
    verdict::Window,
};
use natrig_netmodel::seed_for;
use natrig_record::{Cell, Step, Verdict, What};
use natrig_scenario::{Action, Machine, Moment, Scenario, Stun, Talk};

use super::{
    Simulator,
    gateway::{self, Listing},
    life,
    needs::{modelled, needs_a_kernel},
    node::Node,
    stage::{Stage, Surroundings},
};
use crate::{clock::START_NS, stun_server::StunServer};

/// Runs a scenario.
pub fn cell(
    simulator: &Simulator,
    scenario: &Scenario,
    seed: u64,
    folder: &Path,
    events: &dyn Fn(What),
    halt: &Halt,
) -> Cell {
    let modelled = modelled(scenario);
    let around = Surroundings { folder, halt, events };
    let mut run = Run {
        simulator,
        scenario: &modelled,
        seed,
        around,
        progress: Progress::new(around),
        passages: Vec::new(),
        last_deed: Duration::ZERO,
        unmet: None,
        diary: Diary::default(),
        cell: blank(scenario, folder),
    };
    run.cell.seed = Some(seed);
    if let Err(trouble) = needs_a_kernel(scenario).and_then(|()| run.whole()) {
        cell::fail(&mut run.cell, trouble, run.progress.step);
    }
    cell::list_evidence(&mut run.cell, folder);
    run.progress.figures(&mut run.cell);
    run.cell
}

/// The steps of a cell, and how long each took in the world's time.
pub struct Progress<'s> {
    pub step: Step,
    around: Surroundings<'s>,
    entered: Duration,
    now: Duration,
    took: Vec<(Step, Duration)>,
}

impl<'s> Progress<'s> {
    pub fn new(around: Surroundings<'s>) -> Self {
        Progress {
            step: Step::Machines,
            around,
            entered: Duration::ZERO,
            now: Duration::ZERO,
            took: Vec::new(),
        }
    }

    /// Comes to a step.
    pub fn enter(&mut self, step: Step, now: Duration) -> Result<(), Trouble> {
        if step != Step::Machines {
            self.leave(now);
        }
        self.step = step;
        (self.around.events)(What::StepStarted { step });
        // Evidence is gathered all the same.
        if self.around.halt.raised() && step != Step::Evidence {
            return Err(Trouble::lab("interrupted"));
        }
        Ok(())
    }

    /// The step is over.
    pub fn leave(&mut self, now: Duration) {
        self.took.push((self.step, now.saturating_sub(self.entered)));
        (self.entered, self.now) = (now, now);
    }

    /// Puts into a cell's record how long things took.
    pub fn figures(&self, cell: &mut Cell) {
        for (step, took) in &self.took {
            cell.figures.insert(step.to_string(), millis(*took));
        }
        cell.figures.insert("total".to_owned(), millis(self.now));
    }
}

struct Run<'s> {
    simulator: &'s Simulator,
    scenario: &'s Scenario,
    seed: u64,
    around: Surroundings<'s>,
    progress: Progress<'s>,
    passages: Vec<Passage>,
    /// When something was last done that a scenario asks for.
    last_deed: Duration,
    /// What went wrong with that while the lab's bytes were carried.
    unmet: Option<Trouble>,
    diary: Diary,
    cell: Cell,
}

impl<'s> Run<'s> {
    fn whole(&mut self) -> Result<(), Trouble> {
        self.progress.enter(Step::Machines, Duration::ZERO)?;
        if let Some(app) = &self.scenario.app {
            let message =
                format!("the simulator knows no other node than omerta-mesh, and {} is one", app.name);
            return Err(Trouble::lab(message).hint("apps run on machines: --backend vm"));
        }
        let mut stage = Stage::new(self.simulator, self.scenario, self.seed, |_| true, self.around)?;
        let result = self.within(&mut stage);
        let ended = stage.end();
        result?;
        if let Some(message) = ended? {
            (self.around.events)(What::Note { message });
        }
        Ok(())
    }

    fn within(&mut self, stage: &mut Stage<'s>) -> Result<(), Trouble> {
        self.enter(Step::Proof, stage)?;
        if self.scenario.node.stun != Stun::Silent {
            let relay = stage.machine(Machine::RELAY)?;
            let [primary, other] = stage.topology.stun();
            stage.world.start(relay, StunServer::new(primary, other));
        }
        let mut ids = BTreeMap::new();
        for machine in self.scenario.layout().public() {
            let argv = App.public(self.scenario, &stage.topology, machine, &ids);
            self.start(stage, machine, &argv)?;
            ids.insert(machine, stage.node(machine)?.id.to_string());
        }

        let others = life::prove_others(stage, self.scenario)?;
        self.cell.proofs = gateway::measure(stage, self.scenario, 0, Depth::Whole)?;
        refuse(&self.cell.proofs)?;
        let mut gateways = Listing { others, ..gateway::flush(stage, self.scenario)? };
        stage.impair_in_gateways(self.scenario)?;

        let judged = self.experiment(stage, &mut gateways, &ids);
        // Whatever came of it, the tables and logs are what explains it.
        let failed_at = self.progress.step;
        let gathered = self.gather(stage, &gateways);
        if judged.is_err() {
            self.progress.step = failed_at;
        }
        judged.and(gathered)
    }

    fn experiment(
        &mut self,
        stage: &mut Stage<'s>,
        gateways: &mut Listing,
        ids: &BTreeMap<Machine, String>,
    ) -> Result<(), Trouble> {
        let proven_ns = stage.now_ns();
        self.passages = stage.topology.gateways().iter().map(|place| Passage::of(place, proven_ns)).collect();
        self.enter(Step::Nodes, stage)?;
        self.faults(stage, gateways, Moment::Serving)?;
        let pair = self.scenario.pair();
        let peers: Vec<Machine> = self.scenario.layout().peers().collect();
        for peer in &peers {
            let argv = App.peer(self.scenario, &stage.topology, *peer, ids);
            self.start(stage, *peer, &argv)?;
        }
        self.faults(stage, gateways, Moment::Started)?;
        let deadline = stage.world.now() + READY;
        for peer in peers {
            stage.wait_for(peer, "it had found its relay", deadline, |one| one.event.is("bootstrapped"))?;
        }
        self.faults(stage, gateways, Moment::Bootstrapped)?;

        self.enter(Step::Connect, stage)?;
        let (connect, connect_ns) = (stage.world.now(), stage.now_ns());
        let settled = self.connect(stage, gateways, pair, connect);

        let (window, talks, reached) = match settled {
            Ok(()) => {
                let talks = self.settled(stage, gateways)?;
                self.enter(Step::Data, stage)?;
                let (window, undelivered) = self.carry(stage, gateways, pair);
                let reached = match self.unmet.take() {
                    Some(trouble) => Reached::Not(Step::Data, trouble),
                    None => Reached::Data(undelivered),
                };
                (Some(window), talks, reached)
            }
            Err(trouble) => (None, Vec::new(), Reached::Not(self.progress.step, trouble)),
        };
        // A verdict is read in any case: it shows how far things came.
        self.enter(Step::Verdict, stage)?;
        let read = self.read(stage, connect_ns, window);
        cell::add_talks(&mut self.cell, &talks);
        cell::conclude(&mut self.cell, self.scenario, reached, read).map_err(|(step, trouble)| {
            self.progress.step = step;
            trouble
        })
    }

    /// Does what a scenario does when the peers have settled, while they talk.
    fn settled(
        &mut self,
        stage: &mut Stage<'s>,
        gateways: &mut Listing,
    ) -> Result<Vec<Conversation>, Trouble> {
        stage.converse(self.scenario, self.seed)?;
        self.faults(stage, gateways, Moment::Settled)?;
        stage.end_conversations()
    }

    /// Starts the node on a machine.
    fn start(&self, stage: &mut Stage<'s>, name: Machine, argv: &[String]) -> Result<(), Trouble> {
        let host = stage.machine(name)?;
        let node = Node::start(&mut stage.world, (name, host), argv, self.around.folder)?;
        stage.add_node(node);
        Ok(())
    }

    /// Tells the initiator to connect and waits until both peers have reported their final path.
    fn connect(
        &mut self,
        stage: &mut Stage<'s>,
        gateways: &mut Listing,
        [initiator, responder]: [Machine; 2],
        since: Duration,
    ) -> Result<(), Trouble> {
        let deadline = since + self.scenario.timeout;
        let target = stage.node(responder)?.id;
        let own = stage.node(initiator)?.id.to_string();
        let asked = stage.nodes.iter().find(|node| node.name == initiator);
        asked.map_or(Ok(()), |node| node.connect(&mut stage.world, target))?;
        let target = target.to_string();
        let first = stage.wait_for(initiator, "it was connected", deadline, |one| {
            one.event.tells_of_connection(&target)
        })?;
        if !first.event.is("connectFailed") {
            self.cell.connect_ms = Some(millis(first.at - since));
            self.faults(stage, gateways, Moment::Connected)?;
        }
        let last = stage
            .wait_for(initiator, "it reported its final path", deadline, |one| one.event.is_final(&target))?;
        if last.event.is("connectFailed") {
            let why = last.event.text("reason").unwrap_or("it did not say why").to_owned();
            let tail = stage.node(initiator)?.tail();
            return Err(Trouble::node(format!("{initiator} could not connect: {why}")).lines(tail));
        }
        self.cell.settle_ms = Some(millis(last.at - since));
        let other = stage.wait_for(responder, "it reported its final path", deadline, |one| {
            one.event.about("settled", &own)
        })?;
        self.cell.claims =
            [(initiator, last), (responder, other)].map(|(node, one)| one.event.claim(node.name())).into();
        Ok(())
    }

    /// Has both nodes carry the lab's bytes at once. What did not arrive is told beside the window.
    fn carry(
        &mut self,
        stage: &mut Stage<'s>,
        gateways: &mut Listing,
        pair: [Machine; 2],
    ) -> (Window, Option<Trouble>) {
        let from_ns = stage.now_ns();
        let sent = pair.map(|peer| bytes(self.seed, self.scenario, peer));
        let mut arrived = [0, 0];
        let undelivered = self.deliver(stage, gateways, pair, &sent, &mut arrived).err();
        let window = Window { from_ns, to_ns: stage.now_ns(), sent: [BYTES as u64; 2], arrived };
        (window, undelivered)
    }

    fn deliver(
        &mut self,
        stage: &mut Stage<'s>,
        gateways: &mut Listing,
        names: [Machine; 2],
        sent: &[Vec<u8>; 2],
        arrived: &mut [u64; 2],
    ) -> Result<(), Trouble> {
        let ids = [stage.node(names[0])?.id, stage.node(names[1])?.id];
        for from in 0..2 {
            let node = stage.nodes.iter().find(|node| node.name == names[from]);
            let data = sent[from].clone();
            node.map_or(Ok(()), |node| node.send(&mut stage.world, ids[1 - from], data))?;
        }
        self.unmet = self.faults(stage, gateways, Moment::Carrying).err();
        let deadline = stage.world.now() + self.scenario.carry;
        let mut late = None;
        let mut brought = [None, None];
        for from in 0..2 {
            let (receiver, sender) = (names[1 - from], ids[from].to_string());
            let message = stage.wait_for(receiver, "it had received the lab's bytes", deadline, |one| {
                one.event.brings_bytes_of(&sender)
            });
            match message {
                Ok(reported) => {
                    brought[1 - from] = Some(reported.event);
                    let inbox = &stage.node(receiver)?.inbox;
                    let got = inbox
                        .iter()
                        .find(|(peer, data)| *peer == ids[from] && data.len() as u64 > Talk::MOST_BYTES);
                    arrived[from] = got.map_or(0, |(_, got)| alike(got, &sent[from]));
                }
                Err(trouble) if trouble.who == Who::Lab => return Err(trouble),
                Err(trouble) => late = late.or(Some(trouble)),
            }
        }
        cell::claim_again(&mut self.cell, brought.each_ref().map(Option::as_ref));
        late.map_or(Ok(()), Err)
    }

    fn read(
        &mut self,
        stage: &mut Stage<'s>,
        connect_ns: u64,
        window: Option<Window>,
    ) -> Result<Verdict, Trouble> {
        let mut case = cell::case(self.scenario, connect_ns, window, self.passages.clone());
        // What gateways do to what they send is done on the cable here.
        case.conditions.iter_mut().for_each(|condition| condition.in_gateway = false);
        // Simulated sessions have no keys, and what the gateways have in their tables follows from what passes.
        let beside = Beside { diary: self.diary(stage), ..Beside::default() };
        cell::read(&mut self.cell, self.scenario, &stage.trace()?, &case, &beside, self.around.folder)
    }

    /// What has happened so far.
    fn diary(&self, stage: &Stage<'s>) -> Diary {
        let mut diary = self.diary.clone().began(START_NS);
        for node in &stage.nodes {
            for one in &node.reported {
                diary.node(one.at, node.name.name(), &one.event);
            }
        }
        diary
    }

    fn gather(&mut self, stage: &mut Stage<'s>, gateways: &Listing) -> Result<(), Trouble> {
        self.enter(Step::Evidence, stage)?;
        self.cell.evidence.gateways = gateway::gather(stage, gateways, self.around.folder)?;
        self.progress.leave(stage.world.now());
        Ok(())
    }

    fn faults(
        &mut self,
        stage: &mut Stage<'s>,
        gateways: &mut Listing,
        moment: Moment,
    ) -> Result<(), Trouble> {
        let of_moment = self.scenario.faults.iter().filter(|fault| fault.after == moment);
        for (number, fault) in of_moment.enumerate() {
            if !matches!(fault.action, Action::Expect(_)) {
                self.last_deed = stage.world.now();
            }
            let shown = match &fault.action {
                Action::Expect(seen) => stage.expect(seen, self.last_deed).map(|()| String::new())?,
                Action::Gateway(machine, what) => {
                    let began_ns = stage.now_ns();
                    let shown = life::befall(stage, gateways, *machine, what)?;
                    let over_ns = stage.now_ns();
                    let place = &gateways.of(*machine)?.place;
                    let passages = self.passages.iter_mut().filter(|one| one.gateway == machine.name());
                    passages.for_each(|passage| passage.befallen(what, place, began_ns..over_ns));
                    format!(": {shown}")
                }
                Action::Idle(pause) => {
                    let drawn = seed_for(self.seed, &format!("{moment} {number}"));
                    stage.pass(pause.drawn(drawn)).map(|()| String::new())?
                }
                link => stage.apply(link).map(|()| String::new())?,
            };
            if fault.action.disturbs() {
                stage.disturbed();
            }
            let message = format!("{} after {moment}{shown}", fault.action);
            self.diary.fault(stage.world.now(), &message);
            (self.around.events)(What::Fault { message });
        }
        Ok(())
    }

    fn enter(&mut self, step: Step, stage: &Stage<'s>) -> Result<(), Trouble> {
        self.diary.step(stage.world.now(), step);
        self.progress.enter(step, stage.world.now())
    }
}

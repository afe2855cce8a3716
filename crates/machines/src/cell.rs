//! One cell from start to verdict.

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use natrig_lab::{
    App, Backend, Halt,
    assertions::Passage,
    cell::{self, BYTES, Beside, Reached, blank, bytes, millis},
    foreign::both_report,
    proof::refuse,
    story::Diary,
    talk::Conversation,
    verdict::{Intervention, Window},
};
use natrig_netmodel::seed_for;
use natrig_record::{Cell, Outcome, Step, Verdict, What};
use natrig_scenario::{Action, AppProof, Machine, MachineFault, Moment, Scenario, Stun};
use natrig_vmm::AgentClient;

use crate::{
    Lab, Rig, Trouble, Who,
    faults::{Faults, idle},
    gateway::{self, Listing, at_once, both},
    intervention::intervene,
    lab::lock,
    life::{self, Life},
    memory,
    nodes::{Events, Nodes, Public, start_public},
    parcels::{Arrived, Parcels},
    proof,
    reuse::reusable,
    share::Share,
    tables::Watching,
    talkers::Talkers,
};

/// How much of a machine's session keys is kept: a few hundred bytes a session.
const MOST_KEYS: u64 = 1 << 20;

impl Backend for Rig {
    fn run(&self, scenario: &Scenario, _: u32, evidence: &Path, events: &dyn Fn(What), halt: &Halt) -> Cell {
        let started = Instant::now();
        let diary = Mutex::new(Diary::default());
        let mut run = Run {
            rig: self,
            scenario,
            folder: evidence,
            halt,
            step: Step::Machines,
            started,
            entered: started,
            queued: Duration::ZERO,
            diary: &diary,
            passages: Vec::new(),
            last_deed: Instant::now(),
            unmet: None,
            intervention: None,
            at_connect: None,
            share: Share::default(),
            cell: blank(scenario, evidence),
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        // Nodes report from other threads; the caller's function stays on this one.
        let result = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let result = run.whole(&sender);
                drop(sender);
                result
            });
            for what in receiver {
                lock(&diary).take(started.elapsed(), &what);
                events(what);
            }
            work.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked")))
        });
        if let Err(trouble) = result {
            cell::fail(&mut run.cell, trouble, run.step);
        }
        run.share.explain(&mut run.cell);
        cell::list_evidence(&mut run.cell, evidence);
        run.cell.figures.insert("queue".to_owned(), millis(run.queued));
        run.cell.figures.insert("total".to_owned(), millis(started.elapsed().saturating_sub(run.queued)));
        run.cell
    }
}

struct Run<'a> {
    rig: &'a Rig,
    scenario: &'a Scenario,
    folder: &'a Path,
    halt: &'a Halt,
    step: Step,
    started: Instant,
    entered: Instant,
    /// How long it has waited for other labs.
    queued: Duration,
    /// What has happened since it was started.
    diary: &'a Mutex<Diary>,
    passages: Vec<Passage>,
    /// When something was last done that the scenario asks for.
    last_deed: Instant,
    /// What went wrong with that while the lab's bytes were carried.
    unmet: Option<Trouble>,
    /// What still arrived while ways were taken off, of nodes that cannot carry the lab's bytes.
    intervention: Option<Intervention>,
    /// What the host had let the machines have when the initiator was told to connect.
    at_connect: Option<Share>,
    /// What it let them have since then, or since they were booted if it did not come so far.
    share: Share,
    cell: Cell,
}

impl Run<'_> {
    fn whole(&mut self, events: &Events) -> Result<(), Trouble> {
        self.enter(Step::Machines, events)?;
        let mut lab = self.rig.lab(self.scenario, self.folder, self.halt)?;
        self.cell.kernels = lab.kernels()?;
        self.queued = lab.queued();
        self.entered += self.queued;
        self.cell.figures.insert("own_memory_mib".to_owned(), lab.own_memory()? as f64 / f64::from(1 << 20));
        self.cell.figures.insert("cells_before_in_these_machines".to_owned(), lab.served().into());
        // Machines that have served no cell yet were booted for this one.
        let before = if lab.served() == 0 { Share::NOTHING } else { Share::of(&lab)? };
        let result = self.within(&mut lab, events);
        let after = Share::of(&lab)?;
        self.cell.figures.extend(after.since(&before).figures());
        self.share = after.since(self.at_connect.as_ref().unwrap_or(&before));
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
        let stun = || match self.scenario.node.stun {
            Stun::Silent => Ok(None),
            Stun::Server | Stun::Nodes(_) => gateway::start_stun(lab).map(Some),
        };
        let (stun, loaded) = both(stun, || gateway::load(lab, self.scenario, self.folder));
        let _stun = stun?;
        loaded?;
        let public = || start_public(lab, self.scenario, self.folder, self.halt, events);
        let (public, proven) = both(public, || {
            let others = life::prove_others(lab, self.scenario, self.folder)?;
            self.cell.proofs =
                proof::measure(lab, self.scenario, |gateway| self.rig.depth(self.scenario, gateway))?;
            refuse(&self.cell.proofs)?;
            self.rig.holds(self.scenario);
            Ok(gateway::flush(lab, self.scenario)?.with_others(others))
        });
        let mut gateways = proven?;
        lab.impair_in_gateways(&self.scenario.links)?;

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
        let tables = Watching::begin(lab)?;
        self.faults(lab, gateways, None, Moment::Serving, events)?;
        let nodes = Nodes::start(lab, self.scenario, public, self.folder, self.halt, events)?;
        lab.set_up();
        self.faults(lab, gateways, Some(&nodes), Moment::Started, events)?;
        nodes.bootstrapped(self.halt)?;
        self.faults(lab, gateways, Some(&nodes), Moment::Bootstrapped, events)?;

        self.enter(Step::Connect, events)?;
        self.at_connect = Some(Share::of(lab)?);
        let connect = Instant::now();
        let settled = self.connect(lab, gateways, &nodes, connect, events);

        let (window, talks, reached) = match settled {
            Ok(()) => {
                let talks = self.settled(lab, gateways, &nodes, events)?;
                self.enter(Step::Data, events)?;
                let (window, undelivered) = self.carry(lab, gateways, &nodes, events);
                let reached = match self.unmet.take() {
                    Some(trouble) => Reached::Not(Step::Data, trouble),
                    None => Reached::Data(undelivered),
                };
                (Some(window), talks, reached)
            }
            Err(trouble) => (None, Vec::new(), Reached::Not(self.step, trouble)),
        };
        // A verdict is read in any case: it shows how far things came.
        self.enter(Step::Verdict, events)?;
        let read = self.read(lab, connect, window, &tables);
        drop(tables);
        self.weigh(lab, &nodes)?;
        self.cell.assertions.extend(nodes.stopped(self.halt)?);
        cell::add_talks(&mut self.cell, &talks);
        cell::conclude(&mut self.cell, self.scenario, reached, read).map_err(|(step, trouble)| {
            self.step = step;
            trouble
        })
    }

    /// Does what a scenario does when the peers have settled, while they talk.
    fn settled(
        &mut self,
        lab: &mut Lab,
        gateways: &mut Listing,
        nodes: &Nodes,
        events: &Events,
    ) -> Result<Vec<Conversation>, Trouble> {
        for [from, to] in Conversation::meetings(self.scenario) {
            nodes.connect(from, to)?;
        }
        let talkers = Talkers::new(nodes, self.scenario, self.rig.seed, self.halt);
        std::thread::scope(|scope| {
            let talking = scope.spawn(|| talkers.talk());
            let done = self.faults(lab, gateways, Some(nodes), Moment::Settled, events);
            talkers.end(done.is_err());
            let talked = talking.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked")));
            done.and(talked)
        })
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
        let [initiator, responder] = self.scenario.pair();
        let target = nodes.id(responder)?;
        nodes.connect(initiator, responder)?;
        let first = nodes
            .on(initiator)?
            .wait_for("it was connected", deadline, self.halt, |event| event.tells_of_connection(target))?;
        if !first.is("connectFailed") {
            self.cell.connect_ms = Some(millis(first.at - since));
            self.faults(lab, gateways, Some(nodes), Moment::Connected, events)?;
        }
        let last = nodes.last_word(initiator, responder, deadline, self.halt)?;
        if last.is("connectFailed") {
            let why = last.text("reason").unwrap_or("it did not say why").to_owned();
            return Err(Trouble::node(format!("{initiator} could not connect: {why}"))
                .lines(nodes.on(initiator)?.tail()));
        }
        self.cell.settle_ms = Some(millis(last.at - since));
        let mut words = vec![(initiator, last)];
        if nodes.company().is_none_or(|company| both_report(&company.app)) {
            words.push((responder, nodes.settled(responder, initiator, deadline, self.halt)?));
        }
        // Who does not say which way it goes cannot be wrong about it.
        let claims =
            words.iter().filter(|(_, word)| nodes.company().is_none() || word.text("path").is_some());
        self.cell.claims = claims.map(|(node, word)| word.claim(node.name())).collect();
        Ok(())
    }

    /// Has both nodes carry the lab's bytes at once. What did not arrive is told beside the window.
    fn carry(
        &mut self,
        lab: &mut Lab,
        gateways: &mut Listing,
        nodes: &Nodes,
        events: &Events,
    ) -> (Window, Option<Trouble>) {
        let pair = self.scenario.pair();
        if nodes.company().is_some_and(|company| company.app.proof == AppProof::Delivered) {
            return self.intervene(lab, gateways, nodes, events);
        }
        let contents = pair.map(|peer| bytes(self.rig.seed, self.scenario, peer));
        // Not before: a machine that lost its power has lost its files.
        let parcels = Parcels::hand_over(nodes, &agents(lab), pair, contents);
        let from_ns = lab.switch().time_of(parcels.since());
        self.unmet = self.faults(lab, gateways, Some(nodes), Moment::Carrying, events).err();
        let deadline = Instant::now() + self.scenario.carry;
        let Arrived { bytes: arrived, brought, missing } =
            parcels.arrived(nodes, &agents(lab), deadline, self.halt);
        let to_ns = lab.switch().time_of(Instant::now());
        if nodes.company().is_none() {
            cell::claim_again(&mut self.cell, brought.each_ref().map(Option::as_ref));
        }
        (Window { from_ns, to_ns, sent: [BYTES as u64; 2], arrived }, missing)
    }

    /// Takes ways off the wire and looks what still arrives, in place of carrying bytes.
    fn intervene(
        &mut self,
        lab: &mut Lab,
        gateways: &mut Listing,
        nodes: &Nodes,
        events: &Events,
    ) -> (Window, Option<Trouble>) {
        let from_ns = lab.switch().time_of(Instant::now());
        self.unmet = self.faults(lab, gateways, Some(nodes), Moment::Carrying, events).err();
        let found = intervene(lab, nodes, self.scenario, self.halt);
        let window =
            Window { from_ns, to_ns: lab.switch().time_of(Instant::now()), sent: [0; 2], arrived: [0; 2] };
        match found {
            Ok(found) => {
                self.intervention = Some(found);
                (window, None)
            }
            Err(trouble) => (window, Some(trouble)),
        }
    }

    fn read(
        &mut self,
        lab: &Lab,
        connect: Instant,
        window: Option<Window>,
        watching: &Watching,
    ) -> Result<Verdict, Trouble> {
        let connect_ns = lab.switch().time_of(connect);
        let mut case = cell::case(self.scenario, connect_ns, window, self.passages.clone());
        case.intervention = self.intervention;
        case.tallies = lab.tallies()?;
        let beside = Beside {
            diary: lock(self.diary).clone().began(lab.switch().time_of(self.started)),
            tables: watching.tables(lab),
            session_keys: session_keys(lab, self.scenario),
        };
        cell::read(&mut self.cell, self.scenario, &lab.trace()?, &case, &beside, self.folder)
    }

    /// Puts into the record how much memory nodes held at their most.
    fn weigh(&mut self, lab: &Lab, nodes: &Nodes) -> Result<(), Trouble> {
        // A machine that stands still says nothing.
        let frozen = |machine| {
            let last = self.scenario.faults.iter().rev().find_map(|fault| match fault.action {
                Action::Machine(of, what) if of == machine => Some(what),
                _ => None,
            });
            last == Some(MachineFault::Freeze)
        };
        let running = nodes.ids().map(|(machine, _)| machine);
        let running = running.filter(|machine| lab.agent(*machine).is_ok() && !frozen(*machine));
        let peaks = at_once(running.collect::<Vec<_>>(), |machine| {
            Ok((machine, memory::peak(lab.agent(machine)?)?))
        })?;
        for (machine, peak) in peaks {
            let Some(peak) = peak else { continue };
            let mebibytes = (peak as f64 / f64::from(1 << 20) * 10.0).round() / 10.0;
            self.cell.figures.insert(format!("memory_of_{machine}_mib"), mebibytes);
            let bound = self.scenario.node.memory_at_most;
            self.cell.assertions.extend(bound.map(|at_most| memory::shown(machine.name(), peak, at_most)));
        }
        Ok(())
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
        nodes: Option<&Nodes>,
        moment: Moment,
        events: &Events,
    ) -> Result<(), Trouble> {
        let life = Life { rig: self.rig, scenario: self.scenario, folder: self.folder };
        let of_moment = self.scenario.faults.iter().filter(|fault| fault.after == moment);
        for (number, fault) in of_moment.enumerate() {
            if !matches!(fault.action, Action::Expect(_)) {
                self.last_deed = Instant::now();
            }
            let shown = match &fault.action {
                Action::Expect(seen) => {
                    let nodes = nodes.ok_or_else(|| Trouble::lab("no peer has been started yet"))?;
                    nodes.expect(seen, self.last_deed, self.halt).map(|()| String::new())?
                }
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
                Action::Idle(pause) => {
                    let drawn = seed_for(self.rig.seed, &format!("{moment} {number}"));
                    idle(pause.drawn(drawn), self.halt).map(|()| String::new())?
                }
                action => {
                    let (rig, scenario, folder, halt) = (self.rig, self.scenario, self.folder, self.halt);
                    Faults { rig, scenario, folder, halt, lab, nodes, events }.befall(action)?;
                    String::new()
                }
            };
            if fault.action.disturbs() {
                nodes.iter().for_each(|nodes| nodes.disturbed());
            }
            let _ = events.send(What::Fault { message: format!("{} after {moment}{shown}", fault.action) });
        }
        Ok(())
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

/// The agents of machines that are on.
fn agents(lab: &Lab) -> impl Fn(Machine) -> Result<AgentClient, Trouble> + Sync {
    |machine| Ok(lab.agent(machine)?.clone())
}

/// The keys of the nodes' sessions, where a scenario has them written and their machines are still on.
fn session_keys(lab: &Lab, scenario: &Scenario) -> Option<String> {
    let path = App.session_keys(scenario)?;
    let nodes = lab.topology().hosts().iter().filter(|host| host.gateway.is_none());
    let read = |machine| lab.agent(machine).ok()?.read_file(path, MOST_KEYS).ok();
    let keys: Vec<u8> = nodes.filter_map(|host| read(host.machine)).flatten().collect();
    Some(String::from_utf8_lossy(&keys).into_owned())
}

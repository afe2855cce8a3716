//! Machines that serve one cell after the other.
//!
//! A booted machine has its kernel and programs translated and cached, which under emulation costs more than a cell
//! itself. So a run's cells share machines: between two of them everything that the first one left is removed, and what
//! cannot be shown to be gone ends the machines instead. In this order:
//!
//! 1. The switch takes all machines off the wire and closes the captures ([`Lab::retire`]).
//! 2. ([`Lab::clean`]) Every NIC is asked for its address. Frames keep their order, so that with the answer all that was sent to the
//!    machine before has been taken in.
//! 3. The agent ends all processes, empties files, rules, connections, addresses, routes and neighbours, and takes the
//!    NICs down; it refuses where anything is not as it was after the boot.
//! 4. ([`Spare::renew`]) The machine gets a new identity, with fresh entropy.
//! 5. The switch begins anew, with nothing learnt and captures in another folder; then the NICs come up.

use std::{fs, os::unix::fs::FileExt, path::Path, time::Duration};

use etherparse::ArpOperation;
use natrig_agent_proto::Request;
use natrig_capture::MacAddress;
use natrig_lab::{Halt, Host, Topology, station::Station};
use natrig_scenario::{Action, Scenario};

use crate::{
    Lab, Rig, Trouble,
    lab::{self, Member, lock},
};

/// Whom machines answer when the lab asks for their addresses; nobody's in any topology.
const ASKER: [u8; 6] = [0x02, 0x4e, 0x52, 0xff, 0, 1];

/// How long a NIC may take to answer; a machine whose kernel is that slow is no loss.
const ANSWER: Duration = Duration::from_secs(2);

impl Lab {
    /// How many cells its machines served before this one.
    pub fn served(&self) -> u32 {
        self.served
    }

    /// Ends a cell: the captures are closed and whole, and what the kernels said lies beside them. Nothing passes the
    /// switch any more.
    pub fn retire(&self, folder: &Path) -> Result<(), Trouble> {
        self.switch.isolate()?;
        self.members.iter().try_for_each(|member| member.console.gather(folder, &member.name.to_string()))
    }

    /// Removes from the machines of a cell that was [retired](Self::retire) all that it left there, and shows that it is
    /// gone.
    pub fn clean(mut self) -> Result<Spare, Trouble> {
        self.set_up();
        self.at_once(|member, host| {
            self.settle(host)?;
            member.agent().done(Request::Reset)?;
            *lock(&member.model) = None;
            *lock(&member.port_mapper) = None;
            Ok(())
        })?;
        lock(&self.cut).clear();
        lock(&self.parted).clear();
        self.forget_netem();
        Ok(Spare(self))
    }

    /// Waits until a machine has taken in all that it was sent.
    fn settle(&self, host: &Host) -> Result<(), Trouble> {
        for nic in &host.nics {
            let Some((address, _)) = nic.addresses.first() else { continue };
            let asker = Station::new(ASKER, Vec::new(), Vec::new());
            let nobody = std::net::Ipv4Addr::UNSPECIFIED;
            let question = asker.arp(ArpOperation::REQUEST, nobody, MacAddress([0; 6]), *address);
            let port = lab::port(&self.switch, nic.link)?;
            if !self.switch.echo(port, question, MacAddress(ASKER), ANSWER)? {
                return Err(Trouble::lab(format!("{} does not answer for {address}", nic.name)));
            }
        }
        Ok(())
    }

    /// Does the same with all machines at once.
    fn at_once(&self, work: impl Fn(&Member, &Host) -> Result<(), Trouble> + Sync) -> Result<(), Trouble> {
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .members
                .iter()
                .filter_map(|member| {
                    let host = self.topology.hosts().iter().find(|host| host.machine == member.name)?;
                    Some((member, host))
                })
                .map(|(member, host)| {
                    scope.spawn(move || work(member, host).map_err(|trouble| trouble.at(member.name)))
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked")))
            })
        })
    }
}

/// Machines that are clean, off the wire, and nobody's.
#[derive(Debug)]
pub struct Spare(Lab);

impl Spare {
    /// Whether the machines, their sizes, their disk and their cables are those of a scenario.
    pub fn fits(&self, rig: &Rig, scenario: &Scenario) -> bool {
        let Spare(lab) = self;
        // Why there is none is told by whoever boots machines with it.
        if rig.disk_of(scenario, &mut |_| ()).is_ok_and(|disk| disk.path() != lab.disk) {
            return false;
        }
        let topology = Topology::of(scenario);
        topology.links().eq(lab.topology.links())
            && topology.attached() == lab.topology.attached()
            && topology
                .hosts()
                .iter()
                .map(|host| host.machine)
                .eq(lab.members.iter().map(|member| member.name))
            && lab.members.iter().all(|member| member.kind == lab::kind(scenario, member.name))
    }

    /// Makes them those of another cell, whom they [fit](Self::fits).
    pub fn renew(self, rig: &Rig, scenario: &Scenario, folder: &Path, halt: &Halt) -> Result<Lab, Trouble> {
        let Spare(mut lab) = self;
        let waiting = std::time::Instant::now();
        lab.turn = Some(lab::turn(rig, halt)?);
        lab.queued = waiting.elapsed();
        lab.at_once(|member, _| Ok(member.agent().done(Request::Identify(lab::identity(member.name)))?))?;
        let captures = folder.join("captures");
        fs::create_dir_all(&captures)?;
        lab.switch.begin(rig.seed, Some(&captures))?;
        lab::condition(&lab.switch, scenario)?;
        lab.topology = Topology::of(scenario);
        lab.seed = rig.seed;
        lab.served += 1;
        lab.members.iter_mut().try_for_each(|member| member.console.begin())?;
        lab.at_once(|member, host| Ok(member.agent().done(Request::Network(lab::network(host)))?))?;
        if halt.raised() {
            return Err(Trouble::lab("interrupted"));
        }
        Ok(lab)
    }
}

/// Whether machines can serve on after a scenario.
pub(crate) fn reusable(scenario: &Scenario) -> bool {
    scenario.faults.iter().all(|fault| passes(&fault.action))
}

/// Whether machines can serve on after something was done: what was done to a link ends with the switch's new beginning, while
/// what was done to a machine may be more than the agent looks at.
pub fn passes(action: &Action) -> bool {
    match action {
        Action::Cut(_)
        | Action::Heal(_)
        | Action::Flap(..)
        | Action::Impair(_)
        | Action::Mend(_)
        | Action::Partition(_)
        | Action::Rejoin(_)
        // The agent ends all processes, whatever became of them, and a machine's new life begins with its clock.
        | Action::Node(..)
        | Action::Clock(..)
        | Action::Connect(..)
        | Action::Ask(..)
        | Action::Expect(_)
        | Action::Idle(_) => true,
        Action::Gateway(..) | Action::Machine(..) | Action::Roam(..) => false,
    }
}

/// What a machine's kernel says. It goes to the file that the machine was started with, which lies in the folder of its
/// first cell; later cells get their part of it.
#[derive(Debug)]
pub(crate) struct Console {
    file: fs::File,
    /// Where this cell's part begins; none in the first cell, whose file it is.
    start: Option<u64>,
}

impl Console {
    pub(crate) fn new(file: fs::File) -> Self {
        Console { file, start: None }
    }

    fn begin(&mut self) -> Result<(), Trouble> {
        self.start = Some(self.file.metadata()?.len());
        Ok(())
    }

    /// Moves the cell's part to where it belongs.
    pub(crate) fn gather(&self, folder: &Path, name: &str) -> Result<(), Trouble> {
        let Some(start) = self.start else { return Ok(()) };
        let length = self.file.metadata()?.len().saturating_sub(start);
        let mut text = vec![0; usize::try_from(length)?];
        self.file.read_exact_at(&mut text, start)?;
        std::io::Write::write_all(&mut lab::log(folder, &format!("{name}.console.log"))?, &text)?;
        Ok(self.file.set_len(start)?)
    }
}

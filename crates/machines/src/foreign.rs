//! Nodes that are not omerta-mesh, in machines: started in a file system of their own, told in their own words.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use natrig_lab::{App as OwnNode, Halt, Topology, cell::READY, foreign::Known};
use natrig_scenario::{App, AppProof, Deed, Machine, Part, Role, Scenario, Sign};
use natrig_vmm::{AgentClient, World, WorldFile, WorldSpec};

use crate::{Rig, RigError, Trouble, gateway::expect, lab::over, node::Node};

/// The guest's program that enters an app's file system.
const ENTER: &str = "in-world";

/// Where programs are looked for there.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments, and its environment.
pub(crate) type Words = (Vec<String>, Vec<(String, String)>);

/// The disks of apps.
pub(crate) type Worlds = Vec<(Arc<App>, natrig_vmm::AppDisk)>;

/// How often it is looked whether somebody listens at a port.
const LOOK: Duration = Duration::from_millis(100);

/// An app in a lab: what its nodes are told is filled in from here.
#[derive(Debug)]
pub(crate) struct Company {
    pub app: Arc<App>,
    scenario: Scenario,
    topology: Topology,
    /// What those on the first public machine are called.
    pub ids: BTreeMap<Role, String>,
}

impl Company {
    /// Of a scenario's app, if it has one.
    pub fn of(scenario: &Scenario, topology: &Topology) -> Option<Self> {
        let app = Arc::clone(scenario.app.as_ref()?);
        Some(Company { app, scenario: scenario.clone(), topology: topology.clone(), ids: BTreeMap::new() })
    }

    /// The command of a program, and its environment.
    pub fn command(&self, machine: Machine, part: &Part) -> Result<Words, Trouble> {
        Ok((within(self.known(machine, None, None).words(&part.command)?), self.environment()))
    }

    /// Tells a node to do something about another one.
    pub fn tell(
        &self,
        node: &Node,
        deed: &Deed,
        other: (Machine, &str),
        file: Option<&str>,
    ) -> Result<(), Trouble> {
        let known = self.known(node.name(), Some(other), file);
        match deed {
            Deed::Input(line) => node.tell(&known.fill(line)?),
            Deed::Run(words) => node.run(within(known.words(words)?), self.environment()),
        }
    }

    /// The one that a peer is to reach; its own name where it is none of the pair.
    pub fn partner(&self, machine: Machine) -> Machine {
        let [one, other] = self.scenario.pair();
        if machine == one {
            other
        } else if machine == other {
            one
        } else {
            machine
        }
    }

    /// Where the lab sends its bytes, and where it has the other one listen, if that is how a path is found.
    pub fn carries(&self, machine: Machine, other: (Machine, &str)) -> Result<Option<[String; 2]>, Trouble> {
        let AppProof::Carry { to, at } = &self.app.proof else { return Ok(None) };
        let known = self.known(machine, Some(other), None);
        Ok(Some([known.fill(to)?, known.fill(at)?]))
    }

    fn known<'a>(
        &'a self,
        machine: Machine,
        other: Option<(Machine, &'a str)>,
        file: Option<&'a str>,
    ) -> Known<'a> {
        let Company { scenario, topology, ids, .. } = self;
        Known { topology, scenario, machine, ids, other, file }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let common =
            [("PATH", PATH), ("HOME", "/run")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let own = self.app.env.iter().cloned();
        common.into_iter().chain(OwnNode.environment(&self.scenario)).chain(own).collect()
    }
}

fn within(words: Vec<String>) -> Vec<String> {
    std::iter::once(ENTER.to_owned()).chain(words).collect()
}

/// Waits until a program shows that it has started; gives what it is called, which is its machine's name if it does not say.
pub(crate) fn started(
    node: &Node,
    agent: &AgentClient,
    sign: Option<&Sign>,
    halt: &Halt,
) -> Result<String, Trouble> {
    let deadline = Instant::now() + READY;
    let name = node.name().to_string();
    match sign {
        None | Some(Sign::Exit(_)) => Ok(name),
        Some(Sign::Port { udp, port }) => {
            let protocol = if *udp { "udp" } else { "tcp" };
            while !listens(agent, *udp, *port)? {
                if !node.runs() || over(deadline, halt) {
                    let state =
                        if node.runs() { "nobody listens" } else { "it has ended, and nobody listens" };
                    return Err(Trouble::node(format!("{name}: {state} at {protocol} port {port}"))
                        .lines(node.tail()));
                }
                std::thread::sleep(LOOK);
            }
            Ok(name)
        }
        Some(Sign::Line(_) | Sign::Event(_)) => {
            let event = node.wait_for("it had started", deadline, halt, |event| event.is("started"))?;
            Ok(event.text("id").map_or(name, str::to_owned))
        }
    }
}

fn listens(agent: &AgentClient, udp: bool, port: u16) -> Result<bool, Trouble> {
    let of = format!("sport = :{port}");
    let output = expect(agent, &["ss", "-Hnl", if udp { "-u" } else { "-t" }, &of])?;
    Ok(!output.stdout.is_empty())
}

impl Rig {
    /// The disk with a scenario's node.
    pub(crate) fn disk_of(
        &self,
        scenario: &Scenario,
        progress: &mut dyn FnMut(&str),
    ) -> Result<natrig_vmm::AppDisk, RigError> {
        let Some(app) = &scenario.app else { return Ok(self.disk.clone()) };
        let mut worlds = crate::lab::lock(&self.worlds);
        if let Some((_, disk)) = worlds.iter().find(|(known, _)| Arc::ptr_eq(known, app) || known == app) {
            return Ok(disk.clone());
        }
        let began = Instant::now();
        let disk = World::build(&self.store, &world(app), progress).map_err(|source| RigError::App {
            name: app.name.clone(),
            file: app.file.clone(),
            source,
        })?;
        tracing::debug!(app = app.name, elapsed = ?began.elapsed(), "disk ready");
        worlds.push((Arc::clone(app), disk.clone()));
        Ok(disk)
    }
}

/// What an app needs in its machines.
fn world(app: &App) -> WorldSpec {
    let files = app.files.iter().map(|file| WorldFile {
        from: file.from.clone(),
        to: file.to.clone(),
        mode: file.mode,
    });
    let mut spec = WorldSpec {
        files: files.collect(),
        libraries: app.libraries.clone(),
        sysroot: app.sysroot.clone(),
        ..WorldSpec::default()
    };
    for package in &app.packages {
        match package {
            natrig_scenario::AppPackage::Named(name) => spec.packages.push(name.clone()),
            natrig_scenario::AppPackage::File(path) => spec.package_files.push(path.clone()),
        }
    }
    let run = app.deeds().filter_map(|deed| match deed {
        Deed::Run(words) => words.first(),
        Deed::Input(_) => None,
    });
    let programs = app.parts().filter_map(|part| part.command.first()).chain(run);
    // One that is known only in a lab cannot be looked at before.
    spec.programs = programs.filter_map(|word| word.fill(|_| None).ok()).collect();
    spec
}

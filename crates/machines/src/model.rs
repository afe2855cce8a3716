//! The project's own NAT engine as a process in a gateway: started, commanded, read back.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use natrig_agent_proto::{Start, Stream};
use natrig_lab::{Host, Place};
use natrig_nat::{
    bytes::control::{Answer, Command, Config, Interface, State},
    engine::Prefix,
};
use natrig_netmodel::seed_for;
use natrig_scenario::Machine;
use natrig_vmm::{AgentClient, Process, ProcessEvent};

use crate::{Lab, Member, Trouble, lab::lock};

const CONFIG: &str = "/run/natrig.model.json";

/// How long an answer may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(30);

/// The engine in a gateway. Dropping this does not end it; [`Model::stop`] does, and so does the machine's end.
#[derive(Debug)]
pub struct Model {
    process: Process,
    events: Receiver<ProcessEvent>,
    /// What it wrote and nobody read yet.
    partial: Vec<u8>,
    lines: VecDeque<String>,
    complaints: Vec<u8>,
}

/// Starts a gateway's model anew, with no state.
pub fn load(lab: &Lab, place: &Place) -> Result<(), Trouble> {
    let member = lab.member(place.machine)?;
    stop(member)?;
    let host = lab.topology().hosts().iter().find(|host| host.machine == place.machine);
    let host = host.ok_or_else(|| Trouble::lab(format!("{} is not in the topology", place.machine)))?;
    let config = config(host, place, seed_for(lab.seed(), place.machine.name()))?;
    *lock(&member.model) = Some(Model::start(member.agent(), &config)?);
    Ok(())
}

/// Ends a gateway's model, if one runs there.
pub fn stop(member: &Member) -> Result<(), Trouble> {
    lock(&member.model).take().map_or(Ok(()), Model::stop)
}

/// Has the model in a gateway do something, and tells how it is since.
pub fn command(lab: &Lab, gateway: Machine, command: &Command) -> Result<State, Trouble> {
    let mut model = lock(&lab.member(gateway)?.model);
    let model = model.as_mut().ok_or_else(|| Trouble::lab("no model of a NAT runs there"))?;
    model.command(command)
}

/// Empties a gateway's model of all that the proof left, shows that it is gone, and takes what must still be true of it
/// after the cell.
pub fn flush(lab: &Lab, gateway: Machine) -> Result<String, Trouble> {
    let state = command(lab, gateway, &Command::Reboot)?;
    if (state.mappings, state.flows) != (0, 0) {
        let (mappings, flows) = (state.mappings, state.flows);
        return Err(Trouble::lab(format!("{mappings} mappings and {flows} flows are left after the flush")));
    }
    proven(&state)
}

/// Writes a gateway's profile and table beside the evidence; gives what must not have changed.
pub fn gather(lab: &Lab, gateway: Machine, folder: &Path) -> Result<String, Trouble> {
    let state = command(lab, gateway, &Command::Table)?;
    let text = serde_json::to_vec_pretty(&state)?;
    fs::write(folder.join(evidence(gateway)), text)?;
    proven(&state)
}

/// The name of the file that [`gather`] writes.
pub fn evidence(gateway: Machine) -> String {
    format!("{gateway}.model.json")
}

/// How a model behaves, as a text to compare.
pub(crate) fn proven(state: &State) -> Result<String, Trouble> {
    Ok(serde_json::to_string_pretty(&(&state.profile, &state.outside))?)
}

/// What a gateway's process is told, from where it stands.
fn config(host: &Host, place: &Place, seed: u64) -> Result<Config, Trouble> {
    let prefix = |address, length| Prefix::new(address, length).map_err(Trouble::lab);
    let interface = |name: &str| {
        let nic = host.nics.iter().find(|nic| nic.name == name);
        let nic = nic.ok_or_else(|| Trouble::lab(format!("{} has no interface `{name}`", host.machine)))?;
        let networks = nic.addresses.iter().map(|&(address, length)| prefix(address, length));
        let networks = networks.collect::<Result<Vec<_>, _>>()?;
        let here = |via| networks.iter().any(|network| network.contains(via));
        let routes = host.routes.iter().filter(|(_, _, via)| here(*via));
        let routes = routes.map(|&(to, length, via)| Ok((prefix(to, length)?, via)));
        let routes = routes.collect::<Result<_, Trouble>>()?;
        Ok::<_, Trouble>(Interface { name: name.to_owned(), networks, routes })
    };
    Ok(Config {
        profile: place.gateway.profile.clone(),
        outside: place.addresses.outside.clone(),
        inside: place.addresses.inside,
        address: place.inside,
        wan: interface("wan")?,
        lan: interface("lan")?,
        seed,
    })
}

impl Model {
    /// Starts it and waits until it forwards.
    pub fn start(agent: &AgentClient, config: &Config) -> Result<Self, Trouble> {
        let text = serde_json::to_vec_pretty(config)?;
        agent.write_file(CONFIG, 0o644, text)?;
        let argv = ["nat-model", CONFIG].map(str::to_owned).into();
        let (process, events) = agent.start(Start { argv, ..Start::default() })?;
        let mut model =
            Model { process, events, partial: Vec::new(), lines: VecDeque::new(), complaints: Vec::new() };
        let first = model.line("it was ready")?;
        if first == "ready" { Ok(model) } else { Err(model.trouble(format!("it says `{first}`"))) }
    }

    /// Has it do something, and tells how it is since.
    pub fn command(&mut self, command: &Command) -> Result<State, Trouble> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        self.process.input(&line)?;
        let answer = self.line("it answered")?;
        match serde_json::from_str(&answer) {
            Ok(Answer::Done(state)) => Ok(*state),
            Ok(Answer::Failed(reason)) => Err(self.trouble(reason)),
            Err(error) => Err(self.trouble(format!("its answer cannot be read: {error}"))),
        }
    }

    /// Ends it and waits until it has ended.
    pub fn stop(self) -> Result<(), Trouble> {
        // It may have ended by itself.
        let _ = self.process.signal(9);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(ProcessEvent::Output { .. }) => {}
                Ok(ProcessEvent::Exited { .. }) => return Ok(()),
                Ok(ProcessEvent::Lost { reason, .. }) => return Err(Trouble::lab(reason)),
                Err(_) => return Err(Trouble::lab("the model of the NAT did not end in time")),
            }
        }
    }

    /// The next line it writes.
    fn line(&mut self, what: &str) -> Result<String, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(line);
            }
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(ProcessEvent::Output { stream: Stream::Out, data, .. }) => {
                    let ends = data.contains(&b'\n');
                    self.partial.extend(data);
                    while ends && let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                        let rest = self.partial.split_off(end + 1);
                        let line = std::mem::replace(&mut self.partial, rest);
                        self.lines.push_back(String::from_utf8_lossy(line.trim_ascii()).into_owned());
                    }
                }
                Ok(ProcessEvent::Output { data, .. }) => self.complaints.extend(data),
                Ok(ProcessEvent::Exited { status, .. }) => {
                    return Err(self.trouble(format!("it ended with {status} before {what}")));
                }
                Ok(ProcessEvent::Lost { reason, .. }) => return Err(Trouble::lab(reason)),
                Err(_) => return Err(self.trouble(format!("time was up before {what}"))),
            }
        }
    }

    fn trouble(&self, reason: String) -> Trouble {
        let said = String::from_utf8_lossy(&self.complaints);
        Trouble::lab(format!("the model of the NAT: {reason}")).lines(said.lines().map(str::to_owned))
    }
}

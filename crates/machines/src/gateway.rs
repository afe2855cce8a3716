//! Gateways: a ruleset loaded or a model started, proven, and emptied again.

use std::{
    fs,
    path::Path,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use natrig_agent_proto::Start;
use natrig_lab::{Place, Topology, proof::Depth};
use natrig_nat::{
    Profile,
    ruleset::{Ruleset, State},
};
use natrig_record::Proof;
use natrig_scenario::{Engine, Machine, Nat, Scenario};
use natrig_vmm::{AgentClient, Output, Process, ProcessEvent};

use crate::{Lab, Trouble, model, port_mapping, proof};

const RULES: &str = "/run/natrig.nft";
const FLUSH: &str = "/run/flush.nft";
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// How long a command in a gateway may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long what was in a machine already may take until it is gone: the kernel asks three seconds for an address.
const LATE: Duration = Duration::from_secs(5);

/// Makes both gateways what they should be: rulesets are loaded, and written beside the evidence; models are started.
pub fn load(lab: &Lab, scenario: &Scenario, folder: &Path) -> Result<(), Trouble> {
    each_gateway(scenario, |place| install(lab, scenario, place, &[], folder))?;
    Ok(())
}

/// Makes one gateway what it should be, with the leases that its port mapping has kept.
pub(crate) fn install(
    lab: &Lab,
    scenario: &Scenario,
    place: &Place,
    leases: &[u8],
    folder: &Path,
) -> Result<(), Trouble> {
    match place.gateway.engine {
        Engine::Kernel => load_rules(lab, place, folder)?,
        Engine::Model => model::load(lab, place)?,
    }
    port_mapping::load(lab, scenario, place, leases)
}

fn load_rules(lab: &Lab, place: &Place, folder: &Path) -> Result<(), Trouble> {
    let member = lab.member(place.machine)?;
    // It would see every packet as well.
    model::stop(member)?;
    let ruleset = ruleset(place)?;
    fs::write(folder.join(format!("{}.nft", place.machine)), ruleset.text())?;
    let agent = member.agent();
    agent.write_file(RULES, 0o644, ruleset.text().into())?;
    agent.write_file(FLUSH, 0o644, ruleset.flush().into())?;
    let mut script = format!("nft -f {RULES}");
    for (name, value) in ruleset.sysctls() {
        script.push_str(&format!(" && echo {value} > /proc/sys/{}", name.replace('.', "/")));
    }
    expect(agent, &["sh", "-c", &script])?;
    Ok(())
}

/// Starts the server that gateways are proven against, and that nodes learn their NAT from.
pub fn start_stun(lab: &Lab) -> Result<Process, Trouble> {
    let [primary, other] = lab.topology().stun().map(|address| address.to_string());
    let argv = vec!["stun-server".to_owned(), primary, other];
    let (process, events) = lab.agent(Machine::RELAY)?.start(Start { argv, ..Start::default() })?;
    ready(&events, "the STUN server")?;
    Ok(process)
}

/// Waits until a program of the lab's own has said `ready`.
pub(crate) fn ready(events: &Receiver<ProcessEvent>, who: &str) -> Result<(), Trouble> {
    let mut said = Vec::new();
    loop {
        match events.recv_timeout(PATIENCE) {
            Ok(ProcessEvent::Output { data, .. }) => {
                said.extend(data);
                if said.starts_with(b"ready\n") {
                    return Ok(());
                }
            }
            Ok(ProcessEvent::Exited { status, .. }) => {
                return Err(Trouble::lab(format!("{who} ended with {status}"))
                    .lines([String::from_utf8_lossy(&said).into_owned()]));
            }
            Ok(ProcessEvent::Lost { reason, .. }) => return Err(Trouble::lab(reason)),
            Err(_) => return Err(Trouble::lab(format!("{who} did not come up in time"))),
        }
    }
}

/// Measures each gateway with the fast steps; see [`proof::measure`].
pub fn measure(lab: &Lab, scenario: &Scenario) -> Result<Vec<Proof>, Trouble> {
    proof::measure(lab, scenario, |_| Depth::Fast)
}

/// All gateways as they stand, and those that they may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    standing: Vec<Standing>,
    others: Vec<Standing>,
}

/// A gateway as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where, and what it is.
    pub place: Place,
    /// Its rules without their state, or its model's profile, as they were proven.
    pub(crate) proven: String,
    /// What it was before it was first rebound.
    pub(crate) first: Profile,
    pub(crate) rebinds: u32,
    pub(crate) renumberings: u32,
}

impl Listing {
    /// The same, with what gateways may become.
    pub fn with_others(self, others: Vec<Standing>) -> Self {
        Listing { others, ..self }
    }

    /// What gateways may become.
    pub fn others(&self) -> &[Standing] {
        &self.others
    }

    /// All gateways as they stand.
    pub fn standing(&self) -> &[Standing] {
        &self.standing
    }

    /// Adds what a gateway may become.
    pub(crate) fn add_other(&mut self, other: Standing) {
        self.others.push(other);
    }

    /// A gateway as it stands.
    pub fn of(&self, machine: Machine) -> Result<&Standing, Trouble> {
        let standing = self.standing.iter().find(|standing| standing.place.machine == machine);
        standing.ok_or_else(|| Trouble::lab(format!("there is no gateway {machine}")))
    }

    pub(crate) fn of_mut(&mut self, machine: Machine) -> Result<&mut Standing, Trouble> {
        let standing = self.standing.iter_mut().find(|standing| standing.place.machine == machine);
        standing.ok_or_else(|| Trouble::lab(format!("there is no gateway {machine}")))
    }

    pub(crate) fn take(&mut self, machine: Machine) -> Result<Standing, Trouble> {
        let at = self.standing.iter().position(|standing| standing.place.machine == machine);
        at.map(|at| self.standing.swap_remove(at))
            .ok_or_else(|| Trouble::lab(format!("there is no gateway {machine}")))
    }
}

/// Empties all that the proof left in the gateways, shows that it is gone, and takes what must still be true of them after
/// the cell.
pub fn flush(lab: &Lab, scenario: &Scenario) -> Result<Listing, Trouble> {
    let standing = each_gateway(scenario, |place| proven(lab, scenario, place))?;
    Ok(Listing { standing, others: Vec::new() })
}

/// Empties one and takes what must be true of it, as of one that has just been proven.
pub(crate) fn proven(lab: &Lab, scenario: &Scenario, place: &Place) -> Result<Standing, Trouble> {
    Ok(Standing {
        place: place.clone(),
        proven: empty(lab, scenario, place)?,
        first: place.gateway.profile.clone(),
        rebinds: 0,
        renumberings: 0,
    })
}

/// The same for one; gives what must still be true of it.
pub(crate) fn empty(lab: &Lab, scenario: &Scenario, place: &Place) -> Result<String, Trouble> {
    match place.gateway.engine {
        Engine::Kernel => flush_rules(lab, scenario, place),
        Engine::Model => model::flush(lab, place.machine),
    }
}

fn flush_rules(lab: &Lab, scenario: &Scenario, place: &Place) -> Result<String, Trouble> {
    let script = format!("nft -f {FLUSH} && conntrack -F >/dev/null 2>&1 && nft -s list ruleset");
    let agent = lab.agent(place.machine)?;
    let deadline = Instant::now() + LATE;
    let output = loop {
        let output = expect(agent, &["sh", "-c", &script])?;
        match connections(agent)? {
            0 => break output,
            // A packet that was in the machine already passes after the flush, or waits in it for an address.
            _ if Instant::now() < deadline => {}
            count => return Err(Trouble::lab(format!("{count} connections are left after the flush"))),
        }
    };
    let rules = own_rules(&output, scenario, place);
    let (rules, elements) = normal(&rules, ruleset(place)?.state());
    if !elements.is_empty() {
        return Err(Trouble::lab("maps or sets are not empty after the flush").lines(elements));
    }
    Ok(rules)
}

/// How many connections a gateway's kernel tracks.
pub(crate) fn connections(agent: &AgentClient) -> Result<usize, Trouble> {
    // Asked of the agent: one more program costs an emulated guest 40 ms.
    let count = agent.read_file(COUNT, 64)?;
    let count = String::from_utf8_lossy(count.trim_ascii());
    count.parse().map_err(|_| Trouble::lab(format!("`{count}` is no count of connections")))
}

/// Writes the gateways' tables beside the evidence and compares their rules or profiles with the proven ones, or with what
/// became of them since; gives the names of the files.
pub fn gather(
    lab: &Lab,
    scenario: &Scenario,
    proven: Option<&Listing>,
    folder: &Path,
) -> Result<Vec<String>, Trouble> {
    let places: Vec<Place> = match proven {
        Some(listing) => listing.standing.iter().map(|standing| standing.place.clone()).collect(),
        None => Topology::of(scenario).gateways().to_vec(),
    };
    let found = at_each(&places, |place| {
        let gateway = place.machine;
        Ok(match place.gateway.engine {
            Engine::Kernel => {
                let rules = gather_rules(lab, scenario, place, folder)?;
                let mut files =
                    ["nft", "conntrack", "ruleset"].map(|kind| format!("{gateway}.{kind}")).to_vec();
                files.extend(port_mapping::gather(lab, scenario, place, folder)?);
                (rules, files)
            }
            Engine::Model => (model::gather(lab, gateway, folder)?, vec![model::evidence(gateway)]),
        })
    })?;
    if let Some(listing) = proven {
        for (standing, (rules, _)) in listing.standing.iter().zip(&found) {
            if standing.proven != *rules {
                return Err(
                    Trouble::lab("the rules are not those that were proven").at(standing.place.machine)
                );
            }
        }
    }
    Ok(found.into_iter().flat_map(|(_, files)| files).collect())
}

fn gather_rules(lab: &Lab, scenario: &Scenario, place: &Place, folder: &Path) -> Result<String, Trouble> {
    let gateway = place.machine;
    let agent = lab.agent(gateway)?;
    let table = agent.run(&["conntrack", "-L"], &[], PATIENCE)?;
    fs::write(folder.join(format!("{gateway}.conntrack")), &table.stdout)?;
    let rules = expect(agent, &["nft", "-s", "list", "ruleset"])?;
    fs::write(folder.join(format!("{gateway}.ruleset")), &rules.stdout)?;
    let (rules, _) = normal(&own_rules(&rules, scenario, place), ruleset(place)?.state());
    Ok(rules)
}

/// A listing of the gateway's own rules: all that there are, but for those that hosts may change.
fn own_rules(listing: &Output, scenario: &Scenario, place: &Place) -> String {
    let rules = String::from_utf8_lossy(&listing.stdout);
    match port_mapping::of(scenario, place) {
        Some(_) => port_mapping::without(&rules),
        None => rules.into_owned(),
    }
}

/// A listing without the elements of the maps and sets that traffic fills, and those elements. What other maps hold is
/// part of the rules.
fn normal(listing: &str, filled: &[State]) -> (String, Vec<String>) {
    let (mut text, mut elements) = (String::new(), Vec::new());
    let (mut in_filled, mut inside) = (false, false);
    for line in listing.lines() {
        let trimmed = line.trim();
        if trimmed.ends_with('{') && !inside {
            let words: Vec<&str> = trimmed.split_whitespace().collect();
            in_filled = filled.iter().any(|state| words.starts_with(&[state.kind, state.name]));
        }
        inside |= in_filled && trimmed.starts_with("elements = {");
        match inside {
            true => elements.push(trimmed.to_owned()),
            false => {
                text.push_str(line);
                text.push('\n');
            }
        }
        inside &= !trimmed.ends_with('}');
    }
    (text, elements)
}

/// Runs a program in a machine that must succeed.
pub(crate) fn expect(agent: &AgentClient, argv: &[&str]) -> Result<Output, Trouble> {
    expect_within(agent, argv, PATIENCE)
}

/// Runs a program in a machine that must succeed, and may take its time.
pub(crate) fn expect_within(
    agent: &AgentClient,
    argv: &[&str],
    patience: Duration,
) -> Result<Output, Trouble> {
    let output = agent.run(argv, &[], patience)?;
    if output.status.success() {
        return Ok(output);
    }
    let lines = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text).into_owned());
    Err(Trouble::lab(format!("`{}` ended with {}", argv.join(" "), output.status))
        .lines(lines.iter().flat_map(|text| text.lines()).map(str::to_owned)))
}

/// What stands before the sites, for messages.
pub fn title(nats: &[Nat]) -> String {
    nats.iter().map(|nat| nat.name.as_str()).collect::<Vec<_>>().join(" and ")
}

fn ruleset(place: &Place) -> Result<Ruleset, Trouble> {
    Ruleset::compile(&place.gateway.profile, &place.addresses).map_err(|lacks| {
        let profile = &place.gateway.profile.name;
        Trouble::lab(format!("the kernel cannot be `{profile}`")).lines(lacks.iter().map(ToString::to_string))
    })
}

/// Does the same to all gateways of a scenario at once; site 1 first, each site's from its LAN outwards.
pub(crate) fn each_gateway<T: Send>(
    scenario: &Scenario,
    work: impl Fn(&Place) -> Result<T, Trouble> + Sync,
) -> Result<Vec<T>, Trouble> {
    at_each(Topology::of(scenario).gateways(), work)
}

fn at_each<T: Send>(
    places: &[Place],
    work: impl Fn(&Place) -> Result<T, Trouble> + Sync,
) -> Result<Vec<T>, Trouble> {
    let work = |place: &Place| work(place).map_err(|trouble| trouble.at(place.machine));
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = places.iter().map(|place| scope.spawn(move || work(place))).collect();
        let done: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked"))))
            .collect();
        done.into_iter().collect()
    })
}

/// Does two things at once.
pub(crate) fn both<A: Send, B>(
    one: impl FnOnce() -> Result<A, Trouble> + Send,
    other: impl FnOnce() -> Result<B, Trouble>,
) -> (Result<A, Trouble>, Result<B, Trouble>) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked"))), other)
    })
}

/// Does the same with several machines at once.
pub(crate) fn at_once<T: Send>(
    machines: impl IntoIterator<Item = Machine>,
    work: impl Fn(Machine) -> Result<T, Trouble> + Sync,
) -> Result<Vec<T>, Trouble> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            machines.into_iter().map(|machine| scope.spawn(move || work(machine))).collect();
        let done = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Trouble::lab("a thread panicked"))));
        done.collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_compared_without_its_elements() {
        let empty = "table ip natrig {\n\tmap rev {\n\t\ttimeout 2m\n\t}\n}\n";
        let one = "table ip natrig {\n\tmap rev {\n\t\ttimeout 2m\n\t\telements = { 10.0.1.2 . 1 : 1.1.1.1 . 1 }\n\t}\n}\n";
        let many =
            "table ip natrig {\n\tmap rev {\n\t\ttimeout 2m\n\t\telements = { 1,\n\t\t\t     2 }\n\t}\n}\n";
        let filled = [State { kind: "map", name: "rev" }];
        assert_eq!(
            normal(one, &filled),
            (empty.to_owned(), vec!["elements = { 10.0.1.2 . 1 : 1.1.1.1 . 1 }".to_owned()])
        );
        assert_eq!(normal(many, &filled).0, empty);
        assert_eq!(normal(many, &filled).1.len(), 2);
        assert_eq!(normal(empty, &filled), (empty.to_owned(), vec![]));
        assert_ne!(normal(&one.replace("2m", "3m"), &filled).0, empty);
        // A map of blocks is a rule: it must be there after the cell, and be what it was.
        assert_eq!(normal(many, &[]), (many.to_owned(), vec![]));
    }
}

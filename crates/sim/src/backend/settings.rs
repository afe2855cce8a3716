//! How the node under test is started: what omerta-mesh's command line says on machines, said to the node itself.

use std::net::{IpAddr, SocketAddr};

use natrig_lab::{NODE_PORT, Topology, Trouble};
use natrig_scenario::{Machine, Scenario};
use omerta_mesh_core::{Bootstrap, Config, PeerId, Service};
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use crate::clock::START_NS;

/// What a node is told at its start.
#[derive(Debug)]
pub struct Settings {
    pub config: Config,
    /// Whether it says of every path that it is direct.
    pub lies: bool,
}

/// The public node.
pub fn relay(scenario: &Scenario, random: &mut Pcg64Mcg) -> Result<Settings, Trouble> {
    let options = Options::read(scenario, Machine::Relay)?;
    let mut settings = settings(random, &options);
    settings.config.service = match scenario.use_relay && !options.coordinate_only {
        true => Service::Relay { sessions: options.sessions },
        false => Service::Coordinator,
    };
    settings.config.birthday = !options.no_birthday;
    Ok(settings)
}

/// A peer, once the public node has said who it is.
pub fn peer(
    scenario: &Scenario,
    topology: &Topology,
    machine: Machine,
    relay: PeerId,
    random: &mut Pcg64Mcg,
) -> Result<Settings, Trouble> {
    let options = Options::read(scenario, machine)?;
    let mut settings = settings(random, &options);
    let config = &mut settings.config;
    config.birthday = scenario.node.birthday && !options.no_birthday;
    config.stun = topology.stun().map(SocketAddr::V4).into();
    config.bootstrap = vec![Bootstrap { id: relay, address: SocketAddr::V4(topology.node(Machine::Relay)) }];
    // What leaves a peer for any of them leaves from its only address.
    config.host_addresses = vec![IpAddr::V4(*topology.node(machine).ip())];
    Ok(settings)
}

fn settings(random: &mut Pcg64Mcg, options: &Options) -> Settings {
    let mut config = Config::new(random.random(), START_NS / 1000);
    config.port = NODE_PORT;
    Settings { config, lies: options.lies }
}

/// Of the daemon's options those that make sense without one.
#[derive(Debug, Default)]
struct Options {
    coordinate_only: bool,
    no_birthday: bool,
    lies: bool,
    sessions: usize,
}

impl Options {
    fn read(scenario: &Scenario, machine: Machine) -> Result<Self, Trouble> {
        let mut options = Options { sessions: Service::DEFAULT_SESSIONS, ..Options::default() };
        let mut words = scenario.node.args(machine).iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (name, mut value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            match name {
                // This version of the node has nothing that it would change.
                "--no-peer-contact" => {}
                "--no-birthday" => options.no_birthday = true,
                "--coordinate-only" if machine == Machine::Relay => options.coordinate_only = true,
                "--sessions" if machine == Machine::Relay => {
                    let count = value.take().or_else(|| words.next()).and_then(|word| word.parse().ok());
                    options.sessions =
                        count.ok_or_else(|| unknown(machine, "--sessions without a number"))?;
                }
                "--hostile" if value.take().or_else(|| words.next()) == Some("lie-path") => {
                    options.lies = true;
                }
                _ => return Err(unknown(machine, word)),
            }
            if value.is_some() {
                return Err(unknown(machine, word));
            }
        }
        Ok(options)
    }
}

fn unknown(machine: Machine, word: &str) -> Trouble {
    Trouble::lab(format!("the simulator does not know what `{word}` tells the node on {machine}"))
        .hint("natrig run --backend vm gives every argument to the daemon")
}

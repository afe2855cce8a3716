//! What becomes of gateways is done to them and read back, whichever engine makes them.

mod rig;

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use natrig_capture::Transport;
use natrig_lab::{
    Backend, Halt,
    proof::refuse,
    station::{Net, packet},
};
use natrig_machines::{
    Lab, gateway,
    life::{self, Life},
};
use natrig_nat::Preset;
use natrig_record::Outcome;
use natrig_scenario::{Action, Engine, Fault, Gateway, GatewayFault, Machine, Moment, Nat, Scenario};
use rig::{boot, rig, scenario};

/// A lab with a gateway of either engine, proven.
struct World {
    scenario: Scenario,
    lab: Lab,
    listing: gateway::Listing,
    folder: tempfile::TempDir,
}

const BOTH: [Machine; 2] = [Machine::NAT1, Machine::NAT2];

impl World {
    /// Behind the first gateway is the kernel's, behind the second the model's.
    fn new(nat: &str, becomes: Option<Preset>) -> Self {
        World::of(scenario(nat, nat), becomes)
    }

    fn of(mut scenario: Scenario, becomes: Option<Preset>) -> Self {
        scenario.nats[0].gateways[0].engine = Engine::Kernel;
        scenario.nats[1].gateways[0].engine = Engine::Model;
        for machine in BOTH.into_iter().filter(|_| becomes.is_some()) {
            let other = GatewayFault::Become(Box::new(other(machine, becomes.unwrap())));
            scenario.faults.push(Fault { after: Moment::Settled, action: Action::Gateway(machine, other) });
        }
        let folder = tempfile::tempdir().unwrap();
        let lab = boot(&scenario, folder.path());
        gateway::load(&lab, &scenario, folder.path()).unwrap();
        let others = life::prove_others(&lab, &scenario, folder.path()).unwrap();
        refuse(&gateway::measure(&lab, &scenario).unwrap()).unwrap();
        let listing = gateway::flush(&lab, &scenario).unwrap().with_others(others);
        World { scenario, lab, listing, folder }
    }

    fn befall(&mut self, machine: Machine, fault: &GatewayFault) -> Result<String, natrig_machines::Trouble> {
        let life = Life { rig: rig(), scenario: &self.scenario, folder: self.folder.path() };
        let began = Instant::now();
        let shown = life.befall(&mut self.lab, &mut self.listing, machine, fault);
        println!("{fault} {machine}: {shown:?} in {:?}", began.elapsed());
        shown
    }

    /// Asks from a port behind a gateway; where from outside sees it.
    fn ask(&self, machine: Machine, port: u16) -> SocketAddrV4 {
        let stands = self.lab.topology().stands(&self.listing.of(machine).unwrap().place);
        let mut stations = self.lab.stations(&stands).unwrap();
        let (inside, outside) = (stands[0].endpoint(0, port), stands[1].endpoint(0, 7));
        stations.send(0, packet::udp(inside, outside, b"who am I")).unwrap();
        let arrived = stations.receive(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(arrived.at, 1);
        let Transport::Udp(udp) = arrived.ipv4().unwrap().transport else { panic!("{arrived:?}") };
        udp.source
    }

    /// Whether an answer to what outside has seen comes back in; the next question is the witness.
    fn lets_in(&self, machine: Machine, to: SocketAddrV4) -> bool {
        let stands = self.lab.topology().stands(&self.listing.of(machine).unwrap().place);
        let mut stations = self.lab.stations(&stands).unwrap();
        let (inside, outside) = (stands[0].endpoint(1, 4321), stands[1].endpoint(1, 7));
        stations.send(1, packet::udp(outside, to, b"still?")).unwrap();
        stations.send(0, packet::udp(inside, outside, b"witness")).unwrap();
        let until = stations.now() + Duration::from_secs(10);
        let mut came = false;
        while let Some(arrival) = stations.receive(until).unwrap() {
            let Transport::Udp(udp) = arrival.ipv4().unwrap().transport else { continue };
            came |= udp.payload == b"still?";
            match (arrival.at, udp.payload) {
                (1, b"witness") => {
                    stations.send(1, packet::udp(outside, udp.source, b"witness")).unwrap();
                }
                (0, b"witness") => return came,
                _ => {}
            }
        }
        panic!("the witness did not come");
    }

    fn gather(&self) {
        gateway::gather(&self.lab, &self.scenario, Some(&self.listing), self.folder.path()).unwrap();
    }
}

fn other(machine: Machine, preset: Preset) -> Gateway {
    let mut gateway = Nat::from(preset).gateways.remove(0);
    gateway.engine = if machine == Machine::NAT1 { Engine::Kernel } else { Engine::Model };
    gateway
}

#[test]
fn a_gateway_that_starts_anew_has_forgotten_and_is_otherwise_the_same() {
    let mut world = World::new("full-cone", None);
    for machine in BOTH {
        let before = world.ask(machine, 5000);
        assert!(world.lets_in(machine, before));
        world.befall(machine, &GatewayFault::Reboot).unwrap();
        assert!(!world.lets_in(machine, before), "{machine} has not forgotten");
        assert_eq!(world.ask(machine, 5000), before, "the port is preserved");
    }
    world.gather();
}

#[test]
fn a_gateway_that_is_rebound_gives_other_ports() {
    let mut world = World::new("full-cone", None);
    for machine in BOTH {
        let mut seen = vec![world.ask(machine, 5000)];
        for _ in 0..2 {
            world.befall(machine, &GatewayFault::Rebind).unwrap();
            assert!(!world.lets_in(machine, seen[seen.len() - 1]));
            let now = world.ask(machine, 5000);
            assert_eq!(now.ip(), seen[0].ip());
            assert_ne!(Some(&now), seen.last(), "{machine}");
            seen.push(now);
        }
    }
    world.gather();
}

#[test]
fn a_gateway_that_moves_sends_from_its_other_address() {
    let mut world = World::new("port-restrict", None);
    for machine in BOTH {
        let before = world.ask(machine, 5000);
        for _ in 0..2 {
            world.befall(machine, &GatewayFault::Renumber).unwrap();
            let now = world.ask(machine, 5000);
            assert_eq!(*now.ip(), world.listing.of(machine).unwrap().place.addresses.outside[0]);
            assert_ne!(now.ip(), before.ip());
        }
        // It keeps its address when it starts anew.
        let moved = world.ask(machine, 5000);
        world.befall(machine, &GatewayFault::Reboot).unwrap();
        assert_eq!(world.ask(machine, 5000), moved);
    }
    world.gather();
}

#[test]
fn a_gateway_becomes_only_what_was_proven() {
    let mut world = World::new("port-restrict", Some(Preset::Symmetric));
    for machine in BOTH {
        assert_eq!(world.ask(machine, 5000).port(), 5000);
        let stranger = GatewayFault::Become(Box::new(other(machine, Preset::FullCone)));
        let refused = world.befall(machine, &stranger).unwrap_err();
        assert!(refused.message.contains("never proven as `full-cone`"), "{refused:?}");
        let symmetric = GatewayFault::Become(Box::new(other(machine, Preset::Symmetric)));
        world.befall(machine, &symmetric).unwrap();
        assert_ne!(world.ask(machine, 5000).port(), 5000);
    }
    world.gather();
}

#[test]
fn a_full_table_refuses_the_next_flow() {
    let mut small = scenario("port-restrict", "port-restrict");
    for nat in &mut small.nats {
        nat.gateways[0].profile.limits.mappings = 64;
        nat.gateways[0].profile.limits.flows = 64;
    }
    let mut world = World::of(small, None);
    for machine in BOTH {
        world.befall(machine, &GatewayFault::Fill).unwrap();
    }
    world.gather();
}

#[test]
#[ignore = "long: make test-full"]
fn a_large_table_refuses_the_next_flow_as_well() {
    let mut world = World::new("port-restrict", None);
    for machine in BOTH {
        world.befall(machine, &GatewayFault::Fill).unwrap();
    }
    world.gather();
}

#[test]
fn nothing_is_done_to_a_gateway_that_cannot_be_shown() {
    let mut world = World::new("public", None);
    for machine in BOTH {
        for fault in [GatewayFault::Rebind, GatewayFault::Renumber] {
            let refused = world.befall(machine, &fault).unwrap_err();
            assert!(refused.message.contains("translates nothing"), "{refused:?}");
        }
    }
}

/// Runs a cell in which something becomes of the first gateway before the peers connect; the lab must be at no fault.
fn cell(engine: &str, fault: &str) {
    let text = format!(
        "name: life\nnat1: {{like: port-restrict, engine: {engine}}}\nnat2: full-cone\nexpected: direct\n\
         faults:\n  - after: bootstrapped\n    {fault}\n"
    );
    let scenario = Scenario::parse("life.yaml", &text).unwrap().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let cell = rig().run(&scenario, 1, folder.path(), &|_| (), &Halt::default());
    if cell.outcome == Outcome::LabError {
        panic!("{engine}, {fault}: {:?}; evidence in {}", cell.failure, folder.keep().display());
    }
}

#[test]
#[ignore = "long: make test-full"]
fn cells_go_on_while_gateways_live() {
    for engine in ["kernel", "model"] {
        for fault in ["reboot: nat1", "rebind: nat1", "renumber: nat1", "fill: nat1", "idle: 2s"] {
            cell(engine, fault);
        }
        cell(engine, &format!("become: nat1\n    nat: {{like: symmetric, engine: {engine}}}"));
    }
}

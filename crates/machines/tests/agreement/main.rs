//! The kernel's rulesets and the model are the same gateway.

#[path = "../rig/mod.rs"]
mod rig;

mod bytes;
mod departures;
mod lane;
mod step;
mod trace;

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use departures::explain;
use lane::Lane;
use natrig_lab::{
    Halt, Place,
    proof::compare,
    station::{self, Memory, Net, Seat},
};
use natrig_machines::{Lab, station::Stations};
use natrig_nat::{
    Engine, Preset, Profile,
    bytes::Gateway,
    engine::Addresses,
    profile::{Named, Timers},
    ruleset::Ruleset,
};
use natrig_probe::{Plan, Steps};
use natrig_record::Proof;
use natrig_scenario::Machine as Name;
use step::{Cast, Flow, Proto};
use trace::Outcome;

const REMOTES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 100, 250), Ipv4Addr::new(192, 168, 100, 251)];

fn hosts() -> Vec<Ipv4Addr> {
    [250, 251, 252].map(|host| Ipv4Addr::new(10, 0, 1, host)).into()
}

fn cast(profile: &Profile) -> Cast {
    let remotes =
        REMOTES.into_iter().flat_map(|address| [4000, 4001].map(|port| SocketAddrV4::new(address, port)));
    Cast {
        hosts: hosts(),
        ports: vec![5000, 5001, 6000],
        remotes: remotes.collect(),
        hairpins: profile.mapping.is_some(),
    }
}

fn fence(host: Ipv4Addr, remote: Ipv4Addr) -> Flow {
    let [inside, remote] = [host, remote].map(|address| SocketAddrV4::new(address, 40_000));
    Flow { proto: Proto::Udp, inside, remote }
}

/// A gateway between the hosts and the remotes, which all know each other.
fn lane<N: Net>(net: N, seats: [Seat; 2], addresses: &Addresses) -> Lane<N> {
    let all = hosts().into_iter().flat_map(|host| REMOTES.map(|remote| fence(host, remote)));
    Lane::new(net, seats, addresses.outside.clone(), fence(hosts()[0], REMOTES[0])).warm(all)
}

/// The model in this process.
fn model(profile: &Profile, addresses: &Addresses, seed: u64) -> Lane<Memory> {
    let (net, seats) = in_memory(profile, addresses, seed);
    lane(net, seats, addresses)
}

fn in_memory(profile: &Profile, addresses: &Addresses, seed: u64) -> (Memory, [Seat; 2]) {
    let mut net = Memory::new();
    let engine = Engine::new(profile.clone(), addresses.clone(), seed).unwrap();
    let gateway = net.gateway(Gateway::new(engine, Ipv4Addr::new(10, 0, 1, 1)));
    let inside = net.station(hosts(), Some(gateway));
    let outside = net.station(REMOTES, None);
    (net, [inside, outside])
}

fn one_address() -> Addresses {
    Addresses { outside: vec![Ipv4Addr::new(192, 168, 100, 1)], inside: "10.0.1.0/24".parse().unwrap() }
}

/// A gateway of the kernel.
struct Machine {
    lab: Lab,
    _folder: tempfile::TempDir,
}

impl Machine {
    fn boot(profile: &Profile) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scenario = rig::scenario(&profile.name, "public");
        let only = |name| name == Name::NAT1;
        let mut lab = Lab::boot_only(rig::rig(), &scenario, only, folder.path(), &Halt::default()).unwrap();
        lab.set_up();
        Machine { lab, _folder: folder }
    }

    fn place(&self) -> &Place {
        &self.lab.topology().gateways()[0]
    }

    fn load(&self, profile: &Profile) {
        let ruleset = Ruleset::compile(profile, &self.place().addresses).unwrap();
        let agent = self.lab.agent(Name::NAT1).unwrap();
        agent.write_file("/run/agreement.nft", 0o644, ruleset.text().into()).unwrap();
        let sysctl = |(name, value): &(String, String)| format!("sysctl -w {name}={value}");
        let sysctls: Vec<String> = ruleset.sysctls().iter().map(sysctl).collect();
        // Refusals are not to be rationed, and what only conntrack times is not to end.
        let script = format!(
            "set -e; nft -f /run/agreement.nft; conntrack -F; {}
             echo 0 > /proc/sys/net/ipv4/icmp_ratemask
             for t in /proc/sys/net/netfilter/nf_conntrack_*_timeout*; do echo 600 > $t; done",
            sysctls.join("; ")
        );
        let (said, status) = rig::shell(&self.lab, Name::NAT1, &script);
        assert!(status.success(), "{said}");
    }

    /// Puts the model in the place of the kernel's rules.
    fn be_model(&self) {
        let (said, status) = rig::shell(&self.lab, Name::NAT1, "nft flush ruleset; conntrack -F");
        assert!(status.success(), "{said}");
        natrig_machines::model::load(&self.lab, self.place()).unwrap();
    }

    fn stations(&self) -> Stations {
        let place = self.place();
        let [mut inside, mut outside] = self.lab.topology().stands(place);
        inside.addresses = hosts().into_iter().map(|host| (host, 24)).collect();
        outside.addresses = REMOTES.map(|remote| (remote, 24)).into();
        // Only without NAT does anybody use it.
        outside.routes = vec![(Ipv4Addr::new(10, 0, 1, 0), 24, place.addresses.outside[0])];
        self.lab.stations(&[inside, outside]).unwrap()
    }
}

/// The profile with timers that nothing in a trace reaches.
fn patient(profile: &Profile) -> Profile {
    let long = Duration::from_secs(3600);
    let timers = Timers {
        unreplied: long,
        stream: long,
        tcp_established: long,
        tcp_transitory: long,
        icmp: long,
        ..profile.timers
    };
    Profile { timers, ..profile.clone() }
}

fn two_models(one: Preset, other: Preset) -> Outcome {
    let cast = cast(&Profile::of(one.max(other)));
    let [one, other] =
        [(one, 1), (other, 2)].map(|(preset, seed)| model(&Profile::of(preset), &one_address(), seed));
    trace::run([10_000, 3], cast, one, other, &|_| None)
}

#[test]
fn a_trace_ends_alike_whatever_ports_are_drawn() {
    for preset in Preset::ALL {
        let outcome = two_models(preset, preset);
        assert!(outcome.unexplained.is_empty(), "{preset}: {:#?}", outcome.unexplained);
        assert!(outcome.arrived > outcome.steps / 4, "{preset}: {outcome:?}");
    }
}

#[test]
fn a_trace_tells_all_presets_from_each_other() {
    for one in Preset::ALL {
        for other in Preset::ALL {
            let outcome = two_models(one, other);
            assert_eq!(outcome.unexplained.is_empty(), one == other, "{one} and {other}: {outcome:?}");
        }
    }
}

fn kernel_profiles() -> impl Iterator<Item = Profile> {
    let single = |mut named: Named| if named.chain.len() == 1 { named.chain.pop() } else { None };
    let open = |profile: &Profile| profile.kernel_can().is_ok() && !profile.udp_blocked;
    Named::all().into_iter().filter_map(single).filter(open)
}

/// Plays a trace through the kernel and the model, and holds what is different against the page of departures.
fn agree(profile: &Profile, steps: u64) {
    let machine = Machine::boot(profile);
    let patient = patient(profile);
    machine.load(&patient);
    let model = model(&patient, &machine.place().addresses, 7);
    let began = Instant::now();
    let outcome = trace::run(
        [steps, 7],
        cast(profile),
        lane(machine.stations(), [0, 1], &machine.place().addresses),
        model,
        &|difference| explain(profile, difference),
    );
    let rate = outcome.steps as f64 / began.elapsed().as_secs_f64();
    println!("{}: {} steps, {rate:.0} a second: {:?}", profile.name, outcome.steps, outcome.explained);
    for difference in &outcome.unexplained {
        println!("{difference}");
    }
    assert!(
        outcome.unexplained.is_empty(),
        "{}: the kernel (one) and the model (other) differ",
        profile.name
    );
    let explained: usize = outcome.explained.values().sum();
    assert!(explained < outcome.steps / 5, "{}: {:?}", profile.name, outcome.explained);
    assert!(outcome.arrived > outcome.steps / 4, "{}: {} arrived", profile.name, outcome.arrived);
}

/// What the whole list of the prober finds between two stations.
fn measured(net: &mut impl Net, profile: &Profile) -> Proof {
    let end = |address: Ipv4Addr, port: u16| SocketAddrV4::new(address, port).into();
    let plan = Plan {
        second: Some(hosts()[1].into()),
        steps: Steps::Whole,
        closed: Some(end(REMOTES[0], 9)),
        eyes: true,
        ..Plan::fast(end(REMOTES[0], 3478), end(REMOTES[1], 3479), end(hosts()[0], 61_000), 7)
    };
    let outcome =
        station::probe(net, [0, 1], plan).unwrap_or_else(|trouble| panic!("{}: {trouble}", profile.name));
    let report = outcome.unwrap_or_else(|failed| panic!("{}: {failed}", profile.name));
    let mut proof = compare("gateway", profile, &report);
    assert!(proof.holds, "{}: {:#?}", profile.name, proof.side_by_side());
    // Which of the declared ports were drawn.
    proof.measured.other.retain(|axis, _| !["port_range", "blocks", "addresses"].contains(&axis.as_str()));
    proof
}

/// Measures a gateway of the kernel, one of the model in a machine, and one of the model in this process.
fn probe_alike(profile: &Profile) {
    let machine = Machine::boot(profile);
    machine.load(profile);
    let began = Instant::now();
    let kernel = measured(&mut machine.stations(), profile);
    let took = began.elapsed();
    machine.be_model();
    let model = measured(&mut machine.stations(), profile);
    let (mut memory, _) = in_memory(profile, &machine.place().addresses, 7);
    let engine = measured(&mut memory, profile);
    println!("{}: {took:?} {:?}", profile.name, kernel.measured);
    assert_eq!(kernel.measured, engine.measured, "{}: kernel and engine", profile.name);
    assert_eq!(model.measured, engine.measured, "{}: model in a machine and engine", profile.name);
}

/// The five, one that nothing keeps, and one that gives hosts blocks of ports.
fn chosen() -> impl Iterator<Item = Profile> {
    let chosen = |profile: &Profile| {
        let name = profile.name.as_str();
        Preset::ALL.iter().any(|preset| preset.name() == name)
            || ["symmetric-sequential", "block-allocated"].contains(&name)
    };
    kernel_profiles().filter(chosen)
}

#[test]
fn the_kernel_and_the_model_measure_alike() {
    chosen().for_each(|profile| probe_alike(&profile));
}

#[test]
#[ignore = "long: make test-full"]
fn all_kernels_and_models_measure_alike() {
    kernel_profiles().for_each(|profile| probe_alike(&profile));
}

#[test]
fn the_kernel_and_the_model_agree_over_a_trace() {
    chosen().for_each(|profile| agree(&profile, 2_000));
}

#[test]
#[ignore = "long: make test-full"]
fn all_kernels_and_models_agree_over_long_traces() {
    kernel_profiles().for_each(|profile| agree(&profile, 20_000));
}

//! Starts five copies of a template at once and prints how long each step takes and what they cost.
//!
//! `NATRIG_GUEST` names the guest program; `cargo run --release -p natrig-vmm --example five [RUNS]`.

use std::{
    fs::File,
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use natrig_agent_proto::{Identity, Network, Nic, Request, Route};
use natrig_vmm::{
    Accelerator, CloneSpec, Image, ImageSpec, Machine, Origin, PackageSource, Qemu, Shape, Store, Template,
};

type Anything<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const MACHINES: usize = 5;

fn main() -> Anything<()> {
    let runs = std::env::args().nth(1).map_or(Ok(5), |runs| runs.parse())?;
    let guest = std::env::var("NATRIG_GUEST").map_err(|_| "NATRIG_GUEST names no guest program")?;
    let guest_program = std::fs::read(guest)?;
    let mut progress = |line: &str| eprintln!("{line} …");

    let store = Store::open_default()?;
    let qemu = Qemu::find()?;
    let began = Instant::now();
    let spec = ImageSpec { guest_program: &guest_program, packages: PackageSource::Apt, kernel: None };
    let image = Image::build(&store, &spec, &mut progress)?;
    println!(
        "image       {:>7.2?}  {} MB, kernel {}, {} modules",
        began.elapsed(),
        image.manifest().bytes >> 20,
        image.manifest().kernel,
        image.manifest().modules.len()
    );
    let choice = Accelerator::choose(&store, &qemu, &image, &mut progress)?;
    println!("accelerator     {}  {}", choice.accelerator, choice.reason);
    let began = Instant::now();
    let shape = Shape::default();
    let template =
        Template::build(&store, &qemu, Origin::Micro(&image), choice.accelerator, shape, &mut progress)?;
    match template.boot_time() {
        Some(boot) => println!("template    {:>7.2?}  of that boot {boot:.2?}", began.elapsed()),
        None => println!("template    {:>7.2?}  from the cache", began.elapsed()),
    }
    for _ in 0..runs {
        five(&template)?;
    }
    Ok(())
}

fn five(template: &Template) -> Anything<()> {
    let began = Instant::now();
    let started: Vec<Anything<(Machine, UnixStream, Steps)>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..MACHINES).map(|number| scope.spawn(move || one(template, number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect()
    });
    let all = began.elapsed();
    let machines = started.into_iter().collect::<Anything<Vec<_>>>()?;
    let slowest = |step: fn(&Steps) -> Duration| {
        machines.iter().map(|(_, _, steps)| step(steps)).max().unwrap_or_default()
    };
    let memory =
        machines.iter().map(|(machine, ..)| machine.own_memory()).sum::<natrig_vmm::Result<u64>>()?;
    println!(
        "five ready  {all:>7.2?}  slowest: up {:.2?}, identified {:.2?}, networked {:.2?}; own memory {} MB",
        slowest(|steps| steps.up),
        slowest(|steps| steps.identified),
        slowest(|steps| steps.networked),
        memory >> 20
    );
    Ok(())
}

struct Steps {
    up: Duration,
    identified: Duration,
    networked: Duration,
}

fn one(template: &Template, number: usize) -> Anything<(Machine, UnixStream, Steps)> {
    let (theirs, ours) = UnixStream::pair()?;
    let began = Instant::now();
    let machine = template.spawn(CloneSpec {
        nics: vec![OwnedFd::from(theirs)],
        disk: None,
        console: File::options().append(true).open("/dev/null")?,
    })?;
    let up = began.elapsed();
    let mut entropy = vec![0; 64];
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut entropy)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    machine.agent().done(Request::Identify(Identity {
        entropy,
        hostname: format!("machine{number}"),
        machine_id: format!("{:032x}", number + 1),
        realtime_ns: u64::try_from(now.as_nanos())?,
    }))?;
    let identified = began.elapsed();
    let last = u8::try_from(number)? + 2;
    machine.agent().done(Request::Network(Network {
        nics: vec![Nic {
            name: "wan".to_owned(),
            mac: [2, 0, 0, 0, 0, last],
            addresses: vec![(Ipv4Addr::new(192, 168, 100, last), 24)],
        }],
        routes: vec![Route { to: (Ipv4Addr::UNSPECIFIED, 0), via: Ipv4Addr::new(192, 168, 100, 1) }],
        forward: true,
        sysctls: Vec::new(),
    }))?;
    let steps = Steps { up, identified, networked: began.elapsed() };
    Ok((machine, ours, steps))
}

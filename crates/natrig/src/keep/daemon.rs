//! The process that a lab belongs to.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use natrig_agent_proto::Start;
use natrig_attach::Tap;
use natrig_lab::Halt;
use natrig_machines::{Live, Trouble, Who, gateway, inquiry};
use natrig_probe::Steps;
use natrig_scenario::{Action, Machine, Scenario, Segment};
use natrig_vmm::ProcessEvent;
use rustix::event::{PollFd, PollFlags, poll};

use super::{
    picture,
    protocol::{Answer, Ask, Channel, Inquiry, address},
    shown::Shown,
};
use crate::{
    cli::{Attach, UpArguments},
    failure::Failure,
    folder,
    interrupt::{self, Interrupt},
    plan, prepare,
    run::with_app,
};

/// The line on stdout after which the parent may go.
pub const READY: &str = "ready";

/// How often a lab looks whether it shall end.
const LOOK: Duration = Duration::from_millis(200);

/// How long a program whose user is gone has to end by itself.
const GRACE: Duration = Duration::from_secs(2);

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Boots a lab and serves it until it is taken down. Stdout tells the parent how far things are.
pub fn daemon(arguments: UpArguments) -> Result<u8, Failure> {
    let listener = claim(&arguments.lab.name)?;
    let mut scenario = pick(&arguments)?;
    let attached = attached(&mut scenario, &arguments.attach)?;
    folder::check(arguments.out.as_deref())?;
    let interrupt = Interrupt::watch();
    let stands = end_with_parent();
    let shown = Shown::open(&arguments.web, &arguments.lab.name)?;
    let mut rig = prepare::rig(None, rand::random(), &mut |message| say(message))?;
    if let Some(mebibytes) = arguments.ring {
        rig.keep_newest(u64::from(mebibytes) << 20);
    }
    let folder = folder::create(arguments.out.as_deref())?;
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let halt = interrupt.orderly().clone();
    let tell = shown.begin(&scenario, &folder);
    let stood = Live::stand(rig, scenario, &folder, &halt, tell);
    let live = stood.map_err(|trouble| Failure::Lab(told(trouble)))?;
    for (segment, tap) in attached {
        let joined = format!("{segment} is joined to {}", tap.name());
        live.attach(segment, tap).map_err(|trouble| Failure::Lab(told(trouble)))?;
        say(&joined);
    }
    let served = Arc::new(Served { name: arguments.lab.name, live, halt, shown });
    if arguments.web_faults {
        let breaking = Arc::clone(&served);
        served.shown.allow(Box::new(move |words, given_up| match breaking.befall(words, given_up) {
            Ok(done) => Ok(done),
            Err(Answer::Refused(why) | Answer::Unmet(why)) => Err(why),
            Err(other) => Err(format!("{other:?}")),
        }));
    }
    say(&describe(&served));
    stands.store(true, Ordering::SeqCst);
    say(READY);
    serve(listener, served)
}

fn told(trouble: Trouble) -> String {
    let hint = trouble.hint.as_ref().map(|hint| format!("hint: {hint}"));
    let lines: Vec<String> = std::iter::once(trouble.message).chain(trouble.lines).chain(hint).collect();
    lines.join("\n")
}

struct Served {
    name: String,
    live: Live,
    halt: Halt,
    shown: Shown,
}

impl Served {
    /// Does a fault and says what was done, or answers why not.
    fn befall(&self, words: &[String], given_up: &Halt) -> Result<String, Answer> {
        let action = self.live.scenario().action(words).map_err(|problem| {
            Answer::Refused(format!("that is no fault of this lab\n{}", problem.render(false)))
        })?;
        self.live.befall(&action, given_up).map_err(|trouble| match &action {
            Action::Expect(_) if trouble.who == Who::Node => Answer::Unmet(told(trouble)),
            _ => Answer::Refused(told(trouble)),
        })
    }
}

/// The listener is also the lock: no two labs of a user have one name.
fn claim(name: &str) -> Result<UnixListener, Failure> {
    let bound = address(name).and_then(|address| UnixListener::bind_addr(&address));
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::Usage(format!(
            "a lab called `{name}` is up already\nhint: natrig down --lab {name}, or give this one another --lab NAME"
        )),
        _ => Failure::Lab(format!("cannot make the lab's socket: {error}")),
    })
}

fn pick(arguments: &UpArguments) -> Result<Scenario, Failure> {
    let scenarios = with_app(Scenario::load(&arguments.file)?, arguments.app.as_deref())?;
    let known: Vec<String> = scenarios.iter().map(|scenario| scenario.id.clone()).collect();
    let mut wanted = scenarios
        .into_iter()
        .filter(|scenario| arguments.only.as_ref().is_none_or(|only| *only == scenario.id));
    match (wanted.next(), wanted.next()) {
        (Some(scenario), None) => Ok(scenario),
        _ => Err(Failure::Usage(format!(
            "{} holds several cells; name one\nhint: --only {}",
            arguments.file.display(),
            known.join(" | ")
        ))),
    }
}

/// Opens the devices that segments are joined to, before anything is booted.
fn attached(scenario: &mut Scenario, wanted: &[Attach]) -> Result<Vec<(Segment, Tap)>, Failure> {
    let segments: BTreeSet<Segment> = scenario.layout().links().map(|(_, segment)| segment).collect();
    let mut opened = Vec::new();
    for Attach { segment: name, device } in wanted {
        let segment = segments.iter().copied().find(|segment| segment.name() == name).ok_or_else(|| {
            let names: Vec<&str> = segments.iter().map(|segment| segment.name()).collect();
            Failure::Usage(format!("no segment is called `{name}`\nhint: there are {}", names.join(", ")))
        })?;
        if !scenario.attached.insert(segment) {
            return Err(Failure::Usage(format!(
                "`{name}` is attached twice\nhint: a bridge joins several devices"
            )));
        }
        let tap = Tap::open(device).map_err(|error| Failure::Usage(error.to_string()))?;
        opened.push((segment, tap));
    }
    Ok(opened)
}

fn describe(served: &Served) -> String {
    let Served { name, live, shown, .. } = served;
    let scenario = live.scenario();
    let mut text = format!("lab `{name}`: {} ({})\n", scenario.id, gateway::title(&scenario.nats));
    let state = live.state();
    if let Some(picture) = picture::draw(&plan::map(scenario), &state) {
        picture.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
    }
    for host in live.topology().hosts() {
        let nics: Vec<String> = host
            .nics
            .iter()
            .map(|nic| {
                let addresses: Vec<String> =
                    nic.addresses.iter().map(|(address, length)| format!("{address}/{length}")).collect();
                format!("{} on {}: {}", nic.name, nic.segment, addresses.join(", "))
            })
            .collect();
        let role =
            host.gateway.as_ref().map_or(String::new(), |gateway| format!(" ({})", gateway.profile.name));
        text.push_str(&format!("  {}{role}  {}\n", host.machine, nics.join("; ")));
    }
    for (machine, id) in live.nodes().ids() {
        text.push_str(&format!("  node in {machine}: {id}\n"));
    }
    for line in state.to_string().lines() {
        text.push_str(&format!("  {line}\n"));
    }
    if let Some(place) = shown.place() {
        text.push_str(&format!("  page: {place}\n"));
    }
    text.push_str(&format!("  captures and logs: {}", live.folder().display()));
    text
}

fn status(served: &Served, json: bool) -> Answer {
    if !json {
        return Answer::Text(describe(served));
    }
    let Served { name, live, .. } = served;
    let nodes: BTreeMap<&str, &str> = live.nodes().ids().map(|(machine, id)| (machine.name(), id)).collect();
    as_json(&serde_json::json!({
        "lab": name,
        "scenario": live.scenario().id,
        "folder": live.folder(),
        "nodes": nodes,
        "state": live.state(),
    }))
}

fn as_json(value: &serde_json::Value) -> Answer {
    serde_json::to_string_pretty(value).map_or_else(|error| Answer::Refused(error.to_string()), Answer::Text)
}

/// Does a fault, for as long as the one who asked for it waits.
fn break_or_mend(served: &Served, channel: &Channel, words: &[String], json: bool) -> Answer {
    let given_up = Halt::default();
    let Ok(mut waiting) = channel.try_clone() else {
        return Answer::Refused("the lab cannot see who asks".to_owned());
    };
    let watched = given_up.clone();
    std::thread::spawn(move || {
        while let Ok(Some(_)) = waiting.receive::<Ask>() {}
        watched.raise();
    });
    match served.befall(words, &given_up) {
        Ok(done) if json => as_json(&serde_json::json!({"done": done, "state": served.live.state()})),
        Ok(done) => Answer::Text(done),
        Err(answer) => answer,
    }
}

fn serve(listener: UnixListener, served: Arc<Served>) -> Result<u8, Failure> {
    let wrong = |error: io::Error| Failure::Lab(format!("the lab's socket failed: {error}"));
    let (down, asked) = mpsc::channel::<UnixStream>();
    let (answering, incoming) = (Arc::clone(&served), listener.try_clone().map_err(wrong)?);
    let accepting = std::thread::spawn(move || {
        for stream in incoming.incoming() {
            match stream {
                Ok(stream) => {
                    let (served, down) = (Arc::clone(&answering), down.clone());
                    std::thread::spawn(move || answer(&served, stream, &down));
                }
                // It was shut down.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(_) => {}
            }
        }
    });
    loop {
        let asked = asked.recv_timeout(LOOK).ok();
        if asked.is_none() && !served.halt.raised() {
            served.shown.stands(|| served.live.state());
            continue;
        }
        served.live.end();
        served.shown.down();
        // Whoever is told that the lab is down finds its name free.
        let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        let _ = accepting.join();
        drop(listener);
        if let Some(stream) = asked {
            let mut channel = Channel::new(stream);
            let _ = channel.send(&Answer::Done);
            // It hangs up when this process has ended, not before.
            std::mem::forget(channel);
        }
        return Ok(0);
    }
}

/// Serves one command. Its own user only: an abstract socket has no permissions of its own.
fn answer(served: &Served, stream: UnixStream, down: &mpsc::Sender<UnixStream>) {
    let same = rustix::net::sockopt::socket_peercred(&stream)
        .is_ok_and(|peer| peer.uid == rustix::process::getuid());
    if !same {
        return;
    }
    let Ok(copy) = stream.try_clone() else { return };
    let mut channel = Channel::new(stream);
    let result = match channel.receive::<Ask>() {
        Ok(Some(Ask::Down)) => {
            let _ = down.send(copy);
            return;
        }
        Ok(Some(Ask::Status { json })) => channel.send(&status(served, json)),
        Ok(Some(Ask::Folder)) => channel.send(&Answer::Text(served.live.folder().display().to_string())),
        Ok(Some(Ask::Fault { words, json })) => {
            let answer = break_or_mend(served, &channel, &words, json);
            channel.send(&answer)
        }
        Ok(Some(Ask::Probe(inquiry))) => {
            let answer = inquire(served, &inquiry).unwrap_or_else(Answer::Refused);
            channel.send(&answer)
        }
        Ok(Some(Ask::Exec { machine, argv, terminal })) => {
            execute(served, &mut channel, &machine, argv, terminal)
        }
        _ => channel.send(&Answer::Refused("that is no question".to_owned())),
    };
    if let Err(error) = result {
        tracing::debug!("a command went away: {error}");
    }
}

fn inquire(served: &Served, inquiry: &Inquiry) -> Result<Answer, String> {
    let machine = machine(served, &inquiry.machine)?;
    let steps = if inquiry.fast { Steps::Fast } else { Steps::Whole };
    let (report, proof) = inquiry::measure(&served.live, machine, steps, inquiry.timers).map_err(told)?;
    if inquiry.json {
        let all = serde_json::json!({"proof": proof, "report": report});
        let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
        return Ok(Answer::Measured(text, proof.holds));
    }
    let verdict = if proof.holds { "as it should be" } else { "NOT as it should be" };
    let mut lines = vec![format!("{machine} is behind {}, {verdict}", proof.profile)];
    lines.extend(proof.side_by_side());
    Ok(Answer::Measured(lines.join("\n"), proof.holds))
}

fn machine(served: &Served, name: &str) -> Result<Machine, String> {
    let machines = served.live.topology().hosts().iter().map(|host| host.machine);
    machines.clone().find(|machine| machine.name() == name).ok_or_else(|| {
        let names: Vec<&str> = machines.map(Machine::name).collect();
        format!("no machine is called `{name}`\nhint: there are {}", names.join(", "))
    })
}

fn execute(
    served: &Served,
    channel: &mut Channel,
    name: &str,
    argv: Vec<String>,
    terminal: Option<(u16, u16)>,
) -> io::Result<()> {
    let found = machine(served, name).and_then(|machine| {
        Ok((served.live.agent(machine).map_err(told)?, served.live.command(machine, argv)))
    });
    let (agent, argv) = match found {
        Ok(found) => found,
        Err(message) => return channel.send(&Answer::Refused(message)),
    };
    let mut back = channel.try_clone()?;
    let (process, events) = match agent.start(Start { argv, terminal, ..Start::default() }) {
        Ok(started) => started,
        Err(error) => return channel.send(&Answer::Refused(error.to_string())),
    };
    // Nothing is ever sent through it: it hangs up when the program has ended.
    let (running, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _running = running;
        for event in events {
            // A command that is gone takes no more output, but the program's end is still waited for.
            let _ = match event {
                ProcessEvent::Output { stream, data, .. } => back.send(&Answer::Output(stream, data)),
                ProcessEvent::Exited { status, .. } => back.send(&Answer::Exited(status)),
                ProcessEvent::Lost { reason, .. } => back.send(&Answer::Refused(reason)),
            };
        }
    });
    // Ends when the command closes its side: after the program's end, or because it was interrupted.
    while let Ok(Some(ask)) = channel.receive::<Ask>() {
        let done = match ask {
            Ask::Input(data) if data.is_empty() => process.close_input(),
            Ask::Input(data) => process.input(&data),
            Ask::Resize(size) => process.resize(size),
            _ => Ok(()),
        };
        if done.is_err() {
            break;
        }
    }
    // The one who asked is gone, and what it started goes, too: politely, then by force.
    for (signal, grace) in [(SIGTERM, GRACE), (SIGKILL, Duration::ZERO)] {
        if ended.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
            break;
        }
        let _ = process.signal(signal);
        let _ = ended.recv_timeout(grace);
    }
    Ok(())
}

/// Ends this process when the command that waits for the lab goes away; unless what is returned says that the lab stands.
fn end_with_parent() -> Arc<AtomicBool> {
    let stands = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stands);
    std::thread::spawn(move || {
        let out = io::stdout();
        // A pipe whose reader is gone is in error; nothing else is waited for.
        let mut gone = [PollFd::new(&out, PollFlags::empty())];
        while poll(&mut gone, None) == Err(rustix::io::Errno::INTR) {}
        if !seen.load(Ordering::SeqCst) {
            std::process::exit(interrupt::CODE.into());
        }
    });
    stands
}

/// Tells the parent; if it is gone before the lab stands, nobody wants the lab any more.
fn say(line: &str) {
    let mut out = io::stdout();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(interrupt::CODE.into());
    }
}

//! The process that a lab belongs to.

use std::{
    io::{self, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use natrig_agent_proto::Start;
use natrig_lab::{Halt, proof::refuse};
use natrig_machines::{Lab, Member, Nodes, Trouble, gateway, inquiry, start_public};
use natrig_probe::Steps;
use natrig_record::What;
use natrig_scenario::{Nat, Scenario};
use natrig_vmm::ProcessEvent;
use rustix::event::{PollFd, PollFlags, poll};

use super::protocol::{Answer, Ask, Channel, Inquiry, address};
use crate::{
    cli::UpArguments,
    failure::Failure,
    folder,
    interrupt::{self, Interrupt},
    prepare,
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
    let scenario = pick(&arguments)?;
    folder::check(arguments.out.as_deref())?;
    let interrupt = Interrupt::watch();
    let stands = end_with_parent();
    let rig = prepare::rig(None, rand::random(), &mut |message| say(message))?;
    let folder = folder::create(arguments.out.as_deref())?;
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let halt = interrupt.orderly().clone();
    let stood = stand(&rig, &scenario, &folder, &halt);
    let (lab, nodes) = stood.map_err(|trouble| Failure::Lab(told(trouble)))?;
    let text = describe(&arguments.lab.name, &scenario, &lab, &nodes, &folder);
    say(&text);
    stands.store(true, Ordering::SeqCst);
    say(READY);
    let nats = scenario.nats.clone();
    serve(&listener, Arc::new(Served { lab, nats, _nodes: nodes, text, halt }))
}

fn told(trouble: Trouble) -> String {
    let hint = trouble.hint.as_ref().map(|hint| format!("hint: {hint}"));
    let lines: Vec<String> = std::iter::once(trouble.message).chain(trouble.lines).chain(hint).collect();
    lines.join("\n")
}

struct Served {
    lab: Lab,
    nats: Vec<Nat>,
    _nodes: Nodes,
    text: String,
    halt: Halt,
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
    let scenarios = Scenario::load(&arguments.file)?;
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

fn stand(
    rig: &natrig_machines::Rig,
    scenario: &Scenario,
    folder: &Path,
    halt: &Halt,
) -> Result<(Lab, Nodes), Trouble> {
    let lab = Lab::boot(rig, scenario, folder, halt)?;
    gateway::start_stun(&lab)?;
    gateway::load(&lab, scenario, folder)?;
    let proofs = gateway::measure(&lab, scenario)?;
    refuse(&proofs)?;
    gateway::flush(&lab, scenario)?;
    // Events go to the nodes' logs; nobody else listens.
    let (events, _) = mpsc::channel::<What>();
    let public = start_public(&lab, scenario, folder, halt, &events)?;
    let nodes = Nodes::start(&lab, scenario, public, folder, halt, &events)?;
    nodes.bootstrapped(halt)?;
    Ok((lab, nodes))
}

fn describe(name: &str, scenario: &Scenario, lab: &Lab, nodes: &Nodes, folder: &Path) -> String {
    let mut text = format!("lab `{name}`: {} ({})\n", scenario.id, gateway::title(&scenario.nats));
    for host in lab.topology().hosts() {
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
    for (machine, id) in nodes.ids() {
        text.push_str(&format!("  node in {machine}: {id}\n"));
    }
    text.push_str(&format!("  captures and logs: {}", folder.display()));
    text
}

fn serve(listener: &UnixListener, served: Arc<Served>) -> Result<u8, Failure> {
    let wrong = |error: io::Error| Failure::Lab(format!("the lab's socket failed: {error}"));
    let (down, asked) = mpsc::channel::<UnixStream>();
    let accepting = Arc::clone(&served);
    let listener = listener.try_clone().map_err(wrong)?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (served, down) = (Arc::clone(&accepting), down.clone());
            std::thread::spawn(move || answer(&served, stream, &down));
        }
    });
    loop {
        match asked.recv_timeout(LOOK) {
            Ok(stream) => {
                end(&served);
                let _ = Channel::new(stream).send(&Answer::Done);
                return Ok(0);
            }
            Err(_) if served.halt.raised() => {
                end(&served);
                return Ok(0);
            }
            Err(_) => {}
        }
    }
}

/// Ends the machines one by one, so that captures are whole when this returns.
fn end(served: &Served) {
    for member in served.lab.members() {
        if let Err(error) = member.machine().kill() {
            tracing::warn!("{}: {error}", member.name);
        }
    }
    if let Err(error) = served.lab.switch().stop() {
        tracing::warn!("{error}");
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
        Ok(Some(Ask::Status)) => channel.send(&Answer::Text(served.text.clone())),
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
    let machine = member(served, &inquiry.machine)?.name;
    let steps = if inquiry.fast { Steps::Fast } else { Steps::Whole };
    let (report, proof) =
        inquiry::measure(&served.lab, &served.nats, machine, steps, inquiry.timers).map_err(told)?;
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

fn member<'a>(served: &'a Served, machine: &str) -> Result<&'a Member, String> {
    let members = served.lab.members();
    members.iter().find(|member| member.name.name() == machine).ok_or_else(|| {
        let names: Vec<&str> = members.iter().map(|member| member.name.name()).collect();
        format!("no machine is called `{machine}`\nhint: there are {}", names.join(", "))
    })
}

fn execute(
    served: &Served,
    channel: &mut Channel,
    machine: &str,
    argv: Vec<String>,
    terminal: Option<(u16, u16)>,
) -> io::Result<()> {
    let member = match member(served, machine) {
        Ok(member) => member,
        Err(message) => return channel.send(&Answer::Refused(message)),
    };
    let mut back = channel.try_clone()?;
    let (process, events) = match member.agent().start(Start { argv, terminal, ..Start::default() }) {
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

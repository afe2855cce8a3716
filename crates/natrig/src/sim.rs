//! `natrig sim`: populations in virtual time.

use std::{
    fs,
    io::IsTerminal,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use clap::Args;
use natrig_scenario::population::{Churn, Mix};
use natrig_sim::population::{
    self, Ended, Gossip, Partners, Population, RelaySettings, Settings, Traffic,
    report::{self, Document},
};

use crate::{failure::Failure, output};

/// Arguments of `sim`.
#[derive(Debug, Args)]
pub struct SimArguments {
    /// How many members
    #[arg(long, value_name = "N")]
    nodes: u32,
    /// Which NATs they are behind and where they live, such as scenarios/populations/nat-check-2005.yaml
    #[arg(long, value_name = "FILE")]
    nat_mix: PathBuf,
    /// How they come and go, such as scenarios/populations/flatout-2006.churn.yaml [default: all come within 10 s and stay]
    #[arg(long, value_name = "FILE")]
    churn: Option<PathBuf>,
    /// How long they live, in their time
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    length: Duration,
    /// The seed of everything that is drawn [default: drawn]
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many worlds, with one seed after the other
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Threads: parts of the one world, or worlds at once; the outcome is the same with any [default: what the host has]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Members to one relay
    #[arg(long, value_name = "N", default_value = "64")]
    relay_members: NonZeroU32,
    /// Sessions that a relay serves at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    relay_sessions: usize,
    /// Announcements of others that each member keeps
    #[arg(long, value_name = "N", default_value_t = Gossip::default().view)]
    view: usize,
    /// Nobody tells ordinary members of others
    #[arg(long)]
    no_peer_contact: bool,
    /// In the last 40 s, each member that is there looks for so many others that are, and has to find them unless members leave
    #[arg(long, value_name = "N", default_value_t = 0)]
    lookups: u32,
    /// Time between two messages of a member
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    message_every: Duration,
    /// Length of a message, at least 20
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(20..))]
    message_bytes: u16,
    /// Match members by lot: one of two says something each time and the other answers; without it, each sends to one that it drew
    #[arg(long)]
    matched: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Leave population.json and report.html, a page with plots, in this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs populations; 1 if an invariant did not hold.
pub fn sim(arguments: SimArguments) -> Result<u8, Failure> {
    let settings = settings(&arguments)?;
    let begun = Instant::now();
    let progress = Progress::new(arguments.seeds);
    let worlds = population::many(&settings, arguments.seeds, settings.threads, |at| progress.show(at))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    progress.clear();
    let document = Document::new(&settings, worlds, begun.elapsed(), peak());
    let json = serde_json::to_string_pretty(&document)
        .map_err(|error| Failure::Usage(format!("the outcome cannot be written as JSON: {error}")))?;
    if let Some(folder) = &arguments.out {
        let written = |what| move |source| Failure::File { what, path: folder.clone(), source };
        fs::create_dir_all(folder).map_err(written("make"))?;
        write(&folder.join("population.json"), &json)?;
        write(&folder.join("report.html"), &report::html(&document))?;
    }
    output::print(&if arguments.json { json } else { report::text(&document) })?;
    let failed: Vec<u64> =
        document.worlds.iter().filter_map(Ended::failed).map(|failed| failed.seed).collect();
    for seed in &failed {
        output::tell(&format!("to see it again: {}", replay(&arguments, *seed)));
    }
    Ok(u8::from(!failed.is_empty()))
}

fn settings(arguments: &SimArguments) -> Result<Settings, Failure> {
    let host = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Settings {
        nodes: arguments.nodes,
        mix: Mix::load(&arguments.nat_mix)?,
        churn: arguments.churn.as_deref().map(Churn::load).transpose()?.unwrap_or_default(),
        length: arguments.length,
        // Small, so that it is easily said again.
        seed: arguments.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        threads: arguments.threads.map_or(host, usize::from),
        traffic: Traffic {
            every: arguments.message_every,
            bytes: arguments.message_bytes.into(),
            partners: if arguments.matched { Partners::Matched } else { Partners::Drawn },
        },
        relays: RelaySettings { members: arguments.relay_members, sessions: arguments.relay_sessions },
        gossip: Gossip { view: arguments.view, peer_contact: !arguments.no_peer_contact },
        lookups: arguments.lookups,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::File { what: "write", path: path.to_owned(), source })
}

/// The command that runs one world again.
fn replay(arguments: &SimArguments, seed: u64) -> String {
    let SimArguments { nodes, nat_mix, relay_members, relay_sessions, message_bytes, view, lookups, .. } =
        arguments;
    let contact = if arguments.no_peer_contact { " --no-peer-contact" } else { "" };
    let matched = if arguments.matched { " --matched" } else { "" };
    let time = |time: Duration| humantime::format_duration(time).to_string().replace(' ', "");
    let churn = arguments.churn.as_ref().map(|file| format!(" --churn {}", file.display()));
    format!(
        "natrig sim --nodes {nodes} --nat-mix {}{} --for {} --relay-members {relay_members} \
         --relay-sessions {relay_sessions} --message-every {} --message-bytes {message_bytes} --view {view}{contact}{matched} \
         --lookups {lookups} --seed {seed}",
        nat_mix.display(),
        churn.unwrap_or_default(),
        time(arguments.length),
        time(arguments.message_every),
    )
}

/// The most memory of this process that was resident at once, where the system tells.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// A line that says how far a run is, for those who wait.
struct Progress {
    seeds: u64,
    shown: Option<Mutex<()>>,
}

impl Progress {
    fn new(seeds: u64) -> Self {
        Progress { seeds, shown: std::io::stderr().is_terminal().then(Mutex::default) }
    }

    fn show(&self, population: &Population) {
        let Some(shown) = &self.shown else { return };
        let _one = shown.lock();
        let world = if self.seeds > 1 { format!("seed {}: ", population.seed()) } else { String::new() };
        eprint!(
            "\r\x1b[K{world}{:.0} s, {} events",
            population.now().as_secs_f64(),
            population.counts().events
        );
    }

    fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

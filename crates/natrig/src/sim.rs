//! `natrig sim`: populations in virtual time.

use std::{
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use natrig_scenario::population::{Churn, Mix};
use natrig_sim::population::{self, Ended, Population, RelaySettings, Settings, Traffic};

use crate::{failure::Failure, output};

/// Arguments of `sim`.
#[derive(Debug, Args)]
pub struct SimArguments {
    /// How many members
    #[arg(long, value_name = "N")]
    nodes: u32,
    /// Which NATs they are behind and where they live
    #[arg(long, value_name = "FILE")]
    nat_mix: PathBuf,
    /// How they come and go [default: all come within 10 s and stay]
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
    /// Threads: of the one world, or worlds at once [default: what the host has]
    #[arg(long, value_name = "T")]
    threads: Option<usize>,
    /// Members to one relay
    #[arg(long, value_name = "N", default_value = "64")]
    relay_members: NonZeroU32,
    /// Sessions that a relay serves at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    relay_sessions: usize,
    /// Time between two messages of a member
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    message_every: Duration,
    /// Length of a message
    #[arg(long, value_name = "N", default_value_t = 100)]
    message_bytes: usize,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Leave population.json and a report with plots in this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs populations.
pub fn sim(arguments: SimArguments) -> Result<u8, Failure> {
    let mix = Mix::load(&arguments.nat_mix)?;
    let churn = arguments.churn.as_deref().map(Churn::load).transpose()?.unwrap_or_default();
    let host = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(host).max(1);
    let settings = Settings {
        nodes: arguments.nodes,
        mix,
        churn,
        length: arguments.length,
        seed: arguments.seed.unwrap_or_else(rand::random),
        threads,
        traffic: Traffic { every: arguments.message_every, bytes: arguments.message_bytes },
        relays: RelaySettings { members: arguments.relay_members, sessions: arguments.relay_sessions },
    };
    let begun = Instant::now();
    let looked = |_: &Population| ();
    let worlds = population::many(&settings, arguments.seeds, threads, looked)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let seconds = begun.elapsed().as_secs_f64();
    for world in &worlds {
        match world {
            Ended::Whole(outcome) => {
                output::print(&serde_json::to_string_pretty(outcome).unwrap_or_default())?;
                eprintln!("{seconds} s, {:.0} events/s", outcome.events as f64 / seconds);
            }
            Ended::Failed(failed) => output::print(&failed.to_string())?,
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    eprintln!("{}", status.lines().filter(|line| line.starts_with("VmHWM")).collect::<String>());
    Ok(0)
}

//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use natrig_sim::backend::Stop;

/// A test rig for NAT traversal: real kernels, proven NATs, verdicts from the wire.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 all as expected, 1 any not as expected or disagreeing, 2 could not run \
(lab error), 130 interrupted."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenario files
    Run(RunArguments),
    /// Run every pair of some gateways: of the five NATs, or of those named
    Matrix(MatrixArguments),
    /// Simulate thousands of nodes behind NATs of given shares, who come and go and talk
    Sim(crate::sim::SimArguments),
    /// Run a scenario with faults by lot, many seeds of them, and show the fewest faults that it does not survive
    Chaos(ChaosArguments),
    /// List scenarios, or what covers the seed's check-list and the test plan
    List(ListArguments),
    /// Say what a cell tests and why its path is what it is, or what proves a case of the test plan
    Explain {
        /// Its ID, such as T2.M.23, recovery-roam or 4.1
        id: String,
        /// Scenario files, and folders of them [default: scenarios, if there is such a folder]
        files: Vec<PathBuf>,
    },
    /// Write a scenario with comments, to begin with
    Init {
        /// Where; `-` for standard output
        #[arg(default_value = "scenario.yaml")]
        file: PathBuf,
    },
    /// Print what makes a shell complete natrig's commands and options
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print natrig's manual page, or that of a command
    Man {
        /// Which command, such as run or nat
        command: Option<String>,
    },
    /// Show a run's figures, hold a run against an earlier one, put parts of a run together, write its page again
    Report {
        /// What with them.
        #[command(subcommand)]
        what: ReportCommand,
    },
    /// List, show and explain gateway profiles
    Nat {
        /// What with them.
        #[command(subcommand)]
        what: NatCommand,
    },
    /// What needs machines.
    #[cfg(feature = "machines")]
    #[command(flatten)]
    Machines(MachinesCommand),
}

/// What to do with machines.
#[cfg(feature = "machines")]
#[derive(Debug, Subcommand)]
pub enum MachinesCommand {
    /// Say what this host can do and, for each lack, the command that mends it
    Doctor,
    /// Make, list and remove guest images
    Image {
        /// What with them.
        #[command(subcommand)]
        what: ImageCommand,
    },
    /// Boot a scenario's machines and keep them up
    Up(UpArguments),
    /// Run scenarios on machines and in the simulator, and say where the two differ
    Compare(CompareArguments),
    #[command(hide = true)]
    Keep(UpArguments),
    /// Take a lab down
    Down {
        /// Which lab.
        #[command(flatten)]
        lab: LabName,
    },
    /// Say what a lab is made of, what is broken in it, and which way its nodes reach each other
    Status {
        /// Which lab.
        #[command(flatten)]
        lab: LabName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Break or mend something in a lab, as the faults of a scenario do
    #[command(
        after_help = "A fault is an entry of a scenario's `faults:` without `after`, see docs/scenarios.md:\n  \
natrig fault cut nat1.wan\n  natrig fault impair nat1.wan loss 10% delay 50ms\n  \
natrig fault '{partition: [[nat1.wan], [relay.wan]], one_way: true}'\n\n\
It ends when the fault has taken effect. Exit codes: 0 done, 1 an expected event was not reported, 2 not done."
    )]
    Fault {
        /// Which lab.
        #[command(flatten)]
        lab: LabName,
        /// What, keys and values in turn; or in one word as YAML
        #[arg(required = true, value_name = "FAULT")]
        words: Vec<String>,
        /// Print what was done and what is broken now as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a program in a machine of a lab
    Exec {
        /// Which lab.
        #[command(flatten)]
        lab: LabName,
        /// The machine: nat1, nat2, peer1, peer2 or relay
        node: String,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// Measure which NAT a peer of a lab is behind, from the peer itself
    Probe {
        /// Which lab.
        #[command(flatten)]
        lab: LabName,
        /// The machine: peer1 or peer2
        node: String,
        /// Mapping, filtering and early packets only
        #[arg(long)]
        fast: bool,
        /// Wait for the timers, too: minutes, for those of a common gateway
        #[arg(long, conflicts_with = "fast")]
        timers: bool,
        /// Print all that was measured as JSON
        #[arg(long)]
        json: bool,
    },
    /// Open a shell in a machine of a lab
    Shell {
        /// Which lab.
        #[command(flatten)]
        lab: LabName,
        /// The machine
        node: String,
    },
    /// Show what a machine's node and kernel have written
    Logs {
        /// Which lab.
        #[command(flatten)]
        lab: LabName,
        /// The machine
        node: String,
        /// Go on until interrupted
        #[arg(short, long)]
        follow: bool,
    },
    /// Copy what passes over a link of a lab, as pcapng, while it passes
    #[command(
        after_help = "natrig capture nat1.wan -w - | tshark -r -\n\nIt ends with the lab, with whoever reads it, or after --count packets. \
The link `dropped` has what was lost on all links."
    )]
    Capture(CaptureArguments),
    /// Remove templates, disks and leftovers of killed runs from the cache
    Clean {
        /// Remove packages, images and distributions' disks as well
        #[arg(long)]
        images: bool,
    },
}

/// Arguments of `image fetch`.
#[cfg(feature = "machines")]
#[derive(Debug, Args)]
pub struct FetchArguments {
    /// The name of a recipe (`natrig image recipes`), or a recipe of your own (.yaml)
    pub recipe: String,
    /// The SHA-256 that the image must have
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// A file with the publisher's keys, as gpgv reads it
    #[arg(long, value_name = "FILE")]
    pub keyring: Option<PathBuf>,
    /// Take what TLS brings, where the publisher signs nothing
    #[arg(long)]
    pub unsigned: bool,
}

/// Arguments of `image export`.
#[cfg(feature = "machines")]
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Where to
    pub folder: PathBuf,
    /// What the disk's gateway is, unless its boot parameters say otherwise (`natrig nat list`)
    #[arg(long, value_name = "PROFILE", default_value = "port-restrict")]
    pub nat: String,
    /// Its outside address, or several with commas between them
    #[arg(long, value_name = "ADDRESS/LENGTH", default_value = "203.0.113.2/24")]
    pub wan: String,
    /// The router beyond
    #[arg(long, value_name = "ADDRESS")]
    pub via: Option<std::net::Ipv4Addr>,
    /// Its inside address
    #[arg(long, value_name = "ADDRESS/LENGTH", default_value = "192.168.1.1/24")]
    pub lan: String,
    /// What tc's netem does to what leaves by the WAN, such as delay:50ms,loss:1%
    #[arg(long, value_name = "WORDS")]
    pub netem: Option<String>,
}

/// What to do with images.
#[cfg(feature = "machines")]
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make the image of this version, if it is not there
    Build {
        /// Take packages from a folder of .deb files instead of fetching them
        #[arg(long, value_name = "DIR")]
        packages: Option<PathBuf>,
    },
    /// List images
    Ls,
    /// List the distributions whose images natrig has recipes for
    Recipes,
    /// Fetch a distribution's image and lock its hash
    Fetch(FetchArguments),
    /// Write the gateway's image for QEMU, libvirt or a PC: a kernel with its initial file system, and a disk that boots them
    Export(ExportArguments),
    /// Remove images, by the start of their ID or by their name
    Rm {
        /// Which; all with `--all`
        ids: Vec<String>,
        /// All
        #[arg(long)]
        all: bool,
    },
}

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub enum ReportCommand {
    /// Show the figures of a run
    Show {
        /// A run's folder, or its results.json
        #[arg(default_value = "natrig-runs/latest")]
        run: PathBuf,
        /// As OpenMetrics
        #[arg(long)]
        open_metrics: bool,
    },
    /// Say what has changed from one run to another; exit code 1 if anything is worse
    Diff {
        /// The earlier run's folder, or its results.json
        before: PathBuf,
        /// The later one's
        after: PathBuf,
        /// By how much a figure may be worse
        #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = share)]
        threshold: f64,
    },
    /// Write report.html, the run as a page, again from its folder
    Html {
        /// A run's folder
        #[arg(default_value = "natrig-runs/latest")]
        run: PathBuf,
        /// Write it to this file instead of the run's folder
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print what makes GitHub show cells that failed beside a change
    Annotate {
        /// A run's folder, or its results.json
        #[arg(default_value = "natrig-runs/latest")]
        run: PathBuf,
    },
    /// Put parts of a run together, with their evidence
    Merge {
        /// The folders of the parts
        #[arg(required = true)]
        parts: Vec<PathBuf>,
        /// Where to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(|percent| (percent, 100.0)).unwrap_or((text, 1.0));
    match number.0.trim().parse::<f64>() {
        Ok(share) if share.is_finite() && share >= 0.0 => Ok(share / number.1),
        _ => Err("give a share, such as 20% or 0.2".to_owned()),
    }
}

/// What to do with gateway profiles.
#[derive(Debug, Subcommand)]
pub enum NatCommand {
    /// List all that have a name
    List {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one with all its axes, as YAML that can be changed and used
    Show {
        /// A name, or a YAML file
        #[arg(value_name = "NAME|FILE")]
        profile: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print the nftables rulesets that make a lab's gateways so
        #[arg(long, conflicts_with = "json")]
        nft: bool,
    },
    /// Say in plain words what one does, what makes it do so, and where that is written
    Explain {
        /// A name, or a YAML file
        #[arg(value_name = "NAME|FILE")]
        profile: String,
    },
    /// Measure gateways on several kernels, and say in what these differ
    #[cfg(feature = "machines")]
    Kernels(Box<KernelsArguments>),
}

/// Arguments of `nat kernels`.
#[cfg(feature = "machines")]
#[derive(Debug, Args)]
pub struct KernelsArguments {
    /// Packages of kernels, such as linux-image-6.1.0-47-cloud-amd64, or .deb files; the newest one is measured beside them
    #[arg(required = true, value_name = "PACKAGE|FILE")]
    pub kernels: Vec<String>,
    /// The gateways [default: the five]
    #[arg(long = "nat", value_name = "NAME", value_delimiter = ',')]
    pub nats: Vec<String>,
    /// Options.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Options of everything that runs scenarios.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Run this app instead of omerta-mesh: docs/apps.md
    #[arg(long, value_name = "FILE")]
    pub app: Option<PathBuf>,
    /// Run on virtual machines, or in the simulator
    #[arg(long, value_name = "WHICH", default_value_t = BackendName::default())]
    pub backend: BackendName,
    /// Leave results in this folder instead of natrig-runs/TIME, to which `latest` leads
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The seed of everything random that the lab draws; the simulator repeats a run by it [default: drawn]
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many cells run side by side [default: what the host has room for]
    #[arg(long, short)]
    pub jobs: Option<usize>,
    /// Run each cell so many times, and say how often it was as expected, with an interval of 95 % confidence
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: Option<u32>,
    /// Run only every n-th cell from the i-th on, such as 2/4; `natrig report merge` puts the parts together
    #[arg(long, value_name = "I/N")]
    pub shard: Option<crate::shard::Shard>,
    /// Whose evidence is kept [default: all; with --repeat beyond 10, failed]
    #[arg(long, value_name = "WHICH")]
    pub keep: Option<Keep>,
    /// Keep only so many bytes of each captured packet, once the verdict has been read
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..))]
    pub snap: Option<u32>,
    /// Keep only the newest packets of each capture, so many mebibytes, once the verdict has been read
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub ring: Option<u32>,
    /// Print results.json instead of a table
    #[arg(long)]
    pub json: bool,
    /// Show no progress: only cells that do not end as expected, and the results
    #[arg(long, short)]
    pub quiet: bool,
    /// Show all that nodes report and write, as it comes
    #[arg(long, short, conflicts_with = "quiet")]
    pub verbose: bool,
    /// In a browser.
    #[command(flatten)]
    pub web: crate::web::WebOptions,
    /// Simulator: write all that comes to a machine, and all that it does, into its cell's logs; may be given more than once
    #[arg(long, value_name = "MACHINE")]
    pub trace: Vec<String>,
    /// Simulator: stop time at a moment of the world, such as 3.2s, or when a node first reports an event, such as
    /// peer1:punchStarted, and leave the state of nodes, NATs and links in each cell's stopped.json
    #[arg(long, value_name = "MOMENT")]
    pub stop_at: Option<Stop>,
    /// Machines: boot new ones for every cell instead of making used ones new
    #[cfg(feature = "machines")]
    #[arg(long)]
    pub fresh: bool,
    /// Machines: take packages from a folder of .deb files instead of fetching them
    #[cfg(feature = "machines")]
    #[arg(long, value_name = "DIR")]
    pub packages: Option<PathBuf>,
}

/// What runs scenarios.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendName {
    /// Virtual machines
    #[cfg(feature = "machines")]
    #[cfg_attr(feature = "machines", default)]
    Vm,
    /// The simulator
    #[cfg_attr(not(feature = "machines"), default)]
    Sim,
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            #[cfg(feature = "machines")]
            BackendName::Vm => "vm",
            BackendName::Sim => "sim",
        })
    }
}

/// Whose evidence is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keep {
    /// That of every run
    All,
    /// That of runs that were not as expected
    Failed,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Scenario files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Only cells with these IDs
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Options.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Arguments of `chaos`.
#[derive(Debug, Args)]
pub struct ChaosArguments {
    /// A scenario file with one cell, talks and no faults, such as scenarios/stress-test.yaml
    pub file: PathBuf,
    /// The seed of the faults, and of the first world [default: drawn]
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many seeds are tried, from the first one on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub seeds: u64,
    /// How long faults happen, in their time
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    pub length: humantime::Duration,
    /// Run on virtual machines, or in the simulator
    #[arg(long, value_name = "WHICH", default_value_t = BackendName::default())]
    pub backend: BackendName,
    /// Leave what failed in this folder instead of natrig-runs/TIME
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// How many seeds run side by side [default: what the host has room for]
    #[arg(long, short)]
    pub jobs: Option<usize>,
    /// Print chaos.json instead of a summary
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Scenario files, and folders of them
    #[arg(default_value = "scenarios")]
    pub files: Vec<PathBuf>,
    /// Show, for each box of the seed's check-list and each case of the test plan, what proves it
    #[arg(long)]
    pub ids: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `matrix`.
#[derive(Debug, Args)]
pub struct MatrixArguments {
    /// The gateways, each dialling each [default: the five]; `natrig nat list` has the names
    #[arg(long = "nat", value_name = "NAME|FILE", value_delimiter = ',')]
    pub nats: Vec<String>,
    /// Try the gateways without a node: hosts behind them send alone, and together in either order
    #[arg(long)]
    pub experiment: bool,
    /// Only cells with these IDs: T2.M.1 to T2.M.25, others by their gateways, such as cgn_symmetric
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Options.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Arguments of `compare`.
#[cfg(feature = "machines")]
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Scenario files [default: the 25 cells of the matrix]
    pub files: Vec<PathBuf>,
    /// Instead of files, these gateways, each dialling each
    #[arg(long = "nat", value_name = "NAME|FILE", value_delimiter = ',', conflicts_with = "files")]
    pub nats: Vec<String>,
    /// Only cells with these IDs
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave both runs and comparison.json in this folder instead of natrig-runs/TIME
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The seed of everything random that both labs draw [default: drawn]
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many cells run side by side [default: what the host has room for]
    #[arg(long, short)]
    pub jobs: Option<usize>,
    /// Run each cell so many times on each; where chance decides, distributions are compared from 20 on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: Option<u32>,
    /// Print comparison.json's cells instead of a table
    #[arg(long)]
    pub json: bool,
    /// Take packages from a folder of .deb files instead of fetching them
    #[arg(long, value_name = "DIR")]
    pub packages: Option<PathBuf>,
}

/// Which lab that is up.
#[cfg(feature = "machines")]
#[derive(Debug, Clone, Args)]
pub struct LabName {
    /// The lab's name
    #[arg(long = "lab", env = "NATRIG_LAB", default_value = "lab", value_name = "NAME")]
    pub name: String,
}

/// Arguments of `capture`.
#[cfg(feature = "machines")]
#[derive(Debug, Args)]
pub struct CaptureArguments {
    /// The link, such as nat1.wan
    pub link: String,
    /// Where to; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub write: PathBuf,
    /// End after so many packets
    #[arg(short, long, value_name = "N")]
    pub count: Option<u64>,
    /// Also what has passed since the lab was booted
    #[arg(long)]
    pub from_start: bool,
    /// Which lab.
    #[command(flatten)]
    pub lab: LabName,
}

/// Arguments of `up`.
#[cfg(feature = "machines")]
#[derive(Debug, Args)]
pub struct UpArguments {
    /// A scenario file
    pub file: PathBuf,
    /// The cell, where the file has several
    #[arg(long, value_name = "ID")]
    pub only: Option<String>,
    /// Run this app instead of omerta-mesh: docs/apps.md
    #[arg(long, value_name = "FILE")]
    pub app: Option<PathBuf>,
    /// Which lab.
    #[command(flatten)]
    pub lab: LabName,
    /// Leave captures and logs in this folder instead of natrig-runs/TIME
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Keep only the newest packets of each capture, so many mebibytes
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub ring: Option<u32>,
    /// How it is watched.
    #[command(flatten)]
    pub web: crate::web::WebOptions,
    /// Let whoever sees the page break and mend things
    #[arg(long, requires = "web")]
    pub web_faults: bool,
    /// Join a segment to a TAP device or a bridge of this host, such as lan1=tap0; see docs/labs.md
    #[arg(long, value_name = "SEGMENT=DEVICE")]
    pub attach: Vec<Attach>,
}

/// A segment, and the device of this host that it is joined to.
#[cfg(feature = "machines")]
#[derive(Debug, Clone)]
pub struct Attach {
    pub segment: String,
    pub device: String,
}

#[cfg(feature = "machines")]
impl std::str::FromStr for Attach {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (segment, device) =
            text.split_once('=').ok_or("a segment and a device are meant, such as lan1=tap0")?;
        Ok(Attach { segment: segment.to_owned(), device: device.to_owned() })
    }
}

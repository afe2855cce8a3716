//! Nodes that are not omerta-mesh: what an app file says of them.

mod read;
mod template;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use regex::Regex;

pub use template::Template;

use crate::{
    Action, Machine, NodeOptions, Problem, Scenario,
    fields::Mistakes,
    read::bounded,
    yaml::{self, Node},
};

/// A program that is a node: what it needs, how it is started, and what its words mean.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// What it is called in reports.
    pub name: String,
    /// The file it stands in, as it was named.
    pub file: String,
    /// What its paths start from.
    pub folder: PathBuf,
    /// What goes into `/app`.
    pub files: Vec<Brought>,
    /// Debian packages, which are there with all that they depend on.
    pub packages: Vec<AppPackage>,
    /// Shared libraries that are opened at run time, by name.
    pub libraries: Vec<String>,
    /// Where shared libraries are taken from, if not from this host.
    pub sysroot: Option<PathBuf>,
    /// Added to its environment.
    pub env: Vec<(String, String)>,
    /// What runs on public machines, in order; the last one is the machine's node.
    pub public: Vec<(Role, Part)>,
    /// What runs on peers.
    pub peer: Part,
    /// How a peer is told to connect.
    pub connect: Deed,
    /// How its path is found.
    pub proof: AppProof,
}

/// A file for the machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// Where it is on this host; a folder is brought with all that is in it.
    pub from: PathBuf,
    /// Its path below `/app`.
    pub to: String,
    /// Its permissions; as they are here, if none are set.
    pub mode: Option<u16>,
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppPackage {
    /// By name, from the distribution's index.
    Named(String),
    /// A `.deb` file.
    File(PathBuf),
}

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Tells peers their addresses.
    Stun,
    /// Introduces peers to each other.
    Bootstrap,
    /// Passes on what they cannot send each other.
    Relay,
    /// One of those.
    Peer,
}

impl Role {
    /// Those on public machines, in the order in which they are started.
    pub const PUBLIC: [Role; 3] = [Role::Stun, Role::Bootstrap, Role::Relay];

    /// Its name in app files.
    pub fn name(self) -> &'static str {
        match self {
            Role::Stun => "stun",
            Role::Bootstrap => "bootstrap",
            Role::Relay => "relay",
            Role::Peer => "peer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A program in a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The program and its arguments.
    pub command: Vec<Template>,
    /// What shows that it has started; none if its process is enough.
    pub started: Option<Sign>,
    /// Its other signs, by the names that omerta-mesh's events have.
    pub signs: Vec<(&'static str, Sign)>,
    /// How long after it is connected nothing better is to be expected, where it does not say so.
    pub settles_after: Option<Duration>,
    /// How it is asked to end.
    pub stop: Option<Stop>,
}

impl Part {
    /// What shows something.
    pub fn sign(&self, name: &str) -> Option<&Sign> {
        self.signs.iter().find_map(|(known, sign)| (*known == name).then_some(sign))
    }
}

/// What shows that something has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Sign {
    /// A line of its output.
    Line(Pattern),
    /// A line that is a JSON object with this `event`.
    Event(String),
    /// Somebody listens at a port of its machine.
    Port {
        /// UDP, or TCP.
        udp: bool,
        /// Which one.
        port: u16,
    },
    /// What it was told to run has ended with this code.
    Exit(i32),
}

/// A regular expression, and the text it was written as.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

impl Pattern {
    /// What its named groups caught in a line, by name; none if it does not match.
    pub fn groups<'a>(&'a self, line: &'a str) -> Option<impl Iterator<Item = (&'a str, &'a str)>> {
        let caught = self.0.captures(line)?;
        let names = self.0.capture_names().flatten();
        Some(names.filter_map(move |name| Some((name, caught.name(name)?.as_str()))))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// How a program is told something.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// A line on its input.
    Input(Template),
    /// Another program, in its machine.
    Run(Vec<Template>),
}

impl Deed {
    fn templates(&self) -> &[Template] {
        match self {
            Deed::Input(line) => std::slice::from_ref(line),
            Deed::Run(words) => words,
        }
    }
}

/// By what a node's path is found.
#[derive(Debug, Clone, PartialEq)]
pub enum AppProof {
    /// It carries the lab's bytes; the event `messageReceived` says where they are.
    Send(Deed),
    /// The lab sends its bytes to an address that the node makes lead to the other machine.
    Carry {
        /// Where the lab connects to.
        to: Template,
        /// Where it listens, in the other one's machine.
        at: Template,
    },
    /// It sends something by itself; what stops it is its path.
    Delivered,
}

/// How a program is asked to end, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// By which signal.
    pub signal: i32,
    /// Within this.
    pub within: Duration,
}

/// What a scenario has that only omerta-mesh can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It says what nodes say to each other.
    #[error("`talks` are omerta-mesh's, and another app is the node here")]
    Talks,
    /// It says how nodes are started.
    #[error("`node` is about omerta-mesh, and another app is the node here")]
    Options,
    /// It has nodes be asked.
    #[error("`find`, `ask_recent` and `broadcast` are omerta-mesh's, and another app is the node here")]
    Asked,
    /// It lacks a public machine that commands name.
    #[error("the app names `{0}`, and there is no such machine")]
    Lacks(Machine),
}

impl Unfit {
    /// What to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Unfit::Lacks(_) => "more public machines come with `relays: 2`, `relays: 3`, ...",
            Unfit::Talks => "leave `talks` out; the lab's bytes are carried all the same",
            Unfit::Options => "leave `node` out; how the node is started stands in its app file",
            Unfit::Asked => "leave them out; what the node reports can be expected",
        }
    }
}

impl App {
    /// Reads an app file.
    pub fn load(path: &Path) -> Result<App, Problem> {
        let text = bounded(path).map_err(|error| Problem::Unreadable { path: path.to_owned(), error })?;
        App::parse(&path.display().to_string(), &text)
    }

    /// Reads an app of a text that goes by a file's name.
    pub fn parse(file: &str, text: &str) -> Result<App, Problem> {
        let mut mistakes = Mistakes::default();
        let problem = |mistakes| Problem::invalid_as("app file", file, text, mistakes);
        let root = yaml::parse(text).map_err(|mistake| problem(vec![mistake]))?;
        match App::read(&root, file, &mut mistakes) {
            Some(app) if mistakes.0.is_empty() => Ok(app),
            _ => Err(problem(mistakes.0)),
        }
    }

    pub(crate) fn read(root: &Node, file: &str, mistakes: &mut Mistakes) -> Option<App> {
        read::app(root, file, mistakes)
    }

    /// Whether it can be the node of a scenario.
    pub fn suits(&self, scenario: &Scenario) -> Result<(), Unfit> {
        let asked = scenario.faults.iter().any(|fault| matches!(fault.action, Action::Ask(..)));
        if !scenario.talks.is_empty() {
            Err(Unfit::Talks)
        } else if scenario.node != NodeOptions::default() {
            Err(Unfit::Options)
        } else if asked {
            Err(Unfit::Asked)
        } else {
            let there: Vec<Machine> = scenario.layout().public().collect();
            match self.machines().find(|machine| !there.contains(machine)) {
                Some(machine) => Err(Unfit::Lacks(machine)),
                None => Ok(()),
            }
        }
    }

    /// The public machines that its commands name.
    fn machines(&self) -> impl Iterator<Item = Machine> {
        let places = self.templates().flat_map(Template::places);
        places.filter_map(|place| place.strip_suffix(".address").unwrap_or(place).parse::<Machine>().ok())
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let carry = match &self.proof {
            AppProof::Carry { to, .. } => Some(to),
            AppProof::Send(_) | AppProof::Delivered => None,
        };
        self.parts().flat_map(|part| &part.command).chain(self.deeds().flat_map(Deed::templates)).chain(carry)
    }

    /// All that it runs, on public machines and on peers.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.public.iter().map(|(_, part)| part).chain([&self.peer])
    }

    /// All that its nodes are told to do.
    pub fn deeds(&self) -> impl Iterator<Item = &Deed> {
        let send = match &self.proof {
            AppProof::Send(send) => Some(send),
            AppProof::Carry { .. } | AppProof::Delivered => None,
        };
        std::iter::once(&self.connect).chain(send)
    }

    /// What runs on a public machine as its node; none if nothing runs there.
    pub fn main(&self) -> Option<&(Role, Part)> {
        self.public.last()
    }
}

/// Apps that the scenarios of a file name, each read once.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    read: Vec<(PathBuf, Arc<App>)>,
    /// Why one could not be read: it has its own file and its own places.
    pub problem: Option<Problem>,
}

impl Apps {
    /// The app in a file that is named in another one.
    pub fn load(&mut self, beside: &str, name: &str) -> Option<Arc<App>> {
        let path = Path::new(beside).parent().unwrap_or(Path::new("")).join(name);
        if let Some((_, app)) = self.read.iter().find(|(known, _)| *known == path) {
            return Some(Arc::clone(app));
        }
        match App::load(&path) {
            Ok(app) => {
                let app = Arc::new(app);
                self.read.push((path, Arc::clone(&app)));
                Some(app)
            }
            Err(problem) => {
                self.problem.get_or_insert(problem);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;

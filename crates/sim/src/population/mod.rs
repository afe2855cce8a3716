//! Populations: thousands of members behind NATs of published shares, who come and go, find each other and talk.
//!
//! [`Settings`] say everything, [`Population::new`] draws the members and makes their world, [`Population::run`] lets them
//! live and holds what happens against what must be true, and [`Population::outcome`] says what came of it.

mod build;
mod convergence;
mod histogram;
mod invariant;
mod lookups;
mod lot;
mod member;
mod message;
mod outcome;
mod plan;
mod relay;
pub mod report;
mod seeds;
mod stats;
mod tally;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use natrig_scenario::population::{Churn, Mix};
use omerta_mesh_core::Config;
use serde::Serialize;

use crate::{MachineId, World};
use build::Built;
use convergence::Spreading;
use lookups::{LEAST, MOST, Schedule};
use member::Member;
use plan::Plan;

pub use convergence::Convergence;
pub use histogram::Histogram;
pub use invariant::{Breach, FINDS_RELAY, SOCKETS, UNACKNOWLEDGED, Wrong};
pub use lookups::Lookups;
pub use outcome::{Messages, Outcome, PairPaths, Paths, RelayLoad, Relays, Spread};
pub use seeds::{Ended, many};
pub use tally::{Amount, Tally};

/// Nothing is sent so long before the end, so that what is under way arrives.
pub const SILENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether what must be true is.
const LOOK: Duration = Duration::from_secs(5);

/// A population and what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How many members.
    pub nodes: u32,
    /// Behind which NATs and where.
    pub mix: Mix,
    /// How they come and go.
    pub churn: Churn,
    /// How long.
    pub length: Duration,
    /// The seed of everything that is drawn.
    pub seed: u64,
    /// How many threads run the one world. The outcome is the same with any.
    pub threads: usize,
    /// What members say.
    pub traffic: Traffic,
    /// Who relays.
    pub relays: RelaySettings,
    /// What members want to know of others.
    pub gossip: Gossip,
    /// How many others each member looks for before the end; 0 for none.
    pub lookups: u32,
}

/// What each member sends to its partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// A message each time that this has passed.
    pub every: Duration,
    /// How long a message is.
    pub bytes: usize,
    /// To whom it goes.
    pub partners: Partners,
}

/// How members find a partner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partners {
    /// Each draws one of all others, and sends to it.
    #[default]
    Drawn,
    /// They are matched by lot: one of two says something each time, and the other answers at once. Where they are an odd
    /// number, the last one draws.
    Matched,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic { every: Duration::from_secs(1), bytes: 100, partners: Partners::default() }
    }
}

/// How many relays there are, and what they can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelaySettings {
    /// Members to one relay; each region has as many relays as that takes.
    pub members: NonZeroU32,
    /// Sessions that one relay serves at once.
    pub sessions: usize,
}

impl Default for RelaySettings {
    /// Room for all of a relay's members to be asked for at once, and half as many more.
    fn default() -> Self {
        const MEMBERS: NonZeroU32 = NonZeroU32::new(64).unwrap();
        RelaySettings { members: MEMBERS, sessions: 100 }
    }
}

/// What members want to know of others than their relays and their partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gossip {
    /// Announcements that each keeps.
    pub view: usize,
    /// Whether nodes, relays among them, tell ordinary members of others.
    pub peer_contact: bool,
}

impl Default for Gossip {
    /// What a node does by itself.
    fn default() -> Self {
        let Config { view, peer_contact, .. } = Config::new([0; 32], 0);
        Gossip { view, peer_contact }
    }
}

/// Why there is no population.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are too few or too many members.
    #[error("a population has 2 to 1000000 members, not {0}")]
    Size(u32),
    /// A profile cannot be a gateway here.
    #[error("`{name}` cannot be a gateway here: {error}")]
    Gateway {
        /// Its name.
        name: String,
        /// Why not.
        error: String,
    },
    /// The mix is empty.
    #[error("the mix has no NATs or no regions")]
    Nobody,
    /// There is no time for lookups, or they are too many.
    #[error("a member looks for 1 to {MOST} others, and lives at least {} s then", LEAST.as_secs())]
    Lookups,
    /// Messages would come faster than time passes.
    #[error("messages must be at least 1 ms apart")]
    Pace,
}

/// Something that must be true was not.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("with seed {seed}:\n  {}", told(.breaches))]
pub struct Failed {
    /// The seed with which it happened.
    pub seed: u64,
    /// What was wrong, at least one thing, in the order of the members.
    pub breaches: Vec<Breach>,
}

fn told(breaches: &[Breach]) -> String {
    const SHOWN: usize = 5;
    let mut lines: Vec<String> = breaches.iter().take(SHOWN).map(Breach::to_string).collect();
    if breaches.len() > SHOWN {
        lines.push(format!("and {} more", breaches.len() - SHOWN));
    }
    lines.join("\n  ")
}

/// Members in their world.
#[derive(Debug)]
pub struct Population {
    plan: Arc<Plan>,
    world: World,
    members: Vec<MachineId>,
    relays: Vec<MachineId>,
    length: Duration,
    sessions: usize,
    lookups: Option<Schedule>,
    spreading: Option<Spreading>,
}

impl Population {
    /// Draws the members and makes their world; nothing has happened yet.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        if !(2..=1_000_000).contains(&settings.nodes) {
            return Err(Error::Size(settings.nodes));
        }
        if settings.traffic.every < Duration::from_millis(1) {
            return Err(Error::Pace);
        }
        let lookups = Schedule::of(settings)?;
        let plan = Arc::new(Plan::draw(settings));
        let threads = settings.threads.max(1);
        let Built { mut world, members, relays } = build::build(&plan, threads, settings.relays.sessions)?;
        world.fold();
        let spreading = Spreading::of(settings, relays.len());
        Ok(Population {
            plan,
            world,
            members,
            relays,
            length: settings.length,
            sessions: settings.relays.sessions,
            lookups,
            spreading,
        })
    }

    /// The world, to be disturbed.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// The machines of the relays.
    pub fn relays(&self) -> &[MachineId] {
        &self.relays
    }

    /// Lets all of its time pass, and looks again and again whether what must be true is; `looked` is told each time.
    pub fn run(&mut self, mut looked: impl FnMut(&Population)) -> Result<(), Failed> {
        while self.world.now() < self.length {
            let until = (self.world.now() + LOOK).min(self.length);
            while let Some(at) = self.next_look().filter(|at| *at <= until) {
                self.world.run(at);
                self.look();
                self.look_at_relays();
            }
            self.world.run(until);
            self.check()?;
            looked(self);
        }
        Ok(())
    }

    /// When something is looked at next between the looks at everything.
    fn next_look(&self) -> Option<Duration> {
        let lookups = self.lookups.and_then(|lookups| lookups.next());
        let relays = self.spreading.as_ref().map(|spreading| spreading.next());
        [lookups, relays].into_iter().flatten().min()
    }

    /// The seed of all that was drawn.
    pub fn seed(&self) -> u64 {
        self.plan.seed
    }

    /// What time it is there.
    pub fn now(&self) -> Duration {
        self.world.now()
    }

    /// What has happened so far.
    pub fn counts(&self) -> crate::Counts {
        self.world.counts()
    }

    fn check(&self) -> Result<(), Failed> {
        let now = self.world.now();
        let breaches: Vec<Breach> = self.people().flat_map(|member| member.breaches(now)).collect();
        match breaches.is_empty() {
            true => Ok(()),
            false => Err(Failed { seed: self.plan.seed, breaches }),
        }
    }

    fn people(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter_map(|machine| self.world.program(*machine, 0))
    }
}

//! What came of populations, for programs and for people.

mod html;
mod plot;
mod text;

use std::time::Duration;

use serde::Serialize;

use super::{Ended, Partners, Settings};
use natrig_scenario::population::Source;

pub use html::html;
pub use text::text;

/// The version of the document.
pub const SCHEMA: &str = "natrig/population/1";

/// All that is told of a run. Everything in it but `host` is the same each time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What was run.
    pub settings: Told,
    /// What became of each world, in the order of the seeds.
    pub worlds: Vec<Ended>,
    /// What it took.
    pub host: Host,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// Members of each world.
    pub nodes: u32,
    /// The first seed.
    pub seed: u64,
    /// The time that passes in each world.
    pub seconds: f64,
    /// What the mix is called.
    pub mix: String,
    /// What the mix rests on.
    pub mix_sources: Vec<Source>,
    /// How members come and go.
    pub churn: String,
    /// What that rests on.
    pub churn_sources: Vec<Source>,
    /// Time between two messages of a member.
    pub message_every_ms: f64,
    /// Bytes of a message.
    pub message_bytes: usize,
    /// To whom it goes.
    pub partners: Partners,
    /// Members to one relay.
    pub relay_members: u32,
    /// Sessions that a relay serves at once.
    pub relay_sessions: usize,
    /// Announcements that each member keeps.
    pub view: usize,
    /// Whether nodes tell ordinary members of others.
    pub peer_contact: bool,
    /// Others that each member looks for.
    pub lookups: u32,
}

/// What the run took on the host it ran on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Host {
    /// Seconds that passed.
    pub seconds: f64,
    /// Threads that ran.
    pub threads: usize,
    /// Things that happened in a second, in all worlds together.
    pub events_per_second: f64,
    /// The most memory of the whole process that was resident at once; none where the host does not tell.
    pub peak_bytes: Option<u64>,
    /// The same over the members of the worlds that ran at once.
    pub bytes_per_node: Option<u64>,
}

impl Document {
    /// Puts together what is told.
    pub fn new(settings: &Settings, worlds: Vec<Ended>, took: Duration, peak: Option<u64>) -> Self {
        let at_once = settings.threads.clamp(1, worlds.len().max(1)) as u64;
        let events: u64 = worlds
            .iter()
            .map(|world| match world {
                Ended::Whole(outcome) => outcome.events,
                Ended::Failed(_) => 0,
            })
            .sum();
        let seconds = took.as_secs_f64();
        let nodes = u64::from(settings.nodes) * at_once;
        Document {
            schema: SCHEMA,
            settings: Told {
                nodes: settings.nodes,
                seed: settings.seed,
                seconds: settings.length.as_secs_f64(),
                mix: settings.mix.name.clone(),
                mix_sources: settings.mix.sources.clone(),
                churn: settings.churn.name.clone(),
                churn_sources: settings.churn.sources.clone(),
                message_every_ms: settings.traffic.every.as_secs_f64() * 1000.0,
                message_bytes: settings.traffic.bytes,
                partners: settings.traffic.partners,
                relay_members: settings.relays.members.get(),
                relay_sessions: settings.relays.sessions,
                view: settings.gossip.view,
                peer_contact: settings.gossip.peer_contact,
                lookups: settings.lookups,
            },
            worlds,
            host: Host {
                seconds,
                threads: settings.threads,
                events_per_second: events as f64 / seconds.max(f64::MIN_POSITIVE),
                peak_bytes: peak,
                bytes_per_node: peak.map(|peak| peak / nodes.max(1)),
            },
        }
    }
}

//! A cell told from its packets: what a report draws.

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

/// The name of a cell's story in its folder.
pub const STORY: &str = "story.json";

/// What went over the wires of a cell, and what happened beside it, on one clock.
///
/// Times are milliseconds since [`Story::origin_ns`]; what was before it is negative.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// When the initiator was told to connect, in nanoseconds since the Unix epoch.
    pub origin_ns: u64,
    /// From left to right: the initiator, its gateways outwards, public machines, the other side's gateways inwards, the
    /// responder, everybody else.
    pub machines: Vec<Column>,
    /// The nodes' datagrams in the order in which they were sent, until the lab's bytes began; neighbours that are alike are
    /// one.
    pub journeys: Vec<Journey>,
    /// How many datagrams are not told because there were too many.
    #[serde(default)]
    pub untold: u64,
    /// What happened, by time.
    pub moments: Vec<Moment>,
    /// When the lab's bytes were carried: from, to; none if it did not come to that.
    pub carried_ms: Option<[f64; 2]>,
    /// What went from site to site and to third machines over time.
    pub throughput: Throughput,
    /// How long datagrams took from peer to peer, as far as they can be followed: when sent, how long, in milliseconds.
    #[serde(default)]
    pub latencies_ms: Vec<[f64; 2]>,
}

/// A machine of a story.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// A gateway's profile; the site's number of a peer; nothing for others.
    #[serde(default)]
    pub detail: String,
}

/// What a machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Has a node that is tested.
    #[default]
    Peer,
    /// Forwards, and translates unless it is a router.
    Gateway,
    /// A relay, coordinator or STUN server.
    Public,
}

/// A datagram from its sender as far as it came, through as many gateways as it passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journey {
    /// When it was sent.
    pub at_ms: f64,
    /// What it is, such as `probe`, `coordination`, `STUN`, `QUIC handshake`, `data`.
    pub what: String,
    /// Its payload, in bytes.
    pub bytes: u32,
    /// How many that are alike in all but time, ports and size follow each other; this is the first.
    pub count: u32,
    /// Each way over a switch; never empty.
    pub legs: Vec<Leg>,
    /// What became of it.
    pub end: End,
}

/// A datagram's way from one machine to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// The machine it came from.
    pub from: String,
    /// The machine it came to, or was meant for; none if that is unknown.
    pub to: Option<String>,
    /// When it left.
    pub left_ms: f64,
    /// When it arrived, if it did.
    pub arrived_ms: Option<f64>,
    /// Whose it seemed to be.
    pub source: SocketAddrV4,
    /// For whom it was.
    pub destination: SocketAddrV4,
    /// The frame's number in the captures.
    pub frame: u64,
}

/// What became of a datagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// It came to a machine that does not forward.
    Arrived,
    /// It did not get beyond a link or a gateway.
    Dropped {
        /// The link or the gateway.
        at: String,
        /// Why, as a phrase, such as `APDF: port 4400 had sent nothing to 192.168.100.2:4400`.
        why: String,
        /// How that is known.
        basis: Basis,
    },
}

/// How something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// It was seen: on the wire, or in what a kernel reported.
    Observed,
    /// It follows from what was seen and from what was proven of a gateway.
    Inferred,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// When.
    pub at_ms: f64,
    /// To which machine; none if to the lab as a whole.
    pub machine: Option<String>,
    /// Of what kind.
    pub kind: MomentKind,
    /// What, as a phrase.
    pub what: String,
}

/// Kinds of moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MomentKind {
    /// The lab did something that belongs to every cell.
    Step,
    /// The lab broke or mended something.
    Fault,
    /// A node said that its path to the other peer is this one.
    Path,
    /// A node said something else.
    Node,
    /// A gateway's kernel made, changed or ended an entry of its table.
    Table,
}

/// Bytes of payload in equal spans of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// When the first span begins.
    pub from_ms: f64,
    /// How long each is.
    pub span_ms: f64,
    /// From site to site, initiator to responder.
    pub direct_there: Vec<u64>,
    /// From site to site, back.
    pub direct_back: Vec<u64>,
    /// To and from third machines, of both sites.
    pub third: Vec<u64>,
}

//! What a scenario is, once it has been read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use natrig_netmodel::Conditions;
use natrig_record::Kind;

use crate::{App, Gateway, Layout, Link, Machine, Nat, PortMapping, Seen, Segment, Site, Talk};

/// One experiment: a pair of peers and whoever else is there, what happens on the way, and what must come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name, for people.
    pub name: String,
    /// Unique in its file and fit for a file name, such as `T2.M.20` or `relay-cut`.
    pub id: String,
    /// The file it stands in, as it was named.
    pub file: Option<String>,
    /// How much it matters.
    pub priority: Option<Priority>,
    /// What stands before each site, site 1 first.
    pub nats: Vec<Nat>,
    /// How many peers are in the LAN of each site.
    pub peers: Vec<usize>,
    /// Which of the pair dials.
    pub initiator: Side,
    /// Whether the relay grants sessions; it coordinates in any case.
    pub use_relay: bool,
    /// How many public machines there are.
    pub relays: usize,
    /// What the wire must show.
    pub expected: Expected,
    /// How long the nodes may take from the connect command to their final path.
    pub timeout: Duration,
    /// How long the lab's bytes may take.
    pub carry: Duration,
    /// What the machines are made of, where the scenario says so.
    pub sizes: Sizes,
    /// Links that are not perfect, from the start.
    pub links: Vec<Impairment>,
    /// Pairs of links whose frames do not reach each other.
    pub filters: Vec<Filter>,
    /// What is broken on purpose, and when.
    pub faults: Vec<Fault>,
    /// What is said while that happens, and what must become of it.
    pub talks: Vec<Talk>,
    /// What the gateways next to the peers offer hosts that ask for a port.
    pub port_mapping: BTreeMap<Site, PortMapping>,
    /// How the node under test is started.
    pub node: NodeOptions,
    /// The node under test, where it is not omerta-mesh.
    pub app: Option<Arc<App>>,
    /// Segments with a cable to somewhere outside the lab; no file can say so, only who keeps a lab up.
    pub attached: BTreeSet<Segment>,
}

impl Scenario {
    /// Its machines and their cables.
    pub fn layout(&self) -> Layout {
        Layout::of(&self.nats, &self.peers, self.relays)
    }

    /// Whether some machines have a kernel of their own, which may do otherwise than the usual one.
    pub fn has_kernels(&self) -> bool {
        self.layout().machines().any(|machine| self.sizes.base(machine).is_some())
    }

    /// The peers whose path is judged, the one that dials first: those of sites 1 and 2, or two in the one LAN that there is.
    pub fn pair(&self) -> [Machine; 2] {
        let peer = |side: Side| match side {
            Side::One => Machine::PEER1,
            Side::Two if self.in_one_lan() => Machine::Peer(Site::ONE, 1),
            Side::Two => Machine::PEER2,
        };
        [self.initiator, self.initiator.other()].map(peer)
    }

    /// The site that a machine is in when all faults have happened: it may have moved.
    pub fn site_in_the_end(&self, machine: Machine) -> Option<Site> {
        let moved = self.faults.iter().rev().find_map(|fault| match fault.action {
            Action::Roam(peer, to) if peer == machine => Some(to),
            _ => None,
        });
        moved.or(machine.site())
    }

    /// Whether there is one site only.
    pub fn in_one_lan(&self) -> bool {
        self.nats.len() == 1
    }

    /// What stands in front of a machine's site; none where it is in none.
    pub fn nat_of(&self, machine: Machine) -> Option<&Nat> {
        self.nats.get(machine.site()?.index())
    }

    /// What stands in front of the peer that dials, and of the one that is dialled.
    pub fn nats_of_pair(&self) -> Option<[&Nat; 2]> {
        let [initiator, responder] = self.pair();
        Some([self.nat_of(initiator)?, self.nat_of(responder)?])
    }
}

/// One of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// `peer1`
    One,
    /// `peer2`, or another one in the LAN of the first.
    Two,
}

impl Side {
    /// 1 or 2.
    pub fn number(self) -> u8 {
        match self {
            Side::One => 1,
            Side::Two => 2,
        }
    }

    /// Its place in a pair, 0 or 1.
    pub fn index(self) -> usize {
        match self {
            Side::One => 0,
            Side::Two => 1,
        }
    }

    /// The other one.
    pub fn other(self) -> Side {
        match self {
            Side::One => Side::Two,
            Side::Two => Side::One,
        }
    }
}

/// How much a scenario matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// `P1`
    P1,
    /// `P2`
    P2,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Priority::P1 => "P1",
            Priority::P2 => "P2",
        })
    }
}

/// What the wire must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// The seed's `hole-punch`: a direct path that took both sides, in whatever way.
    HolePunch,
    /// Any path that carries: where chance decides what becomes of it.
    Any,
    /// Exactly this kind.
    Exactly(Kind),
}

impl Expected {
    /// Whether a path of this kind fulfils it.
    pub fn admits(self, kind: Kind) -> bool {
        match self {
            Expected::HolePunch => matches!(kind, Kind::Reversal | Kind::Punch | Kind::Birthday),
            Expected::Any => true,
            Expected::Exactly(wanted) => kind == wanted,
        }
    }

    /// The word a scenario says it with.
    pub fn word(self) -> &'static str {
        match self {
            Expected::HolePunch => "hole-punch",
            Expected::Any => "any",
            Expected::Exactly(Kind::Direct) => "direct",
            Expected::Exactly(Kind::Reversal) => "reversal",
            Expected::Exactly(Kind::Punch) => "punch",
            Expected::Exactly(Kind::Birthday) => "birthday",
            Expected::Exactly(Kind::Relay) => "relay",
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What machines are made of, where a scenario says so; the backend knows what to take otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Each gateway.
    pub gateway: Make,
    /// Each peer.
    pub peer: Make,
    /// Each public machine.
    pub relay: Make,
    /// Single machines, which count before their role.
    pub of: BTreeMap<Machine, Make>,
}

/// What a machine is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Make {
    /// Its memory, in MiB.
    pub memory: Option<u32>,
    /// What it boots, if not the usual image with the usual kernel.
    pub base: Option<Base>,
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// The usual image with another kernel: the name of a Debian package, or the path of a `.deb` file.
    Kernel(String),
    /// The disk of a distribution.
    Image {
        /// Which one.
        disk: Disk,
        /// The path of what cloud-init is told, if not what machines of that role are told.
        cloud_init: Option<String>,
    },
}

/// A distribution's disk, as it is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Disk {
    /// By a recipe: its name, or its path.
    Recipe(String),
    /// By its own path.
    File(String),
}

impl Sizes {
    /// The memory of a machine, in MiB, where it is set.
    pub fn memory(&self, machine: Machine) -> Option<u32> {
        self.of.get(&machine).and_then(|make| make.memory).or(self.role(machine).memory)
    }

    /// What a machine boots, where it is set.
    pub fn base(&self, machine: Machine) -> Option<&Base> {
        let own = self.of.get(&machine).and_then(|make| make.base.as_ref());
        own.or(self.role(machine).base.as_ref())
    }

    fn role(&self, machine: Machine) -> &Make {
        match machine {
            Machine::Nat(_) | Machine::Cgn(_) => &self.gateway,
            Machine::Peer(..) => &self.peer,
            Machine::Relay(_) => &self.relay,
        }
    }
}

/// A link that is not perfect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Which link.
    pub link: Link,
    /// Which way.
    pub flow: Flow,
    /// What happens to the frames.
    pub conditions: Conditions,
    /// Who does it to them.
    pub at: Where,
}

/// Where frames meet the conditions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Where {
    /// On the way between two machines.
    #[default]
    Link,
    /// In the link's own machine, which is a gateway, before they leave it: Linux's netem.
    Gateway,
}

/// A direction on a link, seen from its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flow {
    /// To the machine.
    In,
    /// From the machine.
    Out,
    /// Both ways.
    Both,
}

/// Two links of one segment whose frames do not reach each other, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// The pair.
    pub between: [Link; 2],
}

/// Something that is broken, or mended, while the scenario runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// When.
    pub after: Moment,
    /// What.
    pub action: Action,
}

/// A point in the life of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The public nodes serve; the peers have not been started.
    Serving,
    /// Both peers have been started.
    Started,
    /// Both peers know the relay and are known to it; nobody has been told to connect.
    Bootstrapped,
    /// The initiator has its first usable path.
    Connected,
    /// Both peers have reported their final path.
    Settled,
    /// The lab's bytes have been handed to the nodes.
    Carrying,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Moment::Serving => "serving",
            Moment::Started => "started",
            Moment::Bootstrapped => "bootstrapped",
            Moment::Connected => "connected",
            Moment::Settled => "settled",
            Moment::Carrying => "carrying",
        })
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing passes this link from now on.
    Cut(Link),
    /// Everything passes it again.
    Heal(Link),
    /// A link is cut and healed so many times, with as long a time between.
    Flap(Link, usize, Duration),
    /// A link is as these say from now on; they are all of one link.
    Impair(Vec<Impairment>),
    /// A link is again as it was at the start.
    Mend(Link),
    /// Links of one segment do not reach each other from now on.
    Partition(Partition),
    /// All links of a segment reach each other again that a partition has kept apart.
    Rejoin(Segment),
    /// Something becomes of a gateway.
    Gateway(Machine, GatewayFault),
    /// Something becomes of a node's process.
    Node(Machine, NodeFault),
    /// Something becomes of a machine with a node.
    Machine(Machine, MachineFault),
    /// A peer moves to another LAN, where it gets another address.
    Roam(Machine, Site),
    /// A machine's time of day jumps.
    Clock(Machine, Shift),
    /// A node is told to connect to that of another machine.
    Connect(Machine, Machine),
    /// A node is asked for something that it reports on later.
    Ask(Machine, Errand),
    /// Nothing is done: a node must report something before it goes on.
    Expect(Seen),
    /// Nothing, for a while: mappings and connections are left alone.
    Idle(Pause),
}

impl Action {
    /// Whether it does something to nodes, links or machines.
    pub fn disturbs(&self) -> bool {
        !matches!(self, Action::Expect(_) | Action::Idle(_) | Action::Connect(..) | Action::Ask(..))
    }
}

/// What a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Errand {
    /// To look a machine's node up.
    Find(Machine),
    /// To ask its neighbours who has heard of a machine's node lately.
    WhoHasRecent(Machine),
    /// To send a message to all members.
    Broadcast,
}

/// Links of one segment that do not reach each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Those of one group reach each other, and those in no group reach everybody.
    pub groups: Vec<Vec<Link>>,
    /// Whether only the frames of the first group do not reach the others.
    pub one_way: bool,
}

impl Partition {
    /// From which link to which one nothing passes.
    pub fn blocked(&self) -> Vec<[Link; 2]> {
        let mut blocked = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            let others = self.groups.iter().enumerate().filter(|(other, _)| *other != number);
            for (_, other) in others.filter(|_| number == 0 || !self.one_way) {
                blocked.extend(group.iter().flat_map(|from| other.iter().map(move |to| [*from, *to])));
            }
        }
        blocked
    }
}

/// What becomes of a node's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeFault {
    /// It is gone at once, without a word.
    Kill,
    /// It is told to end, and says goodbye.
    Stop,
    /// It does nothing, until it is told to go on.
    Pause,
    /// It goes on.
    Resume,
    /// It is started anew, with the same key; killed before, if it runs.
    Restart,
    /// From now on it may hold so many MiB of memory; if it needs more, its kernel kills it.
    Limit(u32),
}

/// What becomes of a machine with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MachineFault {
    /// It is off from now on.
    PowerOff,
    /// It is on again, and its node is started with the key that it had.
    PowerOn,
    /// Its processor stands still.
    Freeze,
    /// It goes on.
    Thaw,
}

/// By how much a clock jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// How far.
    pub by: Duration,
    /// Whether it is put back.
    pub back: bool,
}

/// A while: of a fixed length, or drawn from between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// At least so long.
    pub least: Duration,
    /// At most so long.
    pub most: Duration,
}

impl Pause {
    /// How long it is, by a number that was drawn.
    pub fn drawn(self, number: u64) -> Duration {
        let width = u64::try_from(self.most.saturating_sub(self.least).as_micros()).unwrap_or(u64::MAX);
        self.least + Duration::from_micros(number % width.saturating_add(1))
    }
}

/// What becomes of a gateway in the course of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayFault {
    /// Its machine starts anew, and all state is lost.
    Reboot,
    /// All state is lost, and what gets a mapping again gets another port.
    Rebind,
    /// Its outside address is another one.
    Renumber,
    /// It behaves otherwise, and all state is lost.
    Become(Box<Gateway>),
    /// Its table is full.
    Fill,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Cut(link) => write!(f, "cut {link}"),
            Action::Heal(link) => write!(f, "heal {link}"),
            Action::Gateway(machine, GatewayFault::Become(gateway)) => {
                write!(f, "make {machine} {}", gateway.profile.name)
            }
            Action::Gateway(machine, fault) => write!(f, "{fault} {machine}"),
            Action::Flap(link, times, every) => write!(f, "flap {link} {times} times, every {every:?}"),
            Action::Impair(impairments) => {
                let link = impairments.first().map_or("nothing", |impairment| impairment.link.name());
                write!(f, "impair {link}")
            }
            Action::Mend(link) => write!(f, "mend {link}"),
            Action::Partition(partition) => {
                let groups = partition
                    .groups
                    .iter()
                    .map(|group| group.iter().map(|link| link.name()).collect::<Vec<_>>().join(", "));
                write!(f, "partition {}", groups.collect::<Vec<_>>().join(" from "))?;
                if partition.one_way { f.write_str(", one way") } else { Ok(()) }
            }
            Action::Rejoin(segment) => write!(f, "rejoin {segment}"),
            Action::Node(machine, fault) => write!(f, "{fault} the node of {machine}"),
            Action::Machine(machine, fault) => write!(f, "{fault} {machine}"),
            Action::Roam(machine, site) => write!(f, "move {machine} to {}", Segment::Lan(*site)),
            Action::Clock(machine, Shift { by, back }) => {
                write!(f, "put the clock of {machine} {} by {by:?}", if *back { "back" } else { "on" })
            }
            Action::Connect(from, to) => write!(f, "connect {from} to {to}"),
            Action::Ask(machine, Errand::Find(whom)) => write!(f, "have {machine} look {whom} up"),
            Action::Ask(machine, Errand::WhoHasRecent(whom)) => {
                write!(f, "have {machine} ask who has heard of {whom}")
            }
            Action::Ask(machine, Errand::Broadcast) => write!(f, "have {machine} tell all members"),
            Action::Expect(seen) => write!(f, "{seen}"),
            Action::Idle(Pause { least, most }) if least == most => write!(f, "idle for {least:?}"),
            Action::Idle(Pause { least, most }) => write!(f, "idle for {least:?} to {most:?}"),
        }
    }
}

impl fmt::Display for GatewayFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GatewayFault::Reboot => "reboot",
            GatewayFault::Rebind => "rebind",
            GatewayFault::Renumber => "renumber",
            GatewayFault::Become(_) => "become",
            GatewayFault::Fill => "fill",
        })
    }
}

/// How the node under test is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// Whether it may search by birthday.
    pub birthday: bool,
    /// Which public nodes a machine's node is told of.
    pub bootstrap: BTreeMap<Machine, Vec<Machine>>,
    /// Whom the peers ask what NAT they are behind.
    pub stun: Stun,
    /// More arguments, by machine.
    pub args: BTreeMap<Machine, Vec<String>>,
    /// How many MiB of memory each may hold at its most.
    pub memory_at_most: Option<u32>,
    /// Whether they tell the lab the keys of their sessions, so that captures can be read.
    pub session_keys: bool,
}

/// Whom peers ask what NAT they are behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stun {
    /// The server with two addresses and two ports on the first public machine.
    #[default]
    Server,
    /// That one, but it does not run.
    Silent,
    /// These public nodes, which answer plain requests.
    Nodes(Vec<Machine>),
}

impl Default for NodeOptions {
    fn default() -> Self {
        NodeOptions {
            birthday: true,
            bootstrap: BTreeMap::new(),
            stun: Stun::default(),
            args: BTreeMap::new(),
            memory_at_most: None,
            session_keys: false,
        }
    }
}

impl NodeOptions {
    /// Which public nodes a machine's node is told of: the first one, where nothing is said.
    pub fn bootstrap(&self, machine: Machine) -> &[Machine] {
        const FIRST: &[Machine] = &[Machine::RELAY];
        match self.bootstrap.get(&machine) {
            Some(told) => told,
            None if machine == Machine::RELAY => &[],
            None => FIRST,
        }
    }

    /// More arguments for a machine's node.
    pub fn args(&self, machine: Machine) -> &[String] {
        self.args.get(&machine).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for NodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeFault::Kill => "kill",
            NodeFault::Stop => "stop",
            NodeFault::Pause => "pause",
            NodeFault::Resume => "resume",
            NodeFault::Restart => "restart",
            NodeFault::Limit(mebibytes) => return write!(f, "limit to {mebibytes} MiB"),
        })
    }
}

impl fmt::Display for MachineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MachineFault::PowerOff => "power off",
            MachineFault::PowerOn => "power on",
            MachineFault::Freeze => "freeze",
            MachineFault::Thaw => "thaw",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_hole_punch_is_any_path_that_took_both_sides() {
        let admitted = |expected: Expected| {
            [Kind::Direct, Kind::Reversal, Kind::Punch, Kind::Birthday, Kind::Relay]
                .map(|kind| expected.admits(kind))
        };
        assert_eq!(admitted(Expected::HolePunch), [false, true, true, true, false]);
        assert_eq!(admitted(Expected::Exactly(Kind::Punch)), [false, false, true, false, false]);
    }
}

//! What came of a population.

use std::collections::BTreeMap;

use omerta_mesh_core::Kind;
use serde::Serialize;

use super::{
    Convergence, Histogram, Lookups, Population, Tally, member::Member, relay::Relay, tally::Amount,
};

/// All that is told of one world. The same settings give the same, however many threads ran it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How many members there are.
    pub nodes: u32,
    /// How long they lived.
    pub seconds: f64,
    /// A number that two runs have in common if the same happened in them.
    pub digest: String,
    /// Things that happened.
    pub events: u64,
    /// Members behind each of the NATs.
    pub nats: BTreeMap<String, u64>,
    /// Members by what their nodes took their NATs for; none while it is being found out.
    pub detected: BTreeMap<String, u64>,
    /// Members in each of the regions.
    pub regions: BTreeMap<String, u64>,
    /// Members that were there at the end.
    pub present: u64,
    /// How often members came.
    pub sessions: u64,
    /// The share of pairs that were connected at some time, of those where both sides can send UDP at all and of all.
    pub reachability: Reachability,
    /// How the paths came to be, by the last one of each pair.
    pub paths: Paths,
    /// The same by the NATs of both sides.
    pub pairs: Vec<PairPaths>,
    /// How long from coming to having a relay, in milliseconds.
    pub time_to_relay_ms: Histogram,
    /// How long from asking to the first way, in milliseconds.
    pub time_to_connect_ms: Histogram,
    /// How long from asking to the way that stayed, in milliseconds.
    pub time_to_settle_ms: Histogram,
    /// What was said.
    pub messages: Messages,
    /// What a member sent in a second, by kinds of datagrams.
    pub sent_per_node_and_second: BTreeMap<&'static str, Amount>,
    /// All that a member sent in a second.
    pub sent: Amount,
    /// What the relays had to do.
    pub relays: Relays,
    /// How soon relays knew of those who came, where each keeps what all members say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Convergence>,
    /// Whether members are found, if any were looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookups: Option<Lookups>,
}

/// How many pairs found each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reachability {
    /// Pairs that were drawn and asked.
    pub pairs: u64,
    /// Pairs that were connected at some time.
    pub connected: u64,
    /// Their share.
    pub share: f64,
    /// Pairs that asked where UDP gets out on both sides.
    pub with_udp: u64,
    /// The share of those that were connected.
    pub share_with_udp: f64,
    /// Pairs with a way at the end, of those where both were there.
    pub at_the_end: f64,
    /// The same where UDP gets out on both sides.
    pub at_the_end_with_udp: f64,
}

/// Pairs by how their paths came to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Paths {
    /// The initiator's own packet got through.
    pub direct: u64,
    /// The responder called back.
    pub reversal: u64,
    /// Both had to send.
    pub punch: u64,
    /// One side searched for a port.
    pub birthday: u64,
    /// Through a relay.
    pub relay: u64,
    /// Connected, but attempts were not over.
    pub open: u64,
    /// Never connected.
    pub none: u64,
}

/// The paths between two NATs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairPaths {
    /// The asking side's NAT.
    pub from: String,
    /// The asked side's NAT.
    pub to: String,
    /// Their paths.
    #[serde(flatten)]
    pub paths: Paths,
}

/// What was said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Messages {
    /// Handed to a node with a connection.
    pub sent: u64,
    /// Delivered.
    pub delivered: u64,
    /// Sent and never delivered.
    pub lost: u64,
    /// Given up by the sender's node.
    pub failed: u64,
    /// Due while there was no connection, and not sent.
    pub held_back: u64,
    /// Delivered once more to a member that had begun anew, which remembers nothing.
    pub again: u64,
    /// Of those delivered, the share whose last datagram came directly.
    pub direct: f64,
    /// Received by a member in a second of the whole time.
    pub per_node_and_second: f64,
    /// From sending to delivery, in milliseconds.
    pub latency_ms: Histogram,
    /// Received by each member: how many got how many.
    pub spread: Spread,
}

/// How something is spread over many.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub least: u64,
    /// A half has no more.
    pub median: u64,
    /// The most.
    pub most: u64,
    /// All of them, from the least to the most, or evenly chosen ones.
    pub steps: Vec<u64>,
}

/// What the relays had to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Relays {
    /// How many there are.
    pub count: u64,
    /// Sessions that one serves at most.
    pub capacity: usize,
    /// The most that were open on one at once.
    pub most_sessions: u64,
    /// Bytes of relayed payload in a second, all relays together.
    pub bytes_per_second: f64,
    /// The share of all bytes received by members that came by a relay.
    pub share_of_bytes: f64,
    /// Each one.
    pub each: Vec<RelayLoad>,
}

/// What one relay had to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RelayLoad {
    /// Where it is.
    pub region: String,
    /// Members whose own it is.
    pub members: u32,
    /// The most sessions that were open at once.
    pub sessions: usize,
    /// Relayed datagrams that came to it.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Paths {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.settled() + self.open + self.none
    }

    /// Those with an end.
    pub fn settled(&self) -> u64 {
        self.direct + self.reversal + self.punch + self.birthday + self.relay
    }

    /// With their names, as they are shown.
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("direct", self.direct),
            ("reversal", self.reversal),
            ("punch", self.punch),
            ("birthday", self.birthday),
            ("relay", self.relay),
            ("open", self.open),
            ("none", self.none),
        ]
    }

    fn add(&mut self, member: &Member) {
        let counter = match (member.stats.connected, member.stats.kind) {
            (false, _) => &mut self.none,
            (true, Some(Kind::Direct)) => &mut self.direct,
            (true, Some(Kind::Reversal)) => &mut self.reversal,
            (true, Some(Kind::Punch)) => &mut self.punch,
            (true, Some(Kind::Birthday)) => &mut self.birthday,
            (true, Some(Kind::Relay)) => &mut self.relay,
            (true, None) => &mut self.open,
        };
        *counter += 1;
    }
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Self {
        const STEPS: usize = 200;
        values.sort_unstable();
        let at = |share: f64| {
            let place = (values.len().saturating_sub(1)) as f64 * share;
            values.get(place.round() as usize).copied().unwrap_or_default()
        };
        let steps = match values.len() <= STEPS {
            true => values.clone(),
            false => (0..=STEPS).map(|step| at(step as f64 / STEPS as f64)).collect(),
        };
        Spread { least: at(0.0), median: at(0.5), most: at(1.0), steps }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Population {
    /// What has come of it so far.
    pub fn outcome(&self) -> Outcome {
        let plan = &self.plan;
        let seconds = self.world.now().as_secs_f64();
        let people: Vec<&Member> = self.people().collect();
        let nat = |number: usize| {
            let nat = plan.members.get(number).and_then(|place| plan.mix.nats.get(usize::from(place.nat)));
            nat.map(|nat| nat.of.name.clone()).unwrap_or_default()
        };
        let mut nats: BTreeMap<String, u64> = BTreeMap::new();
        let mut regions: BTreeMap<String, u64> = BTreeMap::new();
        let mut detected: BTreeMap<String, u64> = BTreeMap::new();
        let mut pairs: BTreeMap<(u16, u16), Paths> = BTreeMap::new();
        let mut reach = Reachability {
            pairs: 0,
            connected: 0,
            share: 0.0,
            with_udp: 0,
            share_with_udp: 0.0,
            at_the_end: 0.0,
            at_the_end_with_udp: 0.0,
        };
        let (mut with_udp, mut there, mut has_way) = (0, [0; 2], [0; 2]);
        let mut paths = Paths::default();
        let [mut to_relay, mut to_connect, mut to_settle, mut latency] =
            [(); 4].map(|()| Histogram::default());
        let (mut sent, mut received) = (Tally::default(), Tally::default());
        let mut messages = [0; 5];
        let mut delivered_to = Vec::with_capacity(people.len());
        for (number, (member, place)) in people.iter().zip(&plan.members).enumerate() {
            let stats = &member.stats;
            *nats.entry(nat(number)).or_default() += 1;
            if let Some(region) = plan.mix.regions.get(usize::from(place.region)) {
                *regions.entry(region.of.clone()).or_default() += 1;
            }
            // Its name is what it is in JSON.
            let class = stats.class.and_then(|class| serde_json::to_value(class).ok());
            if let Some(class) = class.as_ref().and_then(|class| class.as_str()) {
                *detected.entry(class.to_owned()).or_default() += 1;
            }
            if let Some(partner) = plan.member(place.partner)
                && (stats.sessions > 0)
            {
                paths.add(member);
                pairs.entry((place.nat, partner.nat)).or_default().add(member);
                let udp = plan.has_udp(place) && plan.has_udp(partner);
                reach.pairs += 1;
                reach.connected += u64::from(stats.connected);
                reach.with_udp += u64::from(udp);
                with_udp += u64::from(udp && stats.connected);
                let other = people.get(place.partner as usize);
                if member.is_up() && other.is_some_and(|other| other.is_up()) {
                    for counted in 0..1 + usize::from(udp) {
                        there[counted] += 1;
                        has_way[counted] += u64::from(member.path().is_some());
                    }
                }
            }
            for (sum, one) in [
                (&mut to_relay, &stats.to_relay),
                (&mut to_connect, &stats.to_connect),
                (&mut to_settle, &stats.to_settle),
                (&mut latency, &stats.latency),
            ] {
                sum.merge(one);
            }
            sent += &member.sent();
            received += &stats.received;
            let delivered: u64 = member.received().map(|(_, count)| count).sum();
            delivered_to.push(delivered);
            let own = [stats.messages, delivered, stats.failed_messages, stats.held_back, stats.direct];
            messages.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        reach.share = share(reach.connected, reach.pairs);
        reach.share_with_udp = share(with_udp, reach.with_udp);
        [reach.at_the_end, reach.at_the_end_with_udp] = [0, 1].map(|of| share(has_way[of], there[of]));
        let [sent_messages, delivered, failed, held_back, direct] = messages;
        let per = plan.members.len() as f64 * seconds.max(f64::MIN_POSITIVE);
        let (datagrams, bytes) = sent.total();
        let name = |nat: u16| plan.mix.nats.get(usize::from(nat)).map(|nat| nat.of.name.clone());
        Outcome {
            seed: plan.seed,
            nodes: plan.members.len() as u32,
            seconds,
            digest: format!("{:016x}", self.world.digest()),
            events: self.world.counts().events,
            nats,
            detected,
            regions,
            present: people.iter().filter(|member| member.is_up()).count() as u64,
            sessions: people.iter().map(|member| member.stats.sessions).sum(),
            reachability: reach,
            paths,
            pairs: pairs
                .into_iter()
                .filter_map(|((from, to), paths)| Some(PairPaths { from: name(from)?, to: name(to)?, paths }))
                .collect(),
            time_to_relay_ms: to_relay,
            time_to_connect_ms: to_connect,
            time_to_settle_ms: to_settle,
            messages: Messages {
                sent: sent_messages,
                delivered,
                lost: sent_messages.saturating_sub(delivered),
                failed,
                held_back,
                again: people.iter().map(|member| member.stats.again).sum(),
                direct: share(direct, delivered),
                per_node_and_second: delivered as f64 / per,
                latency_ms: latency,
                spread: Spread::of(delivered_to),
            },
            sent_per_node_and_second: sent.over(per),
            sent: Amount { datagrams: datagrams as f64 / per, bytes: bytes as f64 / per },
            relays: self.relay_loads(seconds, &received),
            convergence: self.spreading.as_ref().map(|spreading| spreading.outcome()),
            lookups: self.lookups.map(|_| Lookups::of(people.iter().map(|member| &member.seeker))),
        }
    }

    fn relay_loads(&self, seconds: f64, received: &Tally) -> Relays {
        let plan = &self.plan;
        let relays = self.relays.iter().zip(&plan.relays);
        let each: Vec<RelayLoad> = relays
            .filter_map(|(machine, place)| {
                let relay: &Relay = self.world.program(*machine, 0)?;
                let (datagrams, bytes) = relay.received.relayed();
                let region = plan.mix.regions.get(usize::from(place.region))?.of.clone();
                let sessions = relay.most_sessions;
                Some(RelayLoad { region, members: place.members, sessions, datagrams, bytes })
            })
            .collect();
        let bytes: u64 = each.iter().map(|relay| relay.bytes).sum();
        Relays {
            count: each.len() as u64,
            capacity: self.sessions,
            most_sessions: each.iter().map(|relay| relay.sessions).max().unwrap_or_default() as u64,
            bytes_per_second: bytes as f64 / seconds.max(f64::MIN_POSITIVE),
            share_of_bytes: share(received.relayed().1, received.total().1),
            each,
        }
    }
}

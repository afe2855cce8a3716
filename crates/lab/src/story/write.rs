//! What was followed, in words.

use std::{collections::HashMap, net::Ipv4Addr, time::Duration};

use natrig_capture::Trace;
use natrig_record::{Basis, End, Journey, Leg};

use super::{
    cast::Cast,
    follow::{Fate, Followed, Hop, Protocol},
    ms_since, reason,
    tables::Tables,
};
use crate::{assertions::Passage, verdict::Case};

/// Most journeys that are told from before the connect command, and from after it.
const MOST: [usize; 2] = [100, 400];

/// RFC 8489, section 5.
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// No link takes longer to deliver a frame.
const LONGEST_WAY: Duration = Duration::from_secs(2);

/// NAT-PMP and PCP (RFC 6886, RFC 6887).
const PORT_MAPPING: u16 = 5351;

pub(super) struct Writer<'a> {
    pub trace: &'a Trace,
    pub case: &'a Case,
    pub cast: &'a Cast,
    pub tables: &'a Tables,
    pub departures: reason::Departures,
}

/// A datagram that was followed, what it is, and what became of it.
pub(super) struct Read<'a> {
    pub one: &'a Followed<'a>,
    pub what: &'static str,
    pub end: End,
}

impl Writer<'_> {
    pub fn read<'a>(&self, one: &'a Followed<'a>) -> Read<'a> {
        Read { one, what: self.what(one), end: self.end(one) }
    }

    pub fn ms(&self, at_ns: u64) -> f64 {
        ms_since(self.case.connect_ns, at_ns)
    }

    /// What is drawn, and how many datagrams are not.
    pub fn journeys(&self, read: &[Read<'_>]) -> (Vec<Journey>, u64) {
        let until_ns = self.case.window.map_or(u64::MAX, |window| window.from_ns);
        let mut told: Vec<Journey> = Vec::new();
        let mut untold = 0;
        let mut counts = [0; 2];
        // A sender's last one.
        let mut last: HashMap<usize, usize> = HashMap::new();
        for read in read.iter().filter(|read| read.one.first().left_ns < until_ns) {
            let journey = self.journey(read);
            let sender = read.one.first().from;
            if let Some(before) = last.get(&sender).and_then(|at| told.get_mut(*at))
                && alike(before, &journey)
            {
                before.count += 1;
                continue;
            }
            let part = usize::from(read.one.first().left_ns >= self.case.connect_ns);
            if counts[part] >= MOST[part] {
                untold += 1;
                continue;
            }
            counts[part] += 1;
            last.insert(sender, told.len());
            told.push(journey);
        }
        (told, untold)
    }

    /// What is to be said of each frame of the nodes.
    pub fn notes(&self, read: &[Read<'_>]) -> HashMap<u64, String> {
        let mut numbers: HashMap<(usize, &str, Ipv4Addr), u32> = HashMap::new();
        let mut notes = HashMap::new();
        for Read { one, what, end } in read {
            let sender = one.first().from;
            let to = *one.first().destination.ip();
            let number = numbers.entry((sender, *what, to)).or_default();
            *number += 1;
            let title = format!("{what} {number} of {} to {to}", self.cast.name(sender));
            for (index, hop) in one.hops.iter().enumerate() {
                let mut note = title.clone();
                let made = one.hops.get(index.wrapping_sub(1)).and_then(|before| self.made(before, hop));
                if let Some(made) = made {
                    note.push_str(&format!(", {made} [observed]"));
                }
                if index + 1 == one.hops.len()
                    && let End::Dropped { at, why, basis } = end
                {
                    note.push_str(&format!(", not passed by {at}: {why} [{}]", basis_word(*basis)));
                }
                notes.insert(hop.frame, note);
            }
        }
        notes
    }

    fn journey(&self, Read { one, what, end }: &Read<'_>) -> Journey {
        let leg = |hop: &Hop| Leg {
            from: self.cast.name(hop.from).to_owned(),
            to: hop.to.map(|to| self.cast.name(to).to_owned()),
            left_ms: self.ms(hop.left_ns),
            arrived_ms: hop.arrived_ns.map(|at| self.ms(at)),
            source: hop.source,
            destination: hop.destination,
            frame: hop.frame,
        };
        Journey {
            at_ms: self.ms(one.first().left_ns),
            what: (*what).to_owned(),
            bytes: u32::try_from(one.payload.len()).unwrap_or(u32::MAX),
            count: 1,
            legs: one.hops.iter().map(leg).collect(),
            end: end.clone(),
        }
    }

    /// What a datagram is, as far as anybody can read it.
    fn what(&self, one: &Followed<'_>) -> &'static str {
        if let Protocol::Tcp { flags: [syn, ..], .. } = one.protocol {
            return if syn { "TCP SYN" } else { "TCP segment" };
        }
        let first = one.first();
        let carrying =
            self.case.window.is_some_and(|window| (window.from_ns..=window.to_ns).contains(&first.left_ns));
        let ports = [first.source.port(), first.destination.port()];
        match one.payload.first() {
            Some(kind) if self.case.coordination.contains(kind) => "coordination",
            Some(kind) if self.case.probes.contains(kind) => "probe",
            Some(kind) if self.case.relayed.contains(kind) => "relayed datagram",
            Some(0..=3) if one.payload.get(4..8) == Some(&STUN_COOKIE) => match one.payload[0] & 1 {
                0 => "STUN request",
                _ => "STUN response",
            },
            _ if ports.contains(&PORT_MAPPING) => "port mapping message",
            Some(0xc0..) => "QUIC handshake",
            Some(0x40..=0x7f) if carrying => "data",
            Some(0x40..=0x7f) => "QUIC",
            _ => "datagram",
        }
    }

    /// What a gateway made of a datagram, if it is not what it was.
    fn made(&self, before: &Hop, after: &Hop) -> Option<String> {
        let gateway = self.cast.name(after.from);
        let mut changes = Vec::new();
        if before.source != after.source {
            changes.push(format!("{} into {}", before.source, after.source));
        }
        if before.destination != after.destination {
            changes.push(format!("{} into {}", before.destination, after.destination));
        }
        (!changes.is_empty()).then(|| format!("{gateway} made {}", changes.join(" and ")))
    }

    fn end(&self, one: &Followed<'_>) -> End {
        let last = one.last();
        let dropped = |at: &str, why: String, basis| End::Dropped { at: at.to_owned(), why, basis };
        match one.fate {
            Fate::Arrived => End::Arrived,
            Fate::Lost(link, reason) => dropped(self.trace.name(link), reason.to_string(), Basis::Observed),
            Fate::Harmed(link) => {
                dropped(self.trace.name(link), "it was damaged".to_owned(), Basis::Observed)
            }
            Fate::Nobody => {
                let end_ns = self.trace.frames().last().map_or(0, |frame| frame.at_ns);
                let why = match end_ns.saturating_sub(last.left_ns) < LONGEST_WAY.as_nanos() as u64 {
                    true => "it was still on its way when the captures were read",
                    false => "nobody there had its hardware address",
                };
                dropped(self.trace.name(last.link), why.to_owned(), Basis::Observed)
            }
            Fate::Held => {
                let Some(gateway) = last.to else { return End::Arrived };
                let name = self.cast.name(gateway);
                let from_inside =
                    last.came_by.is_some_and(|link| !self.cast.leads_out(self.trace.name(link)));
                let passage = self.case.gateways.iter().find(|passage: &&Passage| passage.gateway == name);
                let (why, basis) =
                    self.departures.why((gateway, name), passage, last, from_inside, self.tables);
                dropped(name, why, basis)
            }
        }
    }
}

/// Whether two journeys are one in a drawing.
fn alike(a: &Journey, b: &Journey) -> bool {
    let way = |journey: &Journey| -> Vec<_> {
        journey.legs.iter().map(|leg| (leg.from.clone(), leg.to.clone())).collect()
    };
    let end = |journey: &Journey| match &journey.end {
        End::Arrived => None,
        // The ports may differ of which the reason tells.
        End::Dropped { at, why, basis } => {
            Some((at.clone(), why.split(':').next().map(str::to_owned), *basis))
        }
    };
    a.what == b.what && way(a) == way(b) && end(a) == end(b)
}

pub(super) fn basis_word(basis: Basis) -> &'static str {
    match basis {
        Basis::Observed => "observed",
        Basis::Inferred => "inferred",
    }
}

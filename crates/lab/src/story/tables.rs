//! What kernels said of their connection tables.

use std::{collections::BTreeMap, net::SocketAddrV4};

use natrig_record::{Moment, MomentKind};

use super::ms_since;

/// Most changes of one gateway that are told as moments.
const MOST: usize = 200;

/// An entry of a gateway's table: a flow from inside, and what outsiders see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Who began it.
    pub inside: SocketAddrV4,
    /// Whom he called.
    pub destination: SocketAddrV4,
    /// Whose it seems to be outside; where no address is translated, the same as inside.
    pub outside: SocketAddrV4,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There is one now.
    Made,
    /// It is gone.
    Ended,
}

/// What gateways have reported of their tables; of those that are in here, all is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables(BTreeMap<String, Vec<(u64, Change, Entry)>>);

/// Whether there was an entry at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// There had never been one.
    Never,
    /// There was.
    Now,
    /// There had been one, until then.
    Until(u64),
}

impl Tables {
    /// What a gateway has reported, and when in nanoseconds since the Unix epoch.
    pub fn add(&mut self, gateway: &str, changes: impl IntoIterator<Item = (u64, Change, Entry)>) {
        self.0.entry(gateway.to_owned()).or_default().extend(changes);
    }

    /// Whether a gateway had an entry of an outside endpoint with a fitting destination; none if nothing is known of it.
    pub(super) fn held(
        &self,
        gateway: &str,
        outside: SocketAddrV4,
        fits: impl Fn(SocketAddrV4) -> bool,
        at_ns: u64,
    ) -> Option<Held> {
        let (mut open, mut ended) = (0_usize, None);
        let changes = self.0.get(gateway)?.iter();
        for (when, change, entry) in changes.take_while(|(when, ..)| *when <= at_ns) {
            match change {
                _ if entry.outside != outside || !fits(entry.destination) => {}
                Change::Made => open += 1,
                Change::Ended => (open, ended) = (open.saturating_sub(1), Some(*when)),
            }
        }
        Some(match (open, ended) {
            (1.., _) => Held::Now,
            (0, Some(until)) => Held::Until(until),
            (0, None) => Held::Never,
        })
    }

    /// What a report tells of it.
    pub(super) fn moments(&self, origin_ns: u64) -> Vec<Moment> {
        let mut moments = Vec::new();
        for (gateway, changes) in &self.0 {
            let moment = |at_ns, what| Moment {
                at_ms: ms_since(origin_ns, at_ns),
                machine: Some(gateway.clone()),
                kind: MomentKind::Table,
                what,
            };
            moments.extend(changes.iter().take(MOST).map(|(at_ns, change, entry)| {
                let Entry { inside, destination, outside } = entry;
                let word = match change {
                    Change::Made => "entry made",
                    Change::Ended => "entry ended",
                };
                moment(*at_ns, format!("{word}: {inside} to {destination} as {outside}"))
            }));
            if let Some((at_ns, ..)) = changes.get(MOST) {
                moments.push(moment(*at_ns, format!("{} more changes of its table", changes.len() - MOST)));
            }
        }
        moments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_held_from_when_it_was_made_until_it_ended() {
        let endpoint = |text: &str| text.parse::<SocketAddrV4>().unwrap();
        let [outside, destination] = ["192.0.2.1:4400", "192.0.2.2:4400"].map(endpoint);
        let entry = Entry { inside: endpoint("10.0.1.2:4400"), destination, outside };
        let mut tables = Tables::default();
        tables.add("nat1", [(10, Change::Made, entry), (20, Change::Ended, entry)]);
        let held = |at_ns| tables.held("nat1", outside, |to| to == destination, at_ns);
        assert_eq!(
            [5, 10, 19, 20, 30].map(held),
            [
                Some(Held::Never),
                Some(Held::Now),
                Some(Held::Now),
                Some(Held::Until(20)),
                Some(Held::Until(20))
            ]
        );
        assert_eq!(tables.held("nat1", outside, |_| false, 15), Some(Held::Never));
        assert_eq!(tables.held("nat2", outside, |_| true, 15), None, "it reported nothing");
        let moments = tables.moments(0);
        assert_eq!(moments[0].what, "entry made: 10.0.1.2:4400 to 192.0.2.2:4400 as 192.0.2.1:4400");
    }
}

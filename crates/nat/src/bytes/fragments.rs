//! Fragments in any order (RFC 4787 REQ-14).
//!
//! Only the first fragment has the ports. What comes before it waits; what comes after it goes the way it went.

use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Lost, view::Header};
use crate::engine::Side;

/// How long a datagram's fragments may take (RFC 1122 section 3.3.2 gives 60 to 120 s for reassembly; fewer are kept).
const PATIENCE: Duration = Duration::from_secs(15);
/// Datagrams whose first fragment has passed.
const KNOWN: usize = 1024;
/// Fragments that wait for their first one, in all.
const WAITING: usize = 256;

/// Which datagram a fragment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    from: Side,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    identification: u16,
}

impl Datagram {
    pub fn of(from: Side, header: &Header) -> Self {
        Datagram {
            from,
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            identification: header.identification,
        }
    }
}

/// Where a datagram's fragments go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub to: Side,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

#[derive(Debug, Default)]
pub(super) struct Fragments {
    ways: HashMap<Datagram, (Way, Duration), FixedState>,
    /// In the order they were learned in.
    learned: VecDeque<(Duration, Datagram)>,
    waiting: VecDeque<(Duration, Datagram, Vec<u8>)>,
}

impl Fragments {
    /// The way of a fragment that is not the first; what has none yet waits.
    pub fn way(&mut self, now: Duration, datagram: Datagram, bytes: &[u8]) -> Result<Way, Lost> {
        self.expire(now);
        if let Some((way, _)) = self.ways.get(&datagram) {
            return Ok(*way);
        }
        if self.waiting.len() >= WAITING {
            return Err(Lost::TooManyFragments);
        }
        self.waiting.push_back((now, datagram, bytes.to_vec()));
        Err(Lost::Waiting)
    }

    /// Learns the way of a datagram from its first fragment; gives those that waited for it.
    pub fn learn(&mut self, now: Duration, datagram: Datagram, way: Way) -> Vec<Vec<u8>> {
        self.expire(now);
        if self.learned.len() >= KNOWN {
            self.forget_oldest();
        }
        self.ways.insert(datagram, (way, now));
        self.learned.push_back((now, datagram));
        let (ready, waiting) = self.waiting.drain(..).partition(|(_, other, _)| *other == datagram);
        self.waiting = waiting;
        VecDeque::into_iter(ready).map(|(_, _, bytes)| bytes).collect()
    }

    fn expire(&mut self, now: Duration) {
        let old = |since: Duration| now.saturating_sub(since) >= PATIENCE;
        while self.learned.front().is_some_and(|(since, _)| old(*since)) {
            self.forget_oldest();
        }
        while self.waiting.front().is_some_and(|(since, _, _)| old(*since)) {
            self.waiting.pop_front();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((since, datagram)) = self.learned.pop_front() else {
            return;
        };
        // It may have been learned again since.
        if self.ways.get(&datagram).is_some_and(|(_, learned)| *learned == since) {
            self.ways.remove(&datagram);
        }
    }
}

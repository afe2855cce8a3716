//! Why a gateway did not pass a datagram on.

use std::{collections::HashMap, net::SocketAddrV4};

use natrig_nat::{Filtering, Profile, profile::Hairpin};

use super::follow::{Followed, Hop};
use crate::assertions::{Life, Passage};

/// What had left gateways: from which outside endpoint, to whom, and when.
#[derive(Debug, Default)]
pub(super) struct Departures(HashMap<(usize, SocketAddrV4), Vec<(SocketAddrV4, u64)>>);

impl Departures {
    pub fn of(followed: &[Followed<'_>]) -> Self {
        let mut departures: HashMap<_, Vec<_>> = HashMap::new();
        // All but a datagram's first hop begin at a gateway.
        for hop in followed.iter().flat_map(|one| one.hops.iter().skip(1)) {
            departures.entry((hop.from, hop.source)).or_default().push((hop.destination, hop.left_ns));
        }
        Departures(departures)
    }

    /// To whom something had left from an outside endpoint before a time.
    fn before(&self, gateway: usize, outside: SocketAddrV4, at_ns: u64) -> Vec<SocketAddrV4> {
        let left = self.0.get(&(gateway, outside)).into_iter().flatten();
        left.filter(|(_, left_ns)| *left_ns < at_ns).map(|(to, _)| *to).collect()
    }

    /// Why a gateway kept what came to it, as far as that follows from what it is and from what had left it.
    pub fn why(&self, gateway: usize, passage: Option<&Passage>, hop: &Hop, from_inside: bool) -> String {
        let at_ns = hop.arrived_ns.unwrap_or(hop.left_ns);
        let life = passage.and_then(|passage| {
            passage.lives.iter().rfind(|life| life.from_ns <= at_ns).or(passage.lives.first())
        });
        let Some(life) = life else {
            return "nothing like it left there".to_owned();
        };
        if life.to_ns.is_some_and(|to_ns| to_ns <= at_ns) {
            return "something was being done to the gateway".to_owned();
        }
        let profile = &life.profile;
        if profile.udp_blocked {
            return "no UDP passes".to_owned();
        }
        match from_inside {
            true => going_out(life, hop),
            false => self.coming_in(gateway, profile, hop, at_ns),
        }
    }

    fn coming_in(&self, gateway: usize, profile: &Profile, hop: &Hop, at_ns: u64) -> String {
        let Hop { source, destination, .. } = *hop;
        if profile.mapping.is_none() && profile.filtering == Filtering::EndpointIndependent {
            return "nothing like it left there, though it is a router that lets everything in".to_owned();
        }
        let callers = self.before(gateway, destination, at_ns);
        if callers.is_empty() {
            return format!("no entry: nothing had left from {destination}");
        }
        let filtering = profile.filtering;
        let (called, whom) = match filtering {
            Filtering::EndpointIndependent => (true, "anybody".to_owned()),
            Filtering::AddressDependent => {
                (callers.iter().any(|to| to.ip() == source.ip()), source.ip().to_string())
            }
            Filtering::AddressAndPortDependent => (callers.contains(&source), source.to_string()),
        };
        match called {
            false => format!("{filtering}, no entry: nothing had left from {destination} to {whom}"),
            true => format!(
                "{filtering}, and {destination} had sent to {whom}: its entry was over, or there was no room for it"
            ),
        }
    }
}

fn going_out(life: &Life, hop: &Hop) -> String {
    if life.addresses.contains(hop.destination.ip()) && life.profile.hairpin == Hairpin::None {
        return format!("no hairpin: {} is its own outside address", hop.destination.ip());
    }
    "nothing like it left there: no room for an entry, or lost within".to_owned()
}

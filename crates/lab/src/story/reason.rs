//! Why a gateway did not pass a datagram on.

use std::{collections::HashMap, net::SocketAddrV4, time::Duration};

use natrig_nat::{Filtering, Profile, profile::Hairpin};
use natrig_record::Basis;

use super::{
    follow::{Followed, Hop},
    tables::{Held, Tables},
};
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

    /// Why a gateway kept what came to it, as far as that follows from what it is, from what had left it, and from what its
    /// kernel said of its table.
    pub fn why(
        &self,
        (gateway, name): (usize, &str),
        passage: Option<&Passage>,
        hop: &Hop,
        from_inside: bool,
        tables: &Tables,
    ) -> (String, Basis) {
        let at_ns = hop.arrived_ns.unwrap_or(hop.left_ns);
        let inferred = |why: String| (why, Basis::Inferred);
        let life = passage.and_then(|passage| {
            passage.lives.iter().rfind(|life| life.from_ns <= at_ns).or(passage.lives.first())
        });
        let Some(life) = life else {
            return inferred("nothing like it left there".to_owned());
        };
        if life.to_ns.is_some_and(|to_ns| to_ns <= at_ns) {
            return inferred("something was being done to the gateway".to_owned());
        }
        if life.profile.udp_blocked {
            return inferred("no UDP passes".to_owned());
        }
        if from_inside {
            return inferred(going_out(life, hop));
        }
        let Profile { mapping, filtering, .. } = life.profile;
        let Hop { source, destination, .. } = *hop;
        if mapping.is_none() && filtering == Filtering::EndpointIndependent {
            return inferred("nothing like it left there, though it lets everything in".to_owned());
        }
        let fits = |called: SocketAddrV4| match filtering {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => called.ip() == source.ip(),
            Filtering::AddressAndPortDependent => called == source,
        };
        let whom = match filtering {
            Filtering::EndpointIndependent => "anybody".to_owned(),
            Filtering::AddressDependent => source.ip().to_string(),
            Filtering::AddressAndPortDependent => source.to_string(),
        };
        let callers = self.before(gateway, destination, at_ns);
        let held = tables.held(name, destination, fits, at_ns);
        match (callers.iter().any(|to| fits(*to)), held) {
            (false, held) => {
                let why = match callers.is_empty() {
                    true => format!("no entry: nothing had left from {destination}"),
                    false => {
                        format!("{filtering}, no entry: nothing had left from {destination} to {whom}")
                    }
                };
                // Where the kernel says so, too, it is no guess.
                let basis = if held == Some(Held::Never) { Basis::Observed } else { Basis::Inferred };
                (why, basis)
            }
            (true, Some(Held::Until(ended_ns))) => {
                let before = Duration::from_nanos(at_ns - ended_ns).as_millis();
                (
                    format!(
                        "{filtering}, no entry: that of {destination} with {whom} had ended {before} ms before"
                    ),
                    Basis::Observed,
                )
            }
            (true, Some(Held::Now)) => inferred(format!(
                "{filtering}, and the table had an entry of {destination} with {whom}: lost within the gateway"
            )),
            (true, _) => inferred(format!(
                "{filtering}, and {destination} had sent to {whom}: its entry was over, or there was no room for it"
            )),
        }
    }
}

fn going_out(life: &Life, hop: &Hop) -> String {
    if life.addresses.contains(hop.destination.ip()) && life.profile.hairpin == Hairpin::None {
        return format!("no hairpin: {} is its own outside address", hop.destination.ip());
    }
    "nothing like it left there: no room for an entry, or lost within".to_owned()
}

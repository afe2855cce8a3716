//! Which outside endpoint each inside one had, and whether it stayed.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natrig_nat::{Mapping as Class, Profile};

use super::{Life, departures::Departure};

/// An outside endpoint that an inside one had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Whose it is.
    pub inside: SocketAddrV4,
    /// What outsiders see.
    pub outside: SocketAddrV4,
    /// The first frame that left by it.
    pub frame: u64,
    /// When that was.
    pub first_ns: u64,
    /// When the last one that left by it came to the gateway, at the earliest: its timer runs from then on.
    pub last_ns: u64,
}

/// All mappings of a time, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// Them.
    pub all: Vec<Mapping>,
    /// Sentences on those that changed while they were in use.
    pub moved: Vec<String>,
    /// Datagrams of a burst that left by a port of their own.
    pub bursts: usize,
}

/// What of a destination decides on the outside endpoint: nothing, its address, or its address and port.
type Towards = (Option<Ipv4Addr>, Option<u16>);

fn towards(class: Option<Class>, destination: SocketAddrV4) -> Towards {
    match class {
        Some(Class::AddressAndPortDependent) => (Some(*destination.ip()), Some(destination.port())),
        Some(Class::AddressDependent) => (Some(*destination.ip()), None),
        Some(Class::EndpointIndependent) | None => (None, None),
    }
}

impl Mappings {
    /// What a gateway makes of datagrams, which are in the order they left.
    pub fn of(departures: &[Departure], life: &Life) -> Self {
        let profile = &life.profile;
        let crowded = crowded(departures, profile);
        let mut latest: HashMap<(SocketAddrV4, Towards), usize> = HashMap::new();
        let mut mappings = Mappings::default();
        for departure in departures {
            let key = (departure.inside, towards(profile.mapping, departure.destination));
            let known = latest.get(&key).and_then(|at| mappings.all.get_mut(*at));
            if let Some(known) = known {
                if known.outside == departure.outside {
                    known.last_ns = departure.came_ns;
                    continue;
                }
                if life.draws_in_bursts && departure.came_ns <= known.first_ns {
                    mappings.bursts += 1;
                    continue;
                }
                if !crowded && !may_be_over(known, departure.at_ns, profile) {
                    mappings.moved.push(format!(
                        "{} to {} left as {} (frame {}), what it had sent before as {} (frame {})",
                        departure.inside,
                        departure.destination,
                        departure.outside,
                        departure.frame,
                        known.outside,
                        known.frame
                    ));
                }
            }
            latest.insert(key, mappings.all.len());
            mappings.all.push(Mapping {
                inside: departure.inside,
                outside: departure.outside,
                frame: departure.frame,
                first_ns: departure.at_ns,
                last_ns: departure.came_ns,
            });
        }
        mappings
    }

    /// Pairs of mappings that had one outside endpoint at the same time: of one socket, and of two sockets.
    pub fn sharing(&self, profile: &Profile) -> [Vec<(&Mapping, &Mapping)>; 2] {
        let mut sharing = [Vec::new(), Vec::new()];
        let mut owners: HashMap<SocketAddrV4, Vec<&Mapping>> = HashMap::new();
        for mapping in &self.all {
            let others = owners.entry(mapping.outside).or_default();
            for other in others.iter().filter(|other| !may_be_over(other, mapping.first_ns, profile)) {
                sharing[usize::from(other.inside != mapping.inside)].push((*other, mapping));
            }
            others.push(mapping);
        }
        sharing
    }

    /// Whether another mapping had an outside endpoint when this one was made.
    pub fn taken(&self, outside: SocketAddrV4, by_other_than: &Mapping) -> bool {
        let earlier = self.all.iter().take_while(|mapping| *mapping != by_other_than);
        earlier.into_iter().any(|mapping| mapping.outside == outside)
    }

    /// How many inside endpoints there are.
    pub fn sockets(&self) -> usize {
        self.by_socket().count()
    }

    /// How many mappings each inside endpoint had.
    pub fn by_socket(&self) -> impl Iterator<Item = usize> {
        let mut counts: HashMap<SocketAddrV4, usize> = HashMap::new();
        for mapping in &self.all {
            *counts.entry(mapping.inside).or_default() += 1;
        }
        counts.into_values()
    }

    /// How many outside endpoints there are.
    pub fn outsides(&self) -> usize {
        self.all.iter().map(|mapping| mapping.outside).collect::<HashSet<_>>().len()
    }
}

/// Whether a gateway may have forgotten a mapping by a time. What came from outside may have kept it alive; that it did
/// is never needed.
fn may_be_over(mapping: &Mapping, at_ns: u64, profile: &Profile) -> bool {
    let since = |ns: u64| Duration::from_nanos(at_ns.saturating_sub(ns));
    let timers = &profile.timers;
    since(mapping.last_ns) >= timers.unreplied.min(timers.stream)
        || timers.lifetime.is_some_and(|lifetime| since(mapping.first_ns) >= lifetime)
}

/// Whether there was more state than the gateway has room for, so that it may have thrown some out.
fn crowded(departures: &[Departure], profile: &Profile) -> bool {
    let flows: HashSet<_> = departures.iter().map(|one| (one.inside, one.destination)).collect();
    let limits = &profile.limits;
    let most = limits.flows.min(limits.mappings).min(limits.per_host.unwrap_or(u32::MAX));
    flows.len() as u64 >= u64::from(most)
}

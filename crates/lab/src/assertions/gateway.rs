//! Whether a gateway did with the nodes' datagrams what was proven of it.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use natrig_nat::{
    Mapping as Class, Profile,
    profile::{Allocation, Pooling, Ports},
};
use natrig_record::{About, Assertion};

use super::{
    Life,
    chance::tolerated,
    departures::{Departure, Departures},
    mappings::{Mapping, Mappings},
};

/// What a gateway has to show for one life of it.
pub(super) fn life(gateway: &str, life: &Life, all: &Departures) -> Vec<Assertion> {
    let profile = &life.profile;
    let alive = life.from_ns..life.to_ns.unwrap_or(u64::MAX);
    let left: Vec<Departure> = all.known.iter().filter(|one| alive.contains(&one.at_ns)).copied().collect();
    let strays: Vec<u64> =
        all.strays.iter().filter(|(_, at)| alive.contains(at)).map(|(id, _)| *id).collect();
    if profile.udp_blocked {
        let faults = left.iter().map(|one| format!("frame {} is from {}", one.frame, one.inside)).collect();
        return vec![assertion(
            format!("{gateway} lets no UDP out"),
            faults,
            "no datagram left it".to_owned(),
        )];
    }
    if left.is_empty() && strays.is_empty() {
        return Vec::new();
    }
    let invented = strays.iter().map(|frame| format!("nobody inside had sent what left it as frame {frame}"));
    let Some(class) = profile.mapping else {
        let changed = left.iter().filter(|one| one.inside != one.outside).map(|one| {
            format!("{} to {} left as {} (frame {})", one.inside, one.destination, one.outside, one.frame)
        });
        let seen = format!("{} datagrams of {} flows", left.len(), flows(&left));
        let what = format!("{gateway} leaves addresses and ports as they are");
        return vec![assertion(what, changed.chain(invented).collect(), seen)];
    };
    let (left, taken) = without_taken(left, profile, all);
    let mappings = Mappings::of(&left, life);
    let mut seen = format!(
        "{}, {}, {}",
        count(mappings.sockets(), "socket"),
        count(left.iter().map(|one| one.destination).collect::<HashSet<_>>().len(), "destination"),
        count(mappings.outsides(), "outside endpoint")
    );
    if taken > 0 {
        seen += &format!("; {} left out, whose destination had sent first", count(taken, "flow"));
    }
    if mappings.bursts > 0 {
        seen += &format!("; {} of a burst left by a port of its own", count(mappings.bursts, "datagram"));
    }
    let what = match class {
        Class::EndpointIndependent => "gives a socket one outside endpoint for all destinations",
        Class::AddressDependent => "gives a socket another outside endpoint for each destination address",
        Class::AddressAndPortDependent => "gives a socket another outside endpoint for each destination",
    };
    let mapping = assertion(format!("{gateway} {what}"), mapping_faults(class, profile, &mappings), seen);
    let kept = mappings.all.iter().filter(|mapping| mapping.inside.port() == mapping.outside.port()).count();
    let seen = format!("{}, {kept} of them with the inside port", count(mappings.all.len(), "mapping"));
    let faults = port_faults(life, &mappings).into_iter().chain(invented).collect();
    let ports = assertion(
        format!("{gateway} gives out ports as {} says: {}", profile.name, rule(profile)),
        faults,
        seen,
    );
    vec![ports, mapping]
}

/// A gateway that can be poisoned moves the port for a destination that sent first, which is all that is known of it.
fn without_taken(left: Vec<Departure>, profile: &Profile, all: &Departures) -> (Vec<Departure>, usize) {
    if profile.unsolicited != natrig_nat::profile::Unsolicited::Poison {
        return (left, 0);
    }
    let mut first: HashMap<(SocketAddrV4, SocketAddrV4), u64> = HashMap::new();
    for one in &left {
        first.entry((one.inside, one.destination)).or_insert(one.at_ns);
    }
    let taken: HashSet<_> = first
        .into_iter()
        .filter(|((_, destination), at_ns)| all.called_before(*destination, *at_ns))
        .map(|(flow, _)| flow)
        .collect();
    let left = left.into_iter().filter(|one| !taken.contains(&(one.inside, one.destination))).collect();
    (left, taken.len())
}

fn mapping_faults(class: Class, profile: &Profile, mappings: &Mappings) -> Vec<String> {
    let mut faults = mappings.moved.clone();
    if class != Class::EndpointIndependent {
        let [of_one_socket, _] = mappings.sharing(profile);
        let pairs: usize = mappings.by_socket().map(|count| count * count.saturating_sub(1) / 2).sum();
        if of_one_socket.len() > tolerated(pairs as f64 * luck(&profile.ports)) {
            faults.extend(of_one_socket.into_iter().map(|(a, b)| {
                format!(
                    "{} left as {} for two destinations (frames {}, {})",
                    a.inside, a.outside, a.frame, b.frame
                )
            }));
        }
    }
    faults
}

fn port_faults(life: &Life, mappings: &Mappings) -> Vec<String> {
    let Life { profile, addresses, rebound, .. } = life;
    let ports = &profile.ports;
    let mut faults = Vec::new();
    for mapping in &mappings.all {
        let Mapping { inside, outside, frame, .. } = mapping;
        let mut blame =
            |why: String| faults.push(format!("{inside} left as {outside} (frame {frame}), {why}"));
        if !addresses.contains(outside.ip()) {
            blame("which is no address of its".to_owned());
        }
        if !ports.range.contains(outside.port()) {
            blame(format!("which is not in {}", ports.range));
        }
        if ports.parity && inside.port() % 2 != outside.port() % 2 {
            blame("which is of the other parity".to_owned());
        }
        let wanted = SocketAddrV4::new(*outside.ip(), inside.port());
        let must_keep = match ports.allocation {
            _ if *rebound => false,
            Allocation::Preserving => true,
            Allocation::PreservingUntilCollision => {
                ports.range.contains(inside.port()) && !mappings.taken(wanted, mapping)
            }
            Allocation::Random | Allocation::Sequential { .. } => false,
        };
        if must_keep && *outside != wanted {
            blame(format!("while port {} was free", inside.port()));
        }
    }
    let kept = mappings.all.iter().filter(|mapping| mapping.inside.port() == mapping.outside.port()).count();
    let changed = mappings.all.len() - kept;
    match ports.allocation {
        Allocation::Random if kept > tolerated(mappings.all.len() as f64 * luck(ports)) => {
            faults.push(format!(
                "{kept} of {} kept the inside port, more than chance explains",
                mappings.all.len()
            ));
        }
        Allocation::Sequential { delta } => faults.extend(out_of_sequence(delta, mappings)),
        _ => {}
    }
    if !ports.overload {
        let [_, of_two_sockets] = mappings.sharing(profile);
        // Only drawn ports meet by chance: stock nftables does not look which ones are mapped to other destinations.
        if of_two_sockets.len() > tolerated((changed * mappings.all.len()) as f64 * luck(ports)) {
            faults.extend(of_two_sockets.into_iter().map(|(a, b)| {
                format!(
                    "{} and {} both left as {} (frames {}, {})",
                    a.inside, b.inside, a.outside, a.frame, b.frame
                )
            }));
        }
    }
    faults.extend(outside_of_blocks(ports, mappings));
    faults.extend(unpaired(profile, mappings));
    faults
}

/// The chance that a drawn port is a certain one; none where ports are not drawn.
fn luck(ports: &Ports) -> f64 {
    if matches!(ports.allocation, Allocation::Sequential { .. } | Allocation::Preserving) {
        return 0.0;
    }
    let range = ports.range.count();
    let drawn_from =
        ports.block.map_or(range, |block| range.min(u32::from(block.size) * u32::from(block.most)));
    1.0 / f64::from(if ports.parity { drawn_from.div_ceil(2) } else { drawn_from })
}

/// Each port lies a step above the last one of its address, over those that are taken; a range begins again at its end.
fn out_of_sequence(delta: u16, mappings: &Mappings) -> Vec<String> {
    let mut last: HashMap<Ipv4Addr, (u16, u32)> = HashMap::new();
    let mut faults = Vec::new();
    for mapping in &mappings.all {
        let port = mapping.outside.port();
        let (before, given) = last.insert(*mapping.outside.ip(), (port, 0)).unwrap_or((port, 0));
        if let Some((_, count)) = last.get_mut(mapping.outside.ip()) {
            *count = given + 1;
        }
        if given == 0 || port < before {
            continue;
        }
        let distance = u32::from(port - before);
        if distance == 0 || !distance.is_multiple_of(delta.into()) || distance / u32::from(delta) > given + 1
        {
            faults.push(format!(
                "{} left as {} (frame {}), after port {before}",
                mapping.inside, mapping.outside, mapping.frame
            ));
        }
    }
    let descents =
        mappings.all.windows(2).filter(|pair| pair[1].outside.port() < pair[0].outside.port()).count();
    if descents > 1 {
        faults.push(format!("the ports went down {descents} times"));
    }
    faults
}

fn outside_of_blocks(ports: &Ports, mappings: &Mappings) -> Vec<String> {
    let Some(block) = ports.block else { return Vec::new() };
    let mut blocks: HashMap<Ipv4Addr, HashSet<(Ipv4Addr, u16)>> = HashMap::new();
    for mapping in &mappings.all {
        let number = mapping.outside.port().saturating_sub(ports.range.first()) / block.size.max(1);
        blocks.entry(*mapping.inside.ip()).or_default().insert((*mapping.outside.ip(), number));
    }
    let most = usize::from(block.most);
    let greedy = blocks.into_iter().filter(|(_, had)| had.len() > most);
    greedy.map(|(host, had)| format!("{host} had ports of {} blocks of {}", had.len(), block.size)).collect()
}

fn unpaired(profile: &Profile, mappings: &Mappings) -> Vec<String> {
    if profile.pool.pooling != Pooling::Paired {
        return Vec::new();
    }
    let mut addresses: HashMap<Ipv4Addr, HashSet<Ipv4Addr>> = HashMap::new();
    for mapping in &mappings.all {
        addresses.entry(*mapping.inside.ip()).or_default().insert(*mapping.outside.ip());
    }
    let several = addresses.into_iter().filter(|(_, had)| had.len() > 1);
    several.map(|(host, had)| format!("{host} had {} outside addresses", had.len())).collect()
}

/// How ports are given out, in a few words.
fn rule(profile: &Profile) -> String {
    let ports = &profile.ports;
    let mut words = match ports.allocation {
        Allocation::Preserving => "the inside port".to_owned(),
        Allocation::PreservingUntilCollision => "the inside port where it is free".to_owned(),
        Allocation::Random => "random".to_owned(),
        Allocation::Sequential { delta } => format!("each {delta} above the last"),
    };
    words += &format!(", of {}", ports.range);
    if let Some(block) = ports.block {
        words += &format!(", from the host's blocks of {}", block.size);
    }
    if ports.parity {
        words += ", parity kept";
    }
    words
}

fn flows(departures: &[Departure]) -> usize {
    departures.iter().map(|one| (one.inside, one.destination)).collect::<HashSet<_>>().len()
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// An assertion that holds if there is no fault; the first few are told.
fn assertion(what: String, faults: Vec<String>, seen: String) -> Assertion {
    const TOLD: usize = 3;
    let holds = faults.is_empty();
    let mut detail =
        if holds { seen } else { faults.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; ") };
    if faults.len() > TOLD {
        detail += &format!("; and {} more", faults.len() - TOLD);
    }
    Assertion { about: About::Gateway, what, holds, detail }
}

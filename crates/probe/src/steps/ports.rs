//! Which ports fresh sockets get, and which address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use natrig_nat::profile::Pooling;

use super::Step;
use crate::{Failed, PortUse, Ports, Second, Span, bench::Request};

/// Fresh sockets of each host, half of them on even ports.
const SOCKETS: u16 = 16;

/// Of how many ports that were not kept all must have the inside ones' parity, so that it is no chance.
const ENOUGH: usize = 16;

/// What this step found.
#[derive(Debug)]
pub struct Measured {
    pub ports: Ports,
    pub pooling: Pooling,
    pub outside: Vec<IpAddr>,
}

/// A socket and what it got.
#[derive(Debug, Clone, Copy)]
struct Given {
    /// 0 or 1.
    host: usize,
    inside: u16,
    outside: Option<SocketAddr>,
}

impl Given {
    fn kept(&self) -> bool {
        self.outside.is_some_and(|outside| outside.port() == self.inside)
    }
}

/// Fresh sockets on the same ports of all hosts ask in turn, those on even ports first.
pub async fn measure(step: &Step) -> Result<Measured, Failed> {
    let first = step.bench.fresh_ports(SOCKETS + 1).next_multiple_of(2);
    let even = (first..first + SOCKETS).step_by(2);
    let odd = (first + 1..first + SOCKETS).step_by(2);
    let given = ask(step, even.chain(odd)).await?;
    let mut ports = usage(&given);
    if ports.usage == PortUse::Random
        && ports.blocks != Some(true)
        && let Some(range) = ports.range
        && let Some(within) = kept_within(step, range, &given).await?
    {
        ports = Ports { usage: PortUse::Kept, second: within, hosts: None, blocks: None, ..ports };
    }
    let outside: BTreeSet<IpAddr> = given.iter().filter_map(|given| Some(given.outside?.ip())).collect();
    let arbitrary = (0..2).any(|host| addresses(&given, host).len() > 1);
    let pooling = if arbitrary { Pooling::Arbitrary } else { Pooling::Paired };
    tell(step, &given);
    Ok(Measured { ports, pooling, outside: outside.into_iter().collect() })
}

/// Has a socket on each of these ports ask, of each host, the first host's first. A second host may be given nothing.
async fn ask(step: &Step, ports: impl Iterator<Item = u16>) -> Result<Vec<Given>, Failed> {
    let hosts = step.hosts();
    let mut given = Vec::new();
    let mut requests = Vec::new();
    for (number, inside) in ports.enumerate() {
        // Some gateways choose the address by the destination's.
        let to = if number % 4 < 2 { step.plan.server } else { step.other_address() };
        for (host, address) in hosts.iter().enumerate() {
            let socket = step.bench.bind(SocketAddr::new(*address, inside));
            let request = Request::plain(socket, to);
            requests.push(if host == 0 { request } else { request.optional() });
            given.push(Given { host, inside, outside: None });
        }
    }
    let asked = requests.clone();
    if let [_, second] = hosts.as_slice() {
        requests.push(Request::plain(step.bench.fresh(*second), step.plan.server));
    }
    let answers = step.bench.exchange(requests).await?;
    for (given, answer) in given.iter_mut().zip(&answers) {
        given.outside = answer.mapped();
    }
    // Where some of the second host's are answered, the others were lost.
    let lost: Vec<usize> = (0..given.len()).filter(|index| given[*index].outside.is_none()).collect();
    if given.iter().any(|given| given.host == 1 && given.outside.is_some()) && !lost.is_empty() {
        let again = lost.iter().map(|index| Request::plain(asked[*index].socket, asked[*index].to));
        let answers = step.bench.exchange(again.collect()).await?;
        for (index, answer) in lost.iter().zip(&answers) {
            given[*index].outside = answer.mapped();
        }
    }
    Ok(given)
}

/// What the ports follow.
fn usage(given: &[Given]) -> Ports {
    let firsts = given.iter().filter(|given| given.host == 0);
    let kept = firsts.clone().filter(|given| given.kept()).count();
    let moved: Vec<Given> =
        given.iter().copied().filter(|given| given.outside.is_some() && !given.kept()).collect();
    let even = |given: &Given| given.outside.is_some_and(|outside| outside.port() % 2 == given.inside % 2);
    let parity = match moved.iter().all(even) {
        true => (moved.len() >= ENOUGH && !begins_again(&moved)).then_some(true),
        false => Some(false),
    };
    let count = moved.len() as u16;
    let range = span(&moved);
    if 4 * kept >= 3 * firsts.count() {
        return Ports {
            usage: PortUse::Kept,
            second: second(given),
            moved: count,
            range,
            parity,
            hosts: None,
            blocks: None,
        };
    }
    let common = common_step(&moved, false);
    let own = common.or_else(|| common_step(&moved, true));
    let usage = own.map_or(PortUse::Random, |delta| PortUse::Sequential { delta });
    let hosts = hosts(&moved);
    let blocks =
        hosts.map(|[one, other]| common.is_none() && (one.last < other.first || other.last < one.first));
    Ports { usage, second: None, moved: count, range, parity, hosts, blocks }
}

/// Whether the ports begin again at the lower end of their range just where the inside ones change their parity: a sequence of even
/// steps may do so by chance, and then it is no sign that parity is kept.
fn begins_again(moved: &[Given]) -> bool {
    let port = |given: &Given| given.outside.map(|outside| outside.port());
    let mut turns = moved.windows(2).filter_map(|pair| match pair {
        [before, after] if before.inside % 2 != after.inside % 2 => Some((before, after)),
        _ => None,
    });
    common_step(moved, false).is_some_and(|step| step.is_multiple_of(2))
        && turns.any(|(before, after)| port(after) < port(before))
}

/// What the second host gets where the first one has kept its port.
fn second(given: &[Given]) -> Option<Second> {
    let pairs = given.chunks_exact(2).filter_map(|pair| match pair {
        [one, other] if one.host == 0 && other.host == 1 && one.kept() => Some((one, other)),
        _ => None,
    });
    let (mut met, mut nothing) = (0, 0);
    for (one, other) in pairs {
        match other.outside {
            None => nothing += 1,
            Some(outside) if one.outside.map(|outside| outside.ip()) == Some(outside.ip()) => met += 1,
            Some(_) => {}
        }
    }
    match (met, nothing) {
        (0, 0) => None,
        (0, _) => Some(Second::Nothing),
        _ => Some(Second::Another),
    }
}

/// The distance from one port to the next, where it is mostly the same: on an outside address, or for each host there. It
/// is not where the sequence starts again every few steps: a distance of more than a sixteenth of the range is not told.
fn common_step(moved: &[Given], by_host: bool) -> Option<u16> {
    let mut last: BTreeMap<(IpAddr, usize), u16> = BTreeMap::new();
    let mut distances: BTreeMap<u16, usize> = BTreeMap::new();
    let mut count = 0;
    for given in moved {
        let Some(outside) = given.outside else { continue };
        let key = (outside.ip(), if by_host { given.host } else { 0 });
        if let Some(before) = last.insert(key, outside.port()) {
            count += 1;
            if let Some(distance) = outside.port().checked_sub(before) {
                *distances.entry(distance).or_default() += 1;
            }
        }
    }
    let (distance, often) = distances.into_iter().max_by_key(|(_, often)| *often)?;
    (distance > 0 && 5 * often >= 3 * count).then_some(distance)
}

/// Each host's ports, where both have the same outside address.
fn hosts(moved: &[Given]) -> Option<[Span; 2]> {
    if addresses(moved, 0).len() != 1 || addresses(moved, 0) != addresses(moved, 1) {
        return None;
    }
    let of = |host| span(&moved.iter().copied().filter(|given| given.host == host).collect::<Vec<_>>());
    Some([of(0)?, of(1)?])
}

fn addresses(given: &[Given], host: usize) -> BTreeSet<IpAddr> {
    given.iter().filter(|given| given.host == host).filter_map(|given| Some(given.outside?.ip())).collect()
}

fn span(given: &[Given]) -> Option<Span> {
    let ports = || given.iter().filter_map(|given| Some(given.outside?.port()));
    Some(Span { first: ports().min()?, last: ports().max()? })
}

/// Whether ports that lie where the others come from are kept, and what who comes second to them gets.
async fn kept_within(step: &Step, range: Span, given: &[Given]) -> Result<Option<Option<Second>>, Failed> {
    let seen = step.bench.seen_ports();
    let taken =
        |port: u16| port < 1024 || seen.contains(&port) || given.iter().any(|given| given.inside == port);
    let width = range.last - range.first;
    let wanted = [1u16, 2, 3, 4].map(|fifth| range.first + width / 5 * fifth);
    let mut free: Vec<u16> = Vec::new();
    for wish in wanted {
        let port = (wish..=range.last).find(|port| !taken(*port) && !free.contains(port));
        free.extend(port);
    }
    let given = ask(step, free.into_iter()).await?;
    // Another one may just have been given one of these; that two are kept is no chance.
    let kept = given.iter().filter(|given| given.host == 0 && given.kept()).count();
    tell(step, &given);
    Ok((kept >= 2).then(|| second(&given)))
}

fn tell(step: &Step, given: &[Given]) {
    for (host, address) in step.hosts().into_iter().enumerate() {
        let pairs = given.iter().filter(|given| given.host == host);
        let words = pairs.map(|given| match given.outside {
            Some(outside) => format!("{} is {outside}", given.inside),
            None => format!("{} gets nothing", given.inside),
        });
        step.bench.note(format!("fresh ports of {address}: {}", words.collect::<Vec<_>>().join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(host: usize, inside: u16, outside: u16) -> Given {
        Given { host, inside, outside: Some(SocketAddr::new("192.0.2.1".parse().unwrap(), outside)) }
    }

    #[test]
    fn a_sequence_over_taken_ports_is_one() {
        let ports = [10, 12, 14, 18, 20, 22, 24, 26, 28];
        let given: Vec<Given> = ports.iter().map(|port| given(0, 2 * port + 1, *port)).collect();
        assert_eq!(usage(&given).usage, PortUse::Sequential { delta: 2 });
    }

    /// Found by `any_profile_is_measured_as_declared`.
    #[test]
    fn a_sequence_that_begins_again_where_the_parity_changes_keeps_none_for_sure() {
        let evens = (0..8).map(|n| (6000 + 2 * n, 30_236 + 48 * n));
        let odds = (0..8).map(|n| (6001 + 2 * n, 13_607 + 48 * n));
        let both = |(inside, outside)| [given(0, inside, outside), given(1, inside, outside + 24)];
        let wrapped: Vec<Given> = evens.clone().chain(odds.clone()).flat_map(both).collect();
        assert_eq!(usage(&wrapped).parity, None);
        // Where nothing begins again, it is kept.
        let kept: Vec<Given> =
            evens.chain(odds.map(|(inside, outside)| (inside, outside + 20_000))).flat_map(both).collect();
        assert_eq!(usage(&kept).parity, Some(true));
    }

    #[test]
    fn two_sequences_apart_are_blocks() {
        let given: Vec<Given> =
            (0..16).flat_map(|n| [given(0, 6000 + n, 1024 + n), given(1, 6000 + n, 1536 + n)]).collect();
        let ports = usage(&given);
        assert_eq!((ports.usage, ports.blocks), (PortUse::Sequential { delta: 1 }, Some(true)));
    }

    #[test]
    fn one_sequence_for_all_is_none() {
        let given: Vec<Given> = (0..16)
            .flat_map(|n| [given(0, 6000 + n, 1024 + 2 * n), given(1, 6000 + n, 1025 + 2 * n)])
            .collect();
        let ports = usage(&given);
        assert_eq!((ports.usage, ports.blocks), (PortUse::Sequential { delta: 1 }, Some(false)));
    }
}

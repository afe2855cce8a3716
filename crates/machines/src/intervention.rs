//! Finds a path by taking ways off the wire, for nodes that cannot carry the lab's bytes.

use std::time::{Duration, Instant};

use natrig_lab::{Halt, verdict::Intervention};
use natrig_scenario::{Machine, Scenario};
use natrig_wire::Port;

use crate::{
    Lab, Trouble,
    faults::idle,
    lab::{lock, over},
    nodes::Nodes,
};

/// How long each way is taken off.
const WINDOW: Duration = Duration::from_secs(3);

/// What was on its way when one was taken off still comes.
const GRACE: Duration = Duration::from_millis(500);

/// How long nodes may take until they hear from each other again.
const AGAIN: Duration = Duration::from_secs(30);

/// How often it is looked for that.
const LOOK: Duration = Duration::from_millis(100);

/// What a node reports when something of the other one's has come.
const DELIVERED: &str = "delivered";

/// Counts what arrives at two nodes that send by themselves: untouched, without third machines, without the way between them.
pub(crate) fn intervene(
    lab: &Lab,
    nodes: &Nodes,
    scenario: &Scenario,
    halt: &Halt,
) -> Result<Intervention, Trouble> {
    let pair = scenario.pair();
    let [third, direct] = ways(lab, scenario)?;
    let untouched = delivered_within(nodes, pair, halt)?;
    let without = |way: &[[Port; 2]]| {
        let arrived = off_the_wire(lab, way, || delivered_within(nodes, pair, halt))?;
        again(nodes, pair, halt)?;
        Ok::<_, Trouble>(arrived)
    };
    Ok(Intervention { untouched, without_third: without(&third)?, without_direct: without(&direct)? })
}

/// The ports that frames to and from third machines go between, and those of frames between the sites.
fn ways(lab: &Lab, scenario: &Scenario) -> Result<[Vec<[Port; 2]>; 2], Trouble> {
    let topology = lab.topology();
    let peers = scenario.pair().map(|peer| (peer, scenario.site_in_the_end(peer)));
    let sites = topology.pair_at(peers).sites.map(|site| site.wan);
    let shared = topology.links().find(|(link, _)| link.name() == sites[0]).map(|(_, segment)| segment);
    let kept_apart = |a: &str, b: &str| {
        let is = |pair: [&str; 2]| pair == [a, b] || pair == [b, a];
        let filtered =
            scenario.filters.iter().any(|filter| is(filter.between.each_ref().map(|link| link.name())));
        filtered || lock(&lab.parted).iter().any(|pair| is(pair.each_ref().map(|link| link.name())))
    };
    let between = |a: &str, b: &str| {
        // What a scenario keeps apart must stay so.
        let names = (!kept_apart(a, b)).then_some([[a, b], [b, a]]);
        names
            .into_iter()
            .flatten()
            .map(|names| {
                let [from, to] = names.map(|name| lab.switch().port(name));
                from.zip(to)
                    .map(|(from, to)| [from, to])
                    .ok_or_else(|| Trouble::lab(format!("there is no link between {a} and {b}")))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let mut third = Vec::new();
    for (link, segment) in topology.links() {
        if Some(segment) == shared && !sites.iter().any(|site| site == link.name()) {
            for site in &sites {
                third.extend(between(site, link.name())?);
            }
        }
    }
    Ok([third, between(&sites[0], &sites[1])?])
}

/// Does something while nothing passes between some ports.
fn off_the_wire<T>(
    lab: &Lab,
    way: &[[Port; 2]],
    work: impl FnOnce() -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    way.iter().try_for_each(|[from, to]| lab.switch().block(*from, *to))?;
    let done = work();
    way.iter().try_for_each(|[from, to]| lab.switch().unblock(*from, *to))?;
    done
}

fn delivered_within(nodes: &Nodes, pair: [Machine; 2], halt: &Halt) -> Result<u32, Trouble> {
    idle(GRACE, halt)?;
    let since = Instant::now();
    idle(WINDOW - GRACE, halt)?;
    delivered_since(nodes, pair, since)
}

/// Waits until messages arrive again; if they do not, that shows in what is counted next.
fn again(nodes: &Nodes, pair: [Machine; 2], halt: &Halt) -> Result<(), Trouble> {
    let since = Instant::now();
    while delivered_since(nodes, pair, since)? == 0 && !over(since + AGAIN, halt) {
        idle(LOOK, halt)?;
    }
    Ok(())
}

fn delivered_since(nodes: &Nodes, pair: [Machine; 2], since: Instant) -> Result<u32, Trouble> {
    pair.into_iter().try_fold(0, |sum, peer| {
        let count = nodes.on(peer)?.count(|one| one.at >= since && one.is(DELIVERED));
        Ok(sum + u32::try_from(count).unwrap_or(u32::MAX))
    })
}

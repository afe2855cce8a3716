//! The proof of gateways: measured between stations on the switch, held against what their profiles declare.

use natrig_lab::{
    Place, Topology,
    proof::{Depth, Span, Untold, until_told},
};
use natrig_record::Proof;
use natrig_scenario::{Gateway, Scenario};

use crate::{
    Lab, Trouble,
    gateway::{self, each_gateway},
};

/// Measures each gateway from its own two segments, as far as is asked for, and compares with what its profile declares;
/// the wire is the witness of every silence.
pub fn measure(
    lab: &Lab,
    scenario: &Scenario,
    depth: impl Fn(&Gateway) -> Depth + Sync,
) -> Result<Vec<Proof>, Trouble> {
    measure_again(lab, scenario, 0, depth)
}

/// The same in another round: the captures hold those before as well.
pub(crate) fn measure_again(
    lab: &Lab,
    scenario: &Scenario,
    round: u32,
    depth: impl Fn(&Gateway) -> Depth + Sync,
) -> Result<Vec<Proof>, Trouble> {
    let measure = |lab: &mut &Lab, round| measure_once(lab, scenario, round, &depth);
    until_told(&mut { lab }, scenario, round, measure, |lab| gateway::flush(lab, scenario).map(drop))
}

fn measure_once(
    lab: &Lab,
    scenario: &Scenario,
    round: u32,
    depth: &(impl Fn(&Gateway) -> Depth + Sync),
) -> Result<Vec<Proof>, Untold> {
    let topology = Topology::of(scenario);
    let measure = |span: &Span<'_>, depth| span.measure(&mut lab.stations(span.stands())?, depth);
    let mut found = each_gateway(scenario, |place| {
        measure(&Span::of(&topology, place).in_round(round), depth(&place.gateway))
    })?;
    let mut spans: Vec<Span<'_>> =
        topology.gateways().iter().map(|place| Span::of(&topology, place).in_round(round)).collect();
    for chain in Span::chains(&topology, scenario) {
        let chain = chain.in_round(round);
        found.push(measure(&chain, Depth::Fast)?);
        spans.push(chain);
    }
    let trace = lab.trace()?;
    spans.iter().zip(&found).map(|(span, found)| span.prove(found, &trace)).collect()
}

/// Measures one gateway of a scenario with the fast steps in another round.
pub(crate) fn measure_one(
    lab: &Lab,
    scenario: &Scenario,
    place: &Place,
    round: u32,
) -> Result<Vec<Proof>, Trouble> {
    let topology = Topology::of(scenario);
    let measure = |lab: &mut &Lab, round| {
        let span = Span::of(&topology, place).in_round(round);
        let found = span.measure(&mut lab.stations(span.stands())?, Depth::Fast)?;
        Ok(vec![span.prove(&found, &lab.trace()?)?])
    };
    until_told(&mut { lab }, scenario, round, measure, |lab| gateway::empty(lab, scenario, place).map(drop))
}

//! A cell of which only the gateways are tried: who plays, what the wire must show, and what it comes to.

use std::collections::BTreeMap;

use natrig_capture::{LinkId, Trace};
use natrig_record::{Cell, Experiment, Outcome, Search, Step, Trial};
use natrig_scenario::{Machine, Scenario};

use super::{Finding, Parties, Party};
use crate::{Pair, Place, Stand, Topology, Trouble};

/// Where the stations of an experiment are, and who they are when they sit there in this order.
pub fn seats(topology: &Topology, pair: [Machine; 2]) -> Result<([Stand; 3], Parties), Trouble> {
    let place = |innermost: bool, peer: Machine| {
        let mut places = topology.gateways().iter().filter(|place| Some(place.site) == peer.site());
        let found: Option<&Place> = if innermost { places.next() } else { places.next_back() };
        found.ok_or_else(|| Trouble::lab(format!("{peer} is behind no gateway")))
    };
    let [initiator, responder] = pair;
    if initiator.site() == responder.site() {
        return Err(Trouble::lab("no gateway stands between two peers in one LAN"));
    }
    let [behind, _] = topology.stands(place(true, initiator)?);
    let [behind_other, _] = topology.stands(place(true, responder)?);
    let [_, internet] = topology.stands(place(false, initiator)?);
    let party = |seat, stand: &Stand| Party { seat, address: *stand.endpoint(0, 0).ip() };
    let parties = Parties {
        peers: [party(0, &behind), party(1, &behind_other)],
        coordinator: party(2, &internet),
        other_address: *internet.endpoint(1, 0).ip(),
    };
    Ok(([behind, behind_other, internet], parties))
}

/// Puts what was found into a cell's record, held against what its scenario expects.
pub fn judge(cell: &mut Cell, scenario: &Scenario, finding: &Finding) {
    let admitted = scenario.expected.admits(finding.kind);
    let order_matters = finding.order_matters();
    cell.outcome = if admitted && !order_matters { Outcome::AsExpected } else { Outcome::NotAsExpected };
    cell.experiment = Some(Experiment {
        kind: finding.kind,
        order_matters,
        trials: finding
            .trials
            .iter()
            .map(|trial| Trial { senders: trial.order.to_string(), connected: trial.connected })
            .collect(),
        search: finding.search.map(|search| Search {
            probes: u32::try_from(search.probes).unwrap_or(u32::MAX),
            connected: search.connected,
        }),
    });
    let reason = match (admitted, order_matters) {
        (true, false) => return,
        (_, true) => "it makes a difference who sends first".to_owned(),
        (false, false) => {
            format!("expected {}, the gateways come to {}", scenario.expected, finding.kind)
        }
    };
    let lines = finding.trials.iter().map(|trial| {
        format!("{}: {}", trial.order, if trial.connected { "connected" } else { "not connected" })
    });
    cell.failure = Some(Trouble::node(reason).lines(lines).failure(Step::Verdict));
}

/// Every packet that did not arrive must have come to the far gateway and not passed it: otherwise its silence proves
/// nothing.
pub fn witness(trace: &Trace, pair: &Pair, finding: &Finding) -> Result<(), Trouble> {
    let link =
        |name: &str| trace.link(name).ok_or_else(|| Trouble::lab(format!("there is no capture of {name}")));
    let mut links: Vec<[LinkId; 2]> = Vec::new();
    for site in &pair.sites {
        links.push([link(&site.wan)?, link(site.lan.as_ref().unwrap_or(&site.wan))?]);
    }
    let mut seen: BTreeMap<(&[u8], LinkId), [bool; 2]> = BTreeMap::new();
    for frame in trace.frames() {
        let Some(udp) = frame.packet().and_then(|packet| packet.udp()) else { continue };
        seen.entry((udp.payload, frame.from)).or_default()[0] = true;
        for delivery in &frame.to {
            seen.entry((udp.payload, delivery.link)).or_default()[1] = true;
        }
    }
    for trial in &finding.trials {
        for (sender, payload) in &trial.filtered {
            let Some([wan, lan]) = links.get(1 - sender) else { continue };
            let at = |link: LinkId| seen.get(&(payload.as_slice(), link)).copied().unwrap_or_default();
            let ([_, came], [passed, _]) = (at(*wan), at(*lan));
            if !came || passed {
                let what = if passed {
                    "passed the far gateway all the same"
                } else {
                    "never came to the far gateway"
                };
                let who = ["initiator", "responder"][*sender];
                return Err(Trouble::lab(format!(
                    "{}: a packet of the {who} that did not arrive {what}: its silence proves nothing",
                    trial.order
                ))
                .hint("see captures/ of this cell"));
            }
        }
    }
    Ok(())
}

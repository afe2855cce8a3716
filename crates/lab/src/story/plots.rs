//! A cell's bytes and delays over time.

use natrig_capture::Trace;
use natrig_record::Throughput;

use super::{
    cast::Cast,
    follow::{Fate, Followed},
    ms_since,
};
use crate::{
    verdict::Case,
    wires::{Way, Wires, payload},
};

/// Spans that a plot has.
const SPANS: usize = 120;

/// Points that a plot of delays has at most.
const POINTS: usize = 600;

/// Payload from site to site and to third machines, from the connect command on.
pub(super) fn throughput(trace: &Trace, case: &Case, until_ns: u64) -> Throughput {
    let Ok(wires) = Wires::find(trace, &case.pair) else { return Throughput::default() };
    let counted: Vec<_> = wires
        .ways()
        .filter(|(_, frame)| (case.connect_ns..=until_ns).contains(&frame.at_ns) && !frame.to.is_empty())
        .map(|(way, frame)| (way, frame.at_ns - case.connect_ns, payload(frame)))
        .collect();
    let Some(last) = counted.iter().map(|(_, at, _)| *at).max() else { return Throughput::default() };
    let span_ns = last / SPANS as u64 + 1;
    let spans = || vec![0; SPANS];
    let mut found = Throughput {
        from_ms: 0.0,
        span_ms: ms_since(0, span_ns),
        direct_there: spans(),
        direct_back: spans(),
        third: spans(),
    };
    for (way, at, bytes) in counted {
        let series = match way {
            Way::Across { from: 0 } => &mut found.direct_there,
            Way::Across { .. } => &mut found.direct_back,
            Way::ToThird { .. } | Way::FromThird { .. } => &mut found.third,
        };
        if let Some(span) = series.get_mut((at / span_ns) as usize) {
            *span += bytes;
        }
    }
    found
}

/// How long datagrams took from peer to peer: when sent, how long. Of many, some in equal distances.
pub(super) fn latencies(followed: &[Followed<'_>], cast: &Cast, origin_ns: u64) -> Vec<[f64; 2]> {
    let all: Vec<_> = followed
        .iter()
        .filter(|one| one.fate == Fate::Arrived && cast.is_peer(one.first().from))
        .filter(|one| one.last().to.is_some_and(|to| cast.is_peer(to)))
        .filter_map(|one| {
            let (left, arrived) = (one.first().left_ns, one.last().arrived_ns?);
            Some([ms_since(origin_ns, left), ms_since(left, arrived)])
        })
        .collect();
    let step = all.len().div_ceil(POINTS).max(1);
    all.into_iter().step_by(step).collect()
}

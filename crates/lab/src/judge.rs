//! The verdict held against the scenario and the nodes' claims.

use natrig_record::{Claim, Kind, Outcome, Path, Verdict};
use natrig_scenario::Expected;

/// What a scenario wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The kinds it admits.
    pub expected: Expected,
    /// Whether payload may go through a relay.
    pub relay_allowed: bool,
    /// Whether the lab keeps the sites' frames from each other, so that no attempt can arrive.
    pub pair_blocked: bool,
}

/// The judgement, and the sentence that says why it is not [`Outcome::AsExpected`].
pub fn judge(wanted: Wanted, verdict: &Verdict, claims: &[Claim]) -> (Outcome, Option<String>) {
    if let Some(liar) = claims.iter().find(|claim| differs(claim, verdict)) {
        let message = format!("{} says {}, the wire says {}", liar.machine, liar.path, verdict.path);
        return (Outcome::Disagree, Some(message));
    }
    match objection(wanted, verdict) {
        Some(message) => (Outcome::NotAsExpected, Some(message)),
        None => (Outcome::AsExpected, None),
    }
}

/// A claim can only be held against a wire that shows one path.
fn differs(claim: &Claim, verdict: &Verdict) -> bool {
    matches!(verdict.path, Path::Direct | Path::Relay) && claim.path != verdict.path
}

fn objection(wanted: Wanted, verdict: &Verdict) -> Option<String> {
    let Some(kind) = verdict.kind else {
        return Some(match verdict.path {
            Path::None => "the lab's bytes did not all arrive".to_owned(),
            _ => "the lab's bytes went neither wholly direct nor wholly through a relay".to_owned(),
        });
    };
    if kind == Kind::Relay && !wanted.relay_allowed {
        return Some("the lab's bytes went through a third machine, which this scenario forbids".to_owned());
    }
    if !wanted.expected.admits(kind) {
        return Some(format!("expected {}, the wire shows {kind}", wanted.expected));
    }
    match kind {
        Kind::Direct => None,
        Kind::Reversal | Kind::Punch | Kind::Birthday => (!verdict.coordinator_asked)
            .then(|| format!("the wire shows a {kind}, and no coordinator was asked for it")),
        Kind::Relay => relay_objection(wanted, verdict),
    }
}

/// A relay is the right answer only where the direct way was tried and seen to fail.
fn relay_objection(wanted: Wanted, verdict: &Verdict) -> Option<String> {
    for (site, who) in ["initiator", "responder"].into_iter().enumerate() {
        if verdict.attempts_passed[site] > 0 {
            return Some(format!("the path is the relay, yet frames of the {who} passed the far gateway"));
        }
        if verdict.attempts_arrived[site] == 0 && !wanted.pair_blocked {
            return Some(format!(
                "the path is the relay, yet no attempt of the {who} came to the far gateway"
            ));
        }
    }
    None
}

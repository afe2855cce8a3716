//! The verdict held against the scenario, the nodes' claims, and what else the captures must show.

use natrig_record::{About, Assertion, Claim, Outcome, Path, Verdict};
use natrig_scenario::Expected;

/// What a scenario wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The kinds it admits.
    pub expected: Expected,
    /// Whether payload may go through a relay.
    pub relay_allowed: bool,
}

/// The judgement, and the sentence that says why it is not [`Outcome::AsExpected`].
pub fn judge(
    wanted: Wanted,
    verdict: &Verdict,
    claims: &[Claim],
    assertions: &[Assertion],
) -> (Outcome, Option<String>) {
    if let Some(message) = broken(assertions) {
        return (Outcome::LabError, Some(message));
    }
    if let Some(liar) = claims.iter().find(|claim| differs(claim, verdict)) {
        let message = format!("{} says {}, the wire says {}", liar.machine, liar.path, verdict.path);
        return (Outcome::Disagree, Some(message));
    }
    let objection = objection(wanted, verdict)
        .or_else(|| refuted(assertions, About::Messages))
        .or_else(|| refuted(assertions, About::Node));
    match objection {
        Some(message) => (Outcome::NotAsExpected, Some(message)),
        None => (Outcome::AsExpected, None),
    }
}

/// Why the lab was not what it should be, if it was not.
pub fn broken(assertions: &[Assertion]) -> Option<String> {
    refuted(assertions, About::Gateway).or_else(|| refuted(assertions, About::Link))
}

/// The first assertion that does not hold, as a sentence.
pub fn refuted(assertions: &[Assertion], about: About) -> Option<String> {
    let broken = assertions.iter().find(|assertion| assertion.about == about && !assertion.holds)?;
    Some(match about {
        About::Gateway | About::Link | About::Node => {
            format!("the captures do not show that {}: {}", broken.what, broken.detail)
        }
        About::Messages => format!("{}: {}", broken.what, broken.detail),
    })
}

/// A claim can only be held against a wire that shows one path.
fn differs(claim: &Claim, verdict: &Verdict) -> bool {
    matches!(verdict.path, Path::Direct | Path::Relay) && claim.path != verdict.path
}

fn objection(wanted: Wanted, verdict: &Verdict) -> Option<String> {
    let Some(kind) = verdict.kind else {
        // The path may change while the bytes are carried.
        if wanted.expected == Expected::Any && verdict.path == Path::Mixed && wanted.relay_allowed {
            return None;
        }
        // Of nodes that cannot carry the lab's bytes, their own messages are looked at.
        let carried = verdict.directions.iter().any(|direction| direction.sent > 0);
        return Some(match verdict.path {
            Path::None if !carried => "no message of the nodes' own arrived".to_owned(),
            _ if !carried => "neither way alone is what the nodes' messages take".to_owned(),
            Path::None => "the lab's bytes did not all arrive".to_owned(),
            _ => "the lab's bytes went neither wholly direct nor wholly through a relay".to_owned(),
        });
    };
    if verdict.path == Path::Relay && !wanted.relay_allowed {
        return Some("the lab's bytes went through a third machine, which this scenario forbids".to_owned());
    }
    (!wanted.expected.admits(kind)).then(|| format!("expected {}, the wire shows {kind}", wanted.expected))
}

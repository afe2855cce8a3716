//! The differences that stand in `docs/departures.md`, each under a heading of its name.

use natrig_nat::Profile;

use crate::{
    step::{Proto, Shape, Step},
    trace::Difference,
};

/// By which name a difference between the kernel (the one) and the model (the other) stands there.
pub fn explain(profile: &Profile, difference: &Difference) -> Option<&'static str> {
    let step = &difference.step;
    match step.flow.proto {
        Proto::Echo => Some("icmp-queries"),
        Proto::Tcp if difference.before.iter().any(ends) => Some("ended-connections"),
        _ if profile.ports.overload => Some("overloading"),
        _ => None,
    }
}

/// Whether a step ends a connection.
fn ends(step: &Step) -> bool {
    matches!(step.shape, Shape::Tcp { flags, .. } if flags.rst || flags.fin)
}

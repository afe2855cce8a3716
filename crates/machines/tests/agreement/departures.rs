//! The differences that stand in `docs/departures.md`, each under a heading of its name.

use natrig_nat::{Profile, profile::Unsolicited};

use crate::{
    step::{Kind, Proto, Shape, Step},
    trace::Difference,
};

/// By which name a difference between the kernel (the one) and the model (the other) stands there.
pub fn explain(profile: &Profile, difference: &Difference) -> Option<&'static str> {
    let step = &difference.step;
    match step.flow.proto {
        Proto::Echo if profile.mapping.is_some() => Some("icmp-queries"),
        Proto::Tcp if difference.before.iter().any(ends) => Some("ended-connections"),
        Proto::Tcp if profile.ports.overload => Some("segments-out-of-turn"),
        _ if profile.unsolicited == Unsolicited::Poison => Some("poisoned-ports"),
        _ if lost_draw(difference) => Some("taken-draws"),
        _ => None,
    }
}

/// Whether the kernel lost the packet that opened a flow.
fn lost_draw(difference: &Difference) -> bool {
    let opens = difference.other.iter().any(|line| line.contains("; new, kept false"));
    difference.step.kind == Kind::Out && difference.one.is_empty() && opens
}

#[test]
fn every_name_stands_on_the_page() {
    let page = include_str!("../../../../docs/departures.md");
    let names =
        include_str!("departures.rs").split("Some(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let missing: Vec<&str> = names.filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, [""; 0]);
}

/// Whether a step ends a connection.
fn ends(step: &Step) -> bool {
    matches!(step.shape, Shape::Tcp { flags, .. } if flags.rst || flags.fin)
}

//! A gateway's measured behaviour held against its profile.

use natrig_capture::Trace;
use natrig_nat::{Mapping, Profile, profile::Unsolicited};
use natrig_probe::{Expected, Report};
use natrig_record::{Proof, ProofSide};

/// Where to look for a stranger's answer on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Witness<'a> {
    /// All captures so far.
    pub trace: &'a Trace,
    /// The gateway's outside link.
    pub wan: &'a str,
    /// Its inside link.
    pub lan: &'a str,
}

/// What a profile declares.
pub fn declared(profile: &Profile) -> ProofSide {
    let told = profile.mapping.is_none_or(|mapping| mapping == Mapping::EndpointIndependent);
    ProofSide {
        mapping: mapping_word(profile.mapping),
        filtering: profile.filtering.to_string(),
        early_packet_harmless: told.then_some(profile.unsolicited != Unsolicited::Poison),
    }
}

/// What was measured.
pub fn measured(report: &Report) -> ProofSide {
    ProofSide {
        mapping: mapping_word(report.mapping),
        filtering: report.filtering.to_string(),
        early_packet_harmless: report.early_packet_harmless,
    }
}

/// Compares both, and looks for each stranger's answer on the wire: one that was filtered must be seen outside the
/// gateway and not inside, one that arrived on both sides. Otherwise its silence proves nothing, and `Err` says so.
pub fn prove(
    gateway: &str,
    profile: &Profile,
    report: &Report,
    witness: Witness<'_>,
) -> Result<Proof, String> {
    let mut notes = report.notes.clone();
    for stranger in &report.strangers {
        let seen = (on(witness, witness.wan, stranger, true), on(witness, witness.lan, stranger, false));
        match (stranger.arrived, seen) {
            (true, (true, true)) => {}
            (false, (true, false)) => {
                notes.push(format!(
                    "the wire shows it outside {gateway} and not inside: from {}",
                    stranger.from
                ));
            }
            (arrived, (outside, inside)) => {
                return Err(format!(
                    "the answer from {} {}, while the wire shows it {} outside {gateway} and {} inside: its silence \
                     proves nothing",
                    stranger.from,
                    if arrived { "arrived" } else { "did not arrive" },
                    times(outside),
                    times(inside),
                ));
            }
        }
    }
    let (declared, measured) = (declared(profile), measured(report));
    Ok(Proof {
        gateway: gateway.to_owned(),
        profile: profile.name.clone(),
        holds: declared == measured,
        declared,
        measured,
        notes,
    })
}

/// Whether a stranger's answer was delivered to a link's machine, or sent by it.
fn on(witness: Witness<'_>, link: &str, stranger: &Expected, delivered: bool) -> bool {
    let Some(link) = witness.trace.link(link) else {
        return false;
    };
    witness.trace.frames().iter().any(|frame| {
        let there = if delivered { frame.delivery(link).is_some() } else { frame.from == link };
        there
            && frame.packet().and_then(|packet| packet.udp()).is_some_and(|udp| {
                udp.source.to_string() == stranger.from.to_string()
                    && udp.payload.get(8..20) == Some(&stranger.transaction[..])
            })
    })
}

fn times(seen: bool) -> &'static str {
    if seen { "seen" } else { "not seen" }
}

fn mapping_word(mapping: Option<Mapping>) -> String {
    mapping.map_or_else(|| "none".to_owned(), |mapping| mapping.to_string())
}

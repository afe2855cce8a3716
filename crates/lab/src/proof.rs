//! A gateway's measured behaviour held against its profile.

mod axes;
mod measure;

use std::net::{IpAddr, SocketAddr};

use natrig_capture::{Frame, Icmp, LinkId, Quoted, Trace};
use natrig_nat::Profile;
use natrig_probe::{Answered, Expected, Report};
use natrig_record::Proof;

use crate::Trouble;

pub use axes::{compare, declared, measured};
pub use measure::{CLOSED, Depth, Found, Held, Span, refuse, until_told};

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

/// A measurement that tells nothing of its gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// Why.
    pub trouble: Trouble,
    /// Whether it is that a datagram did not come to the gateway. Where links lose frames, that is no wonder.
    pub is_lost: bool,
}

impl From<Trouble> for Untold {
    fn from(trouble: Trouble) -> Self {
        Untold { trouble, is_lost: false }
    }
}

/// Compares what was declared with what was measured, and looks for each stranger's datagram on the wire: one that was
/// filtered must be seen outside the gateway and not inside, one that arrived on both sides. Otherwise its silence proves
/// nothing, and `Err` says so.
///
/// The wire knows two things that the prober does not: whether an answer came in after the prober had ended, and whether
/// the gateway answered what it did not let in.
pub fn prove(
    gateway: &str,
    profile: &Profile,
    report: &Report,
    witness: Witness<'_>,
) -> Result<Proof, Untold> {
    let mut report = report.clone();
    let mut late = false;
    for (place, stranger) in report.strangers.iter_mut().enumerate() {
        let seen = (
            on(witness, witness.wan, stranger, Way::Delivered),
            on(witness, witness.lan, stranger, Way::Sent),
        );
        match (stranger.arrived, seen) {
            (true, (true, true)) => {}
            (false, (true, false)) => {
                report.notes.push(format!(
                    "the wire shows it outside {gateway} and not inside: from {}",
                    stranger.from
                ));
            }
            // Those that told the filtering; what they tell is known now.
            (false, (true, true)) if place < 2 => {
                report
                    .notes
                    .push(format!("the wire shows it inside {gateway}, late: from {}", stranger.from));
                stranger.arrived = true;
                late = true;
            }
            (arrived, (outside, inside)) => {
                let trouble = Trouble::lab(format!(
                    "the answer from {} {}, while the wire shows it {} outside {gateway} and {} inside: its silence \
                     proves nothing",
                    stranger.from,
                    if arrived { "arrived" } else { "did not arrive" },
                    times(outside),
                    times(inside),
                ));
                let is_lost = !arrived && !outside && !inside;
                return Err(Untold { trouble: trouble.hint("see captures/ of this cell"), is_lost });
            }
        }
    }
    if late {
        report.filtering = Report::filtering_of(&report.strangers);
    }
    if report.icmp_errors == Some(false) && !has_error_come(witness) {
        let trouble = Trouble::lab(format!(
            "the wire shows no ICMP error about a datagram to port {CLOSED} that came whole to {gateway}: that its sender \
             had none proves nothing"
        ));
        return Err(Untold { trouble: trouble.hint("see captures/ of this cell"), is_lost: true });
    }
    if report.unsolicited.is_none() {
        report.unsolicited = answered(witness, &report);
    }
    Ok(compare(gateway, profile, &report))
}

/// Whether the error about a datagram to [`CLOSED`] came whole to the gateway.
fn has_error_come(witness: Witness<'_>) -> bool {
    let is_about_closed = |frame: &Frame| {
        refused_by(frame).and_then(|quoted| quoted.ports).is_some_and(|(_, port)| port == CLOSED)
    };
    witness.trace.link(witness.wan).is_some_and(|link| {
        witness.trace.frames().iter().any(|frame| came_whole(frame, link) && is_about_closed(frame))
    })
}

/// What an ICMP error is about.
fn refused_by(frame: &Frame) -> Option<Quoted> {
    match frame.packet()?.icmp()? {
        Icmp::Error(error) => error.quoted,
        _ => None,
    }
}

/// Whether what a link delivered is what entered it.
fn came_whole(frame: &Frame, link: LinkId) -> bool {
    frame.to.iter().any(|delivery| delivery.link == link && delivery.data == frame.data)
}

/// What the gateway answered to strangers that it did not let in; none if there were none.
fn answered(witness: Witness<'_>, report: &Report) -> Option<Answered> {
    let mut filtered = report.strangers.iter().filter(|stranger| !stranger.arrived).peekable();
    filtered.peek()?;
    let link = witness.trace.link(witness.wan)?;
    let errors: Vec<Quoted> =
        witness.trace.frames().iter().filter(|frame| frame.from == link).filter_map(refused_by).collect();
    let refused = |stranger: &Expected| {
        stranger.to.is_some_and(|to| {
            errors.iter().any(|quoted| {
                (IpAddr::from(quoted.source), IpAddr::from(quoted.destination))
                    == (stranger.from.ip(), to.ip())
                    && quoted.ports == Some((stranger.from.port(), to.port()))
            })
        })
    };
    Some(if filtered.any(refused) { Answered::Icmp } else { Answered::Silence })
}

/// How a frame went over a link, as the machine there sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Sent,
    Delivered,
}

/// Whether a stranger's datagram came whole to the gateway (`wan`), and whether it was sent on (`lan`); there, a careless gateway
/// may have hidden its sender.
fn on(witness: Witness<'_>, link: &str, stranger: &Expected, way: Way) -> bool {
    let Some(link) = witness.trace.link(link) else {
        return false;
    };
    witness.trace.frames().iter().any(|frame| {
        let there = match way {
            Way::Delivered => came_whole(frame, link),
            Way::Sent => frame.from == link,
        };
        there
            && frame.packet().and_then(|packet| packet.udp()).is_some_and(|udp| {
                udp.payload.get(8..19) == stranger.transaction.get(..11)
                    && (way == Way::Sent || SocketAddr::from(udp.source) == stranger.from)
            })
    })
}

fn times(seen: bool) -> &'static str {
    if seen { "seen" } else { "not seen" }
}

//! nftables rulesets for a gateway with the interfaces `wan` and `lan`.
//!
//! [`Ruleset::compile`] makes one for every profile that stock nftables reaches; [`Profile::kernel_can`] says what it does
//! not reach. Conntrack alone gives one behaviour: its reverse translation needs an exact tuple, so whatever it maps is
//! filtered by address and port, and two hosts on one port share an outside endpoint. All else comes from maps and sets
//! that are filled after the outside port is known (the chain `keep`) and asked before the next one is chosen:
//!
//! | name | holds | asked by |
//! |---|---|---|
//! | `rev` | inside endpoint (and the remote address, if the mapping depends on it) to outside endpoint | `translate`, so that a mapping stays |
//! | `fc` | outside endpoint to inside endpoint | `dstnat`, which lets strangers and neighbours in |
//! | `used` | outside ports that are taken | `translate` and `keep`, so that none is given twice |
//! | `peers` | outside endpoint and the remotes it was used for | `dstnat`, as the gate of ADF; `keep`, as the gate of neighbours |
//! | `streams`, `peer_streams` | those that an answered flow keeps longer than an unanswered one would | `keep`, so that nothing is shortened |
//! | `blocks`, `held` | each host's block of ports, and which are taken | `translate` |
//! | `endpoints`, `poisoned` | inside endpoints, and outside ports that a remote's early packet took | `translate` of a poisoned gateway, so that only that remote sees another port |
//! | `hosts` | each host's flows | `limits` |
//!
//! Their elements live as long as the flow whose packet refreshed them last, so a mapping ends with its flows. Unsolicited
//! input is dropped before conntrack confirms it; otherwise a peer's early packet would take the tuple that the wanted
//! flow needs, and its port would move. That is what a poisoned gateway does.
//!
//! Where the kernel behaves a little otherwise than [`Engine`](crate::Engine):
//!
//! - A random port is drawn before the taken ones can be looked up. If the draw hits one that another endpoint has towards
//!   other remotes, the packet is dropped and the sender's next one draws again: the chance is that of the taken ports in
//!   the range. Where nothing depends on whose a port is (APDM with APDF), it is shared instead.
//! - A sequence starts at the range's first port, has at most [`SEQUENCE`] steps and then starts over; a number that is
//!   taken costs a packet as well.
//! - A SYN that waits for the inside's own (RFC 5382 REQ-4) is dropped in silence and not refused later.
//! - ICMP queries keep their identifiers and are mapped by conntrack alone. An ICMP error about a packet that had no flow
//!   goes nowhere, though its endpoint be open to all.
//! - Segments that cannot open a connection (FIN or SYN with ACK, without one) do not; a RST that answers the SYN ends the
//!   flow at once.
//! - A TCP endpoint with several connections lives as the one whose packet was last.
//! - Beyond 4,096 flows, conntrack makes room by throwing out young ones where the engine refuses new ones.
//! - A poisoned gateway moves the endpoint that has its own port outside; one that has another's loses its packets to
//!   the poisoner.
//! - An overloading gateway gives an endpoint that had to take another port that port for later destinations too.
//! - A block stays with its host for the longest timer, not only while there is a mapping.

mod filter;
mod keep;
mod plan;
mod sets;
mod text;
mod translate;

use std::fmt::Write as _;

use crate::{Profile, engine::Addresses, profile::Lack};

pub use sets::State;
pub use translate::SEQUENCE;

/// The table that holds everything.
pub const TABLE: &str = "natrig";

/// A ruleset as `nft -f` reads it, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    text: String,
    state: Vec<State>,
    sysctls: Vec<(String, String)>,
}

impl Ruleset {
    /// The ruleset that makes a kernel with these addresses behave as a profile says, or all that it cannot do.
    ///
    /// The profile is taken to be [valid](Profile::validate).
    pub fn compile(profile: &Profile, addresses: &Addresses) -> Result<Self, Vec<Lack>> {
        profile.kernel_can()?;
        let declared = usize::from(profile.pool.addresses);
        if profile.mapping.is_some() && addresses.outside.len() != declared {
            return Err(vec![Lack {
                axis: "pool.addresses",
                why: "the gateway has more or fewer outside addresses than the profile says",
            }]);
        }
        Ok(build(profile, addresses))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The maps and sets that traffic fills.
    pub fn state(&self) -> &[State] {
        &self.state
    }

    /// Kernel settings that go with the rules, by their names for `sysctl`; to be set after the rules are loaded, since
    /// those of conntrack exist only then.
    pub fn sysctls(&self) -> &[(String, String)] {
        &self.sysctls
    }

    /// Commands for `nft -f` that empty all maps and sets; conntrack is flushed by its own tool.
    pub fn flush(&self) -> String {
        self.state.iter().fold(String::new(), |mut text, state| {
            let _ = writeln!(text, "flush {} ip {TABLE} {}", state.kind, state.name);
            text
        })
    }
}

fn build(profile: &Profile, addresses: &Addresses) -> Ruleset {
    let plan = plan::Plan::of(profile, addresses);
    let sets = sets::all(&plan);
    let mut text = text::Text::of(profile);
    sets.iter().for_each(|set| text.set(set));
    filter::timers(&plan, &mut text);
    filter::chains(&plan, &mut text);
    if profile.mapping.is_some() {
        translate::chains(&plan, &mut text);
    }
    keep::chains(&plan, &mut text);
    Ruleset {
        text: text.end(),
        state: sets.iter().map(|set| set.state).collect(),
        sysctls: filter::sysctls(&plan),
    }
}

#[cfg(test)]
mod tests;

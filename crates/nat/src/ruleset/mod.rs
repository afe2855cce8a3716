//! nftables rulesets for a gateway with the interfaces `wan` and `lan`.
//!
//! The seed's own rules do not make the NATs they name: conntrack's reverse translation needs an exact tuple, so a plain
//! masquerade is port-restricted whatever is said about the forward chain. Here the open filterings come from maps that
//! are filled after the outside port is known. All rulesets drop unsolicited input from outside before conntrack
//! confirms it; otherwise a peer's early packet takes the tuple that the wanted flow needs, and its port moves.

use std::fmt::Write as _;

use crate::{Filtering, Mapping, Preset};

/// The table that holds everything.
pub const TABLE: &str = "natrig";

/// How long an unused mapping lives, in seconds; the same as conntrack's life of a two-way UDP flow.
pub const MAPPING_SECONDS: u32 = 120;

/// A ruleset as `nft -f` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    text: String,
    state: Vec<State>,
}

/// A map or set that traffic fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// `map` or `set`.
    pub kind: &'static str,
    /// Its name in [`TABLE`].
    pub name: &'static str,
}

const REV: State = State { kind: "map", name: "rev" };
const FC: State = State { kind: "map", name: "fc" };
const USED: State = State { kind: "set", name: "used" };
const PEERS: State = State { kind: "set", name: "peers" };

impl Ruleset {
    /// The ruleset of a preset.
    pub fn of(preset: Preset) -> Self {
        match preset.mapping() {
            None => routed(preset),
            Some(Mapping::EndpointIndependent) => cone(preset),
            Some(_) => symmetric(preset),
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The maps and sets that traffic fills.
    pub fn state(&self) -> &[State] {
        &self.state
    }

    /// Commands for `nft -f` that empty all maps and sets; conntrack is flushed by its own tool.
    pub fn flush(&self) -> String {
        self.state.iter().fold(String::new(), |mut text, state| {
            let _ = writeln!(text, "flush {} ip {TABLE} {}", state.kind, state.name);
            text
        })
    }
}

fn header(preset: Preset) -> String {
    let mapping = preset.mapping().map_or("no NAT".to_owned(), |mapping| mapping.to_string());
    // What was loaded before goes in the same transaction.
    format!("# {preset}: {mapping}, {}\nflush ruleset\n", preset.filtering())
}

/// Input from outside is dropped, answers to the gateway's own packets are not.
const INPUT: &str = r#"    chain input {
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        iifname "wan" drop
    }
"#;

/// A router without NAT: it forwards both ways.
fn routed(preset: Preset) -> Ruleset {
    let text = format!(
        r#"{}table ip {TABLE} {{
{INPUT}    chain forward {{
        type filter hook forward priority filter; policy accept;
    }}
}}
"#,
        header(preset)
    );
    Ruleset { text, state: Vec::new() }
}

fn forward(also: &str) -> String {
    format!(
        r#"    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" oifname "wan" accept
{also}    }}
"#
    )
}

/// Another random port for each destination; `fully-random` draws it from the kernel's generator, not from a hash.
fn symmetric(preset: Preset) -> Ruleset {
    let text = format!(
        r#"{}table ip {TABLE} {{
{INPUT}{}    chain srcnat {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "wan" masquerade fully-random
    }}
}}
"#,
        header(preset),
        forward("")
    );
    Ruleset { text, state: Vec::new() }
}

/// One outside port for each inside endpoint, whatever the destination and whoever else uses the same inside port.
fn cone(preset: Preset) -> Ruleset {
    let filtering = preset.filtering();
    let open = filtering != Filtering::AddressAndPortDependent;
    let by_address = filtering == Filtering::AddressDependent;
    let mut state = vec![REV, USED];
    let mut sets = format!(
        r#"    # inside endpoint to outside endpoint
    map rev {{
        type ipv4_addr . inet_service : ipv4_addr . inet_service
        size 65536
        flags dynamic,timeout
        timeout {MAPPING_SECONDS}s
    }}
    # outside ports in use
    set used {{
        type inet_service
        size 65536
        flags dynamic,timeout
        timeout {MAPPING_SECONDS}s
    }}
"#
    );
    let mut learn = String::new();
    let mut dstnat = String::new();
    if open {
        state.push(FC);
        let _ = write!(
            sets,
            r#"    # outside port to inside endpoint
    map fc {{
        type inet_service : ipv4_addr . inet_service
        size 65536
        flags dynamic,timeout
        timeout {MAPPING_SECONDS}s
    }}
"#
        );
        learn.push_str(
            r#"        meta l4proto udp ct direction original update @fc { udp sport : ct original ip saddr . ct original proto-src }
        meta l4proto udp ct direction reply update @fc { udp sport : ct reply ip saddr . ct reply proto-src }
"#,
        );
        let gate = if by_address { "udp dport . ip saddr @peers " } else { "" };
        let _ = write!(
            dstnat,
            r#"    chain dstnat {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "wan" meta l4proto udp {gate}dnat ip to udp dport map @fc
    }}
"#
        );
    }
    if by_address {
        state.push(PEERS);
        let _ = write!(
            sets,
            r#"    # outside port and the addresses it was used for
    set peers {{
        type inet_service . ipv4_addr
        size 65536
        flags dynamic,timeout
        timeout {MAPPING_SECONDS}s
    }}
"#
        );
        learn.push_str("        meta l4proto udp update @peers { udp sport . ip daddr }\n");
    }
    let dnat_accept = if open { "        ct status dnat accept\n" } else { "" };
    let text = format!(
        r#"{}table ip {TABLE} {{
{sets}{INPUT}{}{dstnat}    chain srcnat {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "wan" meta l4proto udp snat ip to ip saddr . udp sport map @rev
        oifname "wan" meta l4proto udp udp sport @used masquerade fully-random
        oifname "wan" masquerade
    }}
    # after srcnat: the packet bears its outside source already
    chain learn {{
        type filter hook postrouting priority 110; policy accept;
        iifname "lan" oifname "wan" jump learned
    }}
    chain learned {{
        meta l4proto udp ct direction original update @rev {{ ct original ip saddr . ct original proto-src : ip saddr . udp sport }}
        meta l4proto udp ct direction reply update @rev {{ ct reply ip saddr . ct reply proto-src : ip saddr . udp sport }}
{learn}        meta l4proto udp update @used {{ udp sport }}
    }}
}}
"#,
        header(preset),
        forward(dnat_accept)
    );
    Ruleset { text, state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rulesets_are_as_they_were_read_last() {
        for preset in Preset::ALL {
            insta::assert_snapshot!(preset.name(), Ruleset::of(preset).text());
        }
    }

    #[test]
    fn every_set_that_traffic_fills_is_flushed() {
        for preset in Preset::ALL {
            let ruleset = Ruleset::of(preset);
            let declared = ruleset.text().matches("flags dynamic").count();
            assert_eq!(ruleset.flush().lines().count(), declared, "{preset}");
        }
    }

    #[test]
    fn no_gateway_lets_unsolicited_input_be_confirmed() {
        for preset in Preset::ALL {
            assert!(Ruleset::of(preset).text().contains("iifname \"wan\" drop"), "{preset}");
        }
    }
}

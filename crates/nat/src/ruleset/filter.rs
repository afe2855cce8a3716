//! What passes, how long flows live, and how many there may be.

use super::{
    plan::{Plan, seconds},
    text::{Text, braces},
};
use crate::{Filtering, profile::Unsolicited};

/// Up to here flows are counted one by one, and who comes too much is refused. Beyond, conntrack's own limit stands,
/// which makes room by throwing out young flows.
const COUNTED: u32 = 4096;

/// Conntrack's room where the profile does not need less: a guest's own default overflows in a birthday search.
const ROOM: u32 = 65_536;

/// What may open a flow from outside.
const OPENS: [&str; 2] = ["meta l4proto udp", "tcp flags & (syn | ack | rst) == syn"];

/// Kernel settings that no rule can say.
pub(super) fn sysctls(plan: &Plan<'_>) -> Vec<(String, String)> {
    let profile = plan.profile;
    let mut all = Vec::new();
    let mut set = |name: &str, value: u64| all.push((name.to_owned(), value.to_string()));
    if !plan.stateless() {
        let flows = profile.limits.flows;
        set("net.netfilter.nf_conntrack_max", u64::from(if flows > COUNTED { flows } else { ROOM }));
        set("net.netfilter.nf_conntrack_icmp_timeout", seconds(profile.timers.icmp));
        // A TCP window is no business of a NAT; segments outside it would leave untranslated.
        set("net.netfilter.nf_conntrack_tcp_be_liberal", 1);
    }
    if profile.unsolicited != Unsolicited::Drop {
        set("net.ipv4.icmp_ratelimit", 0);
        set("net.ipv4.icmp_msgs_per_sec", 100_000);
        set("net.ipv4.icmp_msgs_burst", 100_000);
    }
    if plan.turns() {
        // A packet that is turned back is no reason to tell its sender of a shorter way.
        set("net.ipv4.conf.all.send_redirects", 0);
        set("net.ipv4.conf.lan.send_redirects", 0);
    }
    all
}

/// Flows get their timers before they are confirmed; strangers with inside sources get nothing.
pub(super) fn timers(plan: &Plan<'_>, text: &mut Text) {
    if plan.stateless() {
        return;
    }
    let timers = &plan.profile.timers;
    let (unreplied, stream) = (seconds(timers.unreplied), seconds(timers.stream));
    let (open, transitory) = (seconds(timers.tcp_established), seconds(timers.tcp_transitory));
    let policy = |protocol: &str, policy: String| {
        [format!("protocol {protocol};"), "l3proto ip;".to_owned(), format!("policy = {{ {policy} }}")]
    };
    text.object(
        "ct timeout udp_timers",
        &policy("udp", format!("unreplied : {unreplied}, replied : {stream}")),
    );
    let states =
        ["syn_sent", "syn_recv", "fin_wait", "close_wait", "last_ack", "time_wait", "close", "retrans"]
            .map(|state| format!("{state} : {transitory}"))
            .join(", ");
    text.object(
        "ct timeout tcp_timers",
        &policy("tcp", format!("established : {open}, unack : {open}, {states}")),
    );
    let mut rules = Vec::new();
    rules.push(format!("iifname \"wan\" ip saddr {} drop", plan.addresses.inside));
    rules.extend([
        r#"ct state new meta l4proto udp ct timeout set "udp_timers""#.to_owned(),
        r#"ct state new meta l4proto tcp ct timeout set "tcp_timers""#.to_owned(),
    ]);
    text.hooked(
        "before conntrack confirms a flow",
        "first",
        "filter hook prerouting priority mangle",
        "accept",
        &rules,
    );
}

pub(super) fn chains(plan: &Plan<'_>, text: &mut Text) {
    let profile = plan.profile;
    let refuses = profile.unsolicited == Unsolicited::Reject;
    if refuses && !plan.stateless() {
        let mut rules = vec!["tcp flags & rst == rst drop".to_owned()];
        if !profile.timers.tcp_unsolicited.is_zero() {
            rules.push("tcp flags & (syn | ack) == syn drop".to_owned());
        }
        rules.push("reject with icmp type port-unreachable".to_owned());
        text.chain("what nothing lets in", "refuse", &rules);
    }
    input(plan, text);
    forward(plan, text);
}

/// What is sent to the gateway itself. Answers to its own packets are let in.
fn input(plan: &Plan<'_>, text: &mut Text) {
    let profile = plan.profile;
    let refuses = profile.unsolicited == Unsolicited::Reject && !plan.stateless();
    let mut rules = vec!["ct state established,related accept".to_owned()];
    if profile.udp_blocked {
        rules.push("iifname \"wan\" meta l4proto udp drop".to_owned());
    }
    if profile.mapping.is_some() {
        let outside: Vec<String> = plan.outside().iter().map(ToString::to_string).collect();
        let verdict = if refuses && plan.turns() { "jump refuse" } else { "drop" };
        rules.push(format!("iifname \"lan\" ip daddr {} {verdict}", braces(&outside, 16)));
    }
    match profile.unsolicited {
        Unsolicited::Poison => {
            if plan.poisoned {
                for (protocol, life) in
                    [("udp", profile.timers.unreplied), ("tcp", profile.timers.tcp_transitory)]
                {
                    rules.push(format!(
                        "iifname \"wan\" meta l4proto {protocol} update @poisoned {{ meta l4proto . th dport . ip \
                         saddr . th sport timeout {}s }}",
                        seconds(life)
                    ));
                }
            }
        }
        Unsolicited::Reject if refuses => rules.push("iifname \"wan\" jump refuse".to_owned()),
        _ => rules.push("iifname \"wan\" drop".to_owned()),
    }
    let comment = match profile.unsolicited {
        Unsolicited::Poison => {
            "input from outside is accepted: conntrack confirms it, and its tuple is taken"
        }
        _ => "",
    };
    text.hooked(comment, "input", "filter hook input priority filter", "accept", &rules);
}

fn forward(plan: &Plan<'_>, text: &mut Text) {
    let profile = plan.profile;
    let hook = "filter hook forward priority filter";
    let mut rules = Vec::new();
    if !plan.stateless() {
        // Conntrack does not translate what it finds invalid.
        rules.push("ct state invalid drop".to_owned());
    }
    if profile.udp_blocked {
        rules.push("meta l4proto udp drop".to_owned());
    }
    if plan.stateless() {
        return text.hooked("", "forward", hook, "accept", &rules);
    }
    rules.push("ct state established,related accept".to_owned());
    let limits = limits(plan);
    if !limits.is_empty() {
        rules.push("ct status ! confirmed jump limits".to_owned());
    }
    rules.push(r#"iifname "lan" oifname "wan" accept"#.to_owned());
    if plan.fc {
        rules.push("ct status dnat accept".to_owned());
    }
    if profile.mapping.is_none() {
        if profile.filtering == Filtering::AddressDependent {
            rules.extend(OPENS.map(|opens| {
                format!(
                    "iifname \"wan\" oifname \"lan\" meta l4proto . ip daddr . th dport . ip saddr @peers {opens} accept"
                )
            }));
        }
        if profile.unsolicited == Unsolicited::Reject {
            rules.push(r#"iifname "wan" oifname "lan" jump refuse"#.to_owned());
        }
    }
    if !limits.is_empty() {
        text.chain("who comes too much", "limits", &limits);
    }
    text.hooked("", "forward", hook, "drop", &rules);
}

fn limits(plan: &Plan<'_>) -> Vec<String> {
    let limits = plan.profile.limits;
    let mut rules = Vec::new();
    if let Some(most) = plan.per_host() {
        rules.push(format!("iifname \"lan\" add @hosts {{ ip saddr ct count over {most} }} drop"));
    }
    if limits.flows <= COUNTED {
        rules.push(format!("ct count over {} drop", limits.flows));
    }
    // Where each flow opened from inside is a mapping; else the maps' own size is the limit.
    if plan.profile.mapping.is_some() && !plan.rev && limits.mappings < limits.flows {
        rules.push(format!("iifname \"lan\" ct count over {} drop", limits.mappings));
    }
    rules
}

/// Where strangers are let in, and neighbours; of TCP only those who ask for a connection.
pub(super) fn dstnat(plan: &Plan<'_>, text: &mut Text) {
    if !plan.fc {
        return;
    }
    let turned = plan.turns();
    let wan = r#"iifname "wan" "#;
    let mut rules = Vec::new();
    for opens in OPENS {
        let to = format!("{opens} dnat ip to meta l4proto . ip daddr . th dport map @fc");
        match plan.profile.filtering {
            Filtering::EndpointIndependent => rules.push(format!("{}{to}", if turned { "" } else { wan })),
            Filtering::AddressDependent => {
                rules.push(format!("{wan}meta l4proto . ip daddr . th dport . ip saddr @peers {to}"));
            }
            Filtering::AddressAndPortDependent => {}
        }
        if turned && plan.peers.is_some() {
            // Who may use it is told in `keep`, when the sender's outside endpoint is known.
            rules.push(format!("iifname \"lan\" {to}"));
        }
    }
    text.hooked("", "dstnat", "nat hook prerouting priority dstnat", "accept", &rules);
}

//! What is learned from packets once their outside endpoint is known, and kept as long as their flow.

use super::{
    plan::{Index, Plan, seconds},
    text::Text,
};

/// A stage in the life of a flow.
struct Stage {
    chain: &'static str,
    protocol: &'static str,
    /// What tells it.
    when: String,
    life: u64,
    stay: Stay,
}

/// How a stage stands to a longer one of the same mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// It is the longer one, by so many seconds.
    Longer(u64),
    /// It does not shorten what the longer one made.
    Shorter,
    /// It has the last word.
    Last,
}

/// Where a rule finds the two ends of a mapping.
struct Ends {
    inside: &'static str,
    outside: &'static str,
    outside_port: &'static str,
    host: &'static str,
    remote: &'static str,
    remote_port: &'static str,
}

/// A flow that the inside opened.
const OPENED: Ends = Ends {
    inside: "ct original ip saddr . ct original proto-src",
    outside: "ct reply ip daddr . ct reply proto-dst",
    outside_port: "ct reply proto-dst",
    host: "ct original ip saddr",
    remote: "ct original ip daddr",
    remote_port: " . ct original proto-dst",
};

/// A flow that was let in; its remote is whom the inside host sees, who has an outside endpoint too if it is a neighbour.
const ENTERED: Ends = Ends {
    inside: "ct reply ip saddr . ct reply proto-src",
    outside: "ct original ip daddr . ct original proto-dst",
    outside_port: "ct original proto-dst",
    host: "ct reply ip saddr",
    remote: "ct reply ip daddr",
    remote_port: " . ct reply proto-dst",
};

pub(super) fn chains(plan: &Plan<'_>, text: &mut Text) {
    let hook = "filter hook postrouting priority 110";
    if !plan.keeps() {
        return;
    }
    if plan.profile.mapping.is_none() {
        return routed(plan, hook, text);
    }
    let index = if plan.index == Index::One { "" } else { " . meta mark" };
    let mut rules = Vec::new();
    if plan.used {
        rules.push(format!("meta mark != 0 meta l4proto . th sport{index} @used drop"));
    }
    let stages = stages(plan);
    for stage in &stages {
        let name = format!("opened_{}", stage.chain);
        text.chain("", &name, &learn(plan, stage, &OPENED));
        rules.push(format!("ct status snat {} jump {name}", stage.when));
    }
    if plan.counts_used() {
        rules.push(format!(
            "ct status snat ct status ! confirmed meta l4proto {{ tcp, udp }} meta l4proto . th sport{index} != @used \
             drop"
        ));
    }
    if plan.turns() && plan.peers.is_some() {
        for protocol in ["udp", "tcp"] {
            let port = plan.of_remote(" . th sport");
            rules.push(format!(
                "iifname \"lan\" oifname \"lan\" ct status ! confirmed meta l4proto {protocol} meta l4proto . {} . ip \
                 saddr{port} != @peers drop",
                ENTERED.outside
            ));
        }
    }
    if plan.fc {
        for stage in &stages {
            let name = format!("entered_{}", stage.chain);
            text.chain("", &name, &learn(plan, stage, &ENTERED));
            rules.push(format!("ct status dnat {} jump {name}", stage.when));
        }
    }
    text.hooked("after srcnat: the packet bears its outside source already", "keep", hook, "accept", &rules);
}

fn stages(plan: &Plan<'_>) -> Vec<Stage> {
    let timers = &plan.profile.timers;
    let (unreplied, stream) = (seconds(timers.unreplied), seconds(timers.stream));
    let (open, transitory) = (seconds(timers.tcp_established), seconds(timers.tcp_transitory));
    let stage = |chain, protocol, when: String, life, stay| Stage { chain, protocol, when, life, stay };
    let mut stages = if stream > unreplied {
        vec![
            stage(
                "udp_stream",
                "udp",
                "meta l4proto udp ct status assured".to_owned(),
                stream,
                Stay::Longer(stream - unreplied),
            ),
            stage("udp", "udp", "meta l4proto udp ct status ! assured".to_owned(), unreplied, Stay::Shorter),
        ]
    } else {
        vec![stage("udp", "udp", "meta l4proto udp".to_owned(), stream, Stay::Last)]
    };
    stages.push(stage("tcp", "tcp", "meta l4proto tcp".to_owned(), transitory, Stay::Last));
    if open > transitory {
        stages.push(stage(
            "tcp_open",
            "tcp",
            format!("meta l4proto tcp ct status assured ct expiration > {transitory}s"),
            open,
            Stay::Last,
        ));
    }
    stages
}

fn learn(plan: &Plan<'_>, stage: &Stage, ends: &Ends) -> Vec<String> {
    let Stage { protocol, life, .. } = stage;
    let protocol = format!("meta l4proto {protocol}");
    let entered = ends.inside == ENTERED.inside;
    let mut rules = Vec::new();
    let number = match (plan.index, entered) {
        (Index::One, _) => None,
        (Index::Address, _) => {
            let address = if entered { "ct original ip daddr" } else { "ct reply ip daddr" };
            let numbers: Vec<String> =
                (1..).zip(plan.outside()).map(|(number, ip): (u32, _)| format!("{ip} : {number}")).collect();
            Some(format!("meta mark set {address} map {}", super::text::braces(&numbers, 12)))
        }
        (Index::Block, _) => Some(format!("meta mark set {} map @blocks", ends.host)),
    };
    let index = if number.is_some() { " . meta mark" } else { "" };
    let used_number = number.filter(|_| plan.used);
    rules.extend(used_number);
    if plan.index == Index::Block {
        rules.push("update @held { meta mark }".to_owned());
        rules.push(format!("update @blocks {{ {} : meta mark }}", ends.host));
    }
    if plan.peers.is_some() {
        let port = plan.of_remote(ends.remote_port);
        let far = format!("{} . {}{port}", ends.outside, ends.remote);
        let sent = if entered { "ct status seen-reply " } else { "" };
        match stage.stay {
            Stay::Longer(by) => {
                rules.push(format!("{protocol} {sent}update @peer_streams {{ {far} timeout {by}s }}"));
                rules.push(format!("{protocol} {sent}update @peers {{ meta l4proto . {far} timeout {life}s }}"));
            }
            Stay::Shorter => rules.push(format!(
                "{protocol} {sent}{far} != @peer_streams update @peers {{ meta l4proto . {far} timeout {life}s }}"
            )),
            Stay::Last => {
                rules.push(format!("{protocol} {sent}update @peers {{ meta l4proto . {far} timeout {life}s }}"));
            }
        }
    }
    match stage.stay {
        Stay::Longer(by) => {
            rules.push(format!("{protocol} update @streams {{ {} timeout {by}s }}", ends.outside));
        }
        Stay::Shorter => rules.push(format!("{protocol} {} @streams return", ends.outside)),
        Stay::Last => {}
    }
    if plan.rev && !(entered && plan.by_address) {
        let remote = if plan.by_address { " . ct original ip daddr" } else { "" };
        let inside = format!("meta l4proto . {}{remote} timeout {life}s", ends.inside);
        // A flow that was moved has a mapping to itself.
        let moved = if plan.poisoned { "ct mark 0 " } else { "" };
        rules.push(format!("{protocol} {moved}update @rev {{ {inside} : {} }}", ends.outside));
        if plan.poisoned {
            rules.push(format!("{protocol} {moved}update @endpoints {{ {inside} }}"));
        }
    }
    if plan.fc {
        rules.push(format!(
            "{protocol} update @fc {{ meta l4proto . {} timeout {life}s : {} }}",
            ends.outside, ends.inside
        ));
    }
    if plan.used {
        rules.push(format!(
            "{protocol} update @used {{ meta l4proto . {}{index} timeout {life}s }}",
            ends.outside_port
        ));
    }
    rules
}

/// Without NAT the headers say all: who was sent to, and by whom.
fn routed(plan: &Plan<'_>, hook: &str, text: &mut Text) {
    let mut rules = Vec::new();
    for stage in stages(plan) {
        let directions = [
            (r#"iifname "lan" oifname "wan""#, "ip saddr . th sport", " . ip daddr", ""),
            (r#"iifname "wan" oifname "lan""#, "ip daddr . th dport", " . ip saddr", "ct status seen-reply "),
        ];
        for (way, inside, remote, sent) in directions {
            let life = stage.life;
            let sets = [
                (plan.peers.is_some(), "peers", "peer_streams", remote, sent),
                (plan.endpoints, "endpoints", "streams", "", ""),
            ];
            for (_, set, longer, remote, sent) in sets.into_iter().filter(|(wanted, ..)| *wanted) {
                let head = format!("{way} {} {sent}", stage.when);
                let key = format!("{inside}{remote}");
                let update = format!("update @{set} {{ meta l4proto . {key} timeout {life}s }}");
                match stage.stay {
                    Stay::Longer(by) => {
                        rules.push(format!("{head}update @{longer} {{ {key} timeout {by}s }}"));
                        rules.push(format!("{head}{update}"));
                    }
                    Stay::Shorter => rules.push(format!("{head}{key} != @{longer} {update}")),
                    Stay::Last => rules.push(format!("{head}{update}")),
                }
            }
        }
    }
    if plan.endpoints {
        rules.push(
            r#"iifname "lan" oifname "wan" meta l4proto { tcp, udp } ct status ! confirmed meta l4proto . ip saddr . th sport != @endpoints drop"#
                .to_owned(),
        );
    }
    text.hooked("who was sent to", "keep", hook, "accept", &rules);
}

//! Which outside endpoint a flow gets.

use std::net::Ipv4Addr;

use super::{
    filter,
    plan::{Index, Plan},
    text::{Text, braces},
};
use crate::{
    Mapping,
    profile::{Allocation, Block, Hairpin, PortRange},
};

/// The most steps of a sequence; a rule must list them.
pub const SEQUENCE: u32 = 2048;

/// Deals the hosts of a pool's gateway to its addresses; with this one, neighbours have different ones.
const SEED: u32 = 9251;

/// A rule that gives a port must say for which protocols.
const PORTS: &str = "meta l4proto { tcp, udp }";
const LEAVING: &str = r#"iifname "lan" oifname "wan""#;

pub(super) fn chains(plan: &Plan<'_>, text: &mut Text) {
    filter::dstnat(plan, text);
    if let Some(block) = plan.profile.ports.block {
        blocks(plan, block, text);
    }
    let mut rules = vec![format!("{LEAVING} meta l4proto {{ tcp, udp }} jump translate")];
    if plan.profile.hairpin == Hairpin::ExternalSource {
        rules.push(
            r#"iifname "lan" oifname "lan" ct status dnat meta l4proto { tcp, udp } jump translate"#
                .to_owned(),
        );
    }
    rules.extend(others(plan));
    text.chain("the outside endpoint of a new flow", "translate", &allocate(plan));
    text.hooked("", "srcnat", "nat hook postrouting priority srcnat", "accept", &rules);
}

/// What has no ports.
fn others(plan: &Plan<'_>) -> Vec<String> {
    let random = plan.profile.mapping == Some(Mapping::AddressAndPortDependent)
        && plan.profile.ports.allocation == Allocation::Random;
    let random = if random { " fully-random" } else { "" };
    if plan.index != Index::Address {
        let first = plan.outside().iter().take(1);
        return first.map(|address| format!("{LEAVING} snat to {address}{random}")).collect();
    }
    let numbered = (1..).zip(plan.outside());
    let each = |(number, address): (u32, &Ipv4Addr)| {
        format!("{LEAVING} meta mark {number} snat to {address}{random}")
    };
    [format!("{LEAVING} {}", choose(plan))].into_iter().chain(numbered.map(each)).collect()
}

/// Chooses one of several addresses.
fn choose(plan: &Plan<'_>) -> String {
    let count = plan.outside().len();
    if plan.paired() {
        format!("meta mark set jhash ip saddr mod {count} seed {SEED} offset 1")
    } else {
        format!("meta mark set numgen random mod {count} offset 1")
    }
}

fn allocate(plan: &Plan<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    let only = plan.outside().first();
    let remote = if plan.by_address { " . ct original ip daddr" } else { "" };
    let inside = format!("meta l4proto . ip saddr . th sport{remote}");
    let poisoned = only.filter(|_| plan.poisoned).map(|address| {
        let range = plan.profile.ports.range;
        let moved = format!("snat to {address}:{range} fully-random");
        ("meta l4proto . th sport . ip daddr . th dport @poisoned meta mark set 1", moved)
    });
    if let Some((taken, moved)) = &poisoned {
        rules.push(format!("{PORTS} {inside} @endpoints {taken} ct mark set 1 {moved}"));
    }
    if plan.rev {
        rules.push(format!("{PORTS} snat ip to {inside} map @rev"));
    }
    if let Some((taken, moved)) = &poisoned {
        rules.push(format!("{PORTS} {taken} {moved}"));
    }
    match plan.index {
        Index::One => {
            // Tells `keep` that the port is a new one.
            if plan.used {
                rules.push("meta mark set 1".to_owned());
            }
            if let Some(address) = only {
                rules.extend(ports(plan, &format!("{PORTS} "), &format!("snat to {address}"), ""));
            }
        }
        Index::Address => {
            rules.push(choose(plan));
            for (number, address) in (1..).zip(plan.outside()) {
                rules.extend(ports(
                    plan,
                    &format!("{PORTS} meta mark {number} "),
                    &format!("snat to {address}"),
                    " . meta mark",
                ));
            }
        }
        Index::Block => rules.extend([
            "meta mark set ip saddr map @blocks".to_owned(),
            "meta mark 0 jump deal".to_owned(),
            format!("{PORTS} snat ip to meta mark map @ranges fully-random"),
        ]),
    }
    rules
}

/// A port on one address.
fn ports(plan: &Plan<'_>, when: &str, to: &str, index: &str) -> Vec<String> {
    let ports = &plan.profile.ports;
    let range = ports.range;
    match ports.allocation {
        Allocation::Preserving => {
            let mut rules = vec![format!("{when}th sport != {range} drop")];
            if plan.used {
                rules.push(format!("{when}meta l4proto . th sport{index} @used drop"));
            }
            rules.push(format!("{when}{to}:th sport"));
            rules
        }
        Allocation::PreservingUntilCollision => {
            let mut rules = Vec::new();
            if plan.used {
                rules.push(format!("{when}meta l4proto . th sport{index} @used {to}:{range} fully-random"));
            }
            rules.push(format!("{when}{to}:{range}"));
            rules
        }
        Allocation::Random => vec![format!("{when}{to}:{range} fully-random")],
        Allocation::Sequential { delta } => {
            let steps = sequence(range, delta);
            let elements: Vec<String> =
                (0..).zip(&steps).map(|(number, port): (u32, _)| format!("{number} : {port}")).collect();
            vec![format!("{when}{to}:numgen inc mod {} map {}", steps.len(), braces(&elements, 12))]
        }
    }
}

/// The ports that a sequence comes to.
fn sequence(range: PortRange, delta: u16) -> Vec<u16> {
    let count = range.count();
    let mut steps = Vec::new();
    let mut offset = 0;
    loop {
        // Below 65,536, as both ends of the range are.
        steps.push((u32::from(range.first()) + offset) as u16);
        offset = (offset + u32::from(delta)) % count;
        if offset == 0 || steps.len() as u32 >= SEQUENCE {
            return steps;
        }
    }
}

/// Blocks in the order in which they are dealt.
fn blocks(plan: &Plan<'_>, block: Block, text: &mut Text) {
    let range = plan.profile.ports.range;
    let per_address = range.count() / u32::from(block.size.max(1));
    let of = |address: &Ipv4Addr, number: u32| {
        let first = u32::from(range.first()) + number * u32::from(block.size);
        format!("{address} . {first}-{}", first + u32::from(block.size) - 1)
    };
    let all =
        plan.outside().iter().flat_map(|address| (0..per_address).map(move |number| of(address, number)));
    let elements: Vec<String> =
        (1..).zip(all).map(|(number, range): (u32, _)| format!("{number} : {range}")).collect();
    text.table("the ports of each block", "ranges", "mark : interval ipv4_addr . inet_service", &elements);
    let next = format!("meta mark set numgen inc mod {} offset 1", elements.len());
    let again = format!("meta mark @held {next}");
    text.chain(
        "a host without a block gets the next that is free",
        "deal",
        &[
            next,
            again.clone(),
            again.clone(),
            again,
            "meta mark @held drop".to_owned(),
            "update @held { meta mark }".to_owned(),
            "update @blocks { ip saddr : meta mark }".to_owned(),
        ],
    );
}

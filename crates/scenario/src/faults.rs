//! Reads what is broken on purpose, and when.

use std::time::Duration;

use crate::{
    Action, Fault, GatewayFault, Layout, Machine, Mistake, Moment,
    fields::{self, Fields, Mistakes},
    lab, quantity, seen, site,
    yaml::Node,
};

const MOMENTS: [(&str, Moment); 6] = [
    ("serving", Moment::Serving),
    ("started", Moment::Started),
    ("bootstrapped", Moment::Bootstrapped),
    ("connected", Moment::Connected),
    ("settled", Moment::Settled),
    ("carrying", Moment::Carrying),
];

/// What a fault can do, by its key.
const ACTIONS: [&str; 10] =
    ["cut", "heal", "reboot", "rebind", "renumber", "become", "fill", "power_off", "expect", "idle"];

/// What stands beside some of them, and beside which.
const BESIDE: [(&str, &str); 5] =
    [("nat", "become"), ("at", "expect"), ("with", "expect"), ("times", "expect"), ("within", "expect")];

const LONGEST_IDLE: Duration = Duration::from_secs(600);

/// Reads `faults:`.
pub(crate) fn faults(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Vec<Fault> {
    fields::list(node, "`faults`", mistakes)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| fault(item, layouts, mistakes))
        .collect()
}

fn fault(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Fault> {
    let known = [&["after"], &BESIDE.map(|(key, _)| key)[..], &ACTIONS].concat();
    let fields = Fields::open(node, "a fault", &known, mistakes)?;
    let after = fields
        .need("after", "such as `after: bootstrapped`", mistakes)
        .and_then(|node| fields::word(node, "moment of a scenario", &MOMENTS, mistakes));
    let mut given = ACTIONS.into_iter().filter_map(|key| Some((key, fields.find(key)?)));
    let action = match (given.next(), given.next()) {
        (Some((key, node)), None) => action(key, node, &fields, layouts, mistakes),
        (None, _) if fields.is_strange() => None,
        (None, _) => {
            mistakes.add(Mistake::new(fields.at(), "the fault does nothing").hint("such as `cut: relay.wan`"))
        }
        (Some((one, _)), Some((other, _))) => {
            let message = format!("a fault does one thing, not both `{one}` and `{other}`");
            mistakes.add(Mistake::new(fields.at(), message).hint("make two of it"))
        }
    };
    let (after, action) = after.zip(action)?;
    if (after, matches!(action, Action::Expect(_))) == (Moment::Serving, true) {
        return mistakes.add(
            Mistake::new(fields.at(), "nothing can be expected before the peers have been started")
                .hint("such as `after: started`"),
        );
    }
    Some(Fault { after, action })
}

fn action(
    key: &str,
    node: &Node,
    fields: &Fields<'_>,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
) -> Option<Action> {
    for (beside, whose) in BESIDE {
        if let (Some(node), true) = (fields.find(beside), key != whose) {
            let message = format!("`{key}` needs no `{beside}`");
            return mistakes.add(Mistake::new(node.at.clone(), message).hint(format!("only `{whose}` does")));
        }
    }
    match key {
        "cut" => return lab::link(node, layouts, mistakes).map(Action::Cut),
        "heal" => return lab::link(node, layouts, mistakes).map(Action::Heal),
        "power_off" => return seen::with_node(node, layouts, mistakes).map(Action::PowerOff),
        "expect" => return seen::seen(node, fields, layouts, mistakes).map(Action::Expect),
        "idle" => return idle(node, mistakes).map(Action::Idle),
        _ => {}
    }
    let machine = gateway(node, layouts, mistakes)?;
    let fault = match key {
        "reboot" => GatewayFault::Reboot,
        "rebind" => GatewayFault::Rebind,
        "renumber" => GatewayFault::Renumber,
        "fill" => GatewayFault::Fill,
        _ => {
            let node = fields.need("nat", "what the gateway becomes, such as `nat: symmetric`", mistakes)?;
            let mut nat = site::nat(node, mistakes)?;
            match (nat.gateways.pop(), nat.gateways.is_empty()) {
                (Some(gateway), true) => GatewayFault::Become(Box::new(gateway)),
                _ => {
                    let message = format!("a gateway cannot become the chain `{nat}`");
                    return mistakes
                        .add(Mistake::new(node.at.clone(), message).hint("name a profile of one gateway"));
                }
            }
        }
    };
    Some(Action::Gateway(machine, fault))
}

/// Reads the name of a gateway that there is, whatever stands before the sites.
fn gateway(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Machine> {
    lab::machine(node, "gateway", Machine::is_gateway, layouts, mistakes)
}

fn idle(node: &Node, mistakes: &mut Mistakes) -> Option<Duration> {
    match quantity::time(&node.value) {
        Some(time) if time <= LONGEST_IDLE => Some(time),
        Some(_) => mistakes.add(Mistake::new(node.at.clone(), "`idle` is longer than ten minutes")),
        None => mistakes.add(
            Mistake::new(node.at.clone(), "`idle` must be a time with its unit")
                .hint("such as `40s` or `2m`"),
        ),
    }
}

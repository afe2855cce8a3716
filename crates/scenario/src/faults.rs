//! Reads what is broken on purpose, and when.

use std::time::Duration;

use crate::{
    Action, Errand, Fault, GatewayFault, Layout, Link, Machine, MachineFault, Mistake, Moment, NodeFault,
    Partition, Pause, Segment, Shift, Site, conditions,
    fields::{self, Fields, Mistakes},
    lab, quantity, seen, site,
    yaml::{Node, Value},
};

const MOMENTS: [(&str, Moment); 6] = [
    ("serving", Moment::Serving),
    ("started", Moment::Started),
    ("bootstrapped", Moment::Bootstrapped),
    ("connected", Moment::Connected),
    ("settled", Moment::Settled),
    ("carrying", Moment::Carrying),
];

/// What a fault can do, by its key, and what may stand beside it. Beside `impair` stand conditions, too.
const ACTIONS: [(&str, &[&str]); 28] = [
    ("cut", &[]),
    ("heal", &[]),
    ("flap", &["times", "every"]),
    ("impair", &lab::OF_A_LINK),
    ("mend", &[]),
    ("partition", &["one_way"]),
    ("rejoin", &[]),
    ("reboot", &[]),
    ("rebind", &[]),
    ("renumber", &[]),
    ("become", &["nat"]),
    ("fill", &[]),
    ("kill", &[]),
    ("stop", &[]),
    ("pause", &[]),
    ("resume", &[]),
    ("restart", &[]),
    ("limit", &["memory"]),
    ("power_off", &[]),
    ("power_on", &[]),
    ("freeze", &[]),
    ("thaw", &[]),
    ("roam", &["to"]),
    ("clock", &["by"]),
    ("connect", &["to"]),
    ("find", &["whom"]),
    ("ask_recent", &["whom"]),
    ("broadcast", &[]),
];

/// What is done to nothing.
const WAITS: [(&str, &[&str]); 2] =
    [("expect", &["at", "with", "at_least", "at_most", "times", "within"]), ("idle", &[])];

const LONGEST_IDLE: Duration = Duration::from_secs(600);

/// A clock may jump by so much.
const LONGEST_SHIFT: Duration = Duration::from_secs(86_400);

/// A link may flap so often.
const MOST_FLAPS: f64 = 1000.0;

/// All that a fault can be, and what may stand beside it.
fn all_actions() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    ACTIONS.into_iter().chain(WAITS).map(|(key, beside)| match key {
        // A link is cut by a fault of its own.
        "impair" => {
            (key, [beside, &conditions::KEYS].concat().into_iter().filter(|one| *one != "cut").collect())
        }
        _ => (key, beside.to_vec()),
    })
}

/// Reads `faults:`.
pub(crate) fn faults(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Vec<Fault> {
    fields::list(node, "`faults`", mistakes)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| fault(item, layouts, mistakes))
        .collect()
}

fn fault(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Fault> {
    let fields = Fields::open(node, "a fault", &keys(Some("after")), mistakes)?;
    let after = fields
        .need("after", "such as `after: bootstrapped`", mistakes)
        .and_then(|node| fields::word(node, "moment of a scenario", &MOMENTS, mistakes));
    let action = done(&fields, layouts, mistakes);
    let (after, action) = after.zip(action)?;
    let of_peers = match &action {
        Action::Expect(_) | Action::Connect(..) | Action::Ask(..) => true,
        Action::Node(machine, _) | Action::Roam(machine, _) => machine.public().is_none(),
        _ => false,
    };
    if after == Moment::Serving && of_peers {
        return mistakes.add(
            Mistake::new(fields.at(), format!("to {action} is too early: no peer has been started"))
                .hint("such as `after: started`"),
        );
    }
    Some(Fault { after, action })
}

/// Reads what is done at once, so that it has no moment.
pub(crate) fn now(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Action> {
    let fields = Fields::open(node, "a fault", &keys(None), mistakes)?;
    done(&fields, layouts, mistakes)
}

/// All keys of a fault.
fn keys(moment: Option<&'static str>) -> Vec<&'static str> {
    moment.into_iter().chain(all_actions().flat_map(|(key, beside)| [vec![key], beside].concat())).collect()
}

/// Reads the one thing that a fault does.
fn done(fields: &Fields<'_>, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Action> {
    let mut given = all_actions().filter_map(|(key, beside)| Some((key, beside, fields.find(key)?)));
    match (given.next(), given.next()) {
        (Some((key, beside, node)), None) => {
            alone(key, &beside, fields, mistakes)?;
            action(key, node, fields, layouts, mistakes)
        }
        (None, _) if fields.is_strange() => None,
        (None, _) => {
            mistakes.add(Mistake::new(fields.at(), "the fault does nothing").hint("such as `cut: relay.wan`"))
        }
        (Some((one, ..)), Some((other, ..))) => {
            let message = format!("a fault does one thing, not both `{one}` and `{other}`");
            mistakes.add(Mistake::new(fields.at(), message).hint("make two of it"))
        }
    }
}

/// Notes what stands beside an action and belongs to another one.
fn alone(key: &str, beside: &[&str], fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<()> {
    let strangers = all_actions().flat_map(|(_, beside)| beside).filter(|other| !beside.contains(other));
    for stranger in strangers {
        let Some(node) = fields.find(stranger) else { continue };
        let whose: Vec<String> = all_actions()
            .filter(|(_, beside)| beside.contains(&stranger))
            .map(|(owner, _)| format!("`{owner}`"))
            .collect();
        let (whose, does) = (whose.join(" and "), if whose.len() == 1 { "does" } else { "do" });
        let mistake = Mistake::new(node.at.clone(), format!("`{key}` needs no `{stranger}`"));
        return mistakes.add(mistake.hint(format!("only {whose} {does}")));
    }
    Some(())
}

fn action(
    key: &str,
    node: &Node,
    fields: &Fields<'_>,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
) -> Option<Action> {
    let with_node = |mistakes: &mut Mistakes| seen::with_node(node, layouts, mistakes);
    let node_fault =
        |fault, mistakes: &mut Mistakes| with_node(mistakes).map(|machine| Action::Node(machine, fault));
    let machine_fault =
        |fault, mistakes: &mut Mistakes| with_node(mistakes).map(|machine| Action::Machine(machine, fault));
    match key {
        "cut" => return lab::link(node, layouts, mistakes).map(Action::Cut),
        "heal" => return lab::link(node, layouts, mistakes).map(Action::Heal),
        "flap" => return flap(node, fields, layouts, mistakes),
        "impair" => {
            let link = lab::link(node, layouts, mistakes);
            return lab::impaired(fields, link, mistakes).map(Action::Impair);
        }
        "mend" => return lab::link(node, layouts, mistakes).map(Action::Mend),
        "partition" => return partition(node, fields, layouts, mistakes).map(Action::Partition),
        "rejoin" => return segment(node, layouts, mistakes).map(Action::Rejoin),
        "kill" => return node_fault(NodeFault::Kill, mistakes),
        "stop" => return node_fault(NodeFault::Stop, mistakes),
        "pause" => return node_fault(NodeFault::Pause, mistakes),
        "resume" => return node_fault(NodeFault::Resume, mistakes),
        "restart" => return node_fault(NodeFault::Restart, mistakes),
        "limit" => {
            let machine = with_node(mistakes);
            let most = fields.need("memory", "how much it may hold, such as `memory: 24 MB`", mistakes)?;
            let most = lab::memory(most, "`memory`", mistakes)?;
            return machine.map(|machine| Action::Node(machine, NodeFault::Limit(most)));
        }
        "power_off" => return machine_fault(MachineFault::PowerOff, mistakes),
        "power_on" => return machine_fault(MachineFault::PowerOn, mistakes),
        "freeze" => return machine_fault(MachineFault::Freeze, mistakes),
        "thaw" => return machine_fault(MachineFault::Thaw, mistakes),
        "roam" => return roam(node, fields, layouts, mistakes),
        "clock" => return clock(node, fields, layouts, mistakes),
        "connect" => {
            let from = with_node(mistakes);
            let to = fields.need("to", "whom it connects to, such as `to: peer2`", mistakes)?;
            let to = seen::with_node(to, layouts, mistakes)?;
            return from.map(|from| Action::Connect(from, to));
        }
        "broadcast" => return with_node(mistakes).map(|machine| Action::Ask(machine, Errand::Broadcast)),
        "find" | "ask_recent" => {
            let asker = with_node(mistakes);
            let whom = fields.need("whom", "whom it asks about, such as `whom: peer2`", mistakes)?;
            let whom = seen::with_node(whom, layouts, mistakes)?;
            let errand = if key == "find" { Errand::Find(whom) } else { Errand::WhoHasRecent(whom) };
            return asker.map(|asker| Action::Ask(asker, errand));
        }
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

fn flap(node: &Node, fields: &Fields<'_>, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Action> {
    let link = lab::link(node, layouts, mistakes);
    let times = match fields.need("times", "how often it is cut, such as `times: 5`", mistakes)?.value {
        Value::Number(times) if times.fract() == 0.0 && (1.0..=MOST_FLAPS).contains(&times) => times as usize,
        _ => {
            let message = format!("`times` must be a whole number from 1 to {MOST_FLAPS}");
            return mistakes.add(Mistake::new(fields.at(), message));
        }
    };
    let every = fields.need("every", "how long it is cut, and whole, such as `every: 500ms`", mistakes)?;
    let every = within_bounds(every, "`every`", LONGEST_IDLE, mistakes)?;
    link.map(|link| Action::Flap(link, times, every))
}

/// Reads groups of links that are all on one segment.
fn partition(
    node: &Node,
    fields: &Fields<'_>,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
) -> Option<Partition> {
    const HINT: &str = "such as `partition: [[nat1.wan, relay.wan], [nat2.wan]]`";
    let mut groups: Vec<Vec<Link>> = Vec::new();
    for group in fields::list(node, "`partition`", mistakes)? {
        let mut links = Vec::new();
        for item in fields::list(group, "a group of `partition`", mistakes)? {
            let link = lab::link(item, layouts, mistakes)?;
            if groups.iter().flatten().chain(&links).any(|other| *other == link) {
                return mistakes.add(Mistake::new(item.at.clone(), format!("{link} is in two groups")));
            }
            let first = groups.iter().flatten().chain(&links).next().copied().unwrap_or(link);
            for layout in layouts {
                if layout.segment(link) != layout.segment(first) {
                    let message = format!("{first} and {link} are on different segments");
                    return mistakes.add(
                        Mistake::new(item.at.clone(), message).hint("they never meet, whatever is done"),
                    );
                }
            }
            links.push(link);
        }
        groups.push(links);
    }
    if groups.len() < 2 {
        return mistakes.add(Mistake::new(node.at.clone(), "a partition has two groups or more").hint(HINT));
    }
    let one_way = match fields.find("one_way") {
        Some(node) => fields::flag(node, "`one_way`", mistakes)?,
        None => false,
    };
    Some(Partition { groups, one_way })
}

fn segment(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Segment> {
    let mut words: Vec<(&str, Segment)> = Vec::new();
    for (_, segment) in layouts.iter().flat_map(|layout| layout.links()) {
        if !words.iter().any(|(_, known)| *known == segment) {
            words.push((segment.name(), segment));
        }
    }
    fields::word(node, "segment", &words, mistakes)
}

fn roam(node: &Node, fields: &Fields<'_>, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Action> {
    let peer = lab::machine(node, "peer", |machine| matches!(machine, Machine::Peer(..)), layouts, mistakes);
    let to = fields.need("to", "the LAN that it moves to, such as `to: lan2`", mistakes)?;
    let there = |site: &Site| layouts.iter().all(|layout| layout.has(site.gateway()));
    let lans: Vec<(&str, Site)> =
        Site::all().filter(there).map(|site| (Segment::Lan(site).name(), site)).collect();
    let site = fields::word(to, "LAN", &lans, mistakes)?;
    peer.map(|peer| Action::Roam(peer, site))
}

fn clock(node: &Node, fields: &Fields<'_>, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Action> {
    let machine = seen::with_node(node, layouts, mistakes);
    let by = fields.need("by", "how far it jumps, such as `by: -60s`", mistakes)?;
    let (back, text) = match &by.value {
        Value::Text(text) => match text.trim().strip_prefix('-') {
            Some(text) => (true, text.to_owned()),
            None => (false, text.trim().trim_start_matches('+').to_owned()),
        },
        _ => (false, String::new()),
    };
    match quantity::time(&Value::Text(text)) {
        Some(by) if !by.is_zero() && by <= LONGEST_SHIFT => {
            machine.map(|machine| Action::Clock(machine, Shift { by, back }))
        }
        _ => mistakes.add(
            Mistake::new(by.at.clone(), "`by` must be a time with its unit, at most a day")
                .hint("such as `5s`, or `-5m` for back"),
        ),
    }
}

fn within_bounds(node: &Node, what: &str, most: Duration, mistakes: &mut Mistakes) -> Option<Duration> {
    match quantity::time(&node.value) {
        Some(time) if !time.is_zero() && time <= most => Some(time),
        Some(time) if time > most => {
            mistakes.add(Mistake::new(node.at.clone(), format!("{what} is longer than ten minutes")))
        }
        _ => mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} must be a time with its unit"))
                .hint("such as `40s` or `2m`"),
        ),
    }
}

/// Reads a time, or two between which one is drawn.
fn idle(node: &Node, mistakes: &mut Mistakes) -> Option<Pause> {
    let mut time = |node: &Node| within_bounds(node, "`idle`", LONGEST_IDLE, mistakes);
    let Value::List(items) = &node.value else {
        return time(node).map(|time| Pause { least: time, most: time });
    };
    let wrong = Mistake::new(node.at.clone(), "`idle` is a time, or the least and the most of one")
        .hint("such as `idle: [1s, 5s]`");
    let [least, most] = items.as_slice() else { return mistakes.add(wrong) };
    let (least, most) = (time(least)?, time(most)?);
    if least > most { mistakes.add(wrong) } else { Some(Pause { least, most }) }
}

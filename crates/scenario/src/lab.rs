//! The parts of a scenario that change the lab: sizes, links, filters, faults, the node's options.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use natrig_netmodel::netem::{self, Unlike};

use crate::{
    Base, Disk, Filter, Flow, Impairment, Layout, Link, Machine, Make, Mistake, NodeOptions, Sizes, Stun,
    Where,
    conditions::{self, Told},
    fields::{self, Fields, Mistakes},
    network, quantity, seen,
    yaml::{Node, Value},
};

const MEMORY: std::ops::RangeInclusive<u32> = 64..=65_536;

/// Reads `machines:`, by role or by name.
pub(crate) fn sizes(node: &Node, file: &str, layouts: &[Layout], mistakes: &mut Mistakes) -> Sizes {
    let mut sizes = Sizes::default();
    let Value::Map(entries) = &node.value else {
        mistakes.wanted::<()>(node, "`machines`", "a mapping of machines to what they are made of");
        return sizes;
    };
    for (key, value) in entries {
        let make = make(value, file, mistakes);
        let named = key.text.parse::<Machine>().ok();
        match key.text.as_str() {
            "gateway" => sizes.gateway = make,
            "peer" => sizes.peer = make,
            // The first of them is called so too.
            "relay" => sizes.relay = make,
            _ => match named.filter(|name| layouts.iter().any(|layout| layout.has(*name))) {
                Some(name) => {
                    sizes.of.insert(name, make);
                }
                None => {
                    let there =
                        layouts.iter().flat_map(|layout| layout.machines()).map(|name| name.to_string());
                    let roles = ["gateway", "peer", "relay"].map(str::to_owned);
                    let known: BTreeSet<String> = there.chain(roles).collect();
                    mistakes.0.push(
                        Mistake::new(
                            key.at.clone(),
                            format!("`machines` has no key `{}`", fields::shorten(&key.text)),
                        )
                        .hint(fields::meant(&key.text, known.iter().map(String::as_str))),
                    );
                }
            },
        }
    }
    sizes
}

fn make(node: &Node, file: &str, mistakes: &mut Mistakes) -> Make {
    const KEYS: [&str; 4] = ["memory", "kernel", "image", "cloud_init"];
    let Some(fields) = Fields::open(node, "a machine", &KEYS, mistakes) else {
        return Make::default();
    };
    if KEYS.iter().all(|key| fields.find(key).is_none()) && !fields.is_strange() {
        mistakes.0.push(
            Mistake::new(fields.at(), "a machine lacks `memory`, a `kernel` or an `image`")
                .hint("such as `memory: 256 MB`"),
        );
    }
    let memory = fields.find("memory").and_then(|node| match quantity::mebibytes(&node.value) {
        Some(mebibytes) if MEMORY.contains(&mebibytes) => Some(mebibytes),
        Some(_) => mistakes.add(
            Mistake::new(node.at.clone(), "no machine can have this much memory, or this little")
                .hint("from 64 MB to 64 GB"),
        ),
        None => mistakes.add(
            Mistake::new(node.at.clone(), "`memory` must be a size with its unit")
                .hint("whole megabytes, such as `256 MB` or `1 GB`"),
        ),
    });
    Make { memory, base: base(&fields, file, mistakes) }
}

/// Reads what a machine boots.
fn base(fields: &Fields<'_>, file: &str, mistakes: &mut Mistakes) -> Option<Base> {
    let told = fields.find("cloud_init");
    let Some(image) = fields.find("image") else {
        if let Some(told) = told {
            mistakes.0.push(
                Mistake::new(told.at.clone(), "only a machine with an `image` of its own has cloud-init")
                    .hint("such as `image: debian-12`"),
            );
        }
        return fields.find("kernel").and_then(|node| kernel(node, file, mistakes)).map(Base::Kernel);
    };
    if let Some(kernel) = fields.find("kernel") {
        return mistakes.add(
            Mistake::new(kernel.at.clone(), "a machine has an `image` or a `kernel`, not both")
                .hint("a distribution's image boots its own kernel"),
        );
    }
    let cloud_init = match told {
        None => None,
        Some(node) => Some(beside(file, fields::text(node, "`cloud_init`", mistakes)?)),
    };
    Some(Base::Image { disk: disk(image, file, mistakes)?, cloud_init })
}

/// Reads an image: the name of a recipe, or a file that lies beside the scenario.
fn disk(node: &Node, file: &str, mistakes: &mut Mistakes) -> Option<Disk> {
    let text = fields::text(node, "`image`", mistakes)?;
    if text.ends_with(".yaml") {
        return Some(Disk::Recipe(beside(file, text)));
    }
    if text.contains('/') || DISK_FILES.iter().any(|ending| text.ends_with(ending)) {
        return Some(Disk::File(beside(file, text)));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        return Some(Disk::Recipe(text.to_owned()));
    }
    mistakes.add(Mistake::new(node.at.clone(), format!("`{}` is no image", fields::shorten(text))).hint(
        "the name of a recipe (`natrig image recipes`), a recipe (.yaml), or a disk (.qcow2, .img, .raw)",
    ))
}

/// How the names of disks end.
const DISK_FILES: [&str; 3] = [".qcow2", ".img", ".raw"];

/// The path of a file that is named in another one.
fn beside(file: &str, path: &str) -> String {
    Path::new(file).parent().unwrap_or(Path::new("")).join(path).to_string_lossy().into_owned()
}

/// Reads the package of a kernel; a file lies beside the scenario.
fn kernel(node: &Node, file: &str, mistakes: &mut Mistakes) -> Option<String> {
    let text = fields::text(node, "`kernel`", mistakes)?;
    if text.ends_with(".deb") {
        return Some(beside(file, text));
    }
    let plain = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    if text.starts_with("linux-image-") && plain {
        return Some(text.to_owned());
    }
    mistakes.add(
        Mistake::new(node.at.clone(), format!("`{}` is no package of a kernel", fields::shorten(text)))
            .hint("such as `linux-image-6.1.0-47-cloud-amd64`, or a `.deb` file"),
    )
}

/// Reads `links:`.
pub(crate) fn links(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Vec<Impairment> {
    let mut links: Vec<Impairment> = Vec::new();
    for item in fields::list(node, "`links`", mistakes).unwrap_or_default() {
        let Some((fields, impairments)) = impairments(item, layouts, mistakes) else {
            continue;
        };
        let overlaps = |one: &Impairment, other: &Impairment| {
            one.link == other.link
                && (one.flow == other.flow || one.flow == Flow::Both || other.flow == Flow::Both)
        };
        if let Some(again) = impairments.iter().find(|it| links.iter().any(|other| overlaps(it, other))) {
            mistakes.0.push(
                Mistake::new(fields.at(), format!("{} is listed twice for the same direction", again.link))
                    .hint("put its conditions into one entry, or tell `direction: in` from `out`"),
            );
        }
        links.extend(impairments);
    }
    links
}

fn impairments<'a>(
    node: &'a Node,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
) -> Option<(Fields<'a>, Vec<Impairment>)> {
    let known = [&["link"], &OF_A_LINK[..], &conditions::KEYS[..]].concat();
    let fields = Fields::open(node, "a link", &known, mistakes)?;
    let link = fields
        .need("link", "such as `link: nat1.wan`", mistakes)
        .and_then(|node| link(node, layouts, mistakes));
    let impairments = impaired(&fields, link, mistakes)?;
    Some((fields, impairments))
}

const PLACES: [(&str, Where); 2] = [("link", Where::Link), ("gateway", Where::Gateway)];

/// What stands beside conditions.
pub(crate) const OF_A_LINK: [&str; 3] = ["direction", "like", "where"];

/// What an entry says of a link: the same both ways, or one thing for each.
pub(crate) fn impaired(
    fields: &Fields<'_>,
    link: Option<Link>,
    mistakes: &mut Mistakes,
) -> Option<Vec<Impairment>> {
    let flows = [("both", Flow::Both), ("in", Flow::In), ("out", Flow::Out)];
    let before = mistakes.0.len();
    let at = match fields.find("where") {
        Some(node) => fields::word(node, "place", &PLACES, mistakes)?,
        None => Where::Link,
    };
    let flow = match (fields.find("direction"), at) {
        (Some(node), _) => fields::word(node, "direction", &flows, mistakes),
        (None, Where::Link) => Some(Flow::Both),
        (None, Where::Gateway) => Some(Flow::Out),
    };
    let network = fields.find("like").and_then(|node| network::like(node, mistakes));
    let told = Told::read(fields, mistakes);
    if mistakes.0.len() > before {
        return None;
    }
    let base = network.map_or_else(Default::default, |network| [network.into, network.out]);
    let [into, out] = base.map(|base| told.over(base));
    let (link, flow) = link.zip(flow)?;
    let impairment = |flow, conditions| Impairment { link, flow, conditions, at };
    let impairments = match flow {
        Flow::In => vec![impairment(Flow::In, into)],
        Flow::Out => vec![impairment(Flow::Out, out)],
        Flow::Both if into == out => vec![impairment(Flow::Both, into)],
        Flow::Both => vec![impairment(Flow::In, into), impairment(Flow::Out, out)],
    };
    if impairments.iter().all(|it| it.conditions.is_perfect()) && !fields.is_strange() {
        return mistakes.add(
            Mistake::new(fields.at(), "this entry changes nothing")
                .hint("give it conditions, such as a `delay`, a `loss` or `like: dsl`"),
        );
    }
    if let Some(first) = impairments.first() {
        conditions::without_effect(fields, &first.conditions, mistakes);
    }
    let in_gateway = impairments.iter().filter(|it| it.at == Where::Gateway);
    in_gateway.for_each(|it| inapplicable(fields, it, mistakes));
    Some(impairments)
}

/// Notes what a gateway cannot do by itself.
fn inapplicable(fields: &Fields<'_>, impairment: &Impairment, mistakes: &mut Mistakes) {
    let link = impairment.link;
    let (message, hint) = if !link.machine().is_gateway() {
        (
            format!("{link} is no gateway's link"),
            "`where: gateway` is for links such as `nat1.wan`".to_owned(),
        )
    } else if impairment.flow != Flow::Out {
        (
            "netem delays and loses what a gateway sends, not what comes to it".to_owned(),
            "leave `direction` out; for the other way, name its other link".to_owned(),
        )
    } else if !impairment.conditions.corrupt.chance.is_never() {
        (
            "a gateway that damages what it sends cannot be told from one that translates it wrongly"
                .to_owned(),
            "leave `where: gateway` out: on the link, both sides are seen".to_owned(),
        )
    } else if let Err(unlike) = netem::arguments(&impairment.conditions) {
        let hint = match unlike {
            Unlike::Order => "say so: `jitter: {spread: 10ms, overtaking: true}`",
            _ => "leave `where: gateway` out: on the link it can be had",
        };
        (unlike.to_string(), hint.to_owned())
    } else {
        return;
    };
    mistakes.0.push(Mistake::new(fields.at(), message).hint(hint));
}

/// Reads `filters:`.
pub(crate) fn filters(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Vec<Filter> {
    fields::list(node, "`filters`", mistakes)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| filter(item, layouts, mistakes))
        .collect()
}

fn filter(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Filter> {
    const HINT: &str = "such as `between: [nat1.wan, nat2.wan]`";
    let fields = Fields::open(node, "a filter", &["between"], mistakes)?;
    let node = fields.need("between", HINT, mistakes)?;
    let [a, b] = fields::list(node, "`between`", mistakes)? else {
        return mistakes.add(Mistake::new(node.at.clone(), "`between` must name two links").hint(HINT));
    };
    let (one, other) = link(a, layouts, mistakes).zip(link(b, layouts, mistakes))?;
    if one == other {
        return mistakes.add(Mistake::new(b.at.clone(), "a filter stands between two different links"));
    }
    for layout in layouts {
        let (Some(here), Some(there)) = (layout.segment(one), layout.segment(other)) else { continue };
        if here == there {
            continue;
        }
        let message = format!("{one} is on {here}, {other} on {there}: they never meet");
        return mistakes.add(Mistake::new(b.at.clone(), message).hint("name two links of one segment"));
    }
    Some(Filter { between: [one, other] })
}

/// Reads how much memory a node may hold, in MiB.
pub(crate) fn memory(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<u32> {
    match quantity::mebibytes(&node.value) {
        Some(mebibytes @ 1..) => Some(mebibytes),
        _ => mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} must be a size with its unit"))
                .hint("whole megabytes, such as `24 MB`"),
        ),
    }
}

const NODE: [&str; 6] = ["birthday", "bootstrap", "stun", "args", "memory_at_most", "session_keys"];

/// Reads `node:`.
pub(crate) fn node(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> NodeOptions {
    let mut options = NodeOptions::default();
    let Some(fields) = Fields::open(node, "`node`", &NODE, mistakes) else {
        return options;
    };
    if let Some(node) = fields.find("birthday") {
        options.birthday = fields::flag(node, "`birthday`", mistakes).unwrap_or(true);
    }
    if let Some(node) = fields.find("bootstrap") {
        options.bootstrap = bootstrap(node, layouts, mistakes).unwrap_or_default();
    }
    if let Some(node) = fields.find("stun") {
        options.stun = stun(node, layouts, mistakes).unwrap_or_default();
    }
    if let Some(node) = fields.find("args") {
        options.args = args(node, layouts, mistakes).unwrap_or_default();
    }
    if let Some(node) = fields.find("session_keys") {
        options.session_keys = fields::flag(node, "`session_keys`", mistakes).unwrap_or(false);
    }
    options.memory_at_most =
        fields.find("memory_at_most").and_then(|node| memory(node, "`memory_at_most`", mistakes));
    options
}

/// For the peers alike, or machine by machine.
fn bootstrap(
    node: &Node,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
) -> Option<BTreeMap<Machine, Vec<Machine>>> {
    if let Value::Map(_) = node.value {
        let told = by_machine(node, "`bootstrap`", layouts, mistakes, |node, mistakes| {
            public(node, "`bootstrap`", layouts, mistakes)
        })?;
        let early = told.iter().find(|(machine, told)| {
            machine.public().is_some_and(|own| told.iter().any(|one| one.public() >= Some(own)))
        });
        if let Some((machine, _)) = early {
            let message = format!("{machine} can only be told of those that are started before it");
            return mistakes.add(Mistake::new(node.at.clone(), message).hint("they start in their order"));
        }
        return Some(told);
    }
    let told = public(node, "`bootstrap`", layouts, mistakes)?;
    let peers = layouts.iter().flat_map(|layout| layout.peers());
    Some(peers.map(|peer| (peer, told.clone())).collect())
}

fn stun(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Stun> {
    match node.value {
        Value::List(_) => public(node, "`stun`", layouts, mistakes).map(Stun::Nodes),
        _ => {
            fields::word(node, "STUN server", &[("server", ()), ("silent", ())], mistakes).map(
                |()| match node.value {
                    Value::Text(ref text) if text == "silent" => Stun::Silent,
                    _ => Stun::Server,
                },
            )
        }
    }
}

/// Reads a list of public machines that there are.
fn public(node: &Node, what: &str, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Vec<Machine>> {
    let machines = fields::list(node, what, mistakes)?.iter().map(|node| {
        let machine = seen::with_node(node, layouts, mistakes)?;
        if machine.public().is_none() {
            let message = format!("{machine} is no public machine");
            return mistakes.add(Mistake::new(node.at.clone(), message).hint("such as `relay`"));
        }
        Some(machine)
    });
    machines.collect()
}

/// Reads something for each machine that is named.
fn by_machine<T>(
    node: &Node,
    what: &str,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
    read: impl Fn(&Node, &mut Mistakes) -> Option<T>,
) -> Option<BTreeMap<Machine, T>> {
    let there = |machine: &Machine| layouts.iter().all(|layout| layout.has(*machine));
    let names: Vec<&str> = Machine::nodes().filter(there).map(Machine::name).collect();
    let fields = Fields::open(node, what, &names, mistakes)?;
    let mut found = BTreeMap::new();
    for machine in Machine::nodes() {
        if let Some(node) = fields.find(machine.name()) {
            found.insert(machine, read(node, mistakes)?);
        }
    }
    Some(found)
}

fn args(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<BTreeMap<Machine, Vec<String>>> {
    by_machine(node, "`args`", layouts, mistakes, |node, mistakes| {
        let of_machine = fields::list(node, "`args`", mistakes)?
            .iter()
            .filter_map(|arg| fields::text(arg, "an argument", mistakes).map(str::to_owned))
            .collect();
        Some(of_machine)
    })
}

/// Reads the name of a link that there is, whatever stands before the sites.
pub(crate) fn link(node: &Node, layouts: &[Layout], mistakes: &mut Mistakes) -> Option<Link> {
    let there = |link: Link| layouts.iter().all(|layout| layout.segment(link).is_some());
    if let Value::Text(text) = &node.value
        && let Ok(link) = text.parse::<Link>()
    {
        return if there(link) { Some(link) } else { absent(node, text, link.machine(), mistakes) };
    }
    let links: Vec<(&str, Link)> =
        Link::all().filter(|link| there(*link)).map(|link| (link.name(), link)).collect();
    fields::word(node, "link", &links, mistakes)
}

/// Reads the name of a machine of some kind that there is, whatever stands before the sites.
pub(crate) fn machine(
    node: &Node,
    what: &str,
    of_kind: impl Fn(Machine) -> bool,
    layouts: &[Layout],
    mistakes: &mut Mistakes,
) -> Option<Machine> {
    let there = |machine: Machine| layouts.iter().all(|layout| layout.has(machine));
    if let Value::Text(text) = &node.value
        && let Some(machine) = text.parse().ok().filter(|machine| of_kind(*machine))
    {
        return if there(machine) { Some(machine) } else { absent(node, text, machine, mistakes) };
    }
    let fit = |machine: &Machine| of_kind(*machine) && there(*machine);
    let machines: Vec<(&str, Machine)> =
        Machine::all().filter(fit).map(|machine| (machine.name(), machine)).collect();
    fields::word(node, what, &machines, mistakes)
}

/// Notes that a scenario does not have a machine, or a link of it, and what would give it one.
fn absent<T>(node: &Node, name: &str, machine: Machine, mistakes: &mut Mistakes) -> Option<T> {
    let hint = match machine {
        Machine::Relay(_) => {
            "`relays:` says how many public machines there are, such as `relays: 3`".to_owned()
        }
        Machine::Cgn(_) => "a site has a carrier's gateway if its NAT is a chain, such as `cgn`".to_owned(),
        Machine::Nat(site) | Machine::Peer(site, 0) => {
            format!("`nat{}:` is the gateway of such a site", site.number())
        }
        Machine::Peer(site, seat) => format!(
            "`peers:` says how many there are in a LAN, such as `peers: {{lan{}: {}}}`",
            site.number(),
            seat + 1
        ),
    };
    mistakes.add(Mistake::new(node.at.clone(), format!("there is no {name} here")).hint(hint))
}

//! The conditions of links, from a scenario's words to what the links do.

use std::{num::NonZeroU64, time::Duration};

use natrig_netmodel::{Chance, Conditions, Distribution, GilbertElliott, Jitter, Probability, Queue, Rate};
use natrig_scenario::{Flow, Impairment, Link, Network, Scenario};

fn links(entries: &str) -> Vec<Impairment> {
    let text = format!("name: a\nnat1: public\nnat2: public\nexpected: direct\nlinks:\n{entries}");
    let mut scenarios =
        Scenario::parse("t.yaml", &text).unwrap_or_else(|problem| panic!("{}", problem.render(false)));
    scenarios.remove(0).links
}

/// The conditions of one entry that are the same both ways.
fn conditions(entry: &str) -> Conditions {
    let links = links(&format!("  - {{link: nat1.wan, {entry}}}"));
    assert_eq!((links.len(), links[0].link, links[0].flow), (1, Link::NAT1_WAN, Flow::Both));
    links[0].conditions
}

fn share(share: f64) -> Probability {
    Probability::new(share).unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn mbit(n: u64, queue: Queue) -> Option<Rate> {
    Some(Rate { bits_per_second: NonZeroU64::new(n * 1_000_000).unwrap(), queue })
}

#[test]
fn each_condition_is_read() {
    let none = Conditions::default();
    let delayed = Conditions::delayed(ms(50));
    let correlated = Chance { chance: share(0.05), correlation: share(0.25) };
    let simple = GilbertElliott::simple(share(0.02), 10.0);
    let model = GilbertElliott {
        to_bad: share(0.01),
        to_good: share(0.2),
        loss_good: share(0.001),
        loss_bad: share(0.9),
    };
    let jitter = Jitter { spread: ms(10), ..Jitter::default() };
    let whole =
        Jitter { distribution: Distribution::Normal, correlation: share(0.25), overtaking: true, ..jitter };
    for (entry, expected) in [
        ("delay: 50ms", delayed),
        ("delay: 50ms, jitter: 10ms", Conditions { jitter, ..delayed }),
        (
            "delay: 50ms, jitter: {spread: 10ms, distribution: normal, correlation: 25%, overtaking: true}",
            Conditions { jitter: whole, ..delayed },
        ),
        ("loss: 5%", Conditions::lossy(share(0.05))),
        ("loss: {chance: 5%, correlation: 25%}", Conditions { loss: correlated, ..none }),
        ("bursts: {loss: 2%, length: 10}", Conditions { bursts: simple, ..none }),
        (
            "bursts: {to_bad: 1%, to_good: 20%, loss_good: 0.1%, loss_bad: 90%}",
            Conditions { bursts: Some(model), ..none },
        ),
        (
            "bursts: {to_bad: 1%, to_good: 20%}",
            Conditions {
                bursts: Some(GilbertElliott { loss_good: share(0.0), loss_bad: share(1.0), ..model }),
                ..none
            },
        ),
        ("duplicate: 5%", Conditions { duplicate: share(0.05).into(), ..none }),
        (
            "delay: 50ms, reorder: {chance: 5%, correlation: 25%}",
            Conditions { reorder: correlated, ..delayed },
        ),
        ("corrupt: 0.05", Conditions { corrupt: share(0.05).into(), ..none }),
        ("rate: 10 Mbit/s", Conditions { rate: mbit(10, Queue::Time(ms(400))), ..none }),
        ("rate: 10mbit, queue: 100ms", Conditions { rate: mbit(10, Queue::Time(ms(100))), ..none }),
        ("rate: 10 Mbit/s, queue: 64 kB", Conditions { rate: mbit(10, Queue::Bytes(64_000)), ..none }),
        ("cut: true", Conditions { cut: true, ..none }),
    ] {
        assert_eq!(conditions(entry), expected, "{entry}");
    }
}

#[test]
fn a_network_has_its_own_conditions_each_way() {
    let dsl = Network::named("dsl").unwrap();
    let both = links("  - {link: nat1.wan, like: dsl}");
    let each: Vec<_> = both.iter().map(|it| (it.flow, it.conditions)).collect();
    assert_eq!(each, [(Flow::In, dsl.into), (Flow::Out, dsl.out)]);
    assert!(dsl.into.rate.unwrap().bits_per_second > dsl.out.rate.unwrap().bits_per_second);
    let out = links("  - {link: nat1.wan, like: dsl, direction: out}");
    assert_eq!((out.len(), out[0].flow, out[0].conditions), (1, Flow::Out, dsl.out));
}

#[test]
fn what_an_entry_says_is_laid_over_the_network() {
    let dsl = Network::named("dsl").unwrap();
    let [into, out]: [Impairment; 2] =
        links("  - {link: nat1.wan, like: dsl, loss: 0%, queue: 64 kB, delay: 5ms}").try_into().unwrap();
    for (link, of_network) in [(into, dsl.into), (out, dsl.out)] {
        let rate = Rate { queue: Queue::Bytes(64_000), ..of_network.rate.unwrap() };
        let expected = Conditions { loss: Chance::NEVER, rate: Some(rate), delay: ms(5), ..of_network };
        assert_eq!(link.conditions, expected);
    }
    // Another rate leaves the network's queue.
    let faster = links("  - {link: nat1.wan, like: dsl, rate: 50 Mbit/s, direction: in}");
    let queue = dsl.into.rate.unwrap().queue;
    assert_eq!(faster[0].conditions, Conditions { rate: mbit(50, queue), ..dsl.into });
}

/// The page shows the figures of every network, each way.
#[test]
fn the_networks_are_documented_as_they_are() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/conditions.md")).unwrap();
    let rows = Network::all().iter().flat_map(|network| {
        [("in", network.into), ("out", network.out)].map(|(way, it)| row(&network.name, way, &it))
    });
    let missing: Vec<_> = rows.filter(|row| !page.contains(row)).collect();
    assert!(missing.is_empty(), "docs/conditions.md lacks\n{}", missing.join("\n"));
    for network in Network::all() {
        // Each can be asked for by its name.
        assert_eq!(
            links(&format!("  - {{link: nat1.wan, like: {}}}", network.name))[0].conditions,
            network.into
        );
        for source in network.sources.iter().filter_map(|source| source.split("https://").nth(1)) {
            let address = source.split([':', ',', ' ']).next().unwrap();
            assert!(page.contains(address), "docs/conditions.md lacks {address}");
        }
    }
}

fn row(name: &str, way: &str, it: &Conditions) -> String {
    let time = |time: Duration| match time.subsec_millis() {
        0 if time.as_secs() > 0 => format!("{} s", time.as_secs()),
        0 => format!("{} us", time.as_micros()),
        _ => format!("{} ms", time.as_millis()),
    };
    let rate = it.rate.unwrap();
    let bits = match rate.bits_per_second.get() {
        bits if bits < 1_000_000 => format!("{} kbit/s", bits / 1000),
        bits if bits < 1_000_000_000 => format!("{} Mbit/s", bits / 1_000_000),
        bits => format!("{} Gbit/s", bits / 1_000_000_000),
    };
    let queue = match rate.queue {
        Queue::Time(queue) => time(queue),
        Queue::Bytes(bytes) => format!("{bytes} B"),
    };
    let shape = match it.jitter.distribution {
        Distribution::Uniform => "",
        Distribution::Normal => " normal",
        Distribution::Pareto => " pareto",
    };
    let correlation = match it.jitter.correlation.value() {
        0.0 => String::new(),
        correlation => format!(", {} % correlated", correlation * 100.0),
    };
    let mut losses = Vec::new();
    if !it.loss.chance.is_never() {
        losses.push(it.loss.chance.to_string());
    }
    if let Some(bursts) = it.bursts {
        let length = 1.0 / bursts.to_good.value();
        losses.push(format!("{:.0} % in bursts of {length:.0}", bursts.loss().value() * 100.0));
    }
    let loss = if losses.is_empty() { "none".to_owned() } else { losses.join(" and ") };
    format!(
        "| `{name}` | {way} | {bits} | {queue} | {} | {}{shape}{correlation} | {loss} |",
        time(it.delay),
        time(it.jitter.spread),
    )
}

//! What a population is made of.

use std::{path::Path, time::Duration};

use natrig_netmodel::Probability;

use super::{Source, all_of_it, name, share, sources, summary, time, whole};
use crate::{
    Mistake, Nat, Problem,
    fields::{self, Fields, Mistakes},
    site,
    yaml::{Node, Value},
};

const KEYS: [&str; 7] = ["name", "summary", "sources", "nats", "regions", "latency", "access"];
const MOST_REGIONS: usize = 64;

/// Which NATs a population is behind, where in the world it lives and how it gets to the internet.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// What it is called.
    pub name: String,
    /// What it is about, in a line.
    pub summary: String,
    /// What it rests on.
    pub sources: Vec<Source>,
    /// What stands before the members.
    pub nats: Vec<Share<Nat>>,
    /// Where they are.
    pub regions: Vec<Share<String>>,
    /// How they are joined to the internet.
    pub access: Vec<Share<Access>>,
    rounds: Vec<Round>,
}

/// One of several, and how many have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Share<T> {
    /// Between 0 and 1; those of a list are 1 together.
    pub share: f64,
    /// What it is.
    pub of: T,
}

/// How long a packet and its answer are under way between two regions, without the access of either end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    /// Which two, the smaller number first.
    between: (usize, usize),
    time: Duration,
}

/// A member's own line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Access {
    /// How long a packet takes on it, each way.
    pub delay: Duration,
    /// The chance of a packet to be lost on it, each way.
    pub loss: Probability,
}

impl Mix {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Mix, Problem> {
        Mix::parse(&path.display().to_string(), &super::load(path)?)
    }

    /// Reads a text that goes by a file's name.
    pub fn parse(file: &str, text: &str) -> Result<Mix, Problem> {
        whole("mix", file, text, read)
    }

    /// The round trip time between two regions, by their places in [`Mix::regions`].
    pub fn round_trip(&self, a: usize, b: usize) -> Duration {
        let between = (a.min(b), a.max(b));
        self.rounds.iter().find(|round| round.between == between).map_or(Duration::ZERO, |round| round.time)
    }
}

fn read(root: &Node, mistakes: &mut Mistakes) -> Option<Mix> {
    let fields = Fields::open(root, "a mix", &KEYS, mistakes)?;
    let name = name(&fields, mistakes);
    let summary = summary(&fields, mistakes);
    let sources = sources(&fields, mistakes);
    let nats = fields
        .need("nats", "`nats:` lists what stands before the members", mistakes)
        .and_then(|node| shares(node, "NATs", &["share", "nat"], mistakes, nat));
    let regions = fields
        .need("regions", "`regions:` lists where members are; one is enough", mistakes)
        .and_then(|node| regions(node, mistakes));
    let rounds = fields
        .need("latency", "`latency:` has the round trip time between each two regions", mistakes)
        .zip(regions.as_ref())
        .and_then(|(node, regions)| rounds(node, regions, mistakes));
    let access = match fields.find("access") {
        None => {
            Some(vec![Share { share: 1.0, of: Access { delay: Duration::ZERO, loss: Probability::NEVER } }])
        }
        Some(node) => shares(node, "access lines", &["share", "delay", "loss"], mistakes, access),
    };
    Some(Mix {
        name: name?,
        summary: summary?,
        sources: sources?,
        nats: nats?,
        regions: regions?,
        access: access?,
        rounds: rounds?,
    })
}

/// Reads a list whose items have a `share`.
fn shares<T>(
    node: &Node,
    what: &str,
    known: &[&str],
    mistakes: &mut Mistakes,
    read: impl Fn(&Fields<'_>, &mut Mistakes) -> Option<T>,
) -> Option<Vec<Share<T>>> {
    let items = fields::list(node, &format!("the list of {what}"), mistakes)?;
    let mut all = Vec::new();
    for item in items {
        let one = Fields::open(item, &format!("one of the {what}"), known, mistakes).and_then(|fields| {
            let given = fields.need("share", "such as `share: 12%`", mistakes);
            let share = given.and_then(|node| share(node, "`share`", mistakes));
            let of = read(&fields, mistakes);
            Some(Share { share: share?, of: of? })
        });
        all.push(one);
    }
    let all: Vec<Share<T>> = all.into_iter().collect::<Option<_>>()?;
    let parts: Vec<f64> = all.iter().map(|one| one.share).collect();
    all_of_it(&parts, node, what, mistakes);
    Some(all)
}

fn nat(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<Nat> {
    let node = fields.need("nat", "a profile; `natrig nat list` has their names", mistakes)?;
    site::nat(node, mistakes)
}

fn access(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<Access> {
    let node = fields.need("delay", "how long a packet takes on the line, each way", mistakes)?;
    let delay = time(node, "`delay`", mistakes)?;
    let loss = match fields.find("loss") {
        None => 0.0,
        Some(node) => share(node, "`loss`", mistakes)?,
    };
    let loss = Probability::new(loss).ok()?;
    Some(Access { delay, loss })
}

fn regions(node: &Node, mistakes: &mut Mistakes) -> Option<Vec<Share<String>>> {
    let regions = shares(node, "regions", &["share", "name"], mistakes, |fields, mistakes| {
        let node = fields.need("name", "what the region is called", mistakes)?;
        Some((fields::text(node, "a region's name", mistakes)?.to_owned(), node.at.clone()))
    })?;
    if regions.len() > MOST_REGIONS {
        let message = format!("there are {} regions; {MOST_REGIONS} may be", regions.len());
        return mistakes.add(Mistake::new(node.at.clone(), message));
    }
    for (at, region) in regions.iter().enumerate() {
        if regions.iter().take(at).any(|other| other.of.0 == region.of.0) {
            let message = format!("two regions are called `{}`", fields::shorten(&region.of.0));
            mistakes.0.push(Mistake::new(region.of.1.clone(), message));
        }
    }
    Some(regions.into_iter().map(|Share { share, of }| Share { share, of: of.0 }).collect())
}

/// Reads the times between regions; each two have one, in one direction.
fn rounds(node: &Node, regions: &[Share<String>], mistakes: &mut Mistakes) -> Option<Vec<Round>> {
    let names: Vec<&str> = regions.iter().map(|region| region.of.as_str()).collect();
    let place = |name: &str| names.iter().position(|known| *known == name);
    let rows = Fields::open(node, "`latency`", &names, mistakes)?;
    let mut rounds: Vec<Round> = Vec::new();
    for (a, from) in names.iter().enumerate() {
        let Some(row) = rows.find(from) else { continue };
        Fields::open(row, "a row of `latency`", &names, mistakes)?;
        let Value::Map(entries) = &row.value else { continue };
        for (key, value) in entries {
            let b = place(&key.text)?;
            let between = (a.min(b), a.max(b));
            let what = format!("the time between `{from}` and `{}`", names.get(b)?);
            let time = time(value, &what, mistakes)?;
            if rounds.iter().any(|round| round.between == between) {
                return mistakes.add(Mistake::new(key.at.clone(), format!("{what} is given twice")));
            }
            if time.is_zero() {
                let wrong = Mistake::new(value.at.clone(), format!("{what} must be above 0"));
                return mistakes.add(wrong.hint("nothing in the world is at once; 1ms will do"));
            }
            rounds.push(Round { between, time });
        }
    }
    for (a, from) in names.iter().enumerate() {
        for (b, to) in names.iter().enumerate().skip(a) {
            if !rounds.iter().any(|round| round.between == (a, b)) {
                let message = match a == b {
                    true => format!("`latency` has no time within `{from}`"),
                    false => format!("`latency` has no time between `{from}` and `{to}`"),
                };
                let hint = format!("`{from}: {{{to}: 40ms}}` would be one, there and back");
                mistakes.0.push(Mistake::new(node.at.clone(), message).hint(hint));
            }
        }
    }
    Some(rounds)
}

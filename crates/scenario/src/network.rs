//! Links that people know by name.

use std::sync::LazyLock;

use natrig_netmodel::Conditions;

use crate::{
    Mistake,
    conditions::{self, Told},
    fields::{self, Fields, Mistakes},
    yaml::{self, Node, Value},
};

/// The conditions of a kind of access, each way: what `like: dsl` means on a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// A phrase for people.
    pub about: String,
    /// To the machine.
    pub into: Conditions,
    /// From the machine.
    pub out: Conditions,
    /// Who says so.
    pub sources: Vec<String>,
    /// Which of its conditions no source tells.
    pub chosen: Vec<String>,
}

impl Network {
    /// All that come with natrig.
    pub fn all() -> &'static [Network] {
        static ALL: LazyLock<Vec<Network>> = LazyLock::new(|| read(include_str!("../networks.yaml")).0);
        &ALL
    }

    /// The one with a name.
    pub fn named(name: &str) -> Option<&'static Network> {
        Network::all().iter().find(|network| network.name == name)
    }
}

/// Reads networks, with the mistakes made in them; those of the shipped ones are found by a test.
fn read(text: &str) -> (Vec<Network>, Mistakes) {
    let mut mistakes = Mistakes::default();
    let networks = match yaml::parse(text) {
        Ok(Node { value: Value::Map(entries), .. }) => {
            entries.iter().filter_map(|(name, node)| network(&name.text, node, &mut mistakes)).collect()
        }
        Ok(node) => mistakes.wanted(&node, "the file", "a mapping").unwrap_or_default(),
        Err(mistake) => mistakes.add(mistake).unwrap_or_default(),
    };
    (networks, mistakes)
}

fn network(name: &str, node: &Node, mistakes: &mut Mistakes) -> Option<Network> {
    let fields = Fields::open(node, "a network", &["about", "in", "out", "sources", "chosen"], mistakes)?;
    let mut way = |key| {
        let node = fields.need(key, "what it does to frames", mistakes)?;
        let entry = Fields::open(node, "a direction", &conditions::KEYS, mistakes)?;
        let conditions = Told::read(&entry, mistakes).over(Conditions::default());
        conditions::without_effect(&entry, &conditions, mistakes);
        Some(conditions)
    };
    let (into, out) = (way("in")?, way("out")?);
    let about = fields.need("about", "a phrase", mistakes)?;
    let mut texts = |key| match fields.find(key) {
        Some(node) => Some(
            fields::list(node, "a list", mistakes)?
                .iter()
                .filter_map(|item| fields::text(item, "an item", mistakes).map(str::to_owned))
                .collect(),
        ),
        None => Some(Vec::new()),
    };
    let (sources, chosen) = (texts("sources")?, texts("chosen")?);
    let about = fields::text(about, "`about`", mistakes)?.to_owned();
    Some(Network { name: name.to_owned(), about, into, out, sources, chosen })
}

/// Reads the name of a network.
pub(crate) fn like(node: &Node, mistakes: &mut Mistakes) -> Option<&'static Network> {
    let names = Network::all().iter().map(|network| network.name.as_str());
    let text = fields::text(node, "the network", mistakes)?;
    Network::named(text).or_else(|| {
        let message = format!("`{}` is no network", fields::shorten(text));
        mistakes.add(Mistake::new(node.at.clone(), message).hint(fields::meant(text, names)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_that_come_with_natrig_are_without_mistakes() {
        let (networks, mistakes) = read(include_str!("../networks.yaml"));
        assert_eq!(mistakes.0, []);
        let names: Vec<_> = networks.iter().map(|network| network.name.as_str()).collect();
        assert_eq!(names, ["lan", "fibre", "dsl", "4g", "satellite", "hotel-wifi", "congested"]);
        assert_eq!(networks, Network::all());
    }

    /// Every condition of a network has a source or is said to be a choice.
    #[test]
    fn no_figure_is_without_its_origin() {
        for network in Network::all() {
            assert!(!network.sources.is_empty() || !network.chosen.is_empty(), "{}", network.name);
            assert!(
                network.chosen.iter().all(|key| conditions::KEYS.contains(&key.as_str())),
                "{}: {:?}",
                network.name,
                network.chosen,
            );
            assert!(network.into.rate.is_some() && network.out.rate.is_some());
            assert!(network.into.delay + network.into.jitter.spread > network.into.delay);
        }
    }
}

//! Reads what stands before a site.

use natrig_nat::{
    Preset,
    profile::{Mistake as InProfile, Named, WrongProfile},
};
use serde_json::Value as Json;

use crate::{
    Engine, Gateway, Layout, Mistake, Nat,
    fields::{self, Mistakes},
    yaml::{Key, Node, Value},
};

/// The most outside addresses a gateway has in a lab.
const POOL: u16 = 16;

/// What may stand before one of the pair's sites: one, or a list; nothing where there is no such site.
pub(crate) struct Choice {
    nats: Vec<Nat>,
    /// Whether it is a list.
    pub several: bool,
}

impl Choice {
    /// There is no such site.
    pub fn none() -> Choice {
        Choice { nats: Vec::new(), several: false }
    }

    /// Whether these are the five of the matrix and nothing else.
    pub fn is_all(&self) -> bool {
        let presets: Vec<_> = self.nats.iter().filter_map(Nat::preset).collect();
        self.nats.len() == Preset::ALL.len() && Preset::ALL.iter().all(|preset| presets.contains(preset))
    }

    /// All pairs, row by row.
    pub fn pairs<'a>(&'a self, columns: &'a Choice) -> impl Iterator<Item = Vec<Nat>> + 'a {
        let of_row = |row: &'a Nat| match columns.nats.as_slice() {
            [] => vec![vec![row.clone()]],
            columns => columns.iter().map(|column| vec![row.clone(), column.clone()]).collect(),
        };
        self.nats.iter().flat_map(of_row)
    }

    /// Reads one, or a list.
    pub fn read(node: &Node, side: &str, mistakes: &mut Mistakes) -> Option<Choice> {
        let Value::List(_) = node.value else {
            return Some(Choice { nats: vec![nat(node, mistakes)?], several: false });
        };
        let mut nats: Vec<Nat> = Vec::new();
        for item in fields::list(node, &format!("`{side}`"), mistakes)? {
            let nat = nat(item, mistakes)?;
            if nats.iter().any(|other| other.name == nat.name) {
                let message = format!("{nat} is listed twice in `{side}`");
                return mistakes.add(
                    Mistake::new(item.at.clone(), message).hint("give one of them a `name` of its own"),
                );
            }
            nats.push(nat);
        }
        Some(Choice { nats, several: true })
    }
}

/// Reads what stands before a site after the second.
pub(crate) fn further(node: &Node, key: &str, mistakes: &mut Mistakes) -> Option<Nat> {
    if let Value::List(_) = node.value {
        let message = format!("`{key}` is one gateway, not a list");
        return mistakes
            .add(Mistake::new(node.at.clone(), message).hint("only `nat1` and `nat2` may be lists"));
    }
    let nat = nat(node, mistakes)?;
    if nat.gateways.iter().any(|gateway| gateway.profile.pool.addresses > 1) {
        return mistakes.add(
            Mistake::new(node.at.clone(), format!("`{nat}` has several addresses"))
                .hint("a lab has those for sites 1 and 2 only"),
        );
    }
    Some(nat)
}

/// Who shall make a gateway what it is.
#[derive(Clone, Copy, PartialEq)]
enum Wish {
    Auto,
    Engine(Engine),
}

const WISHES: [(&str, Wish); 3] =
    [("auto", Wish::Auto), ("kernel", Wish::Engine(Engine::Kernel)), ("model", Wish::Engine(Engine::Model))];

/// Reads one: a name, or a profile with the `engine` that shall make it so.
pub(crate) fn nat(node: &Node, mistakes: &mut Mistakes) -> Option<Nat> {
    if !matches!(node.value, Value::Map(_)) {
        // Without quotes, YAML takes the alias `none` for text and `null` for nothing.
        fields::text(node, "a gateway behaviour", mistakes)?;
    }
    let wish = wish(node, Wish::Auto, mistakes)?;
    let mut wishes = Vec::new();
    for gateway in chain(node) {
        wishes.push(self::wish(gateway, wish, mistakes)?);
    }
    let mut named = match Named::from_value(json(node, 0)) {
        Ok(named) => named,
        Err(WrongProfile { mistakes: wrong }) => {
            mistakes.0.extend(wrong.into_iter().map(|wrong| placed(wrong, node)));
            return None;
        }
    };
    let is_named = entry(node, "name").is_some();
    if let (Wish::Engine(engine), false, Value::Map(_)) = (wish, is_named, &node.value) {
        named.name = format!("{}-{engine}", named.name);
    }
    built(&named, node, mistakes)?;
    wishes.resize(named.chain.len(), wish);
    let gateways = named
        .chain
        .into_iter()
        .zip(wishes)
        .map(|(profile, wish)| {
            let Wish::Engine(engine) = wish else { return Some(Gateway::auto(profile)) };
            match (engine, profile.kernel_can()) {
                (Engine::Kernel, Err(lacks)) => {
                    let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
                    let at = entry(node, "engine").map_or_else(|| node.at.clone(), |(key, _)| key.at.clone());
                    let message = format!("the kernel cannot be `{}`: {}", profile.name, lacks.join("; "));
                    mistakes.add(Mistake::new(at, message).hint("`engine: model` can, and `auto` finds out"))
                }
                _ => Some(Gateway { profile, engine, fixed: true }),
            }
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Nat { name: named.name, gateways })
}

/// Refuses what no lab has the machines or addresses for.
fn built(named: &Named, node: &Node, mistakes: &mut Mistakes) -> Option<()> {
    let mistake = |message: String| Mistake::new(node.at.clone(), message);
    let most = Layout::MOST_GATEWAYS;
    if named.chain.len() > most {
        return mistakes.add(
            mistake(format!("a site has at most {most} gateways, not {}", named.chain.len()))
                .hint("its own, and one of its carrier"),
        );
    }
    if let [inner, _] = named.chain.as_slice()
        && inner.mapping.is_none()
    {
        return mistakes.add(
            mistake("the inner gateway of a chain must translate".to_owned())
                .hint("without NAT its LAN would have no way back through its carrier"),
        );
    }
    if let Some(profile) = named.chain.iter().find(|profile| profile.pool.addresses > POOL) {
        let message =
            format!("`{}` has {} addresses; a lab has {POOL}", profile.name, profile.pool.addresses);
        return mistakes.add(mistake(message));
    }
    Some(())
}

fn wish(node: &Node, otherwise: Wish, mistakes: &mut Mistakes) -> Option<Wish> {
    match entry(node, "engine") {
        Some((_, engine)) => fields::word(engine, "engine", &WISHES, mistakes),
        None => Some(otherwise),
    }
}

fn chain(node: &Node) -> &[Node] {
    match entry(node, "chain") {
        Some((_, Node { value: Value::List(items), .. })) => items,
        _ => &[],
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a (Key, Node)> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|(known, _)| known.text == key),
        _ => None,
    }
}

/// The tree without its places, and without `engine`, which is ours: at the top and in the gateways of a chain.
pub(crate) fn json(node: &Node, depth: usize) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Number(number) => serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => items.iter().map(|item| json(item, depth + 1)).collect(),
        Value::Map(entries) => entries
            .iter()
            .filter(|(key, _)| !(key.text == "engine" && (depth == 0 || depth == 2)))
            .map(|(key, value)| (key.text.clone(), json(value, depth + 1)))
            .collect(),
    }
}

/// A mistake of a profile, in the place where it was made.
pub(crate) fn placed(wrong: InProfile, node: &Node) -> Mistake {
    let mut here = node;
    let mut at = node.at.clone();
    for (depth, key) in wrong.path.iter().enumerate() {
        let step = match &here.value {
            Value::Map(entries) => {
                entries.iter().find(|(known, _)| known.text == *key).map(|(key, node)| (key.at.clone(), node))
            }
            Value::List(items) => {
                key.parse::<usize>().ok().and_then(|n| items.get(n)).map(|node| (node.at.clone(), node))
            }
            _ => None,
        };
        let Some((key_at, next)) = step else { break };
        here = next;
        let of_key = wrong.of_key && depth + 1 == wrong.path.len();
        at = if of_key { key_at } else { next.at.clone() };
    }
    let mistake = Mistake::new(at, wrong.message);
    match wrong.hint {
        Some(hint) => mistake.hint(hint),
        None => mistake,
    }
}

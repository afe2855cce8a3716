//! From a file to its scenarios.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::Duration,
};

use natrig_nat::Preset;
use natrig_record::Kind;

use crate::{
    App, Expected, Layout, Machine, Mistake, Nat, Priority, Problem, Scenario, Side, Site, Truth,
    app::Apps,
    cast, faults,
    fields::{self, Fields, Mistakes},
    id, lab, port_mapping, quantity,
    site::{self, Choice},
    talk,
    yaml::{self, Node, Value},
};

/// How long nodes may take where a scenario does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the lab's bytes may take. Emulated relays are slow when cells run side by side.
pub(crate) const DEFAULT_CARRY: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// Cells a file may span.
const MOST_CELLS: usize = 1000;

/// The keys of a file.
const KEYS: [&str; 27] = [
    "name",
    "id",
    "priority",
    "nat1",
    "nat2",
    "nat3",
    "nat4",
    "nat5",
    "nat6",
    "nat7",
    "nat8",
    "peers",
    "port_mapping",
    "initiator",
    "use_relay",
    "relays",
    "expected",
    "timeout",
    "carry",
    "machines",
    "links",
    "filters",
    "faults",
    "talks",
    "node",
    "app",
    "cells",
];

/// Kinds of paths by name.
pub(crate) const KINDS: [(&str, Kind); 5] = [
    ("direct", Kind::Direct),
    ("reversal", Kind::Reversal),
    ("punch", Kind::Punch),
    ("birthday", Kind::Birthday),
    ("relay", Kind::Relay),
];

impl Scenario {
    /// Reads the scenarios of a file, one for each of its cells.
    pub fn load(path: &Path) -> Result<Vec<Scenario>, Problem> {
        let text = bounded(path).map_err(|error| Problem::Unreadable { path: path.to_owned(), error })?;
        Scenario::parse(&path.display().to_string(), &text)
    }

    /// Reads the scenarios of a text that goes by a file's name.
    pub fn parse(file: &str, text: &str) -> Result<Vec<Scenario>, Problem> {
        let mut mistakes = Mistakes::default();
        let mut apps = Apps::default();
        let scenarios = yaml::parse(text)
            .map_err(|mistake| Problem::invalid(file, text, vec![mistake]))
            .map(|root| all(file, &root, &mut apps, &mut mistakes))?;
        if let Some(problem) = apps.problem {
            return Err(problem);
        }
        match scenarios {
            Some(scenarios) if mistakes.0.is_empty() => Ok(scenarios),
            _ => Err(Problem::invalid(file, text, mistakes.0)),
        }
    }
}

/// Reads the scenarios of several files; an ID may come up only once.
pub fn load_all<P: AsRef<Path>>(paths: &[P]) -> Result<Vec<Scenario>, Problem> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for path in paths {
        for scenario in Scenario::load(path.as_ref())? {
            let file = scenario.file.clone().unwrap_or_default();
            if let Some(first) = seen.insert(scenario.id.clone(), file.clone()) {
                return Err(Problem::SameId { id: scenario.id, first, second: file });
            }
            scenarios.push(scenario);
        }
    }
    Ok(scenarios)
}

/// A file's text, or an error long before it fills the memory.
pub fn bounded(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(yaml::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

fn all(file: &str, root: &Node, apps: &mut Apps, mistakes: &mut Mistakes) -> Option<Vec<Scenario>> {
    if let Value::Null = root.value {
        return mistakes.add(
            Mistake::new(root.at.clone(), "the file holds no scenario")
                .hint("it needs at least `name`, `nat1`, `nat2` and `expected`"),
        );
    }
    let top = Fields::open(root, "a scenario", &KEYS, mistakes)?;
    let mut scenarios = Vec::new();
    match top.find("cells") {
        None => Layers { row: None, top: &top }.expand(file, apps, &mut scenarios, mistakes),
        Some(rows) => {
            let row_keys = KEYS.map(|key| if key == "cells" { "name" } else { key });
            for row in fields::list(rows, "`cells`", mistakes)? {
                if let Some(row) = Fields::open(row, "a cell", &row_keys, mistakes) {
                    let layers = Layers { row: Some(&row), top: &top };
                    layers.expand(file, apps, &mut scenarios, mistakes);
                }
            }
        }
    }
    Some(scenarios)
}

/// A row over the file's own keys, which hold for all rows.
struct Layers<'a> {
    row: Option<&'a Fields<'a>>,
    top: &'a Fields<'a>,
}

impl<'a> Layers<'a> {
    fn find(&self, key: &str) -> Option<&'a Node> {
        self.row.and_then(|row| row.find(key)).or_else(|| self.top.find(key))
    }

    fn need(&self, key: &str, hint: &str, mistakes: &mut Mistakes) -> Option<&'a Node> {
        match self.find(key) {
            Some(node) => Some(node),
            None => self.row.unwrap_or(self.top).need(key, hint, mistakes),
        }
    }

    /// Reads the row and adds a scenario for each pair of its NATs.
    fn expand(&self, file: &str, apps: &mut Apps, scenarios: &mut Vec<Scenario>, mistakes: &mut Mistakes) {
        let before = mistakes.0.len();
        let names = self.names(mistakes);
        let nat = |side: &str, mistakes: &mut Mistakes| {
            let hint = format!("`{side}:` is the gateway of a site, such as `full-cone`");
            let node = self.need(side, &hint, mistakes)?;
            Choice::read(node, side, mistakes)
        };
        // Two peers in one LAN need no second site.
        let one_lan = self.find("nat2").is_none() && self.find("peers").is_some();
        let nats =
            [nat("nat1", mistakes), if one_lan { Some(Choice::none()) } else { nat("nat2", mistakes) }];
        let more = self.more_sites(mistakes);
        let priorities = [("P1", Priority::P1), ("P2", Priority::P2)];
        let priority =
            self.find("priority").and_then(|node| fields::word(node, "priority", &priorities, mistakes));
        let initiator = match self.find("initiator") {
            Some(node) => initiator(node, mistakes),
            None => Some(Side::One),
        };
        let use_relay = match self.find("use_relay") {
            Some(node) => fields::flag(node, "`use_relay`", mistakes),
            None => Some(true),
        };
        let relays = match self.find("relays") {
            Some(node) => relays(node, mistakes),
            None => Some(1),
        };
        let expected = self
            .need("expected", "such as `expected: direct`", mistakes)
            .and_then(|node| expectation(node, mistakes));
        let timeout = match self.find("timeout") {
            Some(node) => limit(node, "timeout", mistakes),
            None => Some(DEFAULT_TIMEOUT),
        };
        let carry = match self.find("carry") {
            Some(node) => limit(node, "carry", mistakes),
            None => Some(DEFAULT_CARRY),
        };
        let spans: Vec<Vec<Nat>> = match (&nats, &more) {
            ([Some(nat1), Some(nat2)], Some(more)) => {
                nat1.pairs(nat2).map(|pair| [pair, more.clone()].concat()).collect()
            }
            _ => Vec::new(),
        };
        let sites = spans.first().map_or(0, Vec::len);
        let peers = match self.find("peers") {
            Some(node) => cast::peers(node, sites, mistakes),
            None => Some(vec![1; sites]),
        };
        let crowd = peers.as_deref().unwrap_or(&[Site::MOST_PEERS; Site::MOST]);
        let public = relays.unwrap_or(Machine::MOST_PUBLIC);
        let layouts: Vec<Layout> = spans.iter().map(|nats| Layout::of(nats, crowd, public)).collect();
        let sizes = self.find("machines").map(|node| lab::sizes(node, file, &layouts, mistakes));
        let links = self.find("links").map(|node| lab::links(node, &layouts, mistakes));
        let filters = self.find("filters").map(|node| lab::filters(node, &layouts, mistakes));
        let faults = self.find("faults").map(|node| faults::faults(node, &layouts, mistakes));
        let broken = faults.as_deref().unwrap_or_default();
        let port_mapping =
            self.find("port_mapping").map(|node| port_mapping::read(node, &spans, broken, mistakes));
        let talks = self.find("talks").map(|node| talk::talks(node, &layouts, mistakes));
        let node = self.find("node").map(|node| lab::node(node, &layouts, mistakes));
        let app = self.find("app").and_then(|node| app(node, file, apps, mistakes));

        let (
            Some(names),
            [Some(nat1), Some(nat2)],
            Some(peers),
            Some(initiator),
            Some(use_relay),
            Some(relays),
            Some(expected),
            Some(timeout),
            Some(carry),
        ) = (names, nats, peers, initiator, use_relay, relays, expected, timeout, carry)
        else {
            return;
        };
        if mistakes.0.len() > before {
            return;
        }
        let node = node.unwrap_or_default();
        for nats in spans {
            let id = names.id(&nats, &nat1, &nat2);
            let at = || self.row.unwrap_or(self.top).at();
            if scenarios.len() == MOST_CELLS {
                let message = format!("the file spans more than {MOST_CELLS} cells");
                mistakes.0.push(Mistake::new(at(), message));
                return;
            }
            if scenarios.iter().any(|scenario| scenario.id == id) {
                mistakes.0.push(
                    Mistake::new(at(), format!("two cells have the ID `{id}`"))
                        .hint("give one of them an `id:` of its own"),
                );
            }
            let mut scenario = Scenario {
                name: names.name.to_owned(),
                id,
                file: Some(file.to_owned()),
                priority,
                nats,
                peers: peers.clone(),
                initiator,
                use_relay,
                relays,
                expected: Expected::HolePunch,
                timeout,
                carry,
                sizes: sizes.clone().unwrap_or_default(),
                links: links.clone().unwrap_or_default(),
                filters: filters.clone().unwrap_or_default(),
                faults: faults.clone().unwrap_or_default(),
                talks: talks.clone().unwrap_or_default(),
                port_mapping: port_mapping.clone().unwrap_or_default(),
                node: node.clone(),
                app: app.clone(),
                attached: BTreeSet::new(),
            };
            scenario.expected = match expected {
                Expectation::Stated(expected) => expected,
                Expectation::Truth => {
                    let truth = match scenario.nats_of_pair() {
                        Some([initiator, responder]) if !scenario.in_one_lan() => {
                            Truth::standard().of(initiator, responder, node.birthday)
                        }
                        // Nothing stands between two in one LAN.
                        _ => Ok(Kind::Direct),
                    };
                    match truth {
                        Ok(kind) => Expected::Exactly(kind),
                        Err(unknown) => {
                            mistakes.0.push(
                                Mistake::new(at(), unknown.to_string())
                                    .hint("state what is expected, such as `expected: relay`"),
                            );
                            return;
                        }
                    }
                }
            };
            if let Some(app) = &scenario.app
                && let Err(unfit) = app.suits(&scenario)
            {
                mistakes.0.push(Mistake::new(at(), unfit.to_string()).hint(unfit.remedy()));
                return;
            }
            scenarios.push(scenario);
        }
    }

    /// What stands before the sites after the second, which are numbered without a gap.
    fn more_sites(&self, mistakes: &mut Mistakes) -> Option<Vec<Nat>> {
        let keys = ["nat3", "nat4", "nat5", "nat6", "nat7", "nat8"];
        let mut nats = Vec::new();
        let mut missing = self.find("nat2").is_none().then_some("nat2");
        for key in keys {
            let Some(node) = self.find(key) else {
                missing = missing.or(Some(key));
                continue;
            };
            if let Some(missing) = missing {
                let message = format!("there is `{key}` and no `{missing}`");
                return mistakes
                    .add(Mistake::new(node.at.clone(), message).hint("sites are numbered without a gap"));
            }
            nats.push(site::further(node, key, mistakes)?);
        }
        Some(nats)
    }

    fn names(&self, mistakes: &mut Mistakes) -> Option<Names<'a>> {
        let hint = "a phrase that says what is tried, such as `name: \"Relay fallback\"`";
        let node = self.need("name", hint, mistakes)?;
        let name = fields::text(node, "`name`", mistakes)?;
        let given = |fields: &Fields<'a>, mistakes: &mut Mistakes| match fields.find("id") {
            Some(node) => read_id(node, mistakes).map(Some),
            None => Some(None),
        };
        let file_id = given(self.top, mistakes)?;
        let row_id = match self.row {
            Some(row) => given(row, mistakes)?,
            None => None,
        };
        let file_name = match self.top.find("name") {
            Some(node) => fields::text(node, "`name`", mistakes)?,
            None => name,
        };
        Some(Names {
            name,
            file_id,
            row_id,
            slug: id::slug(if self.row.is_some() { file_name } else { name }),
            is_row: self.row.is_some(),
        })
    }
}

/// What a cell's ID is made of.
struct Names<'a> {
    name: &'a str,
    file_id: Option<&'a str>,
    row_id: Option<&'a str>,
    slug: String,
    is_row: bool,
}

impl Names<'_> {
    fn id(&self, nats: &[Nat], nat1: &Choice, nat2: &Choice) -> String {
        let base = match (self.row_id.or(self.file_id), self.slug.as_str()) {
            (Some(id), _) => id,
            (None, "") => "scenario",
            (None, slug) => slug,
        };
        let many = nat1.several || nat2.several;
        let numbered = nat1.is_all() && nat2.is_all();
        let presets: Option<Vec<Preset>> = nats.iter().map(Nat::preset).collect();
        match (self.row_id.or(self.file_id), presets.as_deref()) {
            (None, Some([one, two])) if many && numbered => id::matrix([*one, *two]),
            _ if !many && (!self.is_row || self.row_id.is_some()) => base.to_owned(),
            _ => std::iter::once(base)
                .chain(nats.iter().take(2).map(|nat| nat.name.as_str()))
                .collect::<Vec<_>>()
                .join("-"),
        }
    }
}

/// Reads the name of one of the five.
pub(crate) fn preset(node: &Node, mistakes: &mut Mistakes) -> Option<Preset> {
    let text = fields::text(node, "a gateway behaviour", mistakes)?;
    text.parse().ok().or_else(|| {
        let message = format!("no gateway behaviour is called `{}`", fields::shorten(text));
        let hint = fields::meant(text, Preset::ALL.iter().map(|preset| preset.name()));
        mistakes.add(Mistake::new(node.at.clone(), message).hint(hint))
    })
}

/// Reads an app that stands here, or the file that is named.
fn app(node: &Node, file: &str, apps: &mut Apps, mistakes: &mut Mistakes) -> Option<Arc<App>> {
    match &node.value {
        Value::Map(_) => App::read(node, file, mistakes).map(Arc::new),
        _ => apps.load(file, fields::text(node, "`app`", mistakes)?),
    }
}

#[derive(Clone, Copy)]
enum Expectation {
    Stated(Expected),
    Truth,
}

fn expectation(node: &Node, mistakes: &mut Mistakes) -> Option<Expectation> {
    let mut words = vec![
        ("hole-punch", Expectation::Stated(Expected::HolePunch)),
        ("any", Expectation::Stated(Expected::Any)),
        ("truth", Expectation::Truth),
    ];
    words.extend(KINDS.map(|(word, kind)| (word, Expectation::Stated(Expected::Exactly(kind)))));
    fields::word(node, "expected path", &words, mistakes)
}

fn initiator(node: &Node, mistakes: &mut Mistakes) -> Option<Side> {
    match node.value {
        Value::Number(1.0) => Some(Side::One),
        Value::Number(2.0) => Some(Side::Two),
        _ => mistakes.add(
            Mistake::new(node.at.clone(), "`initiator` must be 1 or 2")
                .hint("it says whose peer dials: that of site 1 or of site 2"),
        ),
    }
}

fn relays(node: &Node, mistakes: &mut Mistakes) -> Option<usize> {
    let most = Machine::MOST_PUBLIC;
    fields::count(node, "`relays`", &format!("`relays` is 1 to {most}"), most, mistakes)
}

fn limit(node: &Node, key: &str, mistakes: &mut Mistakes) -> Option<Duration> {
    let wrong = |message: String| Mistake::new(node.at.clone(), message);
    let timeout = match node.value {
        Value::Number(seconds) if seconds < 0.0 => None,
        Value::Number(seconds) => Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        _ => quantity::time(&node.value),
    };
    match timeout {
        None => mistakes.add(
            wrong(format!("`{key}` must be a time")).hint("in seconds, or with a unit: `30`, `30s`, `2m`"),
        ),
        Some(Duration::ZERO) => mistakes.add(
            wrong(format!("with a `{key}` of 0 no node can do anything"))
                .hint(format!("such as `{key}: 30`")),
        ),
        Some(timeout) if timeout > LONGEST_TIMEOUT => mistakes.add(
            wrong(format!("`{key}` is longer than an hour"))
                .hint(format!("it is in seconds, such as `{key}: 30`")),
        ),
        Some(timeout) => Some(timeout),
    }
}

fn read_id<'a>(node: &'a Node, mistakes: &mut Mistakes) -> Option<&'a str> {
    let text = fields::text(node, "`id`", mistakes)?;
    if id::is_id(text) {
        return Some(text);
    }
    mistakes.add(Mistake::new(node.at.clone(), format!("`{}` cannot be an ID", fields::shorten(text))).hint(
        match id::slug(text) {
            slug if slug.is_empty() => "letters, digits, `.`, `-` and `_`, at most 64".to_owned(),
            slug => format!("letters, digits, `.`, `-` and `_`, at most 64; perhaps `{slug}`"),
        },
    ))
}

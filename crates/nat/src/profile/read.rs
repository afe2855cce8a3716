//! Profiles as people write them.
//!
//! A profile is a name, or a mapping of [`Profile`]'s fields, all optional, and of
//!
//! - `like`: the profile to start from; what is written beside it overrides it, field by field,
//! - `chain`: gateways behind each other instead of one, the inside one first,
//! - `name`, `summary`, `sources` and `assumed`, as in [`Named`].
//!
//! The tree is read here, whoever made it: [`Named::parse`] from text, or another crate that knows where each node stands.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{AXES, Block, Contradiction, Named, Profile, Source, Timers, explain::covers, similar};

/// Why something is no profile; at least one mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongProfile {
    /// All that were found.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong in a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The keys that lead to it from the top, and the places in lists, from 0; empty if it is the whole.
    pub path: Vec<String>,
    /// Whether the last of these keys is wrong itself, and not its value.
    pub of_key: bool,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.join("."))?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl fmt::Display for WrongProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for WrongProfile {}

/// The most gateways that may stand behind each other.
pub const LONGEST_CHAIN: usize = 8;

/// The largest text that is read.
const MAX_BYTES: usize = 256 * 1024;

/// What stands in a profile beside its axes.
const BESIDE: [&str; 6] = ["name", "summary", "like", "chain", "sources", "assumed"];

impl Named {
    /// Reads a profile from YAML.
    ///
    /// ```
    /// # use natrig_nat::profile::Named;
    /// let named = Named::parse("{name: impatient, like: port-restrict, timers: {stream: 45s}}").unwrap();
    /// assert_eq!(named.chain[0].timers.stream.as_secs(), 45);
    /// let wrong = Named::parse("timers: {strem: 45s}").unwrap_err();
    /// assert_eq!(wrong.to_string(), "timers.strem: there is no such key; did you mean `stream`?");
    /// ```
    pub fn parse(text: &str) -> Result<Named, WrongProfile> {
        parse(text, Named::known())
    }

    /// Reads a profile from a tree that was YAML or JSON; whole numbers may be floating-point ones.
    pub fn from_value(value: Value) -> Result<Named, WrongProfile> {
        read(value, Named::known())
    }
}

/// Reads a profile that may be like those that are known.
pub(super) fn parse(text: &str, known: &[Named]) -> Result<Named, WrongProfile> {
    let wrong = |message: String| {
        let mistake = Mistake { path: Vec::new(), of_key: false, message, hint: None };
        WrongProfile { mistakes: vec![mistake] }
    };
    if text.len() > MAX_BYTES {
        return Err(wrong(format!("the text has {} bytes; a profile may have {MAX_BYTES}", text.len())));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            flow_nesting_limit: 16,
            max_events: 20_000,
            max_nodes: 10_000,
            max_aliases: 100,
            max_anchors: 50,
            max_documents: 2,
            max_recorded_anchor_events: 10_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 8,
        },
        with_snippet: false,
    };
    let value = serde_saphyr::from_str_with_options::<Value>(text, options);
    read(value.map_err(|error| wrong(said(&error)))?, known)
}

/// The library's words, where they are not for programmers.
fn said(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let place = |said: &str| match error.location() {
        Some(at) => format!("{said} at line {}, column {}", at.line(), at.column()),
        None => said.to_owned(),
    };
    match error.without_snippet() {
        Error::MultipleDocuments { .. } => place("a second document begins; a file holds one profile"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            place(&format!("`{}` is given twice", similar::shorten(key)))
        }
        error => error.render(),
    }
}

fn read(value: Value, known: &[Named]) -> Result<Named, WrongProfile> {
    let mut reader = Reader { known, mistakes: Vec::new(), path: Vec::new() };
    match reader.named(value, true) {
        Some(named) if reader.mistakes.is_empty() => Ok(named),
        _ => Err(WrongProfile { mistakes: reader.mistakes }),
    }
}

struct Reader<'a> {
    known: &'a [Named],
    mistakes: Vec<Mistake>,
    path: Vec<String>,
}

impl Reader<'_> {
    /// Reads a whole profile, or a gateway of a chain.
    fn named(&mut self, value: Value, whole: bool) -> Option<Named> {
        let mut map = match value {
            Value::String(name) => return self.find(&name),
            Value::Object(map) => map,
            other => {
                let message = format!("a profile is a name or a mapping, not {}", noun(&other));
                return self.wrong(message, None);
            }
        };
        let name = self.take(&mut map, "name", Self::name);
        let like = self.take(&mut map, "like", |reader, value| match value {
            Value::String(name) => reader.find(&name),
            other => reader.wrong(format!("the name of a profile belongs here, not {}", noun(&other)), None),
        });
        if !whole {
            for key in ["chain", "summary", "sources", "assumed"] {
                self.take(&mut map, key, |reader, _| -> Option<()> {
                    let message = "a gateway of a chain has no such key";
                    reader.wrong_key(message, Some("write it beside the outermost `chain`".to_owned()))
                });
            }
        }
        let summary = self.take(&mut map, "summary", Self::typed::<String>);
        let sources = self.take(&mut map, "sources", Self::typed::<Vec<Source>>);
        let assumed = self.take(&mut map, "assumed", Self::axes);
        self.sources_fit(&sources);
        let chain = self.take(&mut map, "chain", Self::chain);
        if chain.is_some() && (like.is_some() || !map.is_empty()) {
            let key = map.keys().next().map_or("like", String::as_str).to_owned();
            return self.under(&key, |reader| {
                let hint = format!("move `{key}` into a gateway of `chain`");
                reader.wrong_key("a chain has gateways, and only they behave", Some(hint))
            });
        }
        let own = !map.is_empty() || chain.is_some();
        let base = like.unwrap_or_else(|| Named::custom(Profile::default()));
        // What it is like may be wrong, and what is written over it as well; both are told.
        let gateway = if map.is_empty() { None } else { self.gateway(&base, map) };
        if !self.mistakes.is_empty() {
            return None;
        }
        let called = name.unwrap_or_else(|| match (own, base.name.as_str()) {
            (true, base) if base != "custom" => format!("like-{base}"),
            (_, base) => base.to_owned(),
        });
        let mut named = Named { name: called, ..base };
        if own {
            named.chain = chain.or(gateway.map(|gateway| vec![gateway]))?;
            (named.summary, named.sources, named.assumed) = Default::default();
        }
        named.summary = summary.unwrap_or(named.summary);
        named.sources = sources.unwrap_or(named.sources);
        named.assumed = assumed.unwrap_or(named.assumed);
        if let [gateway] = named.chain.as_mut_slice() {
            gateway.name.clone_from(&named.name);
        }
        self.is_no_impostor(&named)?;
        Some(named)
    }

    /// Reads one gateway: what was written over what it is like.
    fn gateway(&mut self, base: &Named, map: Map<String, Value>) -> Option<Profile> {
        let [profile] = base.chain.as_slice() else {
            return self.under("like", |reader| {
                let hint = "write `chain: [..]` with its gateways, and change one of them".to_owned();
                reader.wrong("this is a chain of gateways, and has no axes of its own".to_owned(), Some(hint))
            });
        };
        let base = serde_json::to_value(profile).ok()?;
        let shape = shape();
        let mut whole = base.clone();
        let written = Value::Object(map);
        // Each axis for itself first, so that one that is wrong does not hide another.
        for axis in apart(&written, &shape) {
            if !self.is_strange(&axis, &shape) {
                let mut alone = base.clone();
                merge(&mut alone, &axis, &shape);
                self.typed::<Profile>(alone);
                merge(&mut whole, &axis, &shape);
            }
        }
        if !self.mistakes.is_empty() {
            return None;
        }
        let profile: Profile = self.typed(whole)?;
        let contradictions = profile.validate().err().into_iter().flat_map(|all| all.found);
        let mistakes: Vec<Mistake> =
            contradictions.map(|found| self.contradiction(found, &written)).collect();
        self.mistakes.extend(mistakes);
        self.mistakes.is_empty().then_some(profile)
    }

    /// Where a default is part of the contradiction, its field is not in the tree, and the message has to name it.
    fn contradiction(&self, found: Contradiction, tree: &Value) -> Mistake {
        let there = existing(found.field.split('.').map(str::to_owned), tree);
        let message = match there.join(".") == found.field {
            true => found.why,
            false => format!("`{}`: {}", found.field, found.why),
        };
        Mistake { path: [self.path.clone(), there].concat(), of_key: false, message, hint: None }
    }

    fn chain(&mut self, value: Value) -> Option<Vec<Profile>> {
        let Value::Array(items) = value else {
            return self.wrong(format!("a chain is a list of gateways, not {}", noun(&value)), None);
        };
        if items.is_empty() {
            return self.wrong("a chain has at least one gateway".to_owned(), None);
        }
        let mut chain = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            let gateways = self.under(&at.to_string(), |reader| reader.named(item, false));
            chain.extend(gateways.into_iter().flat_map(|named| named.chain));
            if chain.len() > LONGEST_CHAIN {
                return self.wrong(format!("a chain has at most {LONGEST_CHAIN} gateways"), None);
            }
        }
        Some(chain)
    }

    fn name(&mut self, value: Value) -> Option<String> {
        const LONGEST: usize = 64;
        let name: String = self.typed(value)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > LONGEST || !name.chars().all(plain) {
            let message = format!("a name has 1 to {LONGEST} letters, digits, `.`, `-` and `_`");
            return self.wrong(message, None);
        }
        Some(name)
    }

    fn find(&mut self, name: &str) -> Option<Named> {
        match super::catalogue::find(name, self.known) {
            Ok(named) => Some(named.clone()),
            Err(unknown) => {
                let hint = unknown.hint();
                self.wrong(format!("no gateway profile is called `{}`", similar::shorten(name)), Some(hint))
            }
        }
    }

    fn axes(&mut self, value: Value) -> Option<Vec<String>> {
        let axes: Vec<String> = self.typed(value)?;
        for (at, axis) in axes.iter().enumerate() {
            self.under(&at.to_string(), |reader| reader.axis(axis));
        }
        Some(axes)
    }

    fn axis(&mut self, axis: &str) {
        if !AXES.iter().any(|known| covers(axis, known)) {
            let hint = similar::meant(axis, AXES.into_iter());
            self.wrong::<()>(format!("there is no axis `{}`", similar::shorten(axis)), Some(hint));
        }
    }

    fn sources_fit(&mut self, sources: &Option<Vec<Source>>) {
        for (at, source) in sources.iter().flatten().enumerate() {
            for (which, axis) in source.axes.iter().enumerate() {
                let path = ["sources".to_owned(), at.to_string(), "axes".to_owned(), which.to_string()];
                self.path.extend(path);
                self.axis(axis);
                self.path.truncate(self.path.len() - 4);
            }
        }
    }

    /// Notes every key that no profile has.
    fn is_strange(&mut self, tree: &Value, shape: &Value) -> bool {
        let before = self.mistakes.len();
        strangers(tree, shape, &BESIDE, &mut self.path, &mut self.mistakes);
        self.mistakes.len() > before
    }

    /// A name of our own stands for what we say it does.
    fn is_no_impostor(&mut self, named: &Named) -> Option<()> {
        match self.known.iter().find(|known| known.name == named.name) {
            Some(known) if known.chain != named.chain => self.under("name", |reader| {
                let message =
                    format!("`{}` is a profile that comes with natrig, and this is another", known.name);
                reader.wrong(message, Some("give it a name of its own".to_owned()))
            }),
            _ => Some(()),
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, value: Value) -> Option<T> {
        let value = whole_numbers(value);
        match serde_path_to_error::deserialize(&value) {
            Ok(typed) => Some(typed),
            Err(error) => {
                let at = existing(error.path().iter().map(ToString::to_string), &value);
                let message = plain(&error.inner().to_string());
                let hint = if message.contains("expected one of") || message.contains("write ") {
                    None
                } else {
                    wanted(&at)
                };
                let path = [self.path.clone(), at].concat();
                self.mistakes.push(Mistake { path, of_key: false, message, hint });
                None
            }
        }
    }

    /// Reads the value of a key, if it is there.
    fn take<T>(
        &mut self,
        map: &mut Map<String, Value>,
        key: &str,
        read: impl FnOnce(&mut Self, Value) -> Option<T>,
    ) -> Option<T> {
        let value = map.remove(key)?;
        self.under(key, |reader| read(reader, value))
    }

    fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let read = read(self);
        self.path.pop();
        read
    }

    fn wrong<T>(&mut self, message: String, hint: Option<String>) -> Option<T> {
        self.mistakes.push(Mistake { path: self.path.clone(), of_key: false, message, hint });
        None
    }

    fn wrong_key<T>(&mut self, message: &str, hint: Option<String>) -> Option<T> {
        let message = message.to_owned();
        self.mistakes.push(Mistake { path: self.path.clone(), of_key: true, message, hint });
        None
    }
}

/// A profile with all its keys but `name`.
pub(super) fn shape() -> Value {
    let mut profile = Profile::default();
    profile.ports.block = Some(Block { size: 1, most: 1 });
    profile.timers.lifetime = Some(Timers::default().stream);
    profile.limits.per_host = Some(1);
    let mut shape = serde_json::to_value(profile).unwrap_or_default();
    if let Some(map) = shape.as_object_mut() {
        map.remove("name");
    }
    shape
}

/// A tree of axes as trees of one axis each.
fn apart(written: &Value, shape: &Value) -> Vec<Value> {
    let one = |key: &String, value: Value| Value::Object(Map::from_iter([(key.clone(), value)]));
    let keys = written.as_object().into_iter().flatten();
    keys.flat_map(|(key, value)| match (shape.get(key), value) {
        (Some(Value::Object(_)), Value::Object(group)) => {
            group.iter().map(|(axis, value)| one(key, one(axis, value.clone()))).collect()
        }
        _ => vec![one(key, value.clone())],
    })
    .collect()
}

/// Finds the keys that are not in the shape, nor among those that may stand beside it.
fn strangers(tree: &Value, shape: &Value, beside: &[&str], path: &mut Vec<String>, found: &mut Vec<Mistake>) {
    let (Value::Object(map), Value::Object(shape)) = (tree, shape) else { return };
    for (key, value) in map {
        path.push(key.clone());
        if let Some(shape) = shape.get(key) {
            strangers(value, shape, &[], path, found);
        } else {
            let known: Vec<&str> = shape.keys().map(String::as_str).chain(beside.iter().copied()).collect();
            let message = "there is no such key".to_owned();
            let hint = Some(similar::meant(key, known.iter().copied()));
            found.push(Mistake { path: path.clone(), of_key: true, message, hint });
        }
        path.pop();
    }
}

/// Lays what is written over what is there; only mappings of axes are gone into.
fn merge(base: &mut Value, over: &Value, shape: &Value) {
    match (base, over, shape) {
        (Value::Object(base), Value::Object(over), Value::Object(shape)) => {
            for (key, value) in over {
                let below = shape.get(key).unwrap_or(&Value::Null);
                merge(base.entry(key).or_insert(Value::Null), value, below);
            }
        }
        (base, over, _) => over.clone_into(base),
    }
}

/// A tree may come from where all numbers are floating-point ones.
fn whole_numbers(value: Value) -> Value {
    const EXACT: f64 = (1u64 << 53) as f64;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
                Value::from(float as i64)
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole_numbers).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, whole_numbers(value))).collect(),
        other => other,
    }
}

/// A path as far as there is something at its end.
fn existing(path: impl Iterator<Item = String>, tree: &Value) -> Vec<String> {
    let mut here = tree;
    path.map_while(|key| {
        here = match here {
            Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
            other => other.get(&key)?,
        };
        Some(key)
    })
    .collect()
}

/// What may be written at a place.
fn wanted(path: &[String]) -> Option<String> {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let wanted = match path.as_slice() {
        ["mapping"] => "write `none`, `EIM`, `ADM` or `APDM`",
        ["filtering"] => "write `EIF`, `ADF` or `APDF`",
        ["ports", "allocation", ..] => {
            "write `preserving`, `preserving-until-collision`, `random` or `{sequential: {delta: 1}}`"
        }
        ["ports", "range"] => "write the first and the last port, as in `1024-65535`",
        ["ports", "block", ..] => "write as in `{size: 512, most: 1}`, or leave it out",
        ["timers", "lifetime"] => "write a time with its unit, as in `30s` or `2m`, or leave it out",
        ["timers", _] => "write a time with its unit, as in `30s` or `2m`",
        [.., "axes" | "assumed"] => "write a list of axes, as in `[mapping, timers.stream]`",
        _ => return None,
    };
    Some(wanted.to_owned())
}

/// The library's words in those of a file's author.
fn plain(said: &str) -> String {
    let said = said.replace("expected u16", "expected a whole number from 0 to 65535");
    let said = said.replace("expected u32", "expected a whole number from 0 to 4294967295");
    let said = said.replace("invalid type: null", "there is nothing here");
    let said = said.replace("invalid type: unit variant", "this is a word alone");
    match said.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected a mapping of keys to values"),
        None => said,
    }
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

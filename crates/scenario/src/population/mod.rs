//! What a population is made of and how it comes and goes: mixes and churn.

mod churn;
mod mix;

use std::path::Path;

use crate::{
    Mistake, Problem,
    fields::{self, Fields, Mistakes},
    quantity, read,
    yaml::{self, Node, Value},
};

pub use churn::{Churn, Distribution, Lifetime};
pub use mix::{Access, Mix, Share};

/// Where it is written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// What it is called.
    pub title: String,
    /// Where it is.
    pub url: String,
    /// What it says, and what was made of it.
    pub says: String,
}

/// Reads a whole text as one thing.
fn whole<T>(
    what: &'static str,
    file: &str,
    text: &str,
    read: impl FnOnce(&Node, &mut Mistakes) -> Option<T>,
) -> Result<T, Problem> {
    let mut mistakes = Mistakes::default();
    let root = yaml::parse(text).map_err(|mistake| Problem::invalid_as(what, file, text, vec![mistake]))?;
    match read(&root, &mut mistakes) {
        Some(whole) if mistakes.0.is_empty() => Ok(whole),
        _ => Err(Problem::invalid_as(what, file, text, mistakes.0)),
    }
}

fn load(path: &Path) -> Result<String, Problem> {
    read::bounded(path).map_err(|error| Problem::Unreadable { path: path.to_owned(), error })
}

fn sources(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<Vec<Source>> {
    let Some(node) = fields.find("sources") else { return Some(Vec::new()) };
    let items = fields::list(node, "`sources`", mistakes)?;
    let source = |item: &Node, mistakes: &mut Mistakes| {
        let known = ["title", "url", "says"];
        let fields = Fields::open(item, "a source", &known, mistakes)?;
        let mut word = |key: &str, hint: &str| {
            let node = fields.need(key, hint, mistakes)?;
            fields::text(node, &format!("`{key}`"), mistakes).map(|text| text.trim().to_owned())
        };
        let title = word("title", "what it is called");
        let url = word("url", "where it is");
        let says = word("says", "what it says, and what was made of it");
        Some(Source { title: title?, url: url?, says: says? })
    };
    let read: Vec<_> = items.iter().map(|item| source(item, mistakes)).collect();
    read.into_iter().collect()
}

/// The optional line that says what a file is about.
fn summary(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let Some(node) = fields.find("summary") else { return Some(String::new()) };
    fields::text(node, "`summary`", mistakes).map(|text| text.trim().to_owned())
}

fn name(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<String> {
    let node = fields.need("name", "`name:` is what reports call it", mistakes)?;
    fields::text(node, "the name", mistakes).map(str::to_owned)
}

fn share(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<f64> {
    quantity::share(&node.value).or_else(|| {
        let mistake = Mistake::new(node.at.clone(), format!("{what} must be a share, not {}", shown(node)));
        mistakes.add(mistake.hint("such as `12%`, or 0.12"))
    })
}

fn time(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<std::time::Duration> {
    quantity::time(&node.value).or_else(|| {
        let mistake = Mistake::new(node.at.clone(), format!("{what} must be a time, not {}", shown(node)));
        mistakes.add(mistake.hint("such as `20ms`, `30s` or `5m`, at most a day"))
    })
}

fn number(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<f64> {
    match node.value {
        Value::Number(number) if number > 0.0 && number.is_finite() => Some(number),
        _ => mistakes.wanted(node, what, "a number above 0"),
    }
}

fn shown(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => format!("`{}`", fields::shorten(text)),
        Value::Number(number) => format!("`{number}`"),
        other => other.noun().to_owned(),
    }
}

/// Refuses shares that are not a whole together.
fn all_of_it(shares: &[f64], list: &Node, what: &str, mistakes: &mut Mistakes) {
    let sum: f64 = shares.iter().sum();
    if (sum - 1.0).abs() > 0.001 {
        let message = format!("the shares of {what} are {} % together", (sum * 1000.0).round() / 10.0);
        mistakes.0.push(Mistake::new(list.at.clone(), message).hint("they must be 100 %"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const MIX: &str = "\
name: small
nats:
  - {share: 75%, nat: port-restrict}
  - {share: 0.25, nat: {name: mine, like: symmetric, timers: {stream: 45s}}}
regions:
  - {name: here, share: 60%}
  - {name: there, share: 40%}
latency:
  here: {here: 20ms, there: 80ms}
  there: {there: 30ms}
access:
  - {share: 100%, delay: 5ms}
";

    const CHURN: &str = "\
name: restless
arrivals: 30s
present: 80%
session: {distribution: weibull, shape: 0.6, scale: 10m}
absence: {distribution: exponential, mean: 5m}
goodbye: 50%
";

    #[test]
    fn a_mix_is_read() {
        let mix = Mix::parse("small.yaml", MIX).unwrap();
        assert_eq!((mix.nats.len(), mix.nats[1].share), (2, 0.25));
        assert_eq!(mix.nats[1].of.gateways[0].profile.timers.stream, Duration::from_secs(45));
        let times: Vec<_> = [(0, 0), (0, 1), (1, 0), (1, 1)]
            .map(|(a, b)| mix.round_trip(a, b).as_millis())
            .into_iter()
            .collect();
        assert_eq!(times, [20, 80, 80, 30]);
        assert_eq!(mix.access[0].of.delay, Duration::from_millis(5));
    }

    #[test]
    fn churn_is_read() {
        let churn = Churn::parse("churn.yaml", CHURN).unwrap();
        assert_eq!((churn.present, churn.goodbye), (0.8, 0.5));
        let scale = Duration::from_secs(600);
        assert_eq!(churn.lifetime.as_ref().unwrap().session, Distribution::Weibull { shape: 0.6, scale });
        let calm = Churn::parse("calm.yaml", "{name: calm, arrivals: 10s}").unwrap();
        assert_eq!((calm.lifetime, calm.present), (None, 1.0));
    }

    fn said(problem: &Problem) -> String {
        problem.render(false)
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        for (wrong, right, place, says) in [
            ("75%", "70%", "small.yaml:3:", "95 % together"),
            ("port-restrict}", "port-restrct}", "small.yaml:3:", "did you mean `port-restrict`"),
            ("name: there", "name: here", "small.yaml:7:", "two regions"),
            ("  there: {there: 30ms}\n", "", "small.yaml:9:", "no time within `there`"),
            ("there: 80ms", "there: 80", "small.yaml:9:", "must be a time"),
            ("delay: 5ms", "dealy: 5ms", "small.yaml:12:", "did you mean `delay`"),
        ] {
            assert!(MIX.contains(wrong));
            let problem = Mix::parse("small.yaml", &MIX.replace(wrong, right)).unwrap_err();
            let said = said(&problem);
            assert!(said.contains(says), "{right}: {said}");
            let place = place.split_once(':').unwrap().1;
            assert!(said.contains(&format!("small.yaml:{place}")), "{right}: {place} not in {said}");
        }
        for (wrong, right, says) in [
            ("weibull", "weibul", "did you mean `weibull`"),
            ("shape: 0.6, ", "", "lacks `shape`"),
            ("mean: 5m", "mean: 0s", "above 0"),
            ("mean: 5m", "median: 5m", "has no key `median`"),
            ("absence: {distribution: exponential, mean: 5m}\n", "", "lacks `absence`"),
        ] {
            assert!(CHURN.contains(wrong));
            let said = said(&Churn::parse("churn.yaml", &CHURN.replace(wrong, right)).unwrap_err());
            assert!(said.contains(says) && said.contains("churn.yaml:"), "{right}: {said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in ".{0,200}", at in 0usize..400, put in "[ -~\n]{0,6}") {
            let _ = (Mix::parse("x", &text), Churn::parse("x", &text));
            for whole in [MIX, CHURN] {
                let mut changed = whole.to_owned();
                let at = at % changed.len();
                changed.replace_range(at..(at + 1), &put);
                let _ = (Mix::parse("x", &changed), Churn::parse("x", &changed));
            }
        }
    }
}

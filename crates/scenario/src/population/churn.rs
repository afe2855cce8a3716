//! How a population comes and goes.

use std::{path::Path, time::Duration};

use super::{Source, name, number, share, sources, summary, time, whole};
use crate::{
    Mistake, Problem,
    fields::{self, Fields, Mistakes},
    yaml::Node,
};

const KEYS: [&str; 8] =
    ["name", "summary", "sources", "arrivals", "present", "session", "absence", "goodbye"];

/// How members come and go.
#[derive(Debug, Clone, PartialEq)]
pub struct Churn {
    /// What it is called.
    pub name: String,
    /// What it is about, in a line.
    pub summary: String,
    /// What it rests on.
    pub sources: Vec<Source>,
    /// Over which time those that are present at the start come, evenly.
    pub arrivals: Duration,
    /// The share of those that are present at the start.
    pub present: f64,
    /// How long members stay and how long they are away; none if they stay for ever.
    pub lifetime: Option<Lifetime>,
    /// The share of sessions that end with a goodbye; the others end without a word.
    pub goodbye: f64,
}

/// How long members stay, and how long they are away before they come again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifetime {
    /// How long they stay.
    pub session: Distribution,
    /// How long they are away.
    pub absence: Distribution,
}

/// How a time is distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Fixed(Duration),
    /// Any time between two, evenly.
    Uniform(Duration, Duration),
    /// Without memory.
    Exponential(Duration),
    /// With a shape below 1 many are short and a few very long.
    Weibull {
        /// How they vary.
        shape: f64,
        /// 63 % are shorter.
        scale: Duration,
    },
    /// Its logarithm is normal.
    LogNormal {
        /// One half is shorter.
        median: Duration,
        /// The deviation of the logarithm.
        sigma: f64,
    },
    /// None is shorter than the least, and the rest falls off as a power.
    Pareto {
        /// The power.
        shape: f64,
        /// The shortest.
        least: Duration,
    },
}

impl Default for Churn {
    /// All come within 10 s and stay.
    fn default() -> Self {
        Churn {
            name: "none".to_owned(),
            summary: "all come within 10 s and stay".to_owned(),
            sources: Vec::new(),
            arrivals: Duration::from_secs(10),
            present: 1.0,
            lifetime: None,
            goodbye: 1.0,
        }
    }
}

impl Churn {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Churn, Problem> {
        Churn::parse(&path.display().to_string(), &super::load(path)?)
    }

    /// Reads a text that goes by a file's name.
    pub fn parse(file: &str, text: &str) -> Result<Churn, Problem> {
        whole("churn file", file, text, read)
    }
}

fn read(root: &Node, mistakes: &mut Mistakes) -> Option<Churn> {
    let fields = Fields::open(root, "churn", &KEYS, mistakes)?;
    let name = name(&fields, mistakes);
    let summary = summary(&fields, mistakes);
    let sources = sources(&fields, mistakes);
    let default = Churn::default();
    let arrivals = match fields.find("arrivals") {
        None => Some(default.arrivals),
        Some(node) => time(node, "`arrivals`", mistakes),
    };
    let mut portion = |key: &str| match fields.find(key) {
        None => Some(1.0),
        Some(node) => share(node, &format!("`{key}`"), mistakes),
    };
    let (present, goodbye) = (portion("present"), portion("goodbye"));
    let lifetime = match (fields.find("session"), fields.find("absence")) {
        (None, None) => Some(None),
        _ => {
            let hint = "with `session:` members leave, with `absence:` they come again";
            let mut of = |key: &str| {
                let node = fields.need(key, hint, mistakes)?;
                distribution(node, mistakes)
            };
            let (session, absence) = (of("session"), of("absence"));
            session.zip(absence).map(|(session, absence)| Some(Lifetime { session, absence }))
        }
    };
    Some(Churn {
        name: name?,
        summary: summary?,
        sources: sources?,
        arrivals: arrivals?,
        present: present?,
        lifetime: lifetime?,
        goodbye: goodbye?,
    })
}

#[derive(Clone, Copy)]
enum Sort {
    Fixed,
    Uniform,
    Exponential,
    Weibull,
    LogNormal,
    Pareto,
}

const SORTS: [(&str, Sort); 6] = [
    ("fixed", Sort::Fixed),
    ("uniform", Sort::Uniform),
    ("exponential", Sort::Exponential),
    ("weibull", Sort::Weibull),
    ("log-normal", Sort::LogNormal),
    ("pareto", Sort::Pareto),
];

impl Sort {
    /// The keys of its times and of its numbers.
    fn keys(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Sort::Fixed => (&["time"], &[]),
            Sort::Uniform => (&["least", "most"], &[]),
            Sort::Exponential => (&["mean"], &[]),
            Sort::Weibull => (&["scale"], &["shape"]),
            Sort::LogNormal => (&["median"], &["sigma"]),
            Sort::Pareto => (&["least"], &["shape"]),
        }
    }
}

fn distribution(node: &Node, mistakes: &mut Mistakes) -> Option<Distribution> {
    let all = ["distribution", "time", "least", "most", "mean", "scale", "median", "shape", "sigma"];
    // Which keys belong here is known once the sort is.
    let fields = Fields::open(node, "a distribution", &all, mistakes)?;
    let sort = fields.need("distribution", "such as `distribution: exponential`", mistakes)?;
    let sort = fields::word(sort, "distribution", &SORTS, mistakes)?;
    let (times, numbers) = sort.keys();
    let known: Vec<&str> = ["distribution"].iter().chain(times).chain(numbers).copied().collect();
    let fields = Fields::open(node, "this distribution", &known, mistakes)?;
    let hint = format!("it needs {}", known.get(1..)?.join(" and "));
    let mut a_time = |key: &str| {
        let node = fields.need(key, &hint, mistakes)?;
        let time = time(node, &format!("`{key}`"), mistakes)?;
        match time.is_zero() {
            true => mistakes.add(Mistake::new(node.at.clone(), format!("`{key}` must be above 0"))),
            false => Some(time),
        }
    };
    let first = a_time(times.first()?);
    let second = times.get(1).map(|key| a_time(key));
    let parameter = numbers.first().map(|key| {
        let node = fields.need(key, &hint, mistakes)?;
        number(node, &format!("`{key}`"), mistakes)
    });
    let first = first?;
    Some(match sort {
        Sort::Fixed => Distribution::Fixed(first),
        Sort::Uniform => {
            let most = second??;
            if most < first {
                let wrong = Mistake::new(node.at.clone(), "`most` must not be below `least`");
                return mistakes.add(wrong);
            }
            Distribution::Uniform(first, most)
        }
        Sort::Exponential => Distribution::Exponential(first),
        Sort::Weibull => Distribution::Weibull { shape: parameter??, scale: first },
        Sort::LogNormal => Distribution::LogNormal { median: first, sigma: parameter?? },
        Sort::Pareto => Distribution::Pareto { shape: parameter??, least: first },
    })
}

//! What proves each box of the seed's check-list and each case of the test plan.
//!
//! It is data (`docs/coverage.yaml`). That it names nothing that is not there is a test of the program's.

use std::{collections::BTreeSet, fmt, sync::OnceLock};

use serde::{Deserialize, Serialize, Serializer};

/// The whole map.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// The seed's check-list "Coverage of mesh-relay-network.md Design", by area.
    pub boxes: Vec<Covered>,
    /// The test plan.
    pub cases: Vec<Covered>,
}

/// A box or a case, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Covered {
    /// Its ID, such as `4.1` for a box and `T4.3.1` for a case.
    pub id: String,
    /// What is to be shown.
    pub what: String,
    /// What shows it.
    #[serde(default)]
    pub by: Vec<Shown>,
    /// What is still lacking, where something shows it in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// The issue that brings what is lacking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<u32>,
    /// Why what is lacking stays so; `docs/exceptions.md` says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
}

/// What shows something: a cell, a test or a benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Shown {
    /// A cell of a scenario file: `scenarios/FILE.yaml#ID`.
    Cell {
        /// The file, from the repository's root.
        file: String,
        /// The cell.
        id: String,
    },
    /// A test: `crates/FILE.rs::NAME`.
    Test {
        /// The file, from the repository's root.
        file: String,
        /// The function.
        name: String,
    },
    /// A figure of a benchmark beside its target: `crates/CRATE/benches/FILE.rs::ID`.
    Figure {
        /// The file, from the repository's root.
        file: String,
        /// The case whose figure it is.
        id: String,
    },
}

/// Where something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunsOn {
    /// Virtual machines.
    Vm,
    /// Virtual time.
    Sim,
    /// Sockets of the host.
    Host,
}

/// How far something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Wholly.
    Covered,
    /// Something is lacking.
    Partly,
    /// Something is lacking, and stays so.
    Exception,
    /// Nothing shows it.
    Open,
}

impl Coverage {
    /// What natrig covers.
    pub fn standard() -> &'static Coverage {
        static STANDARD: OnceLock<Coverage> = OnceLock::new();
        STANDARD.get_or_init(|| {
            let text = include_str!("../../../docs/coverage.yaml");
            serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("docs/coverage.yaml: {error}"))
        })
    }

    /// Boxes, then cases.
    pub fn all(&self) -> impl Iterator<Item = &Covered> {
        self.boxes.iter().chain(&self.cases)
    }
}

impl Shown {
    /// Whether it is the cell with this ID.
    pub fn is_cell(&self, wanted: &str) -> bool {
        matches!(self, Shown::Cell { id, .. } if id == wanted)
    }
}

impl Covered {
    /// How far it is shown.
    pub fn state(&self) -> State {
        match (self.by.is_empty(), self.issue) {
            _ if self.exception.is_some() => State::Exception,
            (true, _) => State::Open,
            (false, Some(_)) => State::Partly,
            (false, None) => State::Covered,
        }
    }

    /// Where what shows it runs.
    pub fn runs_on(&self) -> BTreeSet<RunsOn> {
        self.by.iter().flat_map(|shown| shown.runs_on().iter().copied()).collect()
    }
}

impl Shown {
    /// Where it can be run.
    pub fn runs_on(&self) -> &'static [RunsOn] {
        match self {
            Shown::Cell { .. } => &[RunsOn::Vm, RunsOn::Sim],
            Shown::Test { file, .. } if file.starts_with("crates/machines/") => &[RunsOn::Vm],
            Shown::Test { file, .. } | Shown::Figure { file, .. } if file.starts_with("crates/meshd/") => {
                &[RunsOn::Host]
            }
            Shown::Test { .. } | Shown::Figure { .. } => &[RunsOn::Sim],
        }
    }
}

/// A text names no cell, no test and no benchmark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no cell (FILE.yaml#ID), no test (FILE.rs::NAME) and no benchmark's figure (benches/FILE.rs::ID)"
)]
pub struct NothingShown(String);

impl TryFrom<String> for Shown {
    type Error = NothingShown;

    fn try_from(text: String) -> Result<Self, NothingShown> {
        let parts = |between| text.split_once(between).map(|(file, name)| (file.to_owned(), name.to_owned()));
        match (parts("#"), parts("::")) {
            (Some((file, id)), None) if file.ends_with(".yaml") => Ok(Shown::Cell { file, id }),
            (None, Some((file, id))) if file.ends_with(".rs") && file.contains("/benches/") => {
                Ok(Shown::Figure { file, id })
            }
            (None, Some((file, name))) if file.ends_with(".rs") => Ok(Shown::Test { file, name }),
            _ => Err(NothingShown(text)),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Cell { file, id } => write!(f, "{file}#{id}"),
            Shown::Test { file, name } => write!(f, "{file}::{name}"),
            Shown::Figure { file, id } => write!(f, "{file}::{id}"),
        }
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for RunsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RunsOn::Vm => "vm",
            RunsOn::Sim => "sim",
            RunsOn::Host => "host",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many boxes each area of the seed's list has; the four strategies are boxes of their own.
    const BOXES: [(&str, usize); 8] =
        [("1", 3), ("2", 4), ("3", 4), ("4", 4), ("5", 3), ("6", 7), ("7", 4), ("8", 3)];

    /// How many cases each group of the test plan has: 161 together.
    #[rustfmt::skip]
    const CASES: [(&str, usize); 31] = [
        ("T1.1", 4), ("T1.2", 4), ("T1.3", 4), ("T1.4", 4), ("T1.5", 4), ("T1.S", 4),
        ("T2.1", 4), ("T2.2", 4), ("T2.3", 4), ("T2.4", 4), ("T2.5", 4), ("T2.M", 25),
        ("T3.1", 5), ("T3.2", 5), ("T3.3", 4), ("T3.4", 3), ("T3.5", 3), ("T3.6", 5), ("T3.7", 3), ("T3.8", 5), ("T3.9", 4),
        ("T4.1", 6), ("T4.2", 6), ("T4.3", 6), ("T4.4", 6), ("T4.5", 5), ("T4.6", 8),
        ("T5.1", 5), ("T5.2", 5), ("T5.3", 4), ("T5.4", 4),
    ];

    #[test]
    fn every_box_and_every_case_is_there_once() {
        let coverage = Coverage::standard();
        let ids: BTreeSet<&str> = coverage.all().map(|one| one.id.as_str()).collect();
        let mut wanted = BTreeSet::new();
        for (area, boxes) in BOXES {
            wanted.insert(area.to_owned());
            let strategies = ["6.2a", "6.2b", "6.2c", "6.2d"];
            wanted.extend((1..=boxes).map(|n| format!("{area}.{n}")).filter(|_| area != "6"));
            if area == "6" {
                wanted.extend(strategies.iter().chain(&["6.1", "6.3", "6.4"]).map(|id| (*id).to_owned()));
            }
        }
        assert_eq!(wanted.len(), 8 + 32);
        for (group, cases) in CASES {
            wanted.extend((1..=cases).map(|n| format!("{group}.{n}")));
        }
        assert_eq!(wanted.len(), 8 + 32 + 161);
        assert_eq!(coverage.all().count(), wanted.len());
        assert_eq!(ids, wanted.iter().map(String::as_str).collect());
    }

    #[test]
    fn what_is_not_wholly_shown_has_its_issue_or_its_reason() {
        for one in Coverage::standard().all() {
            let told = one.issue.is_some() || one.exception.is_some();
            assert!(one.by.is_empty() <= told, "{}: nothing shows it, nobody will", one.id);
            assert!(one.issue.is_none() || one.exception.is_none(), "{}: it will come, or not", one.id);
            let partly = one.exception.is_some() || !one.by.is_empty() && one.issue.is_some();
            assert_eq!(one.lacks.is_some(), partly, "{}: what is lacking, and who brings it", one.id);
        }
    }

    #[test]
    fn what_is_named_is_a_cell_a_test_or_a_figure() {
        let read = |text: &str| Shown::try_from(text.to_owned());
        for text in ["a/b.yaml#T1.1.1", "a/b.rs::c", "crates/meshd/benches/b/main.rs::T5.2.1"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        let figure = |krate: &str| read(&format!("crates/{krate}/benches/b.rs::T5.2.1")).unwrap();
        assert!(matches!(figure("meshd"), Shown::Figure { .. }));
        assert_eq!(["meshd", "sim"].map(|krate| figure(krate).runs_on()), [&[RunsOn::Host], &[RunsOn::Sim]]);
        for wrong in ["", "a", "a.rs#b", "a.yaml::b", "a.yaml#b::c"] {
            assert_eq!(read(wrong), Err(NothingShown(wrong.to_owned())));
        }
    }
}

//! What two backends made of the same scenario.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name and version of the JSON form of a list of [`Comparison`]s.
pub const COMPARISON: &str = "natrig/comparison/1";

/// One cell on machines and in the simulator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The cell's.
    pub id: String,
    /// How often it ran on each: on machines, in the simulator.
    pub runs: [usize; 2],
    /// What was compared.
    pub aspects: Vec<Aspect>,
}

/// One thing that was compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aspect {
    /// What, such as `path`.
    pub name: String,
    /// How it was on machines and in the simulator.
    pub values: [String; 2],
    /// Whether that is the same.
    pub agreement: Agreement,
    /// What it was held to, or why it may differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Whether two backends agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// It is the same.
    Same,
    /// It differs by no more than it may.
    Within,
    /// It differs, for a reason that is known and written down.
    Explained,
    /// It differs.
    Differs,
    /// One of them came to nothing: the lab failed.
    Unknown,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Agreement::Same => "same",
            Agreement::Within => "within its band",
            Agreement::Explained => "explained",
            Agreement::Differs => "DIFFERS",
            Agreement::Unknown => "LAB ERROR",
        })
    }
}

impl Comparison {
    /// The gravest of its aspects' agreements.
    pub fn agreement(&self) -> Agreement {
        self.aspects.iter().map(|aspect| aspect.agreement).max().unwrap_or(Agreement::Unknown)
    }

    /// The exit code of a program that compared these: 1 if any differs, else 2 after a lab error, else 0.
    pub fn exit_code(all: &[Comparison]) -> u8 {
        let any = |wanted| {
            all.iter().flat_map(|one| &one.aspects).any(|aspect: &Aspect| aspect.agreement == wanted)
        };
        match (any(Agreement::Differs), any(Agreement::Unknown)) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }
}

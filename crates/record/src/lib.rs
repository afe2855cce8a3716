//! Events, outcomes and results: all that passes between the lab and what shows or stores it.
//!
//! A backend emits [`Event`]s while it works; [`Results`] is what is left of a run. Both are plain data with a
//! versioned JSON form.

#![forbid(unsafe_code)]

mod assertion;
mod comparison;
mod event;
mod experiment;
mod metrics;
mod repeats;
mod results;
mod story;
mod talk;

pub use assertion::{About, Assertion};
pub use comparison::{Agreement, Aspect, COMPARISON, Comparison};
pub use event::{Cable, Event, Map, Planned, Sink, What};
pub use experiment::{Experiment, Search, Trial};
pub use metrics::{Better, Metric};
pub use repeats::{Repeats, wilson};
pub use results::{
    Cell, Claim, Direction, Evidence, Failure, Figures, Kind, Outcome, Path, Proof, ProofSide, Results,
    RunInfo, SCHEMA, Step, Totals, Verdict,
};
pub use story::{Basis, Column, End, Journey, Leg, Moment, MomentKind, Role, STORY, Story, Throughput};
pub use talk::Talk;

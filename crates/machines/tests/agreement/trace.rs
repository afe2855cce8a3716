//! The same steps through two gateways.

use std::collections::{BTreeMap, HashMap};

use natrig_lab::station::Net;
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    lane::Lane,
    step::{Cast, Director, Flow, Kind, Shape, Step},
};

/// Steps between two fences.
const BATCH: usize = 16;

/// What came of a trace.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many steps were taken.
    pub steps: usize,
    /// How many of them got through somewhere.
    pub arrived: usize,
    /// The differences that stand in `docs/departures.md`, by name.
    pub explained: BTreeMap<&'static str, usize>,
    /// All others.
    pub unexplained: Vec<Difference>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}\n  one:   {:?}\n  other: {:?}", self.step, self.one, self.other)?;
        self.before.iter().rev().take(12).rev().try_for_each(|step| writeln!(f, "  before: {step}"))
    }
}

/// A step of which something else came here than there.
#[derive(Debug)]
pub struct Difference {
    pub step: Step,
    pub one: Vec<String>,
    pub other: Vec<String>,
    /// What went before between the same two.
    pub before: Vec<Step>,
}

/// Says by which name a difference stands in the page of departures.
pub type Explain<'a> = &'a dyn Fn(&Difference) -> Option<&'static str>;

/// Plays steps on both.
pub fn run<A: Net, B: Net>(
    [steps, seed]: [u64; 2],
    cast: Cast,
    mut one: Lane<A>,
    mut other: Lane<B>,
    explain: Explain<'_>,
) -> Outcome {
    let mut director = Director::new(cast, StdRng::seed_from_u64(seed));
    let mut outcome = Outcome::default();
    let mut past: HashMap<Flow, Vec<Step>> = HashMap::new();
    while outcome.steps < steps as usize && outcome.unexplained.len() < 10 {
        let batch = director.batch(BATCH);
        let (mut here, mut there) = (one.play(&batch), other.play(&batch));
        outcome.steps += batch.len();
        for step in batch {
            let [here, there] =
                [&mut here, &mut there].map(|seen| seen.remove(&step.number).unwrap_or_default());
            outcome.arrived += usize::from(!here.is_empty());
            // An error is about its flow, whoever reports it.
            let flow = match step.shape {
                Shape::Error { .. } => step.flow,
                _ => Flow { remote: step.remote, ..step.flow },
            };
            let before = past.get(&flow).cloned().unwrap_or_default();
            if here != there {
                let difference = Difference { step, one: here, other: there, before };
                match explain(&difference) {
                    Some(name) => *outcome.explained.entry(name).or_default() += 1,
                    None => outcome.unexplained.push(difference),
                }
                // What differs once may differ again, and says nothing new.
                director.forget(&flow);
                one.forget(&flow);
                other.forget(&flow);
            } else if step.kind == Kind::Out
                && !matches!(step.shape, Shape::Error { .. } | Shape::Hairpin(_))
                && one.end(&flow).is_some()
                && other.end(&flow).is_some()
            {
                director.learn(flow);
            }
            past.entry(flow).or_default().push(step);
        }
    }
    outcome
}

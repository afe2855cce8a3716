//! What a scenario says of the conditions of a link.

use std::{num::NonZeroU64, time::Duration};

use natrig_netmodel::{Chance, Conditions, Distribution, GilbertElliott, Jitter, Probability, Queue, Rate};

use crate::{
    Mistake,
    fields::{self, Fields, Mistakes},
    quantity,
    yaml::{Node, Value},
};

/// The keys that are conditions.
pub(crate) const KEYS: [&str; 10] =
    ["delay", "jitter", "loss", "bursts", "duplicate", "reorder", "corrupt", "rate", "queue", "cut"];

/// No time of a link is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// The largest queue, in bytes.
const LARGEST_QUEUE: u64 = 1 << 30;
/// How long frames wait at most where a rate has no queue of its own: what the test plan's shaper allows.
const QUEUE: Queue = Queue::Time(Duration::from_millis(400));

/// The conditions that are told, to be laid over others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    delay: Option<Duration>,
    jitter: Option<Jitter>,
    loss: Option<Chance>,
    bursts: Option<GilbertElliott>,
    duplicate: Option<Chance>,
    reorder: Option<Chance>,
    corrupt: Option<Chance>,
    rate: Option<NonZeroU64>,
    queue: Option<Queue>,
    cut: Option<bool>,
}

impl Told {
    /// Reads them; what cannot be read is noted and left out.
    pub fn read(entry: &Fields<'_>, mistakes: &mut Mistakes) -> Self {
        Self {
            delay: entry.find("delay").and_then(|node| time(node, "`delay`", mistakes)),
            jitter: entry.find("jitter").and_then(|node| jitter(node, mistakes)),
            loss: entry.find("loss").and_then(|node| chance(node, "`loss`", mistakes)),
            bursts: entry.find("bursts").and_then(|node| bursts(node, mistakes)),
            duplicate: entry.find("duplicate").and_then(|node| chance(node, "`duplicate`", mistakes)),
            reorder: entry.find("reorder").and_then(|node| chance(node, "`reorder`", mistakes)),
            corrupt: entry.find("corrupt").and_then(|node| chance(node, "`corrupt`", mistakes)),
            rate: entry.find("rate").and_then(|node| rate(node, mistakes)),
            queue: entry.find("queue").and_then(|node| queue(node, mistakes)),
            cut: entry.find("cut").and_then(|node| fields::flag(node, "`cut`", mistakes)),
        }
    }

    /// The conditions that come of it.
    pub fn over(self, base: Conditions) -> Conditions {
        let told = self.rate.map(|bits_per_second| Rate { bits_per_second, queue: QUEUE });
        let rate = match (told, base.rate) {
            (Some(told), Some(base)) => Some(Rate { queue: base.queue, ..told }),
            (told, base) => told.or(base),
        };
        Conditions {
            cut: self.cut.unwrap_or(base.cut),
            rate: rate.map(|rate| Rate { queue: self.queue.unwrap_or(rate.queue), ..rate }),
            delay: self.delay.unwrap_or(base.delay),
            jitter: self.jitter.unwrap_or(base.jitter),
            loss: self.loss.unwrap_or(base.loss),
            bursts: self.bursts.or(base.bursts),
            duplicate: self.duplicate.unwrap_or(base.duplicate),
            reorder: self.reorder.unwrap_or(base.reorder),
            corrupt: self.corrupt.unwrap_or(base.corrupt),
        }
    }
}

/// Notes what of an entry cannot show in the conditions that came of it.
pub(crate) fn without_effect(entry: &Fields<'_>, conditions: &Conditions, mistakes: &mut Mistakes) {
    if let Some(node) = entry.find("queue")
        && conditions.rate.is_none()
    {
        mistakes.0.push(
            Mistake::new(node.at.clone(), "`queue` is what waits for a `rate`, and there is none")
                .hint("add one, such as `rate: 10 Mbit/s`"),
        );
    }
    if let Some(node) = entry.find("reorder")
        && conditions.delay.is_zero()
        && conditions.jitter.spread.is_zero()
    {
        mistakes.0.push(
            Mistake::new(
                node.at.clone(),
                "`reorder` lets frames overtake those that are delayed, and none are",
            )
            .hint("add a delay, such as `delay: 10ms`"),
        );
    }
}

fn time(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Duration> {
    match quantity::time(&node.value) {
        Some(time) if time <= LONGEST => Some(time),
        Some(_) => mistakes.add(Mistake::new(node.at.clone(), format!("{what} is longer than a minute"))),
        None => mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} must be a time with its unit"))
                .hint("such as `50ms` or `0.5s`"),
        ),
    }
}

fn share(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Probability> {
    match quantity::share(&node.value).map(Probability::new) {
        Some(Ok(share)) => Some(share),
        _ => mistakes.add(
            Mistake::new(node.at.clone(), format!("{what} must be a share")).hint("such as `1%` or `0.01`"),
        ),
    }
}

/// A share, or one with its correlation.
fn chance(node: &Node, what: &str, mistakes: &mut Mistakes) -> Option<Chance> {
    if !matches!(node.value, Value::Map(_)) {
        return share(node, what, mistakes).map(Chance::from);
    }
    let fields = Fields::open(node, what, &["chance", "correlation"], mistakes)?;
    let chance = fields
        .need("chance", "such as `chance: 1%`", mistakes)
        .and_then(|node| share(node, "`chance`", mistakes))?;
    Some(Chance { chance, correlation: correlation(&fields, mistakes)? })
}

fn correlation(fields: &Fields<'_>, mistakes: &mut Mistakes) -> Option<Probability> {
    fields.find("correlation").map_or(Some(Probability::NEVER), |node| share(node, "`correlation`", mistakes))
}

/// A time, or one with all that jitter has.
fn jitter(node: &Node, mistakes: &mut Mistakes) -> Option<Jitter> {
    if !matches!(node.value, Value::Map(_)) {
        return Some(Jitter { spread: time(node, "`jitter`", mistakes)?, ..Jitter::default() });
    }
    let known = ["spread", "distribution", "correlation", "overtaking"];
    let fields = Fields::open(node, "`jitter`", &known, mistakes)?;
    let spread = fields
        .need("spread", "such as `spread: 10ms`", mistakes)
        .and_then(|node| time(node, "`spread`", mistakes));
    let distributions = [
        ("uniform", Distribution::Uniform),
        ("normal", Distribution::Normal),
        ("pareto", Distribution::Pareto),
    ];
    let distribution = match fields.find("distribution") {
        Some(node) => fields::word(node, "distribution", &distributions, mistakes)?,
        None => Distribution::default(),
    };
    let correlation = correlation(&fields, mistakes)?;
    let overtaking = match fields.find("overtaking") {
        Some(node) => fields::flag(node, "`overtaking`", mistakes)?,
        None => false,
    };
    Some(Jitter { spread: spread?, distribution, correlation, overtaking })
}

/// Bursts by the share they take and their length, or the whole model of Gilbert and Elliott.
fn bursts(node: &Node, mistakes: &mut Mistakes) -> Option<GilbertElliott> {
    const HINT: &str =
        "such as `{loss: 2%, length: 10}`, or Gilbert and Elliott's `{to_bad: 1%, to_good: 20%}`";
    let simple = ["loss", "length"];
    let whole = ["to_bad", "to_good", "loss_good", "loss_bad"];
    let fields = Fields::open(node, "`bursts`", &[&simple[..], &whole].concat(), mistakes)?;
    let has = |keys: &[&str]| keys.iter().any(|key| fields.find(key).is_some());
    match (has(&simple), has(&whole)) {
        (true, true) => mistakes.add(
            Mistake::new(
                fields.at(),
                "`bursts` are told by their share and length or by the model, not both",
            )
            .hint(HINT),
        ),
        (_, true) => {
            let mut read = |key: &str| match fields.find(key) {
                Some(node) => share(node, &format!("`{key}`"), mistakes).map(Some),
                None => Some(None),
            };
            let [to_bad, to_good, good, bad] = whole.map(&mut read);
            let (good, bad) = (good?.unwrap_or(Probability::NEVER), bad?.unwrap_or(Probability::ALWAYS));
            let (Some(to_bad), Some(to_good)) = (to_bad?, to_good?) else {
                return mistakes
                    .add(Mistake::new(fields.at(), "`bursts` lack `to_bad` or `to_good`").hint(HINT));
            };
            Some(GilbertElliott { to_bad, to_good, loss_good: good, loss_bad: bad })
        }
        _ => {
            let loss =
                fields.need("loss", HINT, mistakes).and_then(|node| share(node, "`loss`", mistakes))?;
            let node = fields.need("length", HINT, mistakes)?;
            let length = match &node.value {
                Value::Number(length) if (1.0..=1e6).contains(length) => *length,
                _ => mistakes.add(
                    Mistake::new(node.at.clone(), "`length` must be a number of frames, at least 1")
                        .hint("how many are lost in a row on average, such as `length: 10`"),
                )?,
            };
            GilbertElliott::simple(loss, length).or_else(|| {
                mistakes.add(
                    Mistake::new(node.at.clone(), format!("bursts of {length} cannot take {loss} of all frames"))
                        .hint("between two bursts at least one frame arrives: make them longer, or their share smaller"),
                )
            })
        }
    }
}

fn rate(node: &Node, mistakes: &mut Mistakes) -> Option<NonZeroU64> {
    match quantity::bits_per_second(&node.value).map(NonZeroU64::new) {
        Some(Some(rate)) => Some(rate),
        Some(None) => mistakes
            .add(Mistake::new(node.at.clone(), "nothing passes at this `rate`").hint("that is `cut: true`")),
        None => mistakes.add(
            Mistake::new(node.at.clone(), "`rate` must be bits per second with their unit")
                .hint("such as `10 Mbit/s`, `100 kbit/s` or `1 Gbit/s`"),
        ),
    }
}

fn queue(node: &Node, mistakes: &mut Mistakes) -> Option<Queue> {
    if quantity::time(&node.value).is_some() {
        return time(node, "`queue`", mistakes).map(Queue::Time);
    }
    match quantity::bytes(&node.value) {
        Some(bytes) if bytes <= LARGEST_QUEUE => Some(Queue::Bytes(bytes)),
        Some(_) => mistakes.add(Mistake::new(node.at.clone(), "`queue` is larger than 1 GiB")),
        None => mistakes.add(
            Mistake::new(node.at.clone(), "`queue` must be a time or a size with its unit")
                .hint("such as `100ms` or `64 kB`"),
        ),
    }
}

//! Whether members are found: at the end each that is there looks for others that are.

use std::time::Duration;

use omerta_mesh_core::{Node, PeerId};
use serde::Serialize;

use super::{Error, Histogram, Plan, Population, Settings, member::Member, plan};
use crate::{clock::instant, program::Io};

/// The least time that a population lives that looks for members.
pub const LEAST: Duration = Duration::from_secs(150);
/// Members that one member looks for at most: as many as a node looks for at once.
pub const MOST: u32 = 32;
/// Who has been there for so long must be found.
pub const SETTLED: Duration = Duration::from_secs(90);

/// Members begin to look within this time, since nodes bound how many strangers they answer.
const WINDOW: Duration = Duration::from_secs(30);
/// Between the last question and the end.
const CLOSING: Duration = Duration::from_secs(10);
const TURNS: u32 = 120;

/// When they look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    each: u32,
    begins: Duration,
    turn: u32,
}

impl Schedule {
    /// As the settings have it; none if nobody looks for anybody.
    pub fn of(settings: &Settings) -> Result<Option<Self>, Error> {
        match settings.lookups {
            0 => Ok(None),
            each if each > MOST || settings.length < LEAST => Err(Error::Lookups),
            each => Ok(Some(Schedule { each, begins: settings.length - WINDOW - CLOSING, turn: 0 })),
        }
    }

    /// When the next ones look.
    pub fn next(&self) -> Option<Duration> {
        (self.turn < TURNS).then(|| self.begins + WINDOW / TURNS * self.turn)
    }
}

/// Whom somebody looks for.
#[derive(Debug, Clone, Copy)]
struct Sought {
    number: u32,
    id: PeerId,
    there_since: Duration,
    asked: Duration,
    /// Whether both have been there for a while.
    is_settled: bool,
}

/// What a member looks for and has found.
#[derive(Debug, Default)]
pub(super) struct Seeker {
    open: Vec<Sought>,
    found: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    sought: u64,
    found: u64,
    current: u64,
    settled: u64,
    settled_found: u64,
    given_up: u64,
    unasked: u64,
    asked: Vec<u64>,
    took: Histogram,
}

impl Seeker {
    fn begin(&mut self, sought: Sought) {
        self.open.push(sought);
    }

    /// A lookup has ended. The member, if it should have been found and was not.
    pub fn ended(
        &mut self,
        now: Duration,
        node: &Node,
        peer: PeerId,
        found: bool,
        asked: u64,
    ) -> Option<u32> {
        let at = self.open.iter().position(|sought| sought.id == peer)?;
        let sought = self.open.swap_remove(at);
        let tally = &mut self.found;
        tally.sought += 1;
        tally.found += u64::from(found);
        tally.settled += u64::from(sought.is_settled);
        tally.settled_found += u64::from(sought.is_settled && found);
        // Ages are told in whole seconds, rounded down at each node.
        let said = node.age_of_word(instant(now), &peer).map(|age| now.saturating_sub(age));
        tally.current += u64::from(found && said.is_some_and(|said| said >= sought.there_since));
        if asked == 0 {
            tally.unasked += 1;
        } else {
            let at = asked as usize;
            if tally.asked.len() <= at {
                tally.asked.resize(at + 1, 0);
            }
            if let Some(count) = tally.asked.get_mut(at) {
                *count += 1;
            }
            tally.took.add(now.saturating_sub(sought.asked));
        }
        (sought.is_settled && !found).then_some(sought.number)
    }

    /// Its owner has left.
    pub fn leave(&mut self) {
        self.found.given_up += self.open.drain(..).count() as u64;
    }
}

/// What came of the lookups.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lookups {
    /// Lookups that ended, each for a member that was there when it was asked for.
    pub ended: u64,
    /// Those that found it.
    pub found: u64,
    /// Their share.
    pub share: f64,
    /// The share of all that found what the member has said since it came last.
    pub share_current: f64,
    /// Lookups for members that had been there for a while, by such.
    pub of_settled: u64,
    /// The share of those that found it.
    pub share_of_settled: f64,
    /// The share that needed to ask nobody: the member was in the view.
    pub share_known: f64,
    /// Nodes that the others asked, on average.
    pub asked_mean: f64,
    /// The most that one asked.
    pub asked_most: u64,
    /// How many asked how many nodes, from none on.
    pub asked: Vec<u64>,
    /// How long those took that asked somebody, in milliseconds.
    pub took_ms: Histogram,
    /// Lookups whose member left meanwhile.
    pub given_up: u64,
    /// Lookups that had not ended at the end.
    pub open: u64,
}

impl Lookups {
    /// Of all members.
    pub(super) fn of<'a>(seekers: impl Iterator<Item = &'a Seeker>) -> Self {
        let mut all = Tally::default();
        let mut open = 0;
        for Seeker { open: unfinished, found: one } in seekers {
            open += unfinished.len() as u64;
            all.sought += one.sought;
            all.found += one.found;
            all.current += one.current;
            all.settled += one.settled;
            all.settled_found += one.settled_found;
            all.given_up += one.given_up;
            all.unasked += one.unasked;
            if all.asked.len() < one.asked.len() {
                all.asked.resize(one.asked.len(), 0);
            }
            all.asked.iter_mut().zip(&one.asked).for_each(|(sum, one)| *sum += one);
            all.took.merge(&one.took);
        }
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let questions: u64 = (0..).zip(&all.asked).map(|(asked, count)| asked * count).sum();
        Lookups {
            ended: all.sought,
            found: all.found,
            share: share(all.found, all.sought),
            share_current: share(all.current, all.sought),
            of_settled: all.settled,
            share_of_settled: share(all.settled_found, all.settled),
            share_known: share(all.unasked, all.sought),
            asked_mean: share(questions, all.asked.iter().sum()),
            asked_most: all.asked.len().saturating_sub(1) as u64,
            asked: std::iter::once(all.unasked).chain(all.asked.into_iter().skip(1)).collect(),
            took_ms: all.took,
            given_up: all.given_up,
            open,
        }
    }
}

impl Member {
    /// Has its node look for others.
    fn look_for(&mut self, io: &mut Io<'_>, others: Vec<Sought>) {
        for sought in others {
            let id = sought.id;
            self.seeker.begin(sought);
            self.find(io, id);
        }
    }
}

impl Population {
    /// Has those look whose turn it is now for some that are there, drawn for them.
    pub(super) fn look(&mut self) {
        let now = self.world.now();
        let Some(schedule) = &mut self.lookups else { return };
        if schedule.next().is_none_or(|at| at > now) {
            return;
        }
        let (turn, each) = (schedule.turn, schedule.each as usize);
        schedule.turn += 1;
        let plan: &Plan = &self.plan;
        let has_udp = |number: u32| plan.member(number).is_some_and(|place| plan.has_udp(place));
        let there = (0..).zip(self.people()).filter(|(number, _)| has_udp(*number));
        let there: Vec<(u32, Duration)> =
            there.filter_map(|(number, member)| Some((number, member.there_since()?))).collect();
        let mut random = plan::random(plan.seed, &format!("lookups {turn}"));
        let mut told = Vec::new();
        for &(number, since) in there.iter().filter(|(number, _)| number % TURNS == turn) {
            let is_settled = |since: Duration| since + SETTLED <= now;
            let drawn = rand::seq::index::sample(&mut random, there.len(), (each + 1).min(there.len()));
            let others =
                drawn.into_iter().filter_map(|at| there.get(at)).filter(|(other, _)| *other != number);
            let sought = others.take(each).filter_map(|&(other, there_since)| {
                let id = plan.member(other)?.id;
                let is_settled = is_settled(since) && is_settled(there_since);
                Some(Sought { number: other, id, there_since, asked: now, is_settled })
            });
            told.push((number, sought.collect::<Vec<Sought>>()));
        }
        for (number, others) in told {
            if let Some(machine) = self.members.get(number as usize).copied() {
                self.world.tell(machine, 0, |member: &mut Member, io| member.look_for(io, others));
            }
        }
    }
}

//! Faults by lot: a timeline of episodes, each of which mends what it breaks, and then calm.
//!
//! What is drawn is a scenario file: it is run as any other, and one that fails is made shorter by leaving episodes out.

use std::{fmt::Write, time::Duration};

use natrig_scenario::{Machine, Problem, Scenario};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// How long everything is left alone in the end: nodes have 30 s to find each other, and then some to show it.
const CALM: Duration = Duration::from_secs(45);

/// How long it is quiet between the starts of two episodes, at least and at most.
const GAP_MS: std::ops::Range<u64> = 500..8_000;

/// How long an episode lasts.
const LASTS_MS: std::ops::Range<u64> = 300..12_000;

/// Conditions that a link may get.
const CONDITIONS: [&str; 9] = [
    "loss: 10%",
    "loss: 30%",
    "bursts: {loss: 10%, length: 8}",
    "delay: 200ms, jitter: 50ms",
    "delay: 600ms",
    "duplicate: 20%",
    "delay: 30ms, reorder: 25%",
    "rate: 1 Mbit/s",
    "corrupt: 2%",
];

/// Why there can be no chaos with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoChaos {
    /// It is no scenario.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// It is more than one.
    #[error("{file} has {count} cells\nhint: chaos takes a file with one")]
    Cells {
        /// The file.
        file: String,
        /// How many.
        count: usize,
    },
    /// It has faults of its own.
    #[error("{0} has faults of its own\nhint: `natrig chaos` draws them; leave `faults` out")]
    Faults(String),
    /// Nothing would show that anything went on.
    #[error(
        "{0} has no talk that must go on again\nhint: such as `talks: [{{from: peer1, to: peer2, lost: 100%, again: 30s}}]`"
    )]
    Silent(String),
}

/// A scenario that faults are drawn for.
#[derive(Debug, Clone)]
pub struct Base {
    file: String,
    text: String,
    scenario: Scenario,
}

/// Something that is broken for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// When it begins, since all peers have settled.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What begins it, as a scenario has it.
    pub begin: String,
    /// What ends it, if it does not end by itself.
    pub end: Option<String>,
    /// What nothing else is done to meanwhile.
    subject: Subject,
}

/// What an episode is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// A machine and its cables.
    Machine(Machine),
    /// Who reaches whom on the internet.
    Internet,
}

impl Base {
    /// Reads the text of a file.
    pub fn read(file: &str, text: &str) -> Result<Self, NoChaos> {
        let mut scenarios = Scenario::parse(file, text)?;
        let (count, file) = (scenarios.len(), file.to_owned());
        let Some(scenario) = scenarios.pop().filter(|_| count == 1) else {
            return Err(NoChaos::Cells { file, count });
        };
        if !scenario.faults.is_empty() {
            return Err(NoChaos::Faults(file));
        }
        if scenario.talks.iter().all(|talk| talk.again.is_none()) {
            return Err(NoChaos::Silent(file));
        }
        Ok(Base { file, text: text.to_owned(), scenario })
    }

    /// Draws what happens in a time.
    pub fn draw(&self, seed: u64, length: Duration) -> Vec<Episode> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut episodes: Vec<Episode> = Vec::new();
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_millis(random.random_range(GAP_MS));
            let lasts = Duration::from_millis(random.random_range(LASTS_MS));
            if at + lasts > length {
                return episodes;
            }
            let (subject, begin, end) = self.one(&mut random);
            let busy = |other: &Episode| other.subject == subject && other.at + other.lasts >= at;
            // What is broken already is left to it.
            if !episodes.iter().any(busy) {
                episodes.push(Episode { at, lasts, begin, end, subject });
            }
        }
    }

    /// Draws one thing that can befall something.
    fn one(&self, random: &mut StdRng) -> (Subject, String, Option<String>) {
        let layout = self.scenario.layout();
        let machines: Vec<Machine> = layout.machines().collect();
        let machine = machines.choose(random).copied().unwrap_or(Machine::PEER1);
        let links: Vec<&str> =
            [machine.wan(), machine.lan()].into_iter().flatten().map(|link| link.name()).collect();
        let link = links.choose(random).copied().unwrap_or("peer1.lan");
        let about = Subject::Machine(machine);
        let pair = |subject, begin: String, end: String| (subject, begin, Some(end));
        match random.random_range(0..10) {
            0 => pair(about, format!("cut: {link}"), format!("heal: {link}")),
            1 | 2 => {
                let conditions = CONDITIONS.choose(random).copied().unwrap_or("loss: 10%");
                pair(about, format!("impair: {link}, {conditions}"), format!("mend: {link}"))
            }
            3 => (about, format!("flap: {link}, times: 3, every: 400ms"), None),
            4 => pair(Subject::Internet, self.partition(random), "rejoin: internet".to_owned()),
            _ => match machine {
                Machine::Nat(_) | Machine::Cgn(_) => {
                    let translates = self.scenario.nats.iter().flat_map(|nat| &nat.gateways);
                    let all = translates.into_iter().all(|gateway| gateway.profile.mapping.is_some());
                    let what = ["reboot", "rebind", "renumber"].choose(random).copied();
                    let what = what.filter(|_| all).unwrap_or("reboot");
                    (about, format!("{what}: {machine}"), None)
                }
                Machine::Peer(..) | Machine::Relay(_) => {
                    let (begin, end) = [
                        ("kill", "restart"),
                        ("stop", "restart"),
                        ("pause", "resume"),
                        ("freeze", "thaw"),
                        ("power_off", "power_on"),
                        ("clock", ""),
                    ]
                    .choose(random)
                    .copied()
                    .unwrap_or(("kill", "restart"));
                    match begin {
                        "clock" => (about, format!("clock: {machine}, by: -90s"), None),
                        _ => pair(about, format!("{begin}: {machine}"), format!("{end}: {machine}")),
                    }
                }
            },
        }
    }

    /// Two groups of what is on the internet, sometimes one way only.
    fn partition(&self, random: &mut StdRng) -> String {
        let internet: Vec<&str> = self
            .scenario
            .layout()
            .links()
            .filter(|(link, segment)| link.is_outside() && segment.name() == "internet")
            .map(|(link, _)| link.name())
            .collect();
        let mut groups: [Vec<&str>; 2] = Default::default();
        for link in internet {
            groups[random.random_range(0..2)].push(link);
        }
        // Nobody can be kept apart from nobody.
        let [one, other] = &mut groups;
        if one.is_empty() {
            one.extend(other.pop());
        } else if other.is_empty() {
            other.extend(one.pop());
        }
        let way = if random.random_range(0..4) == 0 { ", one_way: true" } else { "" };
        format!("partition: [[{}], [{}]]{way}", one.join(", "), other.join(", "))
    }

    /// The file with these episodes, for people and for `natrig run`.
    pub fn with(&self, episodes: &[Episode]) -> String {
        let mut deeds: Vec<(Duration, &str)> = Vec::new();
        for episode in episodes {
            deeds.push((episode.at, &episode.begin));
            deeds.extend(episode.end.as_deref().map(|end| (episode.at + episode.lasts, end)));
        }
        deeds.sort_by_key(|(at, _)| *at);
        let mut text = format!("{}\nfaults:\n", self.text.trim_end());
        let mut now = Duration::ZERO;
        for (at, deed) in deeds {
            if at > now {
                let _ = writeln!(text, "  - {{after: settled, idle: {}ms}}", (at - now).as_millis());
                now = at;
            }
            let _ = writeln!(text, "  - {{after: settled, {deed}}}");
        }
        let _ = writeln!(text, "  - {{after: settled, idle: {}ms}}", CALM.as_millis());
        text
    }

    /// The same as a scenario that can be run.
    pub fn scenario(&self, id: &str, episodes: &[Episode]) -> Result<Scenario, NoChaos> {
        let mut scenarios = Scenario::parse(&self.file, &self.with(episodes))?;
        let count = scenarios.len();
        let scenario = scenarios.pop().filter(|_| count == 1);
        let mut scenario = scenario.ok_or_else(|| NoChaos::Cells { file: self.file.clone(), count })?;
        id.clone_into(&mut scenario.id);
        Ok(scenario)
    }
}

/// Leaves episodes out for as long as it still fails, halves first; gives those without any of which it does not.
pub fn shrink(episodes: Vec<Episode>, mut fails: impl FnMut(&[Episode]) -> bool) -> Vec<Episode> {
    let mut left = episodes;
    let mut chunk = left.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < left.len() {
            let mut fewer = left.clone();
            fewer.drain(at..(at + chunk).min(left.len()));
            if fails(&fewer) {
                left = fewer;
            } else {
                at += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    left
}

/// How many things are done in a scenario on purpose.
pub fn faults(scenario: &Scenario) -> usize {
    scenario.faults.iter().filter(|fault| fault.action.disturbs()).count()
}

#[cfg(test)]
mod tests {
    use natrig_scenario::Action;

    use super::*;

    const FILE: &str = "name: Stress\nnat1: port-restrict\nnat2: symmetric\nnat3: full-cone\nrelays: 2\nexpected: any\n\
                        talks:\n  - {from: peer1, to: peer2, lost: 100%, again: 30s}\n";
    const LENGTH: Duration = Duration::from_secs(600);

    #[test]
    fn whatever_is_drawn_is_a_scenario_that_ends_with_everything_mended() {
        let base = Base::read("stress.yaml", FILE).unwrap();
        for seed in 0..200 {
            let episodes = base.draw(seed, LENGTH);
            assert_eq!(episodes, base.draw(seed, LENGTH));
            assert!(episodes.len() > 20, "{}", episodes.len());
            let scenario = base.scenario("chaos", &episodes).unwrap();
            let count = |fits: fn(&Action) -> bool| {
                scenario.faults.iter().filter(|fault| fits(&fault.action)).count()
            };
            assert_eq!(count(|it| matches!(it, Action::Cut(_))), count(|it| matches!(it, Action::Heal(_))));
            assert_eq!(
                count(|it| matches!(it, Action::Impair(_))),
                count(|it| matches!(it, Action::Mend(_)))
            );
            assert!(faults(&scenario) >= episodes.len());
        }
    }

    #[test]
    fn what_is_left_is_what_it_takes() {
        let base = Base::read("stress.yaml", FILE).unwrap();
        let episodes = base.draw(3, LENGTH);
        let (one, other) = (episodes[4].clone(), episodes[17].clone());
        let left = shrink(episodes, |some| some.contains(&one) && some.contains(&other));
        assert_eq!(left, [one, other]);
    }

    #[test]
    fn files_that_will_not_do_are_refused_with_a_remedy() {
        for (more, said) in [
            ("faults: [{after: settled, idle: 1s}]\n", "faults of its own"),
            ("cells: [{id: a}, {id: b}]\n", "2 cells"),
        ] {
            let told = Base::read("x.yaml", &format!("{FILE}{more}")).unwrap_err().to_string();
            assert!(told.contains(said) && told.contains("hint: "), "{told}");
        }
        let silent = FILE.replace(", again: 30s", "");
        assert!(matches!(Base::read("x.yaml", &silent), Err(NoChaos::Silent(_))));
        assert!(matches!(Base::read("x.yaml", "name: x\n"), Err(NoChaos::Problem(_))));
    }
}

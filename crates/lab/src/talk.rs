//! The lab's messages from one peer to another while things are broken: which are sent when, and what became of them.
//!
//! Each message is random, known to the lab alone, and compared whole; times are since any one moment.

use std::time::Duration;

use natrig_netmodel::seed_for;
use natrig_record::{About, Assertion};
use natrig_scenario::{Machine, Scenario, Talk};
use rand::{RngCore, SeedableRng};

use crate::{cell::millis, node::NodeEvent};

/// What each message begins with.
const MARK: &str = "natrig";

/// How long after a node has failed to connect it is told to do so again.
const CALL_AGAIN: Duration = Duration::from_secs(5);

/// How long messages that are under way have, when the last one has been sent.
pub const DRAIN: Duration = Duration::from_secs(30);

/// The messages of one direction.
#[derive(Debug, Clone)]
pub struct Conversation {
    talk: Talk,
    seed: u64,
    began: Duration,
    /// When the next one is sent; none when no more are.
    next: Option<Duration>,
    messages: Vec<Message>,
    /// How often the receiver has begun anew; such a one remembers nothing.
    life: u32,
    /// The last number that this life has heard.
    last: Option<usize>,
    /// When the sender's node is told to connect again, if it is.
    calls: Option<Duration>,
    /// When something was last done to nodes, links or machines.
    disturbed: Duration,
    /// When something last arrived.
    heard_at: Duration,
    silence: Duration,
    twice: u64,
    late: u64,
    altered: u64,
    direct: u64,
}

#[derive(Debug, Clone)]
struct Message {
    at: Duration,
    /// In which life of the receiver it was sent, and last heard.
    life: u32,
    heard_in: Option<u32>,
    /// When it first arrived.
    arrived: Option<Duration>,
    acknowledged: bool,
    failed: bool,
    /// Its sender has lost it: it may come or not.
    forgotten: bool,
}

impl Conversation {
    /// All that a scenario wants said, from now on.
    pub fn all(scenario: &Scenario, seed: u64, now: Duration) -> Vec<Self> {
        scenario.talks.iter().map(|talk| Conversation::new(*talk, seed, now)).collect()
    }

    fn new(talk: Talk, seed: u64, now: Duration) -> Self {
        Conversation {
            talk,
            seed: seed_for(seed, &talk.to_string()),
            began: now,
            next: Some(now),
            messages: Vec::new(),
            life: 0,
            last: None,
            calls: None,
            disturbed: now,
            heard_at: now,
            silence: Duration::ZERO,
            twice: 0,
            late: 0,
            altered: 0,
            direct: 0,
        }
    }

    /// Who has to be connected to whom before they can talk, beside a scenario's pair.
    pub fn meetings(scenario: &Scenario) -> Vec<[Machine; 2]> {
        let [a, b] = scenario.pair();
        let talks = scenario.talks.iter().map(|talk| [talk.from, talk.to]);
        talks.filter(|talk| *talk != [a, b] && *talk != [b, a]).collect()
    }

    /// Who speaks.
    pub fn from(&self) -> Machine {
        self.talk.from
    }

    /// Who is spoken to.
    pub fn to(&self) -> Machine {
        self.talk.to
    }

    /// When something is to be said; none if no more is.
    pub fn next(&self) -> Option<Duration> {
        self.next
    }

    /// What is to be said now, if something is, and its number.
    pub fn due(&mut self, now: Duration) -> Option<(u64, String)> {
        let due = self.next.filter(|next| *next <= now)?;
        self.next = Some(due + self.talk.every);
        let number = self.messages.len();
        self.messages.push(Message {
            at: due,
            life: self.life,
            heard_in: None,
            arrived: None,
            acknowledged: false,
            failed: false,
            forgotten: false,
        });
        Some((number as u64, self.text(number)))
    }

    /// Nothing can be said now: the sender's node does not run.
    pub fn skip(&mut self, now: Duration) {
        while let Some(next) = self.next.filter(|next| *next <= now) {
            self.next = Some(next + self.talk.every);
        }
    }

    /// A machine's node reported something; `id` tells what nodes are called.
    pub fn reported(
        &mut self,
        by: Machine,
        at: Duration,
        event: &NodeEvent,
        id: impl Fn(Machine) -> Option<String>,
    ) {
        let about = |name: &str, peer: Machine| id(peer).is_some_and(|peer| event.about(name, &peer));
        if by == self.talk.to && about("messageReceived", self.talk.from) {
            // What is longer than a message of the lab can be is none of them.
            if let Some(text) = event.text("text").filter(|text| text.starts_with(MARK)) {
                self.heard(at, text, event.text("path") == Some("direct"));
            }
        } else if by == self.talk.from && about("connectFailed", self.talk.to) {
            self.calls = Some(at + CALL_AGAIN);
        } else if by == self.talk.from
            && let Some(tag) = event.0.get("tag").and_then(serde_json::Value::as_u64)
        {
            if about("sent", self.talk.to) {
                self.told(tag, true);
            } else if about("sendFailed", self.talk.to) {
                self.told(tag, false);
            }
        }
    }

    /// Whether the sender's node is to be told to connect again: an application that wants to talk does not give up.
    pub fn calls(&mut self, now: Duration) -> bool {
        self.calls.take_if(|at| *at <= now).is_some()
    }

    /// Until when it goes on at least.
    pub fn until(&self) -> Duration {
        self.began + self.talk.length
    }

    /// Says no more.
    pub fn end(&mut self) {
        self.next = None;
    }

    /// Whether a message is under way, as far as is known.
    pub fn is_under_way(&self) -> bool {
        self.messages.iter().any(|message| message.arrived.is_none() && !message.failed && !message.forgotten)
    }

    /// Something was done to nodes, links or machines.
    pub fn disturbed(&mut self, now: Duration) {
        self.disturbed = now;
    }

    /// A machine's node has lost all that it knew.
    pub fn forgets(&mut self, machine: Machine) {
        if machine == self.talk.to {
            self.life += 1;
            self.last = None;
        }
        if machine == self.talk.from {
            let pending = self.messages.iter_mut().filter(|message| !message.acknowledged && !message.failed);
            pending.for_each(|message| message.forgotten = true);
        }
    }

    /// The sender's node says that a message has arrived, or that it gives it up.
    pub fn told(&mut self, number: u64, arrived: bool) {
        let message = usize::try_from(number).ok().and_then(|number| self.messages.get_mut(number));
        if let Some(message) = message {
            message.acknowledged |= arrived;
            message.failed |= !arrived;
        }
    }

    /// A text came to the receiver's node from the sender's.
    pub fn heard(&mut self, now: Duration, text: &str, direct: bool) {
        let number = text.split(' ').nth(1).and_then(|number| number.parse::<usize>().ok());
        let whole = number.filter(|number| *number < self.messages.len() && self.text(*number) == text);
        let Some(number) = whole else {
            self.altered += 1;
            return;
        };
        let life = self.life;
        let Some(message) = self.messages.get_mut(number) else { return };
        if message.heard_in == Some(life) {
            self.twice += 1;
            return;
        }
        if self.last.is_some_and(|last| last > number) {
            self.late += 1;
        }
        message.heard_in = Some(life);
        if message.arrived.is_none() {
            message.arrived = Some(now);
            self.direct += u64::from(direct);
        }
        self.last = Some(number);
        self.silence = self.silence.max(now.saturating_sub(self.heard_at));
        self.heard_at = now;
    }

    /// What has become of it.
    pub fn record(&self) -> natrig_record::Talk {
        let count = |fits: &dyn Fn(&Message) -> bool| {
            self.messages.iter().filter(|message| fits(message)).count() as u64
        };
        let mut latencies: Vec<Duration> =
            self.messages.iter().filter_map(|message| Some(message.arrived? - message.at)).collect();
        latencies.sort();
        let quantile = |of_100: usize| {
            let place = (latencies.len() * of_100).div_ceil(100).saturating_sub(1);
            latencies.get(place).copied().unwrap_or_default()
        };
        // What was sent last and never came is silence, too.
        let unheard = self.messages.iter().rfind(|message| message.arrived.is_none());
        let silence =
            unheard.map_or(self.silence, |last| self.silence.max(last.at.saturating_sub(self.heard_at)));
        natrig_record::Talk {
            from: self.talk.from.name().to_owned(),
            to: self.talk.to.name().to_owned(),
            sent: self.messages.len() as u64,
            acknowledged: count(&|message| message.acknowledged),
            failed: count(&|message| message.failed),
            forgotten: count(&|message| message.forgotten && message.arrived.is_none()),
            arrived: count(&|message| message.arrived.is_some()),
            twice: self.twice,
            late: self.late,
            altered: self.altered,
            lost_though_acknowledged: count(&|message| {
                message.acknowledged && message.arrived.is_none() && message.life == self.life
            }),
            silence_ms: millis(silence),
            latency_ms: [50, 99, 100].map(|of_100| millis(quantile(of_100))),
            direct: self.direct,
        }
    }

    /// What must be true of it, and whether it is.
    pub fn assertions(&self) -> Vec<Assertion> {
        let record = self.record();
        let assertion = |what: String, holds: bool, detail: String| Assertion {
            about: About::Messages,
            what: format!("{}: {what}", self.talk),
            holds,
            detail,
        };
        let whole = record.twice + record.late + record.altered + record.lost_though_acknowledged == 0;
        let lost = record.sent - record.arrived - record.forgotten;
        let mut assertions = vec![
            assertion(
                "each message comes once, in its order and as it was sent, and none is lost that was acknowledged"
                    .to_owned(),
                whole && record.sent > 0,
                format!(
                    "{} sent, {} arrived; {} twice, {} late, {} altered, {} lost though acknowledged",
                    record.sent,
                    record.arrived,
                    record.twice,
                    record.late,
                    record.altered,
                    record.lost_though_acknowledged
                ),
            ),
            assertion(
                format!("at most {:.1} % of the messages are lost", self.talk.lost * 100.0),
                lost as f64 <= self.talk.lost * record.sent as f64,
                format!("{lost} of {} are, beside {} of a sender that was ended", record.sent, record.forgotten),
            ),
        ];
        if let Some(most) = self.talk.silence {
            assertions.push(assertion(
                format!("something arrives at least every {most:?}"),
                record.silence_ms <= millis(most),
                format!("nothing did for {:.1} ms", record.silence_ms),
            ));
        }
        if let Some(most) = self.talk.again {
            let calm = self.disturbed + most;
            let first = self
                .messages
                .iter()
                .filter_map(|message| message.arrived)
                .filter(|at| *at >= self.disturbed)
                .min();
            let lost =
                self.messages.iter().filter(|message| message.at > calm && message.arrived.is_none()).count();
            let detail = match first {
                Some(first) => format!("something did after {:?}", first - self.disturbed),
                None => "nothing did".to_owned(),
            };
            assertions.push(assertion(
                format!("messages arrive again {most:?} after the last fault, and all that are sent later"),
                first.is_some_and(|first| first <= calm) && lost == 0,
                format!("{detail}, and {lost} that were sent later did not arrive"),
            ));
        }
        if let Some(most) = self.talk.latency {
            let [_, of_99, slowest] = record.latency_ms;
            assertions.push(assertion(
                format!("99 of 100 messages arrive within {most:?}"),
                of_99 <= millis(most),
                format!("they took {of_99:.1} ms at most, the slowest {slowest:.1} ms"),
            ));
        }
        assertions
    }

    /// A message: what it is, its number, and as many random digits as it needs to be long enough.
    fn text(&self, number: usize) -> String {
        let mut text = format!("{MARK} {number} ");
        let mut random = rand::rngs::StdRng::seed_from_u64(self.seed ^ number as u64);
        while text.len() < self.talk.bytes {
            text.push_str(&format!("{:016x}", random.next_u64()));
        }
        text.truncate(self.talk.bytes);
        text
    }
}

#[cfg(test)]
mod tests {
    use natrig_scenario::Site;

    use super::*;

    const EVERY: Duration = Duration::from_millis(100);

    fn talk() -> Conversation {
        let talk = Talk {
            from: Machine::PEER1,
            to: Machine::Peer(Site::TWO, 0),
            every: EVERY,
            bytes: 80,
            length: Duration::ZERO,
            lost: 0.0,
            silence: Some(Duration::from_secs(1)),
            latency: Some(Duration::from_millis(200)),
            again: None,
        };
        Conversation::new(talk, 7, Duration::ZERO)
    }

    /// Says so many, each of which the sender says has arrived.
    fn said(talk: &mut Conversation, count: u32) -> Vec<String> {
        (0..count)
            .map(|_| {
                let (number, text) = talk.due(talk.next().unwrap()).unwrap();
                talk.told(number, true);
                text
            })
            .collect()
    }

    /// What is wrong, by the beginning of each clause.
    fn broken(talk: &Conversation) -> Vec<String> {
        talk.assertions().into_iter().filter(|one| !one.holds).map(|one| one.detail).collect()
    }

    #[test]
    fn what_arrives_whole_and_in_order_is_well() {
        let mut talk = talk();
        for (number, text) in said(&mut talk, 20).iter().enumerate() {
            talk.heard(EVERY * number as u32 + Duration::from_millis(5), text, true);
        }
        assert_eq!(broken(&talk), [""; 0]);
        let record = talk.record();
        assert_eq!((record.sent, record.arrived, record.direct), (20, 20, 20));
        assert_eq!((record.latency_ms, record.silence_ms), ([5.0, 5.0, 5.0], 100.0));
        assert!(!talk.is_under_way());
    }

    #[test]
    fn each_thing_that_can_go_wrong_is_told() {
        let mut twice = talk();
        let texts = said(&mut twice, 3);
        for text in [&texts[0], &texts[0], &texts[2], &texts[1]] {
            twice.heard(EVERY * 3, text, false);
        }
        assert_eq!(
            broken(&twice),
            [
                "3 sent, 3 arrived; 1 twice, 1 late, 0 altered, 0 lost though acknowledged",
                "they took 300.0 ms at most, the slowest 300.0 ms",
            ]
        );
        let mut altered = talk();
        let text = said(&mut altered, 1).remove(0);
        altered.heard(EVERY, &text.replace("natrig 0", "natrig 5"), false);
        altered.heard(EVERY, &format!("{text}."), false);
        altered.heard(EVERY, "", false);
        assert_eq!(
            broken(&altered),
            [
                "1 sent, 0 arrived; 0 twice, 0 late, 3 altered, 1 lost though acknowledged",
                "1 of 1 are, beside 0 of a sender that was ended",
            ]
        );
        let mut silent = talk();
        said(&mut silent, 30);
        assert_eq!(silent.record().silence_ms, 2900.0);
        assert_eq!(broken(&silent).len(), 3);
    }

    #[test]
    fn after_the_last_fault_it_must_go_on_again() {
        let mut talk = talk();
        talk.talk.again = Some(Duration::from_secs(1));
        talk.talk.silence = None;
        talk.talk.latency = None;
        talk.talk.lost = 1.0;
        let texts = said(&mut talk, 40);
        talk.messages.iter_mut().for_each(|message| message.acknowledged = false);
        talk.disturbed(EVERY * 10);
        // Nothing comes for two seconds, then all that was sent since.
        for (number, text) in texts.iter().enumerate().skip(30) {
            talk.heard(EVERY * number as u32, text, true);
        }
        assert_eq!(broken(&talk), ["something did after 2s, and 9 that were sent later did not arrive"]);
        talk.talk.again = Some(Duration::from_secs(2));
        assert_eq!(broken(&talk), [""; 0]);
    }

    #[test]
    fn a_receiver_that_began_anew_may_hear_again_what_it_heard() {
        let mut talk = talk();
        let texts = said(&mut talk, 2);
        talk.heard(EVERY, &texts[1], true);
        talk.forgets(Machine::PEER2);
        talk.heard(EVERY, &texts[0], true);
        talk.heard(EVERY, &texts[1], true);
        assert_eq!((talk.record().twice, talk.record().late, talk.record().arrived), (0, 0, 2));
    }

    #[test]
    fn what_a_sender_has_lost_that_was_ended_is_not_held_against_the_way() {
        let mut talk = talk();
        let (_, text) = talk.due(Duration::ZERO).unwrap();
        talk.forgets(Machine::PEER1);
        assert!(!talk.is_under_way());
        assert_eq!((talk.record().forgotten, broken(&talk)), (1, vec![]));
        talk.heard(EVERY, &text, true);
        assert_eq!((talk.record().forgotten, talk.record().arrived), (0, 1));
    }
}

//! The conditions of a link as a fault says them behind `impair:`.

use std::{fmt, time::Duration};

use natrig_netmodel::{Chance, Conditions, Distribution, Jitter, Probability, Queue, Rate};

use crate::{Flow, Impairment, Where};

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.flow {
            Flow::Both => "",
            Flow::In => ", direction: in",
            Flow::Out => ", direction: out",
        };
        let place = match self.at {
            Where::Link => "",
            Where::Gateway => ", where: gateway",
        };
        write!(f, "{}{direction}{place}{}", self.link, told(&self.conditions))
    }
}

/// All that is not as on a perfect cable, each with a comma before it.
fn told(conditions: &Conditions) -> String {
    let Conditions { cut, rate, delay, jitter, loss, bursts, duplicate, reorder, corrupt } = conditions;
    let mut text = String::new();
    let mut tell = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(", {key}: {value}"));
        }
    };
    tell("cut", cut.then(|| "true".to_owned()));
    tell("rate", rate.map(|rate| bits(rate.bits_per_second.get())));
    tell("queue", rate.map(|Rate { queue, .. }| waiting(queue)));
    tell("delay", (!delay.is_zero()).then(|| time(*delay)));
    tell("jitter", (*jitter != Jitter::default()).then(|| varying(jitter)));
    tell("loss", chance(loss));
    tell(
        "bursts",
        bursts.map(|bursts| {
            let [to_bad, to_good, good, bad] =
                [bursts.to_bad, bursts.to_good, bursts.loss_good, bursts.loss_bad].map(share);
            format!("{{to_bad: {to_bad}, to_good: {to_good}, loss_good: {good}, loss_bad: {bad}}}")
        }),
    );
    tell("duplicate", chance(duplicate));
    tell("reorder", chance(reorder));
    tell("corrupt", chance(corrupt));
    text
}

fn time(time: Duration) -> String {
    format!("{time:?}")
}

fn share(share: Probability) -> String {
    // What a hundredfold adds behind the point is no part of it.
    format!("{}%", (share.value() * 1e10).round() / 1e8)
}

fn chance(chance: &Chance) -> Option<String> {
    let Chance { chance, correlation } = *chance;
    match (chance.is_never(), correlation.is_never()) {
        (true, _) => None,
        (_, true) => Some(share(chance)),
        _ => Some(format!("{{chance: {}, correlation: {}}}", share(chance), share(correlation))),
    }
}

fn varying(jitter: &Jitter) -> String {
    let Jitter { spread, distribution, correlation, overtaking } = *jitter;
    if *jitter == (Jitter { spread, ..Jitter::default() }) {
        return time(spread);
    }
    let distribution = match distribution {
        Distribution::Uniform => "uniform",
        Distribution::Normal => "normal",
        Distribution::Pareto => "pareto",
    };
    let (spread, correlation) = (time(spread), share(correlation));
    format!(
        "{{spread: {spread}, distribution: {distribution}, correlation: {correlation}, overtaking: {overtaking}}}"
    )
}

fn bits(rate: u64) -> String {
    let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1000, "kbit/s")];
    let unit = units.into_iter().find(|(size, _)| rate.is_multiple_of(*size));
    let (size, unit) = unit.unwrap_or((1, "bit/s"));
    format!("{} {unit}", rate / size)
}

fn waiting(queue: Queue) -> String {
    match queue {
        Queue::Time(wait) => time(wait),
        Queue::Bytes(bytes) => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use crate::Scenario;

    #[test]
    fn conditions_are_told_as_they_are_read() {
        let read = |entry: &str| {
            let text =
                format!("name: x\nnat1: public\nnat2: public\nexpected: any\nlinks:\n  - {{{entry}}}\n");
            Scenario::parse("x.yaml", &text).unwrap().remove(0).links
        };
        for entry in [
            "link: nat1.wan, loss: 7%",
            "link: nat1.wan, direction: in, cut: true",
            "link: nat1.wan, direction: out, rate: 10 Mbit/s, queue: 100ms, delay: 1.5s, jitter: 10ms",
            "link: nat1.wan, rate: 1500 bit/s, queue: 64000 B, loss: {chance: 0.1%, correlation: 25%}, corrupt: 0.3%",
            "link: relay.wan, delay: 20ms, jitter: {spread: 5ms, distribution: pareto, correlation: 25%, \
             overtaking: true}, duplicate: 1%, reorder: {chance: 5%, correlation: 50%}",
            "link: relay.wan, bursts: {to_bad: 1%, to_good: 20%, loss_good: 0.5%, loss_bad: 90%}",
        ] {
            assert_eq!(format!("link: {}", read(entry)[0]), entry);
        }
        for like in ["lan", "fibre", "dsl", "4g", "satellite", "hotel-wifi", "congested"] {
            let impairments = read(&format!("link: nat1.wan, like: {like}"));
            for impairment in impairments {
                let told = format!("link: {impairment}");
                assert_eq!(format!("link: {}", read(&told)[0]), told);
            }
        }
    }
}

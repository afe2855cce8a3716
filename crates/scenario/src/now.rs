//! What is done at once to a lab that is up, in the words of a scenario's faults.

use crate::{
    Action, Mistake, Problem, Scenario, faults,
    fields::Mistakes,
    yaml::{self, Value},
};

/// What the text of a fault goes by, where another one has the name of its file.
const NAME: &str = "fault";

impl Scenario {
    /// Reads an entry of `faults:` without its moment, as it is given on a command line: in one word, as YAML with or
    /// without its braces; or in several, keys and values in turn, such as `cut nat1.wan`.
    pub fn action(&self, words: &[String]) -> Result<Action, Problem> {
        let text = entry(words);
        let invalid = |mistakes| Problem::invalid_as(NAME, NAME, &text, mistakes);
        let root = yaml::parse(&text).map_err(|mistake| invalid(vec![mistake]))?;
        let mut mistakes = Mistakes::default();
        let action = match &root.value {
            Value::Map(entries) if entries.is_empty() => mistakes.add(
                Mistake::new(root.at.clone(), "the fault does nothing").hint("such as `cut: relay.wan`"),
            ),
            _ => faults::now(&root, &[self.layout()], &mut mistakes),
        };
        match action {
            Some(action) if mistakes.0.is_empty() => Ok(action),
            _ => Err(invalid(mistakes.0)),
        }
    }
}

/// The entry that words make.
fn entry(words: &[String]) -> String {
    match words {
        [text] if text.trim_start().starts_with('{') || text.contains('\n') => text.clone(),
        [text] => format!("{{{text}}}"),
        words => {
            let pairs: Vec<String> = words.chunks(2).map(|pair| pair.join(": ")).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        let text = "name: x\nnat1: symmetric\nnat2: cgn\nexpected: relay\n";
        Scenario::parse("x.yaml", text).unwrap().remove(0)
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    /// The action that a file's fault comes to.
    fn of_file(entry: &str) -> Action {
        let text = format!(
            "name: x\nnat1: symmetric\nnat2: cgn\nexpected: relay\nfaults:\n  - {{after: settled, {entry}}}\n"
        );
        Scenario::parse("x.yaml", &text).unwrap().remove(0).faults.remove(0).action
    }

    #[test]
    fn every_fault_of_a_file_is_read_the_same_without_its_moment() {
        for entry in [
            "cut: nat1.wan",
            "heal: nat1.wan",
            "flap: relay.wan, times: 5, every: 500ms",
            "impair: nat1.wan, loss: 10%, delay: 50ms, direction: in",
            "impair: peer1.lan, like: dsl",
            "mend: nat1.wan",
            "partition: [[nat1.wan], [relay.wan]], one_way: true",
            "rejoin: internet",
            "reboot: nat1",
            "rebind: cgn2",
            "renumber: nat1",
            "become: nat1, nat: full-cone",
            "fill: nat1",
            "kill: peer1",
            "stop: peer1",
            "pause: relay",
            "resume: relay",
            "restart: peer2",
            "power_off: relay",
            "power_on: relay",
            "freeze: peer1",
            "thaw: peer1",
            "roam: peer1, to: lan2",
            "clock: peer1, by: -5m",
            "connect: peer1, to: peer2",
            "expect: pathChanged, at: peer1, within: 30s",
            "idle: [1s, 5s]",
        ] {
            let wanted = of_file(entry);
            for text in [entry.to_owned(), format!("{{{entry}}}"), entry.replace(", ", "\n")] {
                // A list in brackets is one value, whatever stands in it.
                if text.contains('[') && text.contains('\n') {
                    continue;
                }
                assert_eq!(scenario().action(std::slice::from_ref(&text)).unwrap(), wanted, "{text}");
            }
            if !entry.contains('[') {
                let line = entry.replace([':', ','], "");
                assert_eq!(scenario().action(&words(&line)).unwrap(), wanted, "{line}");
            }
        }
    }

    #[test]
    fn mistakes_are_those_of_a_file() {
        for (line, phrases) in [
            ("cut nat1-wan", ["`nat1-wan` is no link", "nat1.wan"]),
            ("cut nat3.wan", ["there is no nat3.wan here", "nat3:"]),
            ("power_off peer7", ["there is no peer7 here", "nat7:"]),
            ("power_off nat1", ["`nat1` is no machine with a node", "peer1"]),
            ("ct nat1.wan", ["a fault has no key `ct`", "cut"]),
            ("cut", ["the link must be text", "not nothing"]),
            ("cut nat1.wan heal relay.wan", ["one thing, not both `cut` and `heal`", "make two of it"]),
            ("cut nat1.wan times 5", ["`cut` needs no `times`", "only `flap`"]),
            ("impair nat1.wan", ["this entry changes nothing", "like: dsl"]),
            ("{}", ["the fault does nothing", "cut: relay.wan"]),
            ("", ["the fault does nothing", "cut: relay.wan"]),
            ("after settled", ["a fault has no key `after`", ""]),
        ] {
            let problem = scenario().action(&words(line)).unwrap_err().render(false);
            for phrase in phrases {
                assert!(problem.contains(phrase), "{line}: {phrase} is not in\n{problem}");
            }
        }
        assert!(scenario().action(&["[".to_owned()]).is_err());
        assert!(scenario().action(&["- cut: nat1.wan\n".to_owned()]).is_err());
        assert!(scenario().action(&[]).is_err());
    }
}

//! A fault in one text, as the words that `natrig fault` has.

/// Splits it at blanks; what is in brackets or quotes stays together. YAML is one word, and is told by its first key's colon.
pub(crate) fn words(text: &str) -> Vec<String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if first.starts_with('{') || first.ends_with(':') {
        return vec![text.to_owned()];
    }
    let mut words = vec![String::new()];
    let (mut depth, mut quote) = (0_usize, None);
    for letter in text.chars() {
        match (letter, quote) {
            (' ' | '\t' | '\n', None) if depth == 0 => {
                words.push(String::new());
                continue;
            }
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            ('{' | '[', None) => depth += 1,
            ('}' | ']', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use natrig_scenario::Scenario;

    use super::*;

    fn scenario() -> Scenario {
        let text = "name: x\nnat1: symmetric\nnat2: cgn\nexpected: relay\n";
        Scenario::parse("x.yaml", text).unwrap().remove(0)
    }

    #[test]
    fn words_and_yaml_say_the_same() {
        for (said, yaml) in [
            ("cut nat1.wan", "cut: nat1.wan"),
            ("  flap relay.wan  times 5 every 500ms ", "{flap: relay.wan, times: 5, every: 500ms}"),
            (
                "expect pathChanged at peer1 with {peer: peer2, to: relay} within 30s",
                "expect: pathChanged, at: peer1, with: {peer: peer2, to: relay}, within: 30s",
            ),
            (
                "partition [[nat1.wan, relay.wan], [cgn2.wan]] one_way true",
                "partition: [[nat1.wan, relay.wan], [cgn2.wan]], one_way: true",
            ),
            (
                "expect connectFailed at peer1 with {reason: \"no way} here\"}",
                "expect: connectFailed, at: peer1, with: {reason: \"no way} here\"}",
            ),
        ] {
            let action = scenario().action(&words(said)).unwrap();
            assert_eq!(action, scenario().action(&words(yaml)).unwrap(), "{said}");
        }
    }

    #[test]
    fn what_is_open_to_the_end_is_a_mistake_and_no_panic() {
        for text in ["", " ", "cut [nat1.wan", "cut }", "cut 'nat1.wan", "é ü"] {
            assert!(scenario().action(&words(text)).is_err(), "{text}");
        }
    }
}

//! Whatever a file holds, reading it ends, and ends in scenarios or in a message.

use natrig_scenario::{Scenario, Truth};
use proptest::{collection::vec, prelude::*, sample::select};

fn read(text: &str) -> Result<(), TestCaseError> {
    match Scenario::parse("any.yaml", text) {
        Ok(scenarios) => prop_assert!(!scenarios.is_empty()),
        Err(problem) => prop_assert!(problem.render(false).contains('×')),
    }
    if let Err(problem) = Truth::parse("any.yaml", text) {
        prop_assert!(problem.render(true).contains('×'));
    }
    Ok(())
}

/// What scenarios are made of, and what trips parsers.
fn tokens() -> impl Strategy<Value = &'static str> {
    select(&[
        "name: ",
        "id: ",
        "nat1: ",
        "nat2: ",
        "expected: ",
        "timeout: ",
        "initiator: ",
        "cells: ",
        "links: ",
        "filters: ",
        "faults: ",
        "node: ",
        "args: ",
        "machines: ",
        "between: ",
        "after: ",
        "cut: ",
        "memory: ",
        "delay: ",
        "loss: ",
        "like: ",
        "jitter: ",
        "bursts: ",
        "rate: ",
        "queue: ",
        "length: ",
        "correlation: ",
        "dsl",
        "10 Mbit/s",
        "symmetric",
        "full-cone",
        "relay",
        "truth",
        "nat1.wan",
        "settled",
        "peer1: ",
        "50ms",
        "30",
        "-1",
        "1e999",
        ".nan",
        "0x7f",
        "true",
        "~",
        "\"",
        "'",
        "\n",
        "\n  ",
        "\n- ",
        "\n  - ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "&a ",
        "*a",
        "<<: *a",
        "!!int ",
        "---\n",
        "...\n",
        "|",
        ">",
        "#",
        "\t",
        "%YAML 1.2\n",
        "é",
        "🧨",
        "\u{feff}",
        "\u{0}",
        "\u{2028}",
        "? ",
        "@",
    ])
}

/// Reads words of a command line as a fault of a lab.
fn read_fault(words: &[String]) -> Result<(), TestCaseError> {
    let text = "name: x\nnat1: symmetric\nnat2: public\nexpected: truth\n";
    let scenarios = Scenario::parse("x.yaml", text);
    let scenarios = scenarios.map_err(|problem| TestCaseError::fail(problem.render(false)))?;
    if let Err(problem) = scenarios[0].action(words) {
        prop_assert!(problem.render(false).contains('×'));
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_words_of_a_fault(words in vec("\\PC*", 0..6)) {
        read_fault(&words)?;
    }

    #[test]
    fn a_soup_of_words_of_a_fault(words in vec(tokens().prop_map(str::to_owned), 0..12)) {
        read_fault(&words)?;
        read_fault(&[words.concat()])?;
    }

    #[test]
    fn arbitrary_text(text in "\\PC*") {
        read(&text)?;
    }

    #[test]
    fn arbitrary_bytes_that_are_text(bytes in vec(any::<u8>(), 0..200)) {
        read(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn a_soup_of_tokens(tokens in vec(tokens(), 0..60)) {
        read(&tokens.concat())?;
    }

    #[test]
    fn a_good_file_with_something_spliced_in(at in any::<prop::sample::Index>(), token in tokens(), cut in 0usize..12) {
        let good = include_str!("../../../scenarios/seed/test-matrix.yaml");
        let at = at.index(good.len());
        let text = [&good[..at], token, good.get(at + cut..).unwrap_or("")].concat();
        read(&text)?;
    }
}

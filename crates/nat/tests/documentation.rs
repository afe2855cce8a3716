//! docs/nats.md against the code.

use natrig_nat::{
    Profile,
    profile::{AXES, Named},
};

const PAGE: &str = include_str!("../../../docs/nats.md");

#[test]
fn every_axis_and_every_profile_is_in_it() {
    for axis in AXES {
        assert!(PAGE.contains(&format!("\n| `{axis}` | ")), "{axis}");
    }
    for named in Named::all() {
        assert!(PAGE.contains(&format!("| `{}` ", named.name)), "{}", named.name);
        // Those that build on another refer to it.
        let own = named.sources.iter().filter(|source| PAGE.contains(&source.url)).count();
        assert_eq!(own, named.sources.len(), "{}", named.name);
    }
}

#[test]
fn its_defaults_are_those_of_the_code() {
    let default = serde_json::to_value(Profile::default()).unwrap();
    for axis in AXES {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{axis}` | "))).unwrap();
        let stated = row.split(" | ").nth(2).unwrap();
        let value = &default[axis.split('.').next().unwrap()];
        let value = axis.split_once('.').map_or(value, |(_, key)| &value[key]);
        let value = match value {
            serde_json::Value::Null => "none".to_owned(),
            serde_json::Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        assert_eq!(stated, value, "{axis}");
    }
}

#[test]
fn its_files_are_read() {
    let blocks: Vec<&str> = PAGE
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(yaml, _)| yaml))
        .collect();
    assert!(blocks.len() >= 2);
    for yaml in blocks {
        Named::parse(yaml).unwrap_or_else(|wrong| panic!("{yaml}\n{wrong}"));
    }
}

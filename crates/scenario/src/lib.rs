//! Scenario files: YAML to a typed, validated scenario.

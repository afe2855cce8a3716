use super::*;

#[test]
fn rulesets_are_as_they_were_read_last() {
    for preset in Preset::ALL {
        insta::assert_snapshot!(preset.name(), Ruleset::of(preset).text());
    }
}

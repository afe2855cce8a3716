//! `natrig nat`: what users are told of gateway profiles; no machine runs here.

mod support;

use std::fs;

use support::{Place, assert_code, stderr, stdout};

/// What natrig prints of these arguments, which must be right.
fn told(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    assert_code(&output, 0);
    assert_eq!(stderr(&output), "");
    stdout(&output)
}

/// What natrig says of these arguments, which must be wrong.
fn refused(place: &Place, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    assert_code(&output, 2);
    assert_eq!(stdout(&output), "");
    stderr(&output)
}

#[test]
fn all_profiles_are_listed() {
    let place = Place::new();
    insta::assert_snapshot!(told(&place, &["nat", "list"]));
    let json: serde_json::Value = serde_json::from_str(&told(&place, &["nat", "list", "--json"])).unwrap();
    let listed = json.as_array().unwrap();
    let cgn = listed.iter().find(|named| named["name"] == "cgn").unwrap();
    assert_eq!(
        (cgn["chain"][1]["filtering"].as_str(), cgn["engines"][1].as_str()),
        (Some("EIF"), Some("kernel"))
    );
    let winnat = listed.iter().find(|named| named["name"] == "windows-winnat").unwrap();
    assert_eq!(
        (winnat["refresh"].as_str(), winnat["engines"][0].as_str()),
        (Some("outbound"), Some("model"))
    );
    place.assert_clean(&[]);
}

#[test]
fn a_profile_is_shown_as_a_file_that_can_be_used() {
    let place = Place::new();
    let yaml = told(&place, &["nat", "show", "Port Restricted"]);
    insta::assert_snapshot!(yaml);
    let file = place.work().join("mine.yaml");
    fs::write(&file, &yaml).unwrap();
    assert_eq!(told(&place, &["nat", "show", "mine.yaml"]), yaml);

    fs::write(
        &file,
        "name: mine\nlike: symmetric-sequential\nports: {allocation: {sequential: {delta: 2}}}\n",
    )
    .unwrap();
    let changed = told(&place, &["nat", "show", "mine.yaml"]);
    assert!(changed.contains("name: mine") && changed.contains("delta: 2"), "{changed}");
    assert!(told(&place, &["nat", "explain", "mine.yaml"]).contains("each 2 above the last"));
    let json: serde_json::Value =
        serde_json::from_str(&told(&place, &["nat", "show", "--json", "mine.yaml"])).unwrap();
    assert_eq!(json["ports"]["allocation"]["sequential"]["delta"], 2);
    place.assert_clean(&["mine.yaml"]);
}

#[test]
fn a_profile_is_explained_with_its_sources() {
    let place = Place::new();
    insta::assert_snapshot!(told(&place, &["nat", "explain", "openwrt"]));
    insta::assert_snapshot!("explain_chain", told(&place, &["nat", "explain", "cgn"]));
}

#[test]
fn the_kernels_ruleset_is_shown_where_there_is_one() {
    let place = Place::new();
    let rules = told(&place, &["nat", "show", "--nft", "cgn"]);
    assert!(rules.contains("# cgn-home") && rules.contains("# cgn-carrier"), "{rules}");
    let said = refused(&place, &["nat", "show", "--nft", "windows-winnat"]);
    assert!(said.contains("refresh: conntrack") && said.contains("hint: natrig's model can"), "{said}");
}

#[test]
fn a_name_that_no_profile_has_is_answered_with_one_that_is_alike() {
    let place = Place::new();
    let said = refused(&place, &["nat", "show", "open-wrt"]);
    assert!(
        said.contains("`open-wrt`; did you mean `openwrt`?") && said.contains("natrig nat list"),
        "{said}"
    );
    let said = refused(&place, &["nat", "explain", "nowhere.yaml"]);
    assert!(said.contains("cannot read nowhere.yaml"), "{said}");
    let said = refused(&place, &["nat", "explain", "./"]);
    assert!(said.contains("cannot read ./"), "{said}");
}

#[test]
fn a_mistake_in_a_profile_is_shown_at_its_place() {
    let place = Place::new();
    let file = place.work().join("bad.yaml");
    fs::write(&file, "like: port-restrict\ntimers:\n  stream: 30\nports: {parity: true, bloc: {size: 4}}\n")
        .unwrap();
    let said = refused(&place, &["nat", "explain", "bad.yaml"]);
    insta::assert_snapshot!(said);
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(refused(&place, &["nat", "show", "bad.yaml"]).contains("cannot read bad.yaml"));
    fs::write(&file, "a: ".repeat(200_000)).unwrap();
    assert!(refused(&place, &["nat", "show", "bad.yaml"]).contains("262144 bytes"));
    place.assert_clean(&["bad.yaml"]);
}

//! The seed's direct connection, as a test of one's own.

use natrig_rig::{Error, Kind, Outcome, Path, Rig, Source};

#[tokio::test]
async fn two_peers_behind_full_cones_meet_directly() -> Result<(), Error> {
    let direct = Source::file("../../scenarios/seed/scenario-direct.yaml");
    let record = Rig::shared().await?.run(direct).await?;
    assert_eq!(record.outcome, Outcome::AsExpected, "{record}");
    assert_eq!(record.kind(), Some(Kind::Direct), "{record}");
    Ok(())
}

#[tokio::test]
#[ignore = "long: make test-full"]
async fn the_relay_carries_what_cannot_go_directly_any_more() -> Result<(), Error> {
    let cones = "{name: two cones, nat1: full-cone, nat2: full-cone, expected: any}";
    let lab = Rig::shared().await?.lab(cones).await?;
    lab.connect("peer1", "peer2").await?;
    let before = lab.carry("peer1", "peer2").await?;
    assert_eq!(before.path, Path::Direct, "{before}");

    lab.fault("partition [[nat1.wan], [nat2.wan]]").await?;
    lab.expect("pathChanged at peer1 with {to: relay} within 60s").await?;
    let after = lab.carry("peer1", "peer2").await?;
    assert_eq!(after.path, Path::Relay, "{after}");
    Ok(())
}

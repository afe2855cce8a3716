//! What a node shows of itself when the time is stopped.

mod world;

use std::time::Duration;

use serde_json::{Value, json};
use world::nat::{PORT, SYMMETRIC};
use world::talk::connected;
use world::{A, At, B, RELAY, Setup, World};

fn snapshot(world: &World, at: At) -> Value {
    serde_json::to_value(world.node(at).snapshot(world.now)).expect("JSON")
}

#[test]
fn a_relayed_pair_can_be_seen_from_all_three() {
    let (mut world, _) = connected(&Setup::default(), SYMMETRIC, SYMMETRIC);
    world.run_for(Duration::from_secs(20));
    world.send(A, B, vec![1; 500]);
    let (a, b, relay) = (snapshot(&world, A), snapshot(&world, B), snapshot(&world, RELAY));

    assert_eq!(a["id"], json!(world.id(A)));
    assert_eq!(a["detection"]["name"], "symmetric");
    assert_eq!(a["entrances"][0]["stage"], "up");
    assert_eq!(a["messages"], json!([{"to": world.id(B), "bytes": 500}]));
    let peers = a["peers"].as_array().expect("peers");
    let peer = peers.iter().find(|peer| peer["id"] == json!(world.id(B))).expect("B");
    assert_eq!(peer["carrying"], "relay");
    assert_eq!(peer["contact"]["role"], "initiator");
    assert_eq!(peer["contact"]["settled"], true);
    assert!(peer["connection"]["rtt"].as_u64().is_some_and(|rtt| (9_000..40_000).contains(&rtt)), "{peer}");
    assert_eq!(
        a["memberships"],
        json!([{
            "session": relay["sessions"][0]["session"], "relay": world.id(RELAY), "peer": world.id(B),
        }])
    );

    assert_eq!(b["messages"], json!([]));
    assert_eq!(relay["sessions"][0]["members"], json!([world.id(A), world.id(B)]));
    assert_eq!(relay["service"], json!({"relay": {"sessions": 50}}));
    let due = a["timers"]["quic"].as_i64().expect("the message may have to be repeated");
    assert!((0..3_000_000).contains(&due), "{due}");
}

#[test]
fn what_one_has_sent_the_others_have_received_where_nothing_is_lost() {
    let (mut world, _) = connected(&Setup { keep_payloads: true, ..Setup::default() }, PORT, PORT);
    world.send(A, B, vec![1; 50_000]);
    world.run_for(Duration::from_secs(30));
    let counters = world.node(A).counters();
    let arrived = world.payloads.iter().filter(|(at, ..)| *at == A);
    let (datagrams, bytes) =
        arrived.fold((0, 0), |(n, sum), (.., payload)| (n + 1, sum + payload.len() as u64));
    // Answers of STUN servers are no frames of the nodes'.
    let received = counters.received.total();
    let stun = counters.received.stun;
    assert!(stun.datagrams >= 3);
    assert_eq!((received.datagrams, received.bytes), (datagrams, bytes));
    assert!(counters.sent.quic.bytes > 50_000);
    assert!(counters.sent.probe.datagrams > 0 && counters.sent.coordination.datagrams > 0);
    assert_eq!(counters.sent.other.datagrams, 0);
}

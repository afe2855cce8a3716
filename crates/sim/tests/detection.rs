//! What nodes find out about the NAT they are behind.

mod estate;

use std::net::SocketAddr;
use std::time::Duration;

use estate::{Estate, Host};
use omerta_mesh_core::{Allocation, Confidence, Detection, Event, Filtering, Mapping, NatClass};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn detected(profile: &str) -> Detection {
    let mut estate = Estate::new(1);
    let host = estate.home(profile);
    estate.run_for(seconds(5));
    estate.detection(host).expect("a detection")
}

/// T2.1.1, T2.2.1, T2.3.1, T2.4.1 and the public case: each gateway of the table is told from the others.
#[test]
fn every_class_is_told_from_the_others() {
    use Filtering as F;
    use Mapping as M;
    let expected = [
        ("public", NatClass::Public, M::EndpointIndependent, F::EndpointIndependent),
        ("full-cone", NatClass::FullCone, M::EndpointIndependent, F::EndpointIndependent),
        ("addr-restrict", NatClass::AddrRestrict, M::EndpointIndependent, F::AddressDependent),
        ("port-restrict", NatClass::PortRestrict, M::EndpointIndependent, F::AddressAndPortDependent),
        ("symmetric", NatClass::Symmetric, M::AddressAndPortDependent, F::AddressAndPortDependent),
    ];
    for (profile, name, mapping, filtering) in expected {
        let found = detected(profile);
        assert_eq!((found.name, found.mapping, found.filtering), (name, mapping, filtering), "{profile}");
        assert_eq!(found.confidence, Confidence::High, "{profile}");
        assert!(found.observed.is_some(), "{profile}");
    }
}

/// T2.4.2: the ports of a symmetric NAT follow a rule, or they do not.
#[test]
fn ports_that_follow_a_rule_are_told_from_random_ones() {
    assert_eq!(detected("symmetric").allocation, Allocation::Random);
    assert_eq!(detected("symmetric-sequential").allocation, Allocation::Sequential { delta: 1 });
    assert_eq!(detected("port-restrict").allocation, Allocation::Preserving);
    assert_eq!(detected("block-allocated").allocation, Allocation::Random);
}

/// One server that has one address: where we are seen, and no more. Then two of them: how we are mapped.
#[test]
fn plain_servers_tell_as_much_as_they_can() {
    let told = |profile: &str, servers: usize| {
        let mut estate = Estate::without_relay(2);
        let servers: Vec<SocketAddr> = (0..servers).map(|_| estate.relay().address).collect();
        let host = estate.home_with(profile, |config| config.stun = servers);
        estate.run_for(seconds(5));
        estate.detection(host).expect("a detection")
    };
    let one = told("port-restrict", 1);
    assert_eq!(
        (one.name, one.mapping, one.confidence),
        (NatClass::Unknown, Mapping::Unknown, Confidence::Low)
    );
    assert!(one.observed.is_some());
    let two = told("port-restrict", 2);
    assert_eq!((two.mapping, two.filtering), (Mapping::EndpointIndependent, Filtering::Unknown));
    assert_eq!(told("symmetric", 2).name, NatClass::Symmetric);
}

fn warnings(estate: &mut Estate, host: Host) -> usize {
    let warns = |(_, event): &(Duration, Event)| matches!(event, Event::Warning { .. });
    estate.events(host).iter().filter(|told| warns(told)).count()
}

/// The STUN servers are unreachable: a warning, and connections all the same.
#[test]
fn without_any_server_there_is_a_warning_and_the_relay() {
    let mut estate = Estate::new(3);
    let nowhere: SocketAddr = "203.0.113.99:3478".parse().expect("an address");
    let [a, b] = ["symmetric", "symmetric"]
        .map(|profile| estate.home_with(profile, |config| config.stun = vec![nowhere]));
    estate.run_for(seconds(8));
    assert_eq!(warnings(&mut estate, a), 1);
    estate.connect(a, b);
    estate.run_for(seconds(15));
    estate.say(a, b, b"hello");
    estate.run_for(seconds(2));
    let heard = estate.events(b);
    assert!(heard.iter().any(|(_, event)| matches!(event, Event::MessageReceived { .. })), "{heard:#?}");
}

/// What peers see is a second source where no server tells.
#[test]
fn peers_tell_where_they_see_us() {
    let told = |profile: &str, relays: usize| {
        let mut estate = Estate::without_relay(4);
        for _ in 0..relays {
            estate.relay();
        }
        let host = estate.home_with(profile, |config| config.stun.clear());
        estate.run_for(seconds(8));
        estate.detection(host).expect("a detection")
    };
    assert_eq!(told("port-restrict", 4).mapping, Mapping::EndpointIndependent);
    assert_eq!(told("port-restrict", 1).mapping, Mapping::Unknown);
    assert!(told("port-restrict", 1).observed.is_some());
    assert_eq!(told("symmetric", 4).name, NatClass::Symmetric);
    assert_eq!(told("port-restrict", 4).confidence, Confidence::Low, "nobody has told what gets in");
}

/// A NAT that gives other ports is noticed by peers, and measured again when it is said to be another.
#[test]
fn another_network_is_another_detection() {
    let mut estate = Estate::new(5);
    let host = estate.home("full-cone");
    estate.run_for(seconds(5));
    let before = estate.detection(host).expect("a detection");
    estate.gateway(0, |engine, now| engine.rebind(now));
    let now = |node: &mut natrig_sim::MeshNode, io: &mut natrig_sim::Io<'_>| {
        node.with(io, |node, now| node.detect_again(now));
    };
    estate.world.tell(host.machine, 0, now).unwrap();
    estate.run_for(seconds(5));
    let after = estate.detection(host).expect("another detection");
    assert_eq!((after.name, after.confidence), (before.name, before.confidence));
    assert_ne!(after.observed, before.observed);
}

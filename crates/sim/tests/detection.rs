//! What nodes find out about the NAT they are behind.

mod estate;

use std::net::SocketAddr;
use std::time::Duration;

use estate::{Estate, Host};
use natrig_nat::{Preset, Profile};
use omerta_mesh_core::{Allocation, Confidence, Config, Detection, Event, Filtering, Mapping, NatClass};

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

/// T2.5.1: STUN shows the outermost gateway only, and the nearest one says by its port mapping which address it has itself.
#[test]
fn t2_5_1_a_second_nat_is_told_when_the_gateway_says_its_address() {
    let warnings = |estate: &mut Estate, host: Host| -> Vec<String> {
        let warning = |(_, event)| match event {
            Event::Warning { message } => Some(message),
            _ => None,
        };
        estate.events(host).into_iter().filter_map(warning).collect()
    };
    let port_restrict = || Profile::of(Preset::PortRestrict);
    let mut estate = Estate::new(8);
    let carrier = estate.site_behind(port_restrict());
    let home = estate.site_within(carrier, port_restrict());
    let forwarded = |config: &mut Config| config.mapped = vec!["192.168.1.2:4400".parse().unwrap()];
    let (behind_two, behind_one) = (estate.host_with(home, forwarded), estate.home("port-restrict"));
    let mapped = |estate: &mut Estate, host, endpoint: &str| {
        estate.with(host, |node| node.set_mapped_endpoints(vec![endpoint.parse().unwrap()]));
    };
    // One is told before anything is measured, the other afterwards.
    estate.run_for(seconds(5));
    mapped(&mut estate, behind_one, "198.51.100.3:4400");
    estate.run_for(seconds(5));
    assert_eq!(warnings(&mut estate, behind_one), [""; 0]);
    let told = warnings(&mut estate, behind_two);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("192.168.1.2") && told[0].contains("198.51.100.1"), "{told:?}");
    // The same again is no news; another address is.
    mapped(&mut estate, behind_two, "192.168.1.2:4401");
    mapped(&mut estate, behind_one, "100.64.0.9:4400");
    assert_eq!([behind_two, behind_one].map(|host| warnings(&mut estate, host).len()), [0, 1]);
}

//! What stays for as long as nobody wants anything (T4.6), behind gateways that forget a mapping after 30 s.

mod estate;

use std::{net::SocketAddr, num::NonZeroU64, time::Duration};

use estate::{Estate, Host};
use natrig_capture::Direction;
use natrig_netmodel::{Conditions, Queue, Rate};
use natrig_sim::Deed;
use omerta_mesh_core::{Event, PathKind, Service};

const MINUTE: Duration = Duration::from_secs(60);

fn count(events: &[(Duration, Event)], is: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|(_, event)| is(event)).count()
}

/// Nothing that was there went away.
fn assert_calm(events: &[(Duration, Event)], who: &str) {
    let lost = |event: &Event| {
        use Event::{Disconnected, PathChanged, PathFailed, RelayLost, Warning};
        matches!(
            event,
            RelayLost { .. } | Disconnected { .. } | PathFailed { .. } | PathChanged { .. } | Warning { .. }
        )
    };
    assert_eq!(count(events, lost), 0, "{who}: {events:#?}");
}

#[test]
fn t4_6_1_the_connection_to_the_bootstrap_node_stays_for_an_hour() {
    let mut estate = Estate::new(1);
    let homes = ["short-timer", "symmetric", "port-restrict"].map(|nat| (nat, estate.home(nat)));
    estate.run_for(MINUTE);
    for (nat, home) in homes {
        let events = estate.events(home);
        assert_eq!(count(&events, |event| matches!(event, Event::Bootstrapped { .. })), 1, "{nat}");
        assert_eq!(count(&events, |event| matches!(event, Event::RelaySelected { .. })), 1, "{nat}");
    }
    estate.run_for(60 * MINUTE);
    for (nat, home) in homes {
        let events = estate.events(home);
        assert_calm(&events, nat);
        let anew = |event: &Event| matches!(event, Event::Bootstrapped { .. } | Event::RelaySelected { .. });
        assert_eq!(count(&events, anew), 0, "{nat}: {events:#?}");
    }
}

/// T4.6.4 and T4.6.6: a direct path and one over the relay outlive five minutes of silence; the next word takes them at once.
#[test]
fn t4_6_6_five_minutes_of_silence_cost_nothing() {
    for (nats, path) in
        [(["short-timer"; 2], PathKind::Direct), (["symmetric", "short-timer"], PathKind::Relay)]
    {
        // Without the search the second pair stays on the relay.
        let mut estate = Estate::new(2);
        let [a, b] = nats.map(|nat| estate.home_with(nat, |config| config.birthday = false));
        estate.run_for(MINUTE / 4);
        estate.connect(a, b);
        estate.say(a, b, b"first");
        estate.run_for(MINUTE / 2);
        assert_eq!(heard(&mut estate, b).len(), 1, "it may have come before there was a direct path");
        estate.events(a);
        let mut all = Vec::new();
        for _ in 0..5 {
            estate.run_for(MINUTE);
            all.extend(estate.events(a));
            all.extend(estate.events(b));
        }
        assert_calm(&all, nats[0]);
        estate.say(b, a, b"second");
        estate.run_for(Duration::from_millis(200));
        assert_eq!(heard(&mut estate, a), [("second".to_owned(), path)], "{nats:?}");
    }
}

/// T4.6.7: a transfer fills a slow line for three minutes; what goes to the bootstrap node and to the relay beside it is no more
/// than keepalive, goes on, and is answered.
#[test]
fn t4_6_7_keepalive_goes_on_beside_a_transfer_that_fills_the_line() {
    const BITS: u64 = 1_000_000;
    let mut estate = Estate::without_relay(3);
    let bootstrap = estate.public(|config| config.service = Service::Coordinator);
    let relay = estate.relay();
    let [a, b] = ["short-timer"; 2].map(|nat| estate.home(nat));
    estate.run_for(MINUTE / 4);
    estate.connect(a, b);
    estate.run_for(MINUTE / 2);
    let rate = Rate {
        bits_per_second: NonZeroU64::new(BITS).unwrap(),
        queue: Queue::Time(Duration::from_millis(200)),
    };
    let slow = Conditions { rate: Some(rate), ..Conditions::default() };
    estate.world.condition(a.wan, Direction::Inbound, slow);
    estate.world.condition(a.wan, Direction::Outbound, slow);
    for host in [a, b] {
        estate.events(host);
    }
    [a, b].iter().for_each(|host| estate.world.watch(host.machine));
    let begun = estate.world.now();
    // More than the line carries in the time.
    for _ in 0..200 {
        estate.say(a, b, &vec![0; (BITS / 8) as usize]);
    }
    estate.run_for(3 * MINUTE);
    let end = estate.world.now();
    assert_calm(&estate.events(a), "the sender");
    assert_calm(&estate.events(b), "the receiver");
    let seen = estate.world.seen();
    let received = |by: Host| {
        seen.iter().filter(move |seen| seen.machine == by.machine).filter_map(|seen| match &seen.what {
            Deed::Received(packet) => Some((seen.at, packet)),
            _ => None,
        })
    };
    let came: usize = received(b).map(|(_, packet)| packet.len()).sum();
    let room = BITS / 8 * (end - begun).as_secs();
    assert!(came as f64 > 0.9 * room as f64, "the line is not full: {came} of {room} bytes");
    for (server, name) in [(bootstrap, "the bootstrap node"), (relay, "the relay")] {
        let answers = received(a).filter(|(_, packet)| source(packet) == server.address).map(|(at, _)| at);
        let moments: Vec<Duration> = [begun].into_iter().chain(answers).chain([end]).collect();
        let silence = moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(silence < Duration::from_secs(18), "{name} was not heard for {silence:?}");
    }
}

/// Who sent an IPv4 packet with a UDP datagram.
fn source(packet: &[u8]) -> SocketAddr {
    let ip: [u8; 4] = packet[12..16].try_into().unwrap();
    SocketAddr::from((ip, u16::from_be_bytes([packet[20], packet[21]])))
}

/// What a node heard, and by which path.
fn heard(estate: &mut Estate, by: Host) -> Vec<(String, PathKind)> {
    let message = |(_, event)| match event {
        Event::MessageReceived { data, path, .. } => {
            Some((String::from_utf8_lossy(&data).into_owned(), path))
        }
        _ => None,
    };
    estate.events(by).into_iter().filter_map(message).collect()
}

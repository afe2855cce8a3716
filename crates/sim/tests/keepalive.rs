//! What stays for as long as nobody wants anything (T4.6), behind gateways that forget a mapping after 30 s.

mod estate;

use std::time::Duration;

use estate::{Estate, Host};
use omerta_mesh_core::{Event, PathKind};

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

//! What the owners send each other: messages, datagrams and streams, over every kind of path.

mod world;

use std::time::Duration;

use omerta_mesh_core::{
    DatagramFault, Event, NetworkKey, OwnedChange, OwnedStream, PathKind, Protocol, ReadStream, StreamFault,
};
use proptest::prelude::*;
use world::nat::{FULL, PORT, PUBLIC, SYMMETRIC};
use world::talk::connected;
use world::{A, At, B, RELAY, Setup, World};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn bytes(length: usize, salt: u8) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 ^ salt).collect()
}

fn messages(world: &World, at: At) -> Vec<Vec<u8>> {
    let events = world.events.get(&at).map_or(&[][..], |events| &events[..]);
    let data = |(_, event): &(Duration, Event)| match event {
        Event::MessageReceived { data, .. } => Some(data.clone()),
        _ => None,
    };
    events.iter().filter_map(data).collect()
}

fn sent(world: &World, at: At) -> usize {
    world.count(at, |event| matches!(event, Event::Sent { .. }))
}

/// T4.4.1, T4.4.2, T4.4.3, T4.4.5: short and long, of any bytes, in the order of sending.
#[test]
fn messages_of_all_lengths_arrive_whole_and_in_their_order() {
    for (a, b, path) in [(PUBLIC, PUBLIC, PathKind::Direct), (SYMMETRIC, SYMMETRIC, PathKind::Relay)] {
        let (mut world, _) = connected(&Setup::default(), a, b);
        let lengths = [0, 5_000_000, 0, 1, 99, 1_200_001, 7, 70_000, 3];
        let all: Vec<Vec<u8>> = lengths.iter().zip(0..).map(|(&length, salt)| bytes(length, salt)).collect();
        for message in &all {
            world.send(A, B, message.clone());
        }
        let done = |world: &World| messages(world, B).len() == all.len() && sent(world, A) == all.len();
        assert!(world.run_until(seconds(60), done), "{}", messages(&world, B).len());
        assert!(messages(&world, B) == all);
        let over = |event: &Event| matches!(event, Event::MessageReceived { path: by, .. } if *by == path);
        assert_eq!(world.count(B, over), all.len());
    }
}

/// T4.4.4, T4.4.5, T4.4.6, T3.5.2: a thousand a second, over a network that loses and repeats.
#[test]
fn a_thousand_messages_a_second_arrive_in_order_and_once() {
    let setup = Setup { keep_payloads: true, ..Setup::default() };
    let (mut world, _) = connected(&setup, PORT, PORT);
    world.loss = 0.02;
    let all: Vec<Vec<u8>> = (0..3000u32).map(|n| bytes(100, n as u8)).collect();
    for message in &all {
        world.send(A, B, message.clone());
        world.run_for(Duration::from_millis(1));
        // Everything comes twice.
        for (to, from, payload) in std::mem::take(&mut world.payloads) {
            world.inject(to, from, &payload);
        }
        world.payloads.clear();
    }
    let waiting = all.len() - messages(&world, B).len();
    assert!(waiting < 300, "{waiting} have not arrived when the last is sent");
    world.loss = 0.0;
    assert!(world.run_until(seconds(5), |world| sent(world, A) == all.len()));
    world.run_for(seconds(1));
    assert!(messages(&world, B) == all);
}

/// Two that both send much hardly wait for each other. quinn-proto holds acknowledgements back while its window is full, which
/// costs a probe timeout now and then.
#[test]
fn a_transfer_both_ways_takes_hardly_longer_than_one() {
    let took = |both: bool| {
        let (mut world, _) = connected(&Setup::default(), PUBLIC, PUBLIC);
        let begun = world.elapsed();
        world.send(A, B, bytes(5_000_000, 1));
        if both {
            world.send(B, A, bytes(5_000_000, 2));
        }
        let done = |world: &World| sent(world, A) == 1 && (!both || sent(world, B) == 1);
        assert!(world.run_until(seconds(60), done));
        world.elapsed() - begun
    };
    let (one, two) = (took(false), took(true));
    // The first of those timeouts would be 0.3 s.
    assert!(two < one + Duration::from_millis(40), "{one:?} one way, {two:?} both ways");
}

/// Many at once do not wait for a round trip each 64 of them.
#[test]
fn a_burst_of_short_messages_shares_streams() {
    let (mut world, _) = connected(&Setup::default(), PUBLIC, PUBLIC);
    let all: Vec<Vec<u8>> = (0..20_000u32).map(|n| n.to_be_bytes().to_vec()).collect();
    for message in &all {
        world.send(A, B, message.clone());
    }
    assert!(world.run_until(seconds(2), |world| sent(world, A) == all.len()), "{}", sent(&world, A));
    assert!(messages(&world, B) == all);
}

#[test]
fn an_owner_that_takes_nothing_makes_the_sender_wait() {
    let (mut world, _) = connected(&Setup::default(), PUBLIC, PUBLIC);
    let peer = world.id(A);
    world.command(B, |node, now| node.hold_messages(now, &peer, true));
    for n in 0..10 {
        world.send(A, B, bytes(3_000_000, n));
    }
    world.run_for(seconds(5));
    assert_eq!((messages(&world, B).len(), sent(&world, A)), (0, 0));
    world.command(B, |node, now| node.hold_messages(now, &peer, false));
    assert!(world.run_until(seconds(30), |world| sent(world, A) == 10));
    assert!(messages(&world, B).iter().zip(0..).all(|(message, n)| *message == bytes(3_000_000, n)));
}

#[test]
fn datagrams_go_as_they_are_or_not_at_all() {
    for (a, b, path) in [(PUBLIC, PUBLIC, PathKind::Direct), (SYMMETRIC, SYMMETRIC, PathKind::Relay)] {
        let (mut world, _) = connected(&Setup::default(), a, b);
        let peer = world.id(B);
        let longest = world.command(A, |node, _| node.max_datagram(&peer)).expect("taken");
        assert!((1000..1300).contains(&longest), "{longest}");
        let send = |world: &mut World, data: Vec<u8>| {
            world.command(A, |node, now| node.send_datagram(now, &peer, data))
        };
        assert_eq!(send(&mut world, bytes(longest, 1)), Ok(()));
        assert_eq!(send(&mut world, bytes(longest + 1, 1)), Err(DatagramFault::TooLong(longest)));
        let arrived = |world: &World| {
            world.find(B, |event| match event {
                Event::DatagramReceived { data, path, .. } => Some((data.clone(), *path)),
                _ => None,
            })
        };
        assert!(world.run_until(seconds(1), |world| arrived(world).is_some()));
        assert_eq!(arrived(&world), Some((bytes(longest, 1), path)));
        world.loss = 1.0;
        assert_eq!(send(&mut world, bytes(10, 2)), Ok(()));
        world.run_for(Duration::from_millis(100));
        world.loss = 0.0;
        world.run_for(seconds(2));
        assert_eq!(world.count(B, |event| matches!(event, Event::DatagramReceived { .. })), 1);
    }
    let mut world = World::new(&Setup::default(), PUBLIC, PUBLIC);
    let stranger = world.id(B);
    let refused = world.command(A, |node, now| node.send_datagram(now, &stranger, vec![1]));
    assert_eq!(refused, Err(DatagramFault::NotConnected));
}

/// Opens a stream from A; both ends.
fn stream(world: &mut World) -> (OwnedStream, OwnedStream) {
    let peer = world.id(B);
    let before = world.streams.get(&B).map_or(0, Vec::len);
    let ours = world.command(A, |node, now| node.open_stream(now, &peer)).expect("opens");
    let opened = |world: &World| {
        let changes = world.streams.get(&B).map_or(&[][..], |changes| &changes[before..]);
        changes.iter().find(|(_, change)| *change == OwnedChange::Opened).map(|(stream, _)| *stream)
    };
    assert!(world.run_until(seconds(2), |world| opened(world).is_some()));
    (ours, opened(world).expect("opened"))
}

/// Sends `data` from one end to the other as there is room, to its end; what arrived.
fn transfer(world: &mut World, from: (At, OwnedStream), to: (At, OwnedStream), data: &[u8]) -> Vec<u8> {
    let (mut written, mut finished, mut arrived) = (0, false, Vec::new());
    for _ in 0..1_000_000 {
        if written < data.len() {
            let rest = &data[written..];
            written += world.command(from.0, |node, now| node.write_stream(now, from.1, rest)).expect("open");
        } else if !finished {
            finished = world.command(from.0, |node, now| node.finish_stream(now, from.1)).expect("open");
        }
        match world.command(to.0, |node, now| node.read_stream(now, to.1, 100_000)).expect("open") {
            ReadStream::Data(more) => arrived.extend_from_slice(&more),
            ReadStream::Blocked => world.run_for(Duration::from_millis(1)),
            ReadStream::End => return arrived,
        }
    }
    panic!("no end after {} of {} bytes", arrived.len(), data.len())
}

#[test]
fn a_stream_carries_bytes_both_ways_to_its_end() {
    for (a, b) in [(PUBLIC, FULL), (SYMMETRIC, SYMMETRIC)] {
        let (mut world, _) = connected(&Setup::default(), a, b);
        let (ours, theirs) = stream(&mut world);
        let (there, back) = (bytes(3_000_000, 1), bytes(200_000, 2));
        assert!(transfer(&mut world, (A, ours), (B, theirs), &there) == there);
        assert!(transfer(&mut world, (B, theirs), (A, ours), &back) == back);
        world.run_for(seconds(1));
        let written = world.command(A, |node, now| node.write_stream(now, ours, b"more"));
        assert_eq!(written, Err(StreamFault::Ended));
    }
}

#[test]
fn streams_are_counted_and_broken_off() {
    let (mut world, _) = connected(&Setup::default(), PUBLIC, PUBLIC);
    let streams: Vec<_> = (0..16).map(|_| stream(&mut world)).collect();
    // What goes beyond is broken off at once.
    let peer = world.id(B);
    let beyond = world.command(A, |node, now| node.open_stream(now, &peer)).expect("opens");
    world.run_for(seconds(1));
    let write =
        |world: &mut World, stream| world.command(A, |node, now| node.write_stream(now, stream, b"x"));
    assert_eq!(write(&mut world, beyond), Err(StreamFault::Ended));
    // The mesh goes on.
    world.send(A, B, vec![1]);
    assert!(world.run_until(seconds(1), |world| sent(world, A) == 1));
    // One that is dropped makes room for another.
    let (ours, theirs) = streams[0];
    world.command(B, |node, now| node.drop_stream(now, theirs, false));
    world.run_for(seconds(1));
    assert_eq!(write(&mut world, ours), Err(StreamFault::Ended));
    world.command(A, |node, now| node.drop_stream(now, ours, false));
    world.run_for(seconds(1));
    let (_, theirs) = stream(&mut world);
    world.command(A, |node, now| node.disconnect(now, &peer));
    world.run_for(seconds(1));
    let read = world.command(B, |node, now| node.read_stream(now, theirs, 10));
    assert_eq!(read, Err(StreamFault::NotConnected));
    assert_eq!(world.count(B, |event| matches!(event, Event::Disconnected { .. })), 1);
}

/// The relay carries what it cannot read, with the cryptography that the daemon has.
#[test]
fn what_the_relay_saw_holds_no_plaintext() {
    let setup = Setup { keep_payloads: true, ..Setup::default() };
    let (mut world, _) = connected(&setup, SYMMETRIC, SYMMETRIC);
    let secret = b"a sentence that nobody else shall read, ever again. ".repeat(200);
    let peer = world.id(B);
    world.send(A, B, secret.clone());
    world
        .command(A, |node, now| node.send_datagram(now, &peer, secret[..500].to_vec()))
        .expect("short enough");
    let (ours, theirs) = stream(&mut world);
    assert!(transfer(&mut world, (A, ours), (B, theirs), &secret) == secret);
    assert!(messages(&world, B) == [secret.clone()]);

    let seen: Vec<&[u8]> =
        world.payloads.iter().filter(|(to, ..)| *to == RELAY).map(|(.., payload)| &payload[..]).collect();
    let carried: usize = seen.iter().map(|payload| payload.len()).sum();
    assert!(carried > 2 * secret.len(), "it went through the relay");
    let relayed = |payload: &&&[u8]| matches!(Protocol::of(payload), Some(Protocol::Mesh(_)));
    assert!(seen.iter().filter(relayed).count() > 20);
    let holds = |payload: &[u8]| secret.windows(8).take(60).any(|part| contains(payload, part));
    assert!(!seen.iter().any(|payload| holds(payload)));
    assert!(holds(&secret[100..400]), "it would have been found");
}

fn contains(payload: &[u8], part: &[u8]) -> bool {
    payload.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_node_without_the_network_key_is_refused_and_told_so() {
    let key = |byte| Some(NetworkKey::from_bytes([byte; 32]));
    let setup = Setup { networks: [key(1), key(1), None], ..Setup::default() };
    let mut world = World::new(&setup, PUBLIC, FULL);
    world.run_for(seconds(5));
    let bootstrapped =
        |world: &World, at| world.count(at, |event| matches!(event, Event::Bootstrapped { .. }));
    assert_eq!((bootstrapped(&world, A), bootstrapped(&world, B)), (1, 0));
    let told = world.find(B, |event| match event {
        Event::Error { message } if message.contains("another network") => Some(message.clone()),
        _ => None,
    });
    assert!(told.is_some_and(|told| told.contains("network key")), "{:#?}", world.events.get(&B));
    let refused =
        world.count(RELAY, |event| matches!(event, Event::Rejected { why, .. } if why.contains("network")));
    assert!(refused > 0);

    let setup = Setup { networks: [key(1); 3], ..Setup::default() };
    let (mut world, _) = connected(&setup, PORT, SYMMETRIC);
    world.send(A, B, vec![1]);
    assert!(world.run_until(seconds(1), |world| messages(world, B).len() == 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Messages, whatever the owners do in between, in both directions over a network that loses.
    #[test]
    fn random_talk_keeps_order(
        steps in proptest::collection::vec((any::<bool>(), 0usize..5000, 0u64..30), 1..60),
        loss in 0.0f64..0.1,
    ) {
        let (mut world, _) = connected(&Setup::default(), PUBLIC, FULL);
        world.loss = loss;
        let mut said = [Vec::new(), Vec::new()];
        for (n, (by_a, length, pause)) in steps.into_iter().enumerate() {
            let message = bytes(length, n as u8);
            said[usize::from(by_a)].push(message.clone());
            match by_a {
                true => world.send(A, B, message),
                false => world.send(B, A, message),
            }
            world.run_for(Duration::from_millis(pause));
        }
        world.loss = 0.0;
        let [to_a, to_b] = said;
        let done = |world: &World| {
            messages(world, A).len() >= to_a.len() && messages(world, B).len() >= to_b.len()
        };
        prop_assert!(world.run_until(seconds(20), done));
        prop_assert!(messages(&world, A) == to_a && messages(&world, B) == to_b);
    }
}

//! What the links of a switch do to frames is what `netmodel` decides, frame by frame.
//!
//! The capture tells when each frame entered. A link of the same seed is asked about the same frames at the same times,
//! and what it decides must have happened: nothing here depends on how fast the host is.

mod segment;

use std::num::NonZeroU64;
use std::time::Duration;

use natrig_capture::{DropReason, Frame, Trace};
use natrig_netmodel::{
    Cause, Chance, Distribution, Fate, GilbertElliott, Jitter, Link, Probability, Queue, Rate, seed_for,
};
use natrig_wire::{Conditions, Direction, Switch};
use segment::{IPV4, Machine, introduce, segment_of, trace};

const SEED: u64 = 7;
const FRAMES: usize = 300;
const PAYLOAD: usize = 200;

/// What is decided about a frame on the way into the switch: its drop, or each of its copies as it is delivered.
#[derive(Debug, PartialEq)]
enum Decided {
    Dropped(DropReason),
    Delivered(Vec<Vec<u8>>),
}

/// Sends frames from one machine to another over a link with conditions; gives the frames, and when each copy is due.
fn sent(conditions: Conditions) -> (Trace, Vec<(Frame, Vec<u64>)>) {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Switch::builder();
    builder.seed(SEED).capture_into(folder.path());
    let segment = builder.segment();
    let mut machines = ["a", "b"]
        .map(|name| builder.port(segment, name).unwrap())
        .into_iter()
        .zip(1..)
        .map(|(port, number)| Machine::new(number, port));
    let mut machines = [machines.next().unwrap(), machines.next().unwrap()];
    let switch = builder.start().unwrap();
    introduce(&mut machines);
    let [a, b] = &mut machines;
    switch.condition(a.port, Direction::Inbound, conditions).unwrap();
    let payload = |n: usize| [vec![n as u8; PAYLOAD], (n as u32).to_be_bytes().to_vec()].concat();
    (0..FRAMES).for_each(|n| a.send(2, IPV4, &payload(n)));

    // All have entered then, and so it is known how many will come.
    let copies = |(_, decided, _): (_, Decided, _)| match decided {
        Decided::Dropped(_) => 0,
        Decided::Delivered(copies) => copies.len(),
    };
    let coming = expected(&trace(&switch, folder.path()), conditions).into_iter().map(copies).sum();
    let received: Vec<_> = (0..coming).map(|_| b.receive()).collect();
    let trace = trace(&switch, folder.path());
    assert!(b.has_nothing());
    let mut due = Vec::new();
    for (frame, decided, at) in expected(&trace, conditions) {
        let happened = match frame.drops.first() {
            Some(drop) => Decided::Dropped(drop.reason),
            None => Decided::Delivered(frame.to.iter().map(|delivery| delivery.data.to_vec()).collect()),
        };
        assert_eq!(happened, decided, "frame {}", frame.id);
        assert!(
            frame.to.iter().zip(&at).all(|(delivery, at)| delivery.at_ns >= *at),
            "frame {} was early",
            frame.id
        );
        due.push((frame, at));
    }
    let mut arrivals: Vec<_> = due
        .iter()
        .flat_map(|(frame, at)| {
            frame.to.iter().zip(at).map(|(delivery, due)| (*due, frame.id, &delivery.data))
        })
        .collect();
    arrivals.sort_by_key(|(due, id, _)| (*due, *id));
    assert!(arrivals.into_iter().map(|(.., data)| data).eq(&received), "frames came out of turn");
    (trace, due)
}

/// What a link of the same seed decides about the frames of a trace.
fn expected(trace: &Trace, conditions: Conditions) -> Vec<(Frame, Decided, Vec<u64>)> {
    let mut link = Link::new(conditions, seed_for(SEED, "a inbound"));
    // The first two are introductions.
    let frames = trace.frames().iter().skip(2);
    let decide = |frame: &Frame| {
        let start = Duration::from_nanos(frame.at_ns);
        let (decided, at) = match link.decide(start, frame.data.len()) {
            Fate::Lost(Cause::Cut) => (Decided::Dropped(DropReason::Cut), Vec::new()),
            Fate::Lost(Cause::Loss) => (Decided::Dropped(DropReason::Loss), Vec::new()),
            Fate::Lost(Cause::QueueFull) => (Decided::Dropped(DropReason::LinkQueueFull), Vec::new()),
            Fate::Departs(departures) => {
                let copies = departures.map(|departure| {
                    let mut data = frame.data.to_vec();
                    departure.flipped.inspect(|bit| bit.flip(&mut data));
                    (data, departure.at.as_nanos() as u64)
                });
                let (copies, at) = copies.unzip();
                (Decided::Delivered(copies), at)
            }
        };
        (frame.clone(), decided, at)
    };
    frames.map(decide).collect()
}

fn chance(chance: f64) -> Chance {
    Probability::new(chance).unwrap().into()
}

fn delayed(ms: u64) -> Conditions {
    Conditions::delayed(Duration::from_millis(ms))
}

#[test]
fn losses_come_in_bursts() {
    let bursts = GilbertElliott::simple(Probability::new(0.3).unwrap(), 10.0);
    let (_, frames) = sent(Conditions { bursts, ..Conditions::default() });
    let lost: Vec<_> = frames.iter().map(|(frame, _)| !frame.drops.is_empty()).collect();
    let runs: Vec<_> = lost.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[_]>::len).collect();
    assert!(runs.iter().any(|run| *run >= 10), "{runs:?}");
}

#[test]
fn correlated_losses_are_those_of_the_link() {
    let correlation = Probability::new(0.5).unwrap();
    let (_, frames) =
        sent(Conditions { loss: Chance { correlation, ..chance(0.3) }, ..Conditions::default() });
    assert!(frames.iter().any(|(frame, _)| !frame.drops.is_empty()));
}

#[test]
fn a_duplicate_is_a_second_delivery_of_the_same_frame() {
    for conditions in [Conditions::default(), delayed(20)] {
        let (trace, frames) = sent(Conditions { duplicate: chance(0.3), ..conditions });
        assert_eq!(trace.frames().len(), FRAMES + 2, "a copy is no frame of its own");
        let twice = frames.iter().filter(|(frame, _)| frame.to.len() == 2);
        assert!((30..150).contains(&twice.count()));
        assert!(frames.iter().all(|(frame, _)| (1..=2).contains(&frame.to.len())));
    }
}

#[test]
fn a_reordered_frame_overtakes_those_that_are_delayed() {
    let (_, frames) = sent(Conditions { reorder: chance(0.2), ..delayed(200) });
    let (hurried, delayed): (Vec<_>, Vec<_>) = frames.iter().partition(|(frame, due)| due[0] == frame.at_ns);
    assert!((20..120).contains(&hurried.len()));
    for (frame, _) in delayed {
        assert!(frame.to[0].at_ns - frame.at_ns >= 200_000_000);
    }
}

#[test]
fn a_damaged_frame_differs_in_one_bit() {
    let (_, frames) =
        sent(Conditions { corrupt: chance(0.3), duplicate: chance(0.5), ..Conditions::default() });
    let mut damaged = [0, 0];
    for (frame, _) in &frames {
        for (delivery, damaged) in frame.to.iter().zip(&mut damaged) {
            let bits = frame.data.iter().zip(&delivery.data).map(|(sent, came)| (sent ^ came).count_ones());
            assert_eq!(frame.data.len(), delivery.data.len());
            match bits.sum() {
                0 => {}
                1 => *damaged += 1,
                more => panic!("frame {} came with {more} bits changed", frame.id),
            }
        }
    }
    assert!(damaged[0] > 40 && damaged[1] > 20, "{damaged:?}");
}

#[test]
fn jitter_keeps_the_order_unless_it_may_not() {
    let spread = Duration::from_millis(20);
    for distribution in [Distribution::Uniform, Distribution::Normal, Distribution::Pareto] {
        for overtaking in [false, true] {
            let jitter = Jitter { spread, distribution, overtaking, ..Jitter::default() };
            let (_, frames) = sent(Conditions { jitter, ..delayed(50) });
            let due: Vec<_> = frames.iter().map(|(_, due)| due[0]).collect();
            assert_eq!(due.is_sorted(), !overtaking, "{distribution:?}");
        }
    }
}

/// Frames that are not delayed at all wait for those that are just due, on the second of two links as well.
#[test]
fn a_short_jitter_keeps_the_order() {
    let (switch, mut machines) = segment_of::<2>(None);
    introduce(&mut machines);
    let [a, b] = &mut machines;
    let jitter = Jitter { spread: Duration::from_micros(30), ..Jitter::default() };
    let conditions = Conditions { jitter, ..Conditions::default() };
    switch.condition(a.port, Direction::Inbound, conditions).unwrap();
    switch.condition(b.port, Direction::Outbound, conditions).unwrap();
    // No more at once than wait for a machine.
    for batch in 0..40 {
        let numbers = batch * 500..(batch + 1) * 500u32;
        std::thread::scope(|scope| {
            scope.spawn(|| numbers.clone().for_each(|n| a.send(2, IPV4, &n.to_be_bytes())));
            numbers.clone().for_each(|n| assert_eq!(b.payload(), n.to_be_bytes()));
        });
    }
}

#[test]
fn a_rate_is_kept_and_what_its_queue_does_not_take_is_dropped() {
    // 4.36 ms for each frame.
    let bits_per_second = NonZeroU64::new(400_000).unwrap();
    for queue in [Queue::Time(Duration::from_millis(50)), Queue::Bytes(2500)] {
        let (_, frames) = sent(Conditions { rate: Some(Rate { bits_per_second, queue }), ..delayed(5) });
        let dropped = frames.iter().filter(|(frame, _)| !frame.drops.is_empty()).count();
        assert!(dropped > 0, "they came faster than that");
        let due: Vec<_> = frames.iter().filter_map(|(_, due)| due.first()).collect();
        for pair in due.windows(2) {
            // To the nanosecond that is begun.
            assert!(pair[1] - pair[0] >= 218 * 8 * 2500 - 1);
        }
    }
}

#[test]
fn all_conditions_at_once_are_those_of_the_link() {
    let queue = Queue::Bytes(20_000);
    sent(Conditions {
        rate: Some(Rate { bits_per_second: NonZeroU64::new(2_000_000).unwrap(), queue }),
        jitter: Jitter { spread: Duration::from_millis(10), ..Jitter::default() },
        loss: chance(0.05),
        bursts: GilbertElliott::simple(Probability::new(0.1).unwrap(), 5.0),
        duplicate: chance(0.1),
        reorder: chance(0.1),
        corrupt: chance(0.1),
        ..delayed(20)
    });
}

#[test]
fn a_link_that_its_conditions_cut_is_restored_to_the_rest_of_them() {
    let (switch, mut machines) = segment_of::<2>(None);
    introduce(&mut machines);
    let [a, b] = &mut machines;
    switch.condition(b.port, Direction::Outbound, Conditions { cut: true, ..delayed(30) }).unwrap();
    a.send(2, IPV4, b"to the cut");
    switch.flush().unwrap();
    assert_eq!(switch.stats().unwrap().port(b.port).dropped(DropReason::Cut), 1);
    switch.heal(b.port).unwrap();
    a.send(2, IPV4, b"still cut");
    switch.flush().unwrap();
    assert_eq!(switch.stats().unwrap().port(b.port).dropped(DropReason::Cut), 2);
    switch.restore(b.port).unwrap();
    let start = std::time::Instant::now();
    a.send(2, IPV4, b"restored");
    assert_eq!(b.payload(), b"restored");
    assert!(start.elapsed() >= Duration::from_millis(30));
}

/// The way out has a source of its own, and what is damaged there was forwarded as it came.
#[test]
fn the_way_to_a_machine_has_its_own_conditions() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Switch::builder();
    builder.seed(SEED).capture_into(folder.path());
    let segment = builder.segment();
    let mut a = Machine::new(1, builder.port(segment, "a").unwrap());
    let b = Machine::new(2, builder.port(segment, "b").unwrap());
    let switch = builder.start().unwrap();
    let some = chance(0.3);
    let conditions = Conditions { loss: some, duplicate: some, corrupt: some, ..Conditions::default() };
    switch.condition(b.port, Direction::Outbound, conditions).unwrap();
    (0..FRAMES).for_each(|n| a.send(2, IPV4, &[n as u8; PAYLOAD]));
    let mut link = Link::new(conditions, seed_for(SEED, "b outbound"));
    let trace = trace(&switch, folder.path());
    assert_eq!(trace.frames().len(), FRAMES);
    for frame in trace.frames() {
        let copies: Vec<_> = frame.to.iter().map(|delivery| delivery.data.to_vec()).collect();
        match link.decide(Duration::ZERO, frame.data.len()) {
            Fate::Lost(_) => assert!(copies.is_empty() && frame.drops[0].reason == DropReason::Loss),
            Fate::Departs(departures) => {
                let decided = departures.map(|departure| {
                    let mut data = frame.data.to_vec();
                    departure.flipped.inspect(|bit| bit.flip(&mut data));
                    data
                });
                assert_eq!(copies, decided.collect::<Vec<_>>());
            }
        }
    }
}

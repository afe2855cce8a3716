//! A switch between machines that are the far ends of its cables.

mod segment;

use std::io::{Read, Write};
use std::time::Duration;

use natrig_capture::{DropReason, Trace};
use natrig_wire::{
    BuildError, Closed, Conditions, Direction, MAX_FRAME, QUEUE_FRAMES, Switch, SwitchBuilder, SwitchError,
};
use segment::{
    ARP, BROADCAST, IPV4, Machine, PATIENCE, frame, introduce, segment_of, trace, wait_until, way,
};

#[test]
fn frames_pass_untouched_in_order() {
    let (_switch, mut machines) = segment_of::<2>(None);
    introduce(&mut machines);
    let [a, b] = &mut machines;
    let lengths = [14, 15, 60, 1514, 9000, MAX_FRAME];
    let sent: Vec<_> = (0..200u32)
        .map(|n| {
            let mut frame = frame(2, 1, IPV4, &[]);
            frame.resize(lengths[n as usize % lengths.len()], n as u8);
            frame
        })
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| sent.iter().for_each(|frame| a.send_raw(frame)));
        for frame in &sent {
            assert!(b.receive() == *frame, "a frame came changed or out of order");
        }
    });
}

#[test]
fn a_segment_is_all_a_machine_reaches() {
    let mut builder = Switch::builder();
    let [lan1, lan2] = [builder.segment(), builder.segment()];
    let mut a = Machine::new(1, builder.port(lan1, "a").unwrap());
    let mut b = Machine::new(2, builder.port(lan1, "b").unwrap());
    let mut far = Machine::new(3, builder.port(lan2, "far").unwrap());
    let switch = builder.start().unwrap();
    // The far machine is known by its address; neither that, a flood, nor a foreign address gets to it.
    far.send(BROADCAST, ARP, b"here I am");
    for (to, ether_type) in [(3, IPV4), (BROADCAST, ARP), (9, IPV4), (BROADCAST, [0x81, 0x00])] {
        a.send(to, ether_type, b"hello");
        assert_eq!(b.payload(), b"hello");
    }
    switch.flush().unwrap();
    assert!(far.has_nothing());
    assert!(a.has_nothing());
    let stats = switch.stats().unwrap();
    assert_eq!(stats.delivered(a.port, far.port).frames, 0);
    assert_eq!(stats.delivered(a.port, b.port).frames, 4);
    assert_eq!(stats.port(far.port).entered.frames, 1);
}

#[test]
fn what_is_learnt_is_no_longer_flooded() {
    let (switch, mut machines) = segment_of::<3>(None);
    let [a, b, c] = &mut machines;
    a.send(2, IPV4, b"where are you");
    assert_eq!(b.payload(), b"where are you");
    assert_eq!(c.payload(), b"where are you");
    b.send(1, IPV4, b"here");
    assert_eq!(a.payload(), b"here");
    a.send(2, IPV4, b"hello");
    assert_eq!(b.payload(), b"hello");
    switch.flush().unwrap();
    assert!(c.has_nothing());
}

#[test]
fn a_forged_address_changes_no_attribution() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<3>(Some(folder.path()));
    introduce(&mut machines);
    let [_, b, liar] = &mut machines;
    liar.send_raw(&frame(2, 1, IPV4, b"I am machine 1"));
    assert_eq!(b.payload(), b"I am machine 1");
    let trace = trace(&switch, folder.path());
    let (frame, to, _) = way(&trace, b"I am machine 1");
    assert_eq!(trace.name(frame.from), "m3");
    assert_eq!(to, ["m2"]);
    assert_eq!(switch.counts(liar.port, b.port).unwrap().frames, 2);
}

#[test]
fn a_cut_link_carries_nothing_until_it_is_healed() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    introduce(&mut machines);
    let [a, b] = &mut machines;
    switch.cut(b.port).unwrap();
    a.send(2, IPV4, b"to the cut");
    b.send(1, IPV4, b"from the cut");
    switch.flush().unwrap();
    switch.heal(b.port).unwrap();
    a.send(2, IPV4, b"healed");
    assert_eq!(b.payload(), b"healed");
    assert!(a.has_nothing());

    let trace = trace(&switch, folder.path());
    for payload in [&b"to the cut"[..], b"from the cut"] {
        let (_, to, drops) = way(&trace, payload);
        assert!(to.is_empty());
        assert_eq!(drops, [("m2", DropReason::Cut)]);
    }
    let stats = switch.stats().unwrap();
    assert_eq!(stats.port(b.port).dropped(DropReason::Cut), 2);
    assert!(!stats.port(b.port).cut);
}

#[test]
fn what_is_on_a_link_when_it_is_cut_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    introduce(&mut machines);
    let [a, b] = &mut machines;
    let slow = Conditions::delayed(Duration::from_secs(3600));
    switch.condition(b.port, Direction::Outbound, slow).unwrap();
    switch.condition(a.port, Direction::Inbound, slow).unwrap();
    a.send(2, IPV4, b"on the way in");
    switch.flush().unwrap();
    switch.cut(b.port).unwrap();
    assert_eq!(switch.stats().unwrap().port(a.port).dropped(DropReason::Cut), 0, "this is another link");
    switch.cut(a.port).unwrap();
    let trace = trace(&switch, folder.path());
    assert_eq!(way(&trace, b"on the way in").2, [("m1", DropReason::Cut)]);
}

#[test]
fn a_block_takes_packets_in_one_direction_and_lets_arp_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<3>(Some(folder.path()));
    introduce(&mut machines);
    let [a, b, c] = &mut machines;
    switch.block(a.port, b.port).unwrap();
    a.send(2, IPV4, b"blocked");
    a.send(BROADCAST, IPV4, b"to all");
    a.send(2, ARP, b"who has");
    assert_eq!(b.payload(), b"who has");
    assert_eq!(c.payload(), b"to all");
    b.send(1, IPV4, b"the other way");
    assert_eq!(a.payload(), b"the other way");
    switch.unblock(a.port, b.port).unwrap();
    a.send(2, IPV4, b"unblocked");
    assert_eq!(b.payload(), b"unblocked");

    let trace = trace(&switch, folder.path());
    assert_eq!(way(&trace, b"blocked").2, [("m2", DropReason::Blocked)]);
    let (_, to, drops) = way(&trace, b"to all");
    assert_eq!((to, drops), (vec!["m3"], vec![("m2", DropReason::Blocked)]));
}

#[test]
fn a_delay_is_kept_in_each_direction() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    introduce(&mut machines);
    let [a, b] = &mut machines;
    let (inbound, outbound) = (Duration::from_millis(30), Duration::from_millis(20));
    switch.condition(a.port, Direction::Inbound, Conditions::delayed(inbound)).unwrap();
    switch.condition(b.port, Direction::Outbound, Conditions::delayed(outbound)).unwrap();
    let payloads: Vec<_> = (0..50).map(|n| format!("slow {n:02}")).collect();
    for payload in &payloads {
        a.send(2, IPV4, payload.as_bytes());
    }
    for payload in &payloads {
        assert_eq!(b.payload(), payload.as_bytes());
    }
    b.send(1, IPV4, b"fast");
    assert_eq!(a.payload(), b"fast");

    let trace = trace(&switch, folder.path());
    for payload in &payloads {
        let (frame, ..) = way(&trace, payload.as_bytes());
        let took = Duration::from_nanos(frame.to[0].at_ns - frame.at_ns);
        assert!(took >= inbound + outbound, "{took:?}");
    }
}

#[test]
fn a_shorter_delay_overtakes_nothing() {
    let (switch, mut machines) = segment_of::<2>(None);
    introduce(&mut machines);
    let [a, b] = &mut machines;
    let slow = Conditions::delayed(Duration::from_millis(50));
    switch.condition(b.port, Direction::Outbound, slow).unwrap();
    a.send(2, IPV4, b"first");
    switch.flush().unwrap();
    switch.condition(b.port, Direction::Outbound, Conditions::default()).unwrap();
    a.send(2, IPV4, b"second");
    assert_eq!(b.payload(), b"first");
    assert_eq!(b.payload(), b"second");
}

#[test]
fn loss_is_a_function_of_the_seed() {
    let lost = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let mut builder = Switch::builder();
        builder.seed(seed).capture_into(folder.path());
        let segment = builder.segment();
        let mut a = Machine::new(1, builder.port(segment, "a").unwrap());
        let b = Machine::new(2, builder.port(segment, "b").unwrap());
        let switch = builder.start().unwrap();
        let half = Conditions::lossy(0.5.try_into().unwrap());
        switch.condition(a.port, Direction::Inbound, half).unwrap();
        for n in 0..200u8 {
            a.send(2, IPV4, &[n]);
        }
        let trace = trace(&switch, folder.path());
        assert_eq!(switch.counts(a.port, b.port).unwrap().frames as usize, {
            trace.frames().iter().filter(|frame| !frame.to.is_empty()).count()
        });
        trace.frames().iter().map(|frame| frame.drops.len()).collect::<Vec<_>>()
    };
    let once = lost(7);
    assert_eq!(once.len(), 200);
    assert!((50..150).contains(&once.iter().sum::<usize>()));
    assert_eq!(once, lost(7));
    assert_ne!(once, lost(8));
}

#[test]
fn all_records_of_a_frame_share_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<3>(Some(folder.path()));
    let before = switch.clock().now();
    introduce(&mut machines);
    let trace = trace(&switch, folder.path());
    let after = switch.clock().now();
    assert_eq!(trace.links(), ["m1", "m2", "m3"]);
    assert_eq!(trace.frames().len(), 3);
    for (index, frame) in trace.frames().iter().enumerate() {
        assert_eq!(frame.from.index(), machines[index].port.index());
        let mut to: Vec<_> = frame.to.iter().map(|delivery| delivery.link.index()).collect();
        to.sort_unstable();
        assert_eq!(to, (0..3).filter(|other| *other != index).collect::<Vec<_>>());
        for delivery in &frame.to {
            assert!(before <= frame.at_ns && frame.at_ns <= delivery.at_ns && delivery.at_ns <= after);
            assert_eq!(delivery.data, frame.data);
        }
    }
}

#[test]
fn a_flush_shows_what_was_sent_before() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    for n in 0..100u32 {
        machines[0].send(2, IPV4, &n.to_be_bytes());
        let trace = trace(&switch, folder.path());
        let (_, to, _) = way(&trace, &n.to_be_bytes());
        assert_eq!(to, ["m2"]);
    }
}

#[test]
fn a_trace_can_be_read_while_frames_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    introduce(&mut machines);
    let [a, b] = &mut machines;
    let mut seen = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..5000u32 {
                a.send(2, IPV4, &n.to_be_bytes());
                assert_eq!(b.payload(), n.to_be_bytes());
            }
        });
        while seen < 5002 {
            let frames = trace(&switch, folder.path()).frames().len();
            assert!(frames >= seen);
            seen = frames;
        }
    });
}

/// Sends to a machine that does not read until frames are dropped; tells how many were sent.
fn overwhelm(switch: &Switch, sender: &mut Machine, sleeper: &Machine, payload: &[u8]) -> u64 {
    let mut sent = 0;
    wait_until("the queue is full", || {
        for _ in 0..100 {
            sender.send(sleeper.number, IPV4, payload);
        }
        sent += 100;
        switch.stats().unwrap().port(sleeper.port).dropped(DropReason::QueueFull) > 0
    });
    switch.flush().unwrap();
    assert_eq!(switch.stats().unwrap().port(sleeper.port).waiting, QUEUE_FRAMES);
    sent
}

#[test]
fn a_machine_that_does_not_read_loses_frames_and_slows_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<3>(Some(folder.path()));
    introduce(&mut machines);
    let [a, sleeper, b] = &mut machines;
    let payload = [7; 1000];
    let sent = overwhelm(&switch, a, sleeper, &payload);
    a.send(3, IPV4, b"still awake");
    assert_eq!(b.payload(), b"still awake");

    // It wakes: what waited comes, and all is accounted for.
    let dropped = switch.stats().unwrap().port(sleeper.port).dropped(DropReason::QueueFull);
    for _ in 0..sent - dropped {
        assert_eq!(sleeper.payload(), payload);
    }
    assert_eq!(switch.counts(a.port, sleeper.port).unwrap().frames, sent - dropped + 1);
    let trace = trace(&switch, folder.path());
    let recorded = trace.frames().iter().flat_map(|frame| &frame.drops);
    assert_eq!(recorded.filter(|drop| drop.reason == DropReason::QueueFull).count() as u64, dropped);
}

#[test]
fn what_waits_for_a_machine_that_is_cut_off_is_lost_in_whole_frames() {
    let (switch, mut machines) = segment_of::<2>(None);
    introduce(&mut machines);
    let [a, sleeper] = &mut machines;
    // Longer than what is left of the socket's room: some frame is written in part when the link is cut.
    let payload = [7; 5000];
    let sent = overwhelm(&switch, a, sleeper, &payload);
    switch.cut(sleeper.port).unwrap();
    let stats = switch.stats().unwrap().port(sleeper.port);
    assert!(stats.waiting <= 1);
    let dropped = stats.dropped(DropReason::QueueFull) + stats.dropped(DropReason::Cut);
    assert!(stats.dropped(DropReason::Cut) >= QUEUE_FRAMES as u64 - 1);
    switch.heal(sleeper.port).unwrap();
    for _ in 0..sent - dropped {
        assert_eq!(sleeper.payload(), payload);
    }
    a.send(2, IPV4, b"after");
    assert_eq!(sleeper.payload(), b"after");
}

#[test]
fn the_last_words_of_a_machine_that_did_not_read_are_heard() {
    let (switch, mut machines) = segment_of::<2>(None);
    introduce(&mut machines);
    let [mut a, mut sleeper] = machines;
    overwhelm(&switch, &mut a, &sleeper, &[7; 1000]);
    sleeper.send(1, IPV4, b"last words");
    drop(sleeper);
    assert_eq!(a.payload(), b"last words");
}

#[test]
fn an_impossible_length_closes_the_port_and_no_other() {
    let (switch, mut machines) = segment_of::<3>(None);
    introduce(&mut machines);
    let [a, b, villain] = &mut machines;
    let length = MAX_FRAME as u32 + 1;
    villain.cable.write_all(&length.to_be_bytes()).unwrap();
    switch.flush().unwrap();
    let closed = switch.stats().unwrap().port(villain.port).closed;
    assert_eq!(closed, Some(Closed::FrameTooLong { length }));
    assert_eq!(villain.cable.read(&mut [0]).unwrap(), 0, "the cable is closed");
    a.send(BROADCAST, IPV4, b"hello");
    assert_eq!(b.payload(), b"hello");
}

#[test]
fn a_runt_is_recorded_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    machines[0].send_raw(b"");
    machines[0].send_raw(b"thirteen byte");
    let trace = trace(&switch, folder.path());
    assert_eq!(trace.frames().len(), 2);
    for frame in trace.frames() {
        assert!(frame.to.is_empty());
        assert_eq!(frame.drops[0].reason, DropReason::Runt);
    }
}

#[test]
fn a_machine_that_went_away_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<3>(Some(folder.path()));
    introduce(&mut machines);
    let [mut a, mut b, mut c] = machines;
    b.send(1, IPV4, b"last words");
    let port = b.port;
    drop(b);
    wait_until("the port is closed", || switch.stats().unwrap().port(port).closed == Some(Closed::HungUp));
    assert_eq!(a.payload(), b"last words");
    // Nobody knows any more where it is.
    a.send(2, IPV4, b"to whom it may concern");
    assert_eq!(c.payload(), b"to whom it may concern");

    let mut b = Machine::new(2, (port, switch.replug(port).unwrap()));
    assert_eq!(switch.stats().unwrap().port(port).closed, None);
    a.send(2, IPV4, b"welcome back");
    assert_eq!(b.payload(), b"welcome back");
    let trace = trace(&switch, folder.path());
    assert_eq!(way(&trace, b"to whom it may concern").1, ["m3"]);
}

#[test]
fn a_stopped_switch_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    introduce(&mut machines);
    switch.stop().unwrap();
    switch.stop().unwrap();
    assert_eq!(machines[0].cable.read(&mut [0]).unwrap(), 0, "the cable is closed");
    let error = switch.cut(machines[0].port).unwrap_err();
    assert_eq!(error.to_string(), "the switch has stopped");
    // Without a flush, what was seen is in the files.
    assert_eq!(Trace::read_folder(folder.path()).unwrap().frames().len(), 2);
}

#[test]
fn a_capture_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    // A device that is always full takes the place of a link's capture.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("m1.pcapng")).unwrap();
    let mut builder: SwitchBuilder = Switch::builder();
    builder.capture_into(folder.path());
    let segment = builder.segment();
    let _machine = builder.port(segment, "m1").unwrap();
    let error = builder.start().unwrap_err();
    assert!(matches!(error, BuildError::Capture(_)));
    assert!(error.to_string().contains("m1.pcapng"), "{error}");
}

#[test]
fn a_capture_that_breaks_off_is_an_error_at_the_next_flush() {
    let folder = tempfile::tempdir().unwrap();
    // A pipe whose reader goes away takes the place of a link's capture.
    let path = folder.path().join("m1.pcapng");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let (switch, mut machines) = segment_of::<2>(Some(folder.path()));
    switch.flush().unwrap();
    drop(reader);
    introduce(&mut machines);
    for error in [switch.flush().unwrap_err(), switch.flush().unwrap_err(), switch.stop().unwrap_err()] {
        assert!(matches!(error, SwitchError::Capture(_)), "{error}");
        assert!(error.to_string().contains("m1.pcapng"), "{error}");
    }
}

#[test]
fn links_have_names_of_their_own() {
    let mut builder = Switch::builder();
    let segment = builder.segment();
    builder.port(segment, "peer1").unwrap();
    assert!(matches!(builder.port(segment, "peer1"), Err(BuildError::TwoLinks { .. })));
    let folder = tempfile::tempdir().unwrap();
    builder.capture_into(folder.path());
    builder.port(segment, "../peer2").unwrap();
    let error = builder.start().unwrap_err();
    assert!(error.to_string().contains("../peer2"), "{error}");
}

#[test]
fn a_switch_that_begins_anew_knows_nothing_of_before() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (switch, mut machines) = segment_of::<3>(Some(folders[0].path()));
    introduce(&mut machines);
    let [a, b, c] = &mut machines;
    let slow = Conditions::delayed(Duration::from_secs(3600));
    switch.block(a.port, b.port).unwrap();
    switch.condition(b.port, Direction::Outbound, slow).unwrap();
    switch.cut(c.port).unwrap();
    c.send(1, IPV4, b"under way");
    switch.isolate().unwrap();
    a.send(2, IPV4, b"off the wire");

    switch.begin(7, Some(folders[1].path())).unwrap();
    // Flooded, since no address is known; neither blocked nor slow nor cut.
    a.send(2, IPV4, b"anew");
    assert_eq!(b.payload(), b"anew");
    assert_eq!(c.payload(), b"anew");
    let after = trace(&switch, folders[1].path());
    let payloads: Vec<_> = after.frames().iter().map(|frame| frame.data[14..].to_vec()).collect();
    assert_eq!(payloads, [b"anew"]);
    assert_eq!(after.frames()[0].id, 1);
    assert_eq!(switch.stats().unwrap().port(a.port).entered.frames, 1);
    // And what was before is whole, and does not grow.
    let before = Trace::read_folder(folders[0].path()).unwrap();
    assert_eq!(before.frames().len(), 4, "three introductions, and the one on the cut link");
}

#[test]
fn a_machine_off_the_wire_answers_the_lab_and_nobody_else() {
    let (switch, mut machines) = segment_of::<2>(None);
    introduce(&mut machines);
    let [a, b] = &mut machines;
    let lab = natrig_capture::MacAddress([2, 0, 0, 0, 0, 9]);
    let port = b.port;
    let ask = |within| switch.echo(port, frame(2, 9, ARP, b"are you there"), lab, within).unwrap();
    assert!(!ask(Duration::ZERO), "nobody is asked on a wire in use");
    a.send(2, IPV4, b"before");
    switch.flush().unwrap();
    switch.isolate().unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(PATIENCE));
        // In the order in which it was given them.
        assert_eq!(b.payload(), b"before");
        assert_eq!(b.payload(), b"are you there");
        a.send(9, ARP, b"not from here");
        b.send(1, IPV4, b"not to there");
        b.send(9, ARP, b"here");
        assert!(asked.join().unwrap());
    });
    assert!(a.has_nothing());
    assert!(!ask(Duration::from_millis(20)), "who is silent is found out");
}

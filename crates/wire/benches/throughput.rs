//! Prints how many frames a switch passes in a second, and how well it keeps a delay.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use natrig_capture::Trace;
use natrig_wire::{Conditions, Direction, Switch};

const FRAMES: usize = 100_000;
const RUNS: usize = 5;
/// How many frames are under way at once: fewer than a port's queue, so that none is dropped.
const WINDOW: usize = 256;

fn main() {
    for length in [64, 1514] {
        for captured in [false, true] {
            let mut rates: Vec<_> = (0..RUNS).map(|_| rate(length, captured)).collect();
            rates.sort_by(f64::total_cmp);
            let how = if captured { "captured" } else { "not captured" };
            println!("{length:>5} bytes, {how:<12}: {:>9.0} frames/s (median of {RUNS})", rates[RUNS / 2]);
        }
    }
    for captured in [false, true] {
        let mut runs: Vec<Paced> = (0..RUNS).map(|_| paced(captured)).collect();
        runs.sort_by_key(|run| run.took);
        let Paced { took, median, late } = runs[RUNS / 2];
        let how = if captured { "captured" } else { "not captured" };
        println!(
            "10,000 frames/s of 1514 bytes, {how:<12}: all in {took:.3?}, each in {median:?} (median), {late:?} (99 %) (median of {RUNS})"
        );
    }
    for delay in [1, 10, 50].map(Duration::from_millis) {
        let mut late = lateness(delay);
        late.sort();
        let (median, worst) = (late[late.len() / 2], late[late.len() - 1]);
        println!("delay {delay:>5?}: late by {median:?} (median), {worst:?} (worst of {})", late.len());
    }
    let mut trips = round_trips();
    trips.sort();
    println!("there and back, captured: {:?} (median of {})", trips[trips.len() / 2], trips.len());
}

struct Pair {
    switch: Switch,
    a: UnixStream,
    b: UnixStream,
    _folder: tempfile::TempDir,
}

fn pair(captured: bool) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Switch::builder();
    if captured {
        builder.capture_into(folder.path());
    }
    let segment = builder.segment();
    let (_, a) = builder.port(segment, "a").unwrap();
    let (_, b) = builder.port(segment, "b").unwrap();
    Pair { switch: builder.start().unwrap(), a: a.into(), b: b.into(), _folder: folder }
}

/// A frame as it is on the stream, between two machines whose addresses differ in one bit.
fn on_stream(length: usize, from: u8) -> Vec<u8> {
    let mut bytes = (length as u32).to_be_bytes().to_vec();
    bytes.extend([2, 0, 0, 0, 0, from ^ 1, 2, 0, 0, 0, 0, from, 8, 0]);
    bytes.resize(4 + length, 0);
    bytes
}

fn rate(length: usize, captured: bool) -> f64 {
    let Pair { switch, mut a, mut b, _folder } = pair(captured);
    let batch = on_stream(length, 0).repeat(WINDOW);
    let mut received = vec![0; batch.len()];
    let start = Instant::now();
    for _ in 0..FRAMES / WINDOW {
        std::thread::scope(|scope| {
            scope.spawn(|| a.write_all(&batch).unwrap());
            b.read_exact(&mut received).unwrap();
        });
    }
    switch.flush().unwrap();
    (FRAMES / WINDOW * WINDOW) as f64 / start.elapsed().as_secs_f64()
}

/// How frames fare that come ten each millisecond, more than emulated machines send.
#[derive(Clone, Copy)]
struct Paced {
    /// From the first one's start to the last one's arrival.
    took: Duration,
    median: Duration,
    late: Duration,
}

fn paced(captured: bool) -> Paced {
    const TICKS: u64 = 1000;
    const EACH: u64 = 10;
    /// Where a frame has the time at which it was sent, behind its length and its header.
    const SENT: std::ops::Range<usize> = 18..26;
    let Pair { switch: _switch, mut a, mut b, _folder } = pair(captured);
    let start = Instant::now();
    let nanoseconds = || u64::try_from(start.elapsed().as_nanos()).unwrap();
    let mut took: Vec<u64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut frame = on_stream(1514, 0);
            for tick in 0..TICKS {
                let due = start + Duration::from_millis(tick);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                for _ in 0..EACH {
                    frame[SENT].copy_from_slice(&nanoseconds().to_be_bytes());
                    a.write_all(&frame).unwrap();
                }
            }
        });
        let mut frame = on_stream(1514, 0);
        let arrivals = (0..TICKS * EACH).map(|_| {
            b.read_exact(&mut frame).unwrap();
            nanoseconds() - u64::from_be_bytes(frame[SENT].try_into().unwrap())
        });
        arrivals.collect()
    });
    let all = start.elapsed();
    took.sort_unstable();
    let at = |share: usize| Duration::from_nanos(took[took.len() * share / 100]);
    Paced { took: all, median: at(50), late: at(99) }
}

fn lateness(delay: Duration) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Switch::builder();
    builder.capture_into(folder.path());
    let segment = builder.segment();
    let (_, a) = builder.port(segment, "a").unwrap();
    let (b_port, b) = builder.port(segment, "b").unwrap();
    let switch = builder.start().unwrap();
    switch.condition(b_port, Direction::Outbound, Conditions::delayed(delay)).unwrap();
    let (mut a, mut b) = (UnixStream::from(a), UnixStream::from(b));
    let mut frame = on_stream(1514, 0);
    for _ in 0..50 {
        a.write_all(&frame).unwrap();
        b.read_exact(&mut frame).unwrap();
    }
    switch.flush().unwrap();
    let trace = Trace::read_folder(folder.path()).unwrap();
    let took = |frame: &natrig_capture::Frame| Duration::from_nanos(frame.to[0].at_ns - frame.at_ns);
    trace.frames().iter().map(|frame| took(frame).saturating_sub(delay)).collect()
}

fn round_trips() -> Vec<Duration> {
    let Pair { switch: _switch, mut a, mut b, _folder } = pair(true);
    let (mut there, mut back) = (on_stream(100, 0), on_stream(100, 1));
    let trip = || {
        let start = Instant::now();
        a.write_all(&there).unwrap();
        b.read_exact(&mut there).unwrap();
        b.write_all(&back).unwrap();
        a.read_exact(&mut back).unwrap();
        start.elapsed()
    };
    std::iter::repeat_with(trip).take(5000).collect()
}

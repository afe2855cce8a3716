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

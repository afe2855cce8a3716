//! The load: the same datagrams whatever carries them.

use std::io::{ErrorKind, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

/// Datagrams under way. As many large ones fit into the receive buffer that coturn asks for.
const WINDOW: u64 = 48;
/// Datagrams handed to the kernel at once.
const BATCH: u64 = 16;
/// What has not come for so long does not come.
const LOST_AFTER: Duration = Duration::from_millis(20);
/// Between two datagrams whose time is taken.
const GAP: Duration = Duration::from_micros(200);
/// How often a way may do what it has to do besides.
const TEND: Duration = Duration::from_millis(1);
/// Between two loads.
const PAUSE: Duration = Duration::from_millis(100);
const MAGIC: [u8; 8] = *b"natrig\0\x07";

/// How datagrams get from one socket to another.
pub trait Way {
    fn name(&self) -> &'static str;
    /// The relay's process.
    fn relay(&self) -> Option<u32>;
    /// What precedes a datagram of this length on its way in.
    fn head(&self, size: usize) -> Vec<u8>;
    fn ends(&self) -> Ends<'_>;
    /// Takes what came to the receiver and is none of the load.
    fn stray(&mut self, _datagram: &[u8]) {}
    /// Lives on. While it carries the load, what comes to the receiver is taken by that.
    fn tend(&mut self, _is_loaded: bool) {}
}

/// Where datagrams go in and come out.
pub struct Ends<'a> {
    pub sender: &'a UdpSocket,
    pub to: SocketAddr,
    pub receiver: &'a UdpSocket,
    /// Length of what precedes a datagram on its way out.
    pub skip: usize,
}

/// What came through in a time.
#[derive(Clone)]
pub struct Rate {
    pub sent: u64,
    pub arrived: u64,
    pub lost: u64,
    pub took: Duration,
    /// The relay's time on the processor.
    pub relay: Duration,
}

/// How long datagrams took.
#[derive(Clone)]
pub struct Latency(Vec<Duration>);

impl Latency {
    pub fn microseconds(&self, part: f64) -> f64 {
        let at = (self.0.len() as f64 * part) as usize;
        self.0.get(at).map_or(f64::NAN, |took| took.as_secs_f64() * 1e6)
    }
}

/// A nonblocking socket on loopback, with room.
pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    socket.set_nonblocking(true).expect("a socket");
    // The kernel grants what it may.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20);
    socket
}

/// Keeps a window of datagrams under way.
pub fn rate(ways: &mut [Box<dyn Way + '_>], at: usize, size: usize, during: Duration) -> Rate {
    settle(ways, at);
    let way = &ways[at];
    let relay = way.relay();
    let head = way.head(size);
    let time = || relay.map_or(Duration::ZERO, super::process::time);
    let (begun, before) = (Instant::now(), time());
    let (mut sent, mut arrived, mut lost) = (0u64, 0u64, 0u64);
    let (mut heard, mut tended) = (begun, begun);
    let mut datagram = Vec::new();
    let mut now = begun;
    while now < begun + during {
        let room = WINDOW.saturating_sub(sent.saturating_sub(arrived + lost));
        if room >= BATCH {
            send(&ways[at].ends(), &head, size, begun, &mut datagram, BATCH);
            sent += BATCH;
        }
        let came = receive(ways[at].as_mut(), begun, |_| arrived += 1);
        now = Instant::now();
        if came {
            heard = now;
        } else if now > heard + LOST_AFTER {
            lost = sent.saturating_sub(arrived);
            heard = now;
        }
        if now > tended + TEND {
            tend(ways, at);
            tended = now;
        }
    }
    Rate { sent, arrived, lost, took: begun.elapsed(), relay: time() - before }
}

/// Sends a datagram now and then, and takes the time.
pub fn latency(ways: &mut [Box<dyn Way + '_>], at: usize, size: usize, during: Duration) -> Latency {
    settle(ways, at);
    let way = &ways[at];
    let (begun, mut next, mut tended) = (Instant::now(), Instant::now(), Instant::now());
    let (mut all, mut datagram, head) = (Vec::new(), Vec::new(), way.head(size));
    let mut now = begun;
    while now < begun + during {
        if now >= next {
            send(&ways[at].ends(), &head, size, begun, &mut datagram, 1);
            // A client that was kept waiting does not send a burst afterwards.
            next = (next + GAP).max(now);
        }
        receive(ways[at].as_mut(), begun, |took| all.push(took));
        now = Instant::now();
        if now > tended + TEND {
            tend(ways, at);
            tended = now;
        }
    }
    assert!(!all.is_empty(), "{}: nothing arrives", ways[at].name());
    all.sort();
    Latency(all)
}

/// Lets what is under way arrive, and other programs do what they must: who has the processor for a second is made to pause.
fn settle(ways: &mut [Box<dyn Way + '_>], at: usize) {
    let until = Instant::now() + PAUSE;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
        tend(ways, at);
        receive(ways[at].as_mut(), until, |_| {});
    }
}

fn tend(ways: &mut [Box<dyn Way + '_>], loaded: usize) {
    for (at, way) in ways.iter_mut().enumerate() {
        way.tend(at == loaded);
    }
}

fn send(ends: &Ends<'_>, head: &[u8], size: usize, begun: Instant, datagram: &mut Vec<u8>, count: u64) {
    datagram.clear();
    datagram.extend_from_slice(head);
    datagram.extend_from_slice(&MAGIC);
    datagram.extend_from_slice(&(begun.elapsed().as_nanos() as u64).to_be_bytes());
    datagram.resize(head.len() + size, 0xa5);
    let parts = [IoSlice::new(datagram)];
    let to = SocketAddrAny::from(ends.to);
    let mut none: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        (0..count).map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<MMsgHdr<'_>> =
        none.iter_mut().map(|none| MMsgHdr::new_with_addr(&to, &parts, none)).collect();
    // What the kernel does not take is lost.
    let _ = sendmmsg(ends.sender, &mut messages, SendFlags::DONTWAIT);
}

/// Takes all that has come; whether any of it was of the load.
fn receive(way: &mut dyn Way, begun: Instant, mut arrived: impl FnMut(Duration)) -> bool {
    let mut buffer = [0; 2048];
    let mut any = false;
    loop {
        let ends = way.ends();
        let datagram = match ends.receiver.recv(&mut buffer) {
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return any,
            // An ICMP error of an earlier datagram.
            Err(_) => continue,
        };
        let load = datagram.get(ends.skip..).and_then(|load| load.strip_prefix(&MAGIC));
        match load.and_then(|load| load.first_chunk()) {
            Some(at) => {
                arrived(begun.elapsed().saturating_sub(Duration::from_nanos(u64::from_be_bytes(*at))));
                any = true;
            }
            None => way.stray(datagram),
        }
    }
}

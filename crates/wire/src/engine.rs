//! The switch's thread: sockets, timers, and the way of a frame from one machine to another.
//!
//! A frame is read from its machine's socket ([`Engine::receive`]), suffers the conditions of the way in, is
//! forwarded ([`Engine::forward`]), suffers the conditions of each way out ([`Engine::depart`]), waits in the
//! port's queue ([`Engine::enqueue`]) and is written to the other machine's socket ([`Engine::transmit`]).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use natrig_capture::Direction::{self, Inbound, Outbound};
use natrig_capture::{DropReason, Extent, LinkId, MacAddress, Sighting, What};
use natrig_netmodel::{Bit, Cause, Conditions, Departure, Fate, Link, seed_for};
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::fabric::{Fabric, HEADER, Target};
use crate::stream::{Incoming, Outgoing, Queued};
use crate::tap::{Flushed, Taps};
use crate::{Clock, Closed, Count, Port, PortStats, Stats};

/// The tokens of what is no port.
const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// How much is read of one port before the others have their turn.
const DRAIN: usize = 4 << 20;

/// Something to do on the switch's thread, between two rounds.
pub(crate) type Command = Box<dyn FnOnce(&mut Engine) + Send>;

pub(crate) struct Engine {
    clock: Clock,
    poll: OwnedFd,
    timer: OwnedFd,
    wake: OwnedFd,
    commands: Receiver<Command>,
    stopping: bool,
    fabric: Fabric,
    ports: Vec<Plug>,
    delivered: Vec<Vec<Count>>,
    /// Frames under way, by the time they arrive; the number keeps the order of those that arrive together.
    under_way: BinaryHeap<Reverse<UnderWay>>,
    scheduled: u64,
    armed: Option<Duration>,
    taps: Option<Taps>,
    next_frame: u64,
    /// Whether all machines are off the wire.
    isolated: bool,
    /// Those who wait for a frame of a machine that is off the wire.
    listeners: Vec<Listener>,
    /// When the current round began.
    now: Instant,
    /// Kept for their memory.
    targets: Vec<Target>,
    done: Vec<Queued>,
}

/// Waits for a frame from a machine to an address.
struct Listener {
    port: Port,
    to: MacAddress,
    heard: Sender<()>,
}

/// A port with what is plugged into it.
pub(crate) struct Plug {
    name: String,
    socket: Option<OwnedFd>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Whether the thread waits until the socket takes more.
    waits_to_write: bool,
    cut: bool,
    inbound: Link,
    outbound: Link,
    stats: PortStats,
}

impl Plug {
    pub(crate) fn new(name: String, socket: OwnedFd, seed: u64) -> Self {
        let [inbound, outbound] = ["inbound", "outbound"].map(|way| link(seed, &name, way));
        let stats = PortStats { name: name.clone(), ..PortStats::default() };
        Self {
            name,
            socket: Some(socket),
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            waits_to_write: false,
            cut: false,
            inbound,
            outbound,
            stats,
        }
    }

    pub(crate) fn link(&mut self, direction: Direction) -> &mut Link {
        match direction {
            Inbound => &mut self.inbound,
            Outbound => &mut self.outbound,
        }
    }
}

/// A link without conditions, whose chance is its own.
fn link(seed: u64, name: &str, way: &str) -> Link {
    Link::new(Conditions::default(), seed_for(seed, &format!("{name} {way}")))
}

/// A frame in the switch.
#[derive(Debug, Clone)]
struct Passing {
    frame: u64,
    from: Port,
    data: Bytes,
}

#[derive(Debug)]
struct UnderWay {
    at: Duration,
    order: u64,
    /// Where it is going: into the switch, or out to a port.
    to: Option<Port>,
    passing: Passing,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Makes a pair of sockets: the switch's end and the machine's.
pub(crate) fn cable() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

impl Engine {
    /// The engine, and what wakes it when there is a command.
    pub(crate) fn new(
        clock: Clock,
        fabric: Fabric,
        ports: Vec<Plug>,
        taps: Option<Taps>,
        commands: Receiver<Command>,
    ) -> io::Result<(Self, OwnedFd)> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&poll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        epoll::add(&poll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        for (index, plug) in ports.iter().enumerate() {
            if let Some(socket) = &plug.socket {
                let token = epoll::EventData::new_u64(index as u64);
                epoll::add(&poll, socket, token, epoll::EventFlags::IN)?;
            }
        }
        let waker = wake.try_clone()?;
        let delivered = vec![vec![Count::default(); ports.len()]; ports.len()];
        let engine = Self {
            clock,
            poll,
            timer,
            wake,
            commands,
            stopping: false,
            fabric,
            ports,
            delivered,
            under_way: BinaryHeap::new(),
            scheduled: 0,
            armed: None,
            taps,
            next_frame: 1,
            isolated: false,
            listeners: Vec::new(),
            now: Instant::now(),
            targets: Vec::new(),
            done: Vec::new(),
        };
        Ok((engine, waker))
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        while !self.stopping {
            let patience = self.taps.as_mut().and_then(Taps::pass);
            self.arm()?;
            events.clear();
            let timeout = patience.map(timespec);
            match epoll::wait(&self.poll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.now = Instant::now();
            self.obey();
            self.arrive();
            self.transmit_all();
            for event in &events {
                match event.data.u64() {
                    WAKE => {}
                    TIMER => self.disarm(),
                    index => {
                        let port = Port(index as usize);
                        self.receive(port, 1);
                        self.arrive();
                        let flags = event.flags;
                        if flags.contains(epoll::EventFlags::OUT) {
                            self.transmit(port);
                        }
                        self.transmit_all();
                    }
                }
            }
        }
        Ok(())
    }

    fn obey(&mut self) {
        // Resets the counter; if it was zero there is nothing to reset.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            command(self);
        }
    }

    /// Reads what the machine at a port has sent, in at least one go, until `limit` bytes are read or none are left.
    fn receive(&mut self, port: Port, limit: usize) {
        let mut read = 0;
        while read < limit
            && let Some(plug) = self.ports.get_mut(port.0)
            && let Some(socket) = &plug.socket
        {
            // What a frame led to must not seem to come before it: times are those of each reading and writing, not of
            // the round.
            self.now = Instant::now();
            match recv(socket, spare_capacity(plug.incoming.buffer()), RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.close(port, Closed::HungUp),
                Ok((_, n)) => {
                    read += n;
                    self.take_frames(port);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => self.close(port, Closed::HungUp),
                Err(error) => self.close(port, Closed::Failed { error: error.to_string() }),
            }
        }
    }

    fn take_frames(&mut self, port: Port) {
        while let Some(plug) = self.ports.get_mut(port.0) {
            match plug.incoming.frame() {
                Ok(Some(data)) => self.enter(port, data),
                Ok(None) => return,
                Err(error) => return self.close(port, Closed::FrameTooLong { length: error.length }),
            }
        }
    }

    /// Begins a frame's way through the switch.
    fn enter(&mut self, from: Port, data: Bytes) {
        if self.isolated {
            return self.hear(from, &data);
        }
        let passing = Passing { frame: self.next_frame, from, data };
        self.next_frame += 1;
        self.see(&passing, from, self.now, What::Entered);
        let Some(plug) = self.ports.get_mut(from.0) else { return };
        plug.stats.entered.add(passing.data.len());
        if passing.data.len() < HEADER {
            return self.discard(&passing, from, Inbound, DropReason::Runt);
        }
        self.travel(passing, None);
    }

    /// Sends a frame over a link: from its machine into the switch, or out `to` a port.
    fn travel(&mut self, passing: Passing, to: Option<Port>) {
        let now = self.clock.elapsed(self.now);
        let (port, direction) = side(&passing, to);
        let Some(plug) = self.ports.get_mut(port.0) else { return };
        if plug.cut {
            return self.discard(&passing, port, direction, DropReason::Cut);
        }
        match plug.link(direction).decide(now, passing.data.len()) {
            Fate::Lost(cause) => self.discard(&passing, port, direction, reason(cause)),
            Fate::Departs(mut departures) => {
                while let Some(Departure { at, flipped }) = departures.next() {
                    // The last of the copies is the frame itself.
                    if departures.len() == 0 {
                        return self.depart(damaged(passing, flipped), to, at, now);
                    }
                    self.depart(damaged(passing.clone(), flipped), to, at, now);
                }
            }
        }
    }

    /// Lets a frame arrive at the far end of a link: now, unless it is not time yet or others are due before it.
    fn depart(&mut self, passing: Passing, to: Option<Port>, at: Duration, now: Duration) {
        if at <= now && self.under_way.peek().is_none_or(|Reverse(next)| next.at > at) {
            return self.arrived(passing, to);
        }
        let order = self.scheduled;
        self.scheduled += 1;
        self.under_way.push(Reverse(UnderWay { at, order, to, passing }));
    }

    /// Lets those frames arrive that have been under way long enough.
    fn arrive(&mut self) {
        let now = self.clock.elapsed(self.now);
        while self.under_way.peek().is_some_and(|Reverse(next)| next.at <= now)
            && let Some(Reverse(UnderWay { to, passing, .. })) = self.under_way.pop()
        {
            let (port, direction) = side(&passing, to);
            // What was on a cable when it was cut is lost.
            if self.ports.get(port.0).is_some_and(|plug| plug.cut) {
                self.discard(&passing, port, direction, DropReason::Cut);
            } else {
                self.arrived(passing, to);
            }
        }
    }

    fn arrived(&mut self, passing: Passing, to: Option<Port>) {
        match to {
            None => self.forward(&passing),
            Some(port) => self.enqueue(passing, port),
        }
    }

    fn forward(&mut self, passing: &Passing) {
        let mut targets = std::mem::take(&mut self.targets);
        self.fabric.forward(passing.from, &passing.data, &mut targets);
        for target in &targets {
            if target.blocked {
                self.discard(passing, target.port, Outbound, DropReason::Blocked);
            } else {
                self.travel(passing.clone(), Some(target.port));
            }
        }
        self.targets = targets;
    }

    fn enqueue(&mut self, passing: Passing, to: Port) {
        let Some(plug) = self.ports.get_mut(to.0) else { return };
        if plug.socket.is_none() {
            return self.discard(&passing, to, Outbound, DropReason::Unplugged);
        }
        let Passing { frame, from, data } = passing;
        if let Err(Queued { frame, from, data, .. }) = plug.outgoing.push(Queued::new(frame, from, data)) {
            self.discard(&Passing { frame, from, data }, to, Outbound, DropReason::QueueFull);
        }
    }

    /// Writes what the sockets take; what is left waits for one that is full.
    fn transmit_all(&mut self) {
        let ready = |plug: &Plug| !plug.outgoing.is_empty() && !plug.waits_to_write;
        // A machine that is found to be gone may have left frames for another, hence again from the start.
        while let Some(index) = self.ports.iter().position(ready) {
            self.transmit(Port(index));
        }
    }

    /// Writes what waits at a port to its machine.
    fn transmit(&mut self, port: Port) {
        let Some(plug) = self.ports.get_mut(port.0) else { return };
        let Some(socket) = &plug.socket else { return };
        let mut done = std::mem::take(&mut self.done);
        let result = plug.outgoing.write(socket.as_fd(), &mut done);
        let now = Instant::now();
        for Queued { frame, from, data, .. } in done.drain(..) {
            if let Some(plug) = self.ports.get_mut(port.0) {
                plug.stats.delivered.add(data.len());
            }
            if let Some(count) = self.delivered.get_mut(from.0).and_then(|row| row.get_mut(port.0)) {
                count.add(data.len());
            }
            self.see(&Passing { frame, from, data }, port, now, What::Delivered);
        }
        self.done = done;
        match result {
            Ok(()) => self.wait_to_write(port, false),
            Err(Errno::AGAIN) => self.wait_to_write(port, true),
            // It reads no more; what it sent before is still to be taken.
            Err(Errno::PIPE | Errno::CONNRESET) => {
                self.receive(port, DRAIN);
                self.close(port, Closed::HungUp);
            }
            Err(error) => self.close(port, Closed::Failed { error: error.to_string() }),
        }
    }

    fn wait_to_write(&mut self, port: Port, wait: bool) {
        let Some(plug) = self.ports.get_mut(port.0) else { return };
        let Some(socket) = plug.socket.as_ref().filter(|_| plug.waits_to_write != wait) else { return };
        let events =
            if wait { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        match epoll::modify(&self.poll, socket, epoll::EventData::new_u64(port.0 as u64), events) {
            Ok(()) => plug.waits_to_write = wait,
            Err(error) => self.close(port, Closed::Failed { error: error.to_string() }),
        }
    }

    fn close(&mut self, port: Port, cause: Closed) {
        let Some(plug) = self.ports.get_mut(port.0) else { return };
        // Closing the only descriptor of a socket takes it out of the poll.
        if plug.socket.take().is_none() {
            return;
        }
        match cause {
            Closed::HungUp => tracing::debug!(link = plug.name, "{cause}"),
            _ => tracing::warn!(link = plug.name, "port closed: {cause}"),
        }
        plug.stats.closed = Some(cause);
        plug.incoming = Incoming::default();
        plug.waits_to_write = false;
        let waiting: Vec<_> = plug.outgoing.abandon().collect();
        self.fabric.set_up(port, false);
        self.discard_waiting(port, waiting, DropReason::Unplugged);
    }

    fn discard_waiting(&mut self, port: Port, waiting: Vec<Queued>, reason: DropReason) {
        for Queued { frame, from, data, .. } in waiting {
            self.discard(&Passing { frame, from, data }, port, Outbound, reason);
        }
    }

    fn discard(&mut self, passing: &Passing, at: Port, direction: Direction, reason: DropReason) {
        if let Some(count) =
            self.ports.get_mut(at.0).and_then(|plug| plug.stats.dropped.get_mut(reason.index()))
        {
            *count += 1;
        }
        self.see(passing, at, self.now, What::Dropped(direction, reason));
    }

    fn see(&mut self, passing: &Passing, port: Port, at: Instant, what: What) {
        if let Some(taps) = &mut self.taps {
            taps.push(Sighting {
                frame: passing.frame,
                link: LinkId::new(port.0),
                at_ns: self.clock.time_of(at),
                what,
                data: passing.data.clone(),
            });
        }
    }

    /// Takes note that the timer rang.
    fn disarm(&mut self) {
        // If it did not ring after all there is nothing to reset.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        self.armed = None;
    }

    /// Sets the timer for the frame that arrives next.
    fn arm(&mut self) -> io::Result<()> {
        let next = self.under_way.peek().map(|Reverse(next)| next.at);
        if next == self.armed {
            return Ok(());
        }
        // A timer of zero is off: what is due already must still ring.
        let left =
            next.map(|at| at.saturating_sub(self.clock.elapsed(Instant::now())).max(Duration::from_nanos(1)));
        let off = Timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = Itimerspec { it_interval: off, it_value: left.map_or(off, timespec) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
        self.armed = next;
        Ok(())
    }
}

/// What the handle asks for.
impl Engine {
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn fabric(&mut self) -> &mut Fabric {
        &mut self.fabric
    }

    pub(crate) fn plug(&mut self, port: Port) -> Option<&mut Plug> {
        self.ports.get_mut(port.0)
    }

    /// Cuts a link: nothing passes it, and what waits or is under way on it is lost.
    pub(crate) fn cut(&mut self, port: Port) {
        let Some(plug) = self.ports.get_mut(port.0) else { return };
        plug.cut = true;
        let waiting: Vec<_> = plug.outgoing.clear().collect();
        self.discard_waiting(port, waiting, DropReason::Cut);
        let (lost, kept) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition::<Vec<_>, _>(|Reverse(it)| side(&it.passing, it.to).0 == port);
        self.under_way = kept.into();
        for Reverse(UnderWay { to, passing, .. }) in lost {
            self.discard(&passing, port, side(&passing, to).1, DropReason::Cut);
        }
    }

    pub(crate) fn heal(&mut self, port: Port) {
        if let Some(plug) = self.ports.get_mut(port.0) {
            plug.cut = false;
        }
    }

    /// Takes the cut out of a link's conditions.
    pub(crate) fn restore(&mut self, port: Port) {
        let Some(plug) = self.ports.get_mut(port.0) else { return };
        for link in [&mut plug.inbound, &mut plug.outbound] {
            let conditions = link.conditions();
            if conditions.cut {
                link.set_conditions(Conditions { cut: false, ..conditions });
            }
        }
    }

    /// Gives a port another machine, in place of one that is gone or to be forgotten.
    pub(crate) fn replug(&mut self, port: Port, socket: OwnedFd) -> io::Result<()> {
        self.close(port, Closed::HungUp);
        let token = epoll::EventData::new_u64(port.0 as u64);
        epoll::add(&self.poll, &socket, token, epoll::EventFlags::IN)?;
        if let Some(plug) = self.ports.get_mut(port.0) {
            plug.socket = Some(socket);
            plug.stats.closed = None;
        }
        self.fabric.set_up(port, true);
        Ok(())
    }

    /// Takes every machine off the wire and ends the captures. What is under way is lost.
    pub(crate) fn isolate(&mut self) {
        self.take_in();
        self.isolated = true;
        self.taps = None;
        self.under_way.clear();
        for plug in &mut self.ports {
            plug.outgoing.clear().for_each(drop);
        }
    }

    /// Gives a machine that is off the wire a frame, after all that it was given before; `heard` is told of the first
    /// frame that it sends to an address. Says whether there is a machine.
    pub(crate) fn address(&mut self, port: Port, frame: Bytes, to: MacAddress, heard: Sender<()>) -> bool {
        let Some(plug) = self.ports.get_mut(port.0).filter(|_| self.isolated) else { return false };
        if plug.socket.is_none() || plug.outgoing.push(Queued::new(0, port, frame)).is_err() {
            return false;
        }
        self.listeners.push(Listener { port, to, heard });
        self.transmit_all();
        true
    }

    fn hear(&mut self, from: Port, frame: &[u8]) {
        let to = frame.first_chunk().map(|to| MacAddress(*to));
        self.listeners.retain(|listener| {
            let meant = listener.port == from && Some(listener.to) == to;
            if meant {
                let _ = listener.heard.send(());
            }
            !meant
        });
    }

    /// Puts the machines back on the wire as if the switch had just been started.
    pub(crate) fn begin(&mut self, seed: u64, taps: Option<Taps>) {
        // What they have sent since, before it counts.
        self.take_in();
        self.isolated = false;
        self.listeners.clear();
        self.taps = taps;
        self.next_frame = 1;
        self.fabric.forget();
        self.delivered.iter_mut().flatten().for_each(|count| *count = Count::default());
        for plug in &mut self.ports {
            let PortStats { name, closed, .. } = std::mem::take(&mut plug.stats);
            plug.inbound = link(seed, &name, "inbound");
            plug.outbound = link(seed, &name, "outbound");
            plug.cut = false;
            plug.stats = PortStats { name, closed, ..PortStats::default() };
        }
    }

    /// Takes in what the machines have sent so far, and hands all captures on; the answer comes from their writer,
    /// or at once if there are none.
    pub(crate) fn flush(&mut self, answer: Flushed) {
        self.take_in();
        match &mut self.taps {
            Some(taps) => taps.flush(answer),
            None => {
                let _ = answer.send(Ok(Extent::default()));
            }
        }
    }

    fn take_in(&mut self) {
        self.now = Instant::now();
        self.arrive();
        for index in 0..self.ports.len() {
            self.receive(Port(index), DRAIN);
            self.arrive();
            self.transmit_all();
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let ports = self.ports.iter().map(|plug| PortStats {
            waiting: plug.outgoing.len(),
            cut: plug.cut,
            ..plug.stats.clone()
        });
        Stats { ports: ports.collect(), delivered: self.delivered.clone() }
    }
}

/// The port and direction of a frame that is on its way into the switch, or out `to` a port.
fn side(passing: &Passing, to: Option<Port>) -> (Port, Direction) {
    match to {
        None => (passing.from, Inbound),
        Some(port) => (port, Outbound),
    }
}

/// A frame with one bit turned over, if that is its fate; other copies of it stay as they are.
fn damaged(mut passing: Passing, flipped: Option<Bit>) -> Passing {
    if let Some(bit) = flipped {
        let mut data = passing.data.to_vec();
        bit.flip(&mut data);
        passing.data = data.into();
    }
    passing
}

/// What captures call a link's cause of loss.
fn reason(cause: Cause) -> DropReason {
    match cause {
        Cause::Cut => DropReason::Cut,
        Cause::Loss => DropReason::Loss,
        Cause::QueueFull => DropReason::LinkQueueFull,
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

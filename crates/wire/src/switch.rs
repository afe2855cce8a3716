//! The handle of a running switch.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use natrig_capture::{Direction, Extent, FolderError, MacAddress};
use natrig_netmodel::Conditions;

use crate::engine::{Command, Engine, cable};
use crate::tap::{Captured, Taps};
use crate::{Clock, Count, Port, Stats, SwitchBuilder};

/// A running switch; it stops when this is dropped.
///
/// Every method returns when what it asks for is in force: after [`Switch::cut`] no frame passes.
pub struct Switch {
    clock: Clock,
    names: Vec<String>,
    ring: Option<u64>,
    commands: Sender<Command>,
    waker: OwnedFd,
    threads: Mutex<Threads>,
}

struct Threads {
    engine: Option<JoinHandle<io::Result<()>>>,
    writer: Option<JoinHandle<Captured>>,
}

impl Switch {
    /// Begins a switch.
    pub fn builder() -> SwitchBuilder {
        SwitchBuilder::default()
    }

    pub(crate) fn new(
        clock: Clock,
        (names, ring): (Vec<String>, Option<u64>),
        commands: Sender<Command>,
        waker: OwnedFd,
        engine: JoinHandle<io::Result<()>>,
        writer: Option<JoinHandle<Captured>>,
    ) -> Self {
        let threads = Mutex::new(Threads { engine: Some(engine), writer });
        Self { clock, names, ring, commands, waker, threads }
    }

    /// The clock that captures are timed by.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A moment as captures time it, in nanoseconds since the Unix epoch.
    pub fn time_of(&self, moment: Instant) -> u64 {
        self.clock.time_of(moment)
    }

    /// The port of a link.
    pub fn port(&self, link: &str) -> Option<Port> {
        self.names.iter().position(|name| name == link).map(Port)
    }

    /// The name of a port's link.
    pub fn name(&self, port: Port) -> &str {
        self.names.get(port.index()).map_or("?", String::as_str)
    }

    /// Cuts a link in both directions; what is on it is lost. Its conditions stay and are in force again when it is
    /// healed.
    pub fn cut(&self, port: Port) -> Result<(), SwitchError> {
        self.call(move |engine| engine.cut(port))
    }

    /// Heals a link that was cut. One that its conditions cut stays so: [`Switch::restore`].
    pub fn heal(&self, port: Port) -> Result<(), SwitchError> {
        self.call(move |engine| engine.heal(port))
    }

    /// Takes the cut out of a link's conditions, in both directions; the rest of them stays in force.
    pub fn restore(&self, port: Port) -> Result<(), SwitchError> {
        self.call(move |engine| engine.restore(port))
    }

    /// Puts conditions in force for the frames to come, in one direction of a link.
    pub fn condition(
        &self,
        port: Port,
        direction: Direction,
        conditions: Conditions,
    ) -> Result<(), SwitchError> {
        self.call(move |engine| {
            if let Some(plug) = engine.plug(port) {
                plug.link(direction).set_conditions(conditions);
            }
        })
    }

    /// Blocks what one port's machine sends to another's, flooded frames as well, in this direction only.
    ///
    /// ARP still passes, so that the machines keep finding each other and what is missing are their packets.
    pub fn block(&self, from: Port, to: Port) -> Result<(), SwitchError> {
        self.call(move |engine| engine.fabric().block(from, to))
    }

    /// Takes back a [`Switch::block`].
    pub fn unblock(&self, from: Port, to: Port) -> Result<(), SwitchError> {
        self.call(move |engine| engine.fabric().unblock(from, to))
    }

    /// Plugs a port into the segment of another one.
    pub fn move_beside(&self, port: Port, other: Port) -> Result<(), SwitchError> {
        self.call(move |engine| engine.fabric().move_beside(port, other))
    }

    /// Gives a port a new cable, whose other end is for the machine; the machine that had the old one is cut off.
    pub fn replug(&self, port: Port) -> Result<OwnedFd, SwitchError> {
        let (ours, theirs) = cable().map_err(SwitchError::System)?;
        self.call(move |engine| engine.replug(port, ours))?.map_err(SwitchError::System)?;
        Ok(theirs)
    }

    /// What the ports have seen so far.
    pub fn stats(&self) -> Result<Stats, SwitchError> {
        self.call(|engine| engine.stats())
    }

    /// What the machine at one port has been given so far of the machine at another.
    pub fn counts(&self, from: Port, to: Port) -> Result<Count, SwitchError> {
        Ok(self.stats()?.delivered(from, to))
    }

    /// Waits until everything that has happened is in the capture files, and tells how far they reach: to be read
    /// with [`natrig_capture::Trace::read_extent`], since they go on growing. Without captures it is empty.
    ///
    /// Frames that a machine has sent before are in them as entered. Those that are still under way, because their
    /// link is slow or their receiver does not read, are not in them as delivered.
    pub fn flush(&self) -> Result<Extent, SwitchError> {
        let (answer, answered) = channel();
        self.call(move |engine| engine.flush(answer))?;
        answered.recv().map_err(|_| SwitchError::Stopped)?.map_err(SwitchError::Capture)
    }

    /// Takes every machine off the wire and ends the captures: from now on nothing passes, and what was under way is
    /// lost. [`Switch::begin`] puts them back.
    pub fn isolate(&self) -> Result<(), SwitchError> {
        self.call(Engine::isolate)?;
        let writer = self.threads.lock().unwrap_or_else(PoisonError::into_inner).writer.take();
        match writer.map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(SwitchError::Capture(error)),
            Some(Err(_)) => Err(SwitchError::Stopped),
        }
    }

    /// Gives a machine of a switch that is [isolated](Switch::isolate) a frame, and says whether it sends one to the
    /// address `back` within some time. As frames keep their order, it has then taken in all that it was given before.
    pub fn echo(
        &self,
        port: Port,
        frame: Vec<u8>,
        back: MacAddress,
        within: Duration,
    ) -> Result<bool, SwitchError> {
        let (heard, echo) = channel();
        let there = self.call(move |engine| engine.address(port, frame.into(), back, heard))?;
        Ok(there && echo.recv_timeout(within).is_ok())
    }

    /// Begins anew: no address is known, no link is cut, filtered or conditioned, nothing was counted, and frames are
    /// numbered from 1. Chance is drawn from `seed`, and captures go to another folder.
    pub fn begin(&self, seed: u64, captures: Option<&Path>) -> Result<(), SwitchError> {
        let begun = captures.map(|folder| Taps::start(folder, &self.names, self.ring)).transpose();
        let (taps, writer) = begun.map_err(|error| SwitchError::Capture(Arc::new(error)))?.unzip();
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).writer = writer;
        self.call(move |engine| engine.begin(seed, taps))
    }

    /// Stops the switch; all captures are complete and closed then. A switch that is stopped stays so.
    pub fn stop(&self) -> Result<(), SwitchError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(engine) = threads.engine.take() else { return Ok(()) };
        // It may have ended by itself; joining it tells why.
        let _ = self.call(Engine::stop);
        let ended = engine.join();
        let captured = threads.writer.take().map(JoinHandle::join);
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(SwitchError::System(error)),
            Err(_) => return Err(SwitchError::Stopped),
        }
        match captured {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(SwitchError::Capture(error)),
            Some(Err(_)) => Err(SwitchError::Stopped),
        }
    }

    /// Does something on the switch's thread and waits for it.
    fn call<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Engine) -> R + Send + 'static,
    ) -> Result<R, SwitchError> {
        let (answer, answered) = channel();
        let command: Command = Box::new(move |engine| {
            let _ = answer.send(act(engine));
        });
        self.commands.send(command).map_err(|_| SwitchError::Stopped)?;
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&self.waker, &1u64.to_ne_bytes());
        answered.recv().map_err(|_| SwitchError::Stopped)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the switch did not end well");
        }
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("links", &self.names).finish_non_exhaustive()
    }
}

/// Why a switch did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// It is not running: it was stopped, or its thread failed.
    #[error("the switch has stopped")]
    Stopped,
    /// Captures could not be written; they are incomplete.
    #[error("captures are incomplete: {0}")]
    Capture(Arc<FolderError>),
    /// The system failed it.
    #[error("the switch failed: {0}")]
    System(io::Error),
}

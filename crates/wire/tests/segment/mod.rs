//! A segment of machines that are the far ends of a switch's cables.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use natrig_capture::{DropReason, Frame, Trace};
use natrig_wire::{Port, Switch};

pub const IPV4: [u8; 2] = [0x08, 0x00];
pub const ARP: [u8; 2] = [0x08, 0x06];
pub const BROADCAST: u8 = 0xff;

/// How long a frame that must come may take on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A machine: it has a number, from which its hardware address is made, and a cable.
pub struct Machine {
    pub number: u8,
    pub port: Port,
    pub cable: UnixStream,
}

impl Machine {
    pub fn new(number: u8, (port, cable): (Port, OwnedFd)) -> Self {
        let cable = UnixStream::from(cable);
        cable.set_read_timeout(Some(PATIENCE)).unwrap();
        cable.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { number, port, cable }
    }

    /// Sends a frame to the machine with a number, or to all.
    pub fn send(&mut self, to: u8, ether_type: [u8; 2], payload: &[u8]) {
        self.send_raw(&frame(to, self.number, ether_type, payload));
    }

    pub fn send_raw(&mut self, frame: &[u8]) {
        self.cable.write_all(&[&(frame.len() as u32).to_be_bytes(), frame].concat()).unwrap();
    }

    pub fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.cable.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.cable.read_exact(&mut frame).unwrap();
        frame
    }

    pub fn payload(&mut self) -> Vec<u8> {
        self.receive().split_off(14)
    }

    /// Whether nothing has come; what was sent before a [`Switch::flush`] would have.
    pub fn has_nothing(&self) -> bool {
        self.cable.set_nonblocking(true).unwrap();
        let result = (&self.cable).read(&mut [0]);
        self.cable.set_nonblocking(false).unwrap();
        matches!(result, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

pub fn frame(to: u8, from: u8, ether_type: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let destination = if to == BROADCAST { [0xff; 6] } else { [2, 0, 0, 0, 0, to] };
    [&destination[..], &[2, 0, 0, 0, 0, from], &ether_type, payload].concat()
}

/// One segment with `N` machines, numbered from 1, on links `m1`, `m2` and so on.
pub fn segment_of<const N: usize>(captures: Option<&Path>) -> (Switch, [Machine; N]) {
    let mut builder = Switch::builder();
    if let Some(folder) = captures {
        builder.capture_into(folder);
    }
    let segment = builder.segment();
    let machines = std::array::from_fn(|index| {
        let number = index as u8 + 1;
        Machine::new(number, builder.port(segment, format!("m{number}")).unwrap())
    });
    (builder.start().unwrap(), machines)
}

/// Lets each machine speak once, so that no frame between them is flooded any more.
pub fn introduce(machines: &mut [Machine]) {
    for index in 0..machines.len() {
        machines[index].send(BROADCAST, ARP, b"here I am");
        for (other, machine) in machines.iter_mut().enumerate() {
            if other != index {
                assert_eq!(machine.payload(), b"here I am");
            }
        }
    }
}

pub fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

pub fn trace(switch: &Switch, folder: &Path) -> Trace {
    let extent = switch.flush().unwrap();
    assert!(extent.files().iter().all(|(path, _)| path.starts_with(folder)));
    Trace::read_extent(&extent).unwrap()
}

/// The frame with a payload, and the names of the links it went to and was dropped on.
pub fn way<'a>(trace: &'a Trace, payload: &[u8]) -> (&'a Frame, Vec<&'a str>, Vec<(&'a str, DropReason)>) {
    let frame = trace.frames().iter().find(|frame| frame.data.ends_with(payload)).expect("the frame entered");
    let to = frame.to.iter().map(|delivery| trace.name(delivery.link)).collect();
    let drops = frame.drops.iter().map(|drop| (trace.name(drop.link), drop.reason)).collect();
    (frame, to, drops)
}

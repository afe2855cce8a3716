//! Stations with their cables, in one loop.

use std::{os::fd::OwnedFd, time::Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Arrival, Net, Seat, Station, cable::Cable};
use crate::Trouble;

/// Stations on segments of a switch; dropping them unplugs them.
#[derive(Debug, Default)]
pub struct Stations(Vec<(Station, Cable)>);

impl Stations {
    /// None yet.
    pub fn new() -> Self {
        Stations::default()
    }

    /// Plugs one in.
    pub fn add(&mut self, station: Station, cable: OwnedFd) -> Seat {
        self.0.push((station, Cable::new(cable)));
        self.0.len() - 1
    }

    /// Puts on the cables what is to be sent.
    fn transmit(&mut self) -> Result<(), Trouble> {
        for (station, cable) in &mut self.0 {
            while let Some(frame) = station.poll_frame() {
                cable.send(&frame);
            }
            cable.flush()?;
        }
        Ok(())
    }

    fn arrived(&mut self) -> Option<Arrival> {
        let packet = |(at, (station, _)): (Seat, &mut (Station, Cable))| {
            station.poll_packet().map(|packet| Arrival { at, packet })
        };
        self.0.iter_mut().enumerate().find_map(packet)
    }

    /// Waits until a cable is ready or a time is reached.
    fn wait(&self, until: Instant) -> Result<(), Trouble> {
        let mut ready: Vec<PollFd<'_>> = self
            .0
            .iter()
            .map(|(_, cable)| {
                let write = if cable.is_full() { PollFlags::OUT } else { PollFlags::empty() };
                PollFd::from_borrowed_fd(cable.socket(), PollFlags::IN | write)
            })
            .collect();
        let wait = until.saturating_duration_since(Instant::now());
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        match poll(&mut ready, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Trouble::lab(format!("waiting for stations: {error}"))),
        }
    }
}

impl Net for Stations {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn send(&mut self, from: Seat, packet: Vec<u8>) -> Result<(), Trouble> {
        let Some((station, _)) = self.0.get_mut(from) else {
            return Err(Trouble::lab(format!("there is no station {from}")));
        };
        station.send(Instant::now(), packet).map_err(Trouble::lab)?;
        self.transmit()
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Arrival>, Trouble> {
        loop {
            for (station, cable) in &mut self.0 {
                cable.receive(|frame| station.handle_frame(frame))?;
            }
            self.transmit()?;
            if let Some(arrival) = self.arrived() {
                return Ok(Some(arrival));
            }
            let now = Instant::now();
            if now >= until {
                return Ok(None);
            }
            let due = self.0.iter().filter_map(|(station, _)| station.poll_timeout()).min();
            self.wait(due.map_or(until, |due| due.min(until)))?;
            let now = Instant::now();
            for (station, _) in &mut self.0 {
                station.handle_timeout(now);
            }
        }
    }
}

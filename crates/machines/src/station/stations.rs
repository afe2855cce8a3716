//! Stations with their cables, in one loop.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use natrig_lab::station::{Arrival, Net, Seat, Station};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cable::Cable;
use crate::Trouble;

/// Stations on segments of a switch; dropping them unplugs them.
#[derive(Debug)]
pub struct Stations {
    started: Instant,
    stations: Vec<(Station, Cable)>,
}

impl Default for Stations {
    fn default() -> Self {
        Stations { started: Instant::now(), stations: Vec::new() }
    }
}

impl Stations {
    /// None yet.
    pub fn new() -> Self {
        Stations::default()
    }

    /// Plugs one in.
    pub fn add(&mut self, station: Station, cable: OwnedFd) -> Seat {
        self.stations.push((station, Cable::new(cable)));
        self.stations.len() - 1
    }

    /// Puts on the cables what is to be sent.
    fn transmit(&mut self) -> Result<(), Trouble> {
        for (station, cable) in &mut self.stations {
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
        self.stations.iter_mut().enumerate().find_map(packet)
    }

    /// Waits until a cable is ready or a time is reached.
    fn wait(&self, until: Duration) -> Result<(), Trouble> {
        let mut ready: Vec<PollFd<'_>> = self
            .stations
            .iter()
            .map(|(_, cable)| {
                let write = if cable.is_full() { PollFlags::OUT } else { PollFlags::empty() };
                PollFd::from_borrowed_fd(cable.socket(), PollFlags::IN | write)
            })
            .collect();
        let wait = until.saturating_sub(self.now());
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
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn send(&mut self, from: Seat, packet: Vec<u8>) -> Result<(), Trouble> {
        let now = self.now();
        let Some((station, _)) = self.stations.get_mut(from) else {
            return Err(Trouble::lab(format!("there is no station {from}")));
        };
        station.send(now, packet)?;
        self.transmit()
    }

    fn receive(&mut self, until: Duration) -> Result<Option<Arrival>, Trouble> {
        loop {
            for (station, cable) in &mut self.stations {
                cable.receive(|frame| station.handle_frame(frame))?;
            }
            self.transmit()?;
            if let Some(arrival) = self.arrived() {
                return Ok(Some(arrival));
            }
            let now = self.now();
            if now >= until {
                return Ok(None);
            }
            let due = self.stations.iter().filter_map(|(station, _)| station.poll_timeout()).min();
            self.wait(due.map_or(until, |due| due.min(until)))?;
            let now = self.now();
            for (station, _) in &mut self.stations {
                station.handle_timeout(now);
            }
        }
    }
}

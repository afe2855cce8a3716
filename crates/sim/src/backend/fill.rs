//! A gateway's table, full.

use std::time::Duration;

use natrig_lab::{
    Place, Trouble,
    fill::{self, Table},
    station::{Arrival, Net, Seat},
};
use natrig_nat::bytes::control::Command;

use super::{gateway::command, stage::Stage, stations::Stations};

/// Fills a gateway's table until it refuses a flow; says what was read.
pub fn fill(stage: &mut Stage<'_>, place: &Place) -> Result<String, Trouble> {
    let stands = stage.topology.stands(place);
    let stations = Stations::at(stage, &stands)?;
    fill::fill(&mut Around { stations, place }, &stands, place)
}

/// A gateway with a station on both sides.
struct Around<'a, 's> {
    stations: Stations<'a, 's>,
    place: &'a Place,
}

impl Table for Around<'_, '_> {
    fn count(&mut self) -> Result<usize, Trouble> {
        let state = command(self.stations.stage, self.place.machine, Command::State)?;
        Ok(state.flows.max(state.mappings))
    }

    fn close(&mut self) -> Result<usize, Trouble> {
        Ok(command(self.stations.stage, self.place.machine, Command::Close)?.flows)
    }
}

impl Net for Around<'_, '_> {
    fn now(&self) -> Duration {
        self.stations.now()
    }

    fn send(&mut self, from: Seat, packet: Vec<u8>) -> Result<(), Trouble> {
        self.stations.send(from, packet)
    }

    fn receive(&mut self, until: Duration) -> Result<Option<Arrival>, Trouble> {
        self.stations.receive(until)
    }
}

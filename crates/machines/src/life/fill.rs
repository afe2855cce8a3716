//! A gateway's table, full.

use std::time::Duration;

use natrig_lab::{
    Place,
    fill::{self, Table},
    station::{Arrival, Net, Seat},
};
use natrig_nat::bytes::control::Command;
use natrig_scenario::Engine;

use crate::{
    Lab, Trouble,
    gateway::{connections, expect},
    model,
    station::Stations,
};

/// A kernel's own limit.
const CEILING: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Fills a gateway's table until it refuses a flow; says what was read.
pub(super) fn fill(lab: &Lab, place: &Place) -> Result<String, Trouble> {
    let stands = lab.topology().stands(place);
    let mut around = Around { stations: lab.stations(&stands)?, lab, place };
    fill::fill(&mut around, &stands, place)
}

/// A gateway with a station on both sides.
struct Around<'a> {
    stations: Stations,
    lab: &'a Lab,
    place: &'a Place,
}

impl Table for Around<'_> {
    fn count(&mut self) -> Result<usize, Trouble> {
        match self.place.gateway.engine {
            Engine::Kernel => connections(self.lab.agent(self.place.machine)?),
            Engine::Model => {
                let state = model::command(self.lab, self.place.machine, &Command::State)?;
                Ok(state.flows.max(state.mappings))
            }
        }
    }

    fn close(&mut self) -> Result<usize, Trouble> {
        let gateway = self.place.machine;
        if self.place.gateway.engine == Engine::Model {
            return Ok(model::command(self.lab, gateway, &Command::Close)?.flows);
        }
        let agent = self.lab.agent(gateway)?;
        let count = connections(agent)?;
        expect(agent, &["sh", "-c", &format!("echo {count} > {CEILING}")])?;
        Ok(count)
    }
}

impl Net for Around<'_> {
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

//! Stations of the lab in a world.

use std::time::Duration;

use natrig_lab::{
    Stand, Trouble,
    station::{Arrival, Net, Seat},
};

use super::stage::Stage;
use crate::agenda::MachineId;

/// Stations that somebody plays.
#[derive(Debug)]
pub struct Stations<'a, 's> {
    pub stage: &'a mut Stage<'s>,
    seats: Vec<MachineId>,
}

impl<'a, 's> Stations<'a, 's> {
    /// Those at some stands; what came to them before is forgotten.
    pub fn at<'b>(
        stage: &'a mut Stage<'s>,
        stands: impl IntoIterator<Item = &'b Stand>,
    ) -> Result<Self, Trouble> {
        let seat = |stand: &Stand| {
            let found = stage.world.find(&stand.link);
            found.ok_or_else(|| Trouble::lab(format!("there is no link `{}`", stand.link)))
        };
        let seats: Vec<MachineId> = stands.into_iter().map(seat).collect::<Result<_, _>>()?;
        for seat in &seats {
            while stage.world.receive(*seat).is_some() {}
        }
        Ok(Stations { stage, seats })
    }
}

impl Net for Stations<'_, '_> {
    fn now(&self) -> Duration {
        self.stage.world.now()
    }

    fn send(&mut self, from: Seat, packet: Vec<u8>) -> Result<(), Trouble> {
        let seat = self.seats.get(from).ok_or_else(|| Trouble::lab(format!("there is no station {from}")))?;
        self.stage.world.send(*seat, packet);
        Ok(())
    }

    fn receive(&mut self, until: Duration) -> Result<Option<Arrival>, Trouble> {
        let seats = &self.seats;
        self.stage.wait(until, |stage| {
            seats.iter().enumerate().find_map(|(at, seat)| {
                let (_, packet) = stage.world.receive(*seat)?;
                Some(Arrival { at, packet })
            })
        })
    }
}

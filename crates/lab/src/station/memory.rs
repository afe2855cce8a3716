//! Gateways in this process, in virtual time.

use std::{collections::VecDeque, net::Ipv4Addr, time::Duration};

use natrig_capture::decode_ipv4;
use natrig_nat::{bytes::Gateway, engine::Side};

use super::{Arrival, Net, Seat};
use crate::Trouble;

/// Stations joined by gateways that are no machines. Nothing is lost and nothing takes time; time passes while a station
/// waits.
#[derive(Debug, Default)]
pub struct Memory {
    now: Duration,
    gateways: Vec<Gateway>,
    seats: Vec<Chair>,
    arrivals: VecDeque<Arrival>,
}

/// Where a station sits.
#[derive(Debug)]
struct Chair {
    addresses: Vec<Ipv4Addr>,
    behind: Option<usize>,
}

impl Memory {
    /// Nobody yet.
    pub fn new() -> Self {
        Memory::default()
    }

    /// Adds a gateway to the internet.
    pub fn gateway(&mut self, gateway: Gateway) -> usize {
        self.gateways.push(gateway);
        self.gateways.len() - 1
    }

    /// Adds a station with addresses behind a gateway, or on the internet.
    pub fn station(&mut self, addresses: impl Into<Vec<Ipv4Addr>>, behind: Option<usize>) -> Seat {
        self.seats.push(Chair { addresses: addresses.into(), behind });
        self.seats.len() - 1
    }

    /// A packet on the internet (none) or on a gateway's LAN.
    fn carry(&mut self, segment: Option<usize>, packet: Vec<u8>) {
        let Some(destination) = decode_ipv4(&packet).map(|ipv4| ipv4.destination) else {
            return;
        };
        let here = |chair: &Chair| chair.behind == segment && chair.addresses.contains(&destination);
        if let Some(at) = self.seats.iter().position(here) {
            self.arrivals.push_back(Arrival { at, packet });
            return;
        }
        let next = match segment {
            Some(gateway) => Some((gateway, Side::Inside)),
            None => self.leads_to(destination).map(|gateway| (gateway, Side::Outside)),
        };
        let now = self.now;
        if let Some((index, from)) = next
            && let Some(gateway) = self.gateways.get_mut(index)
        {
            // Why a packet goes no further is the gateway's own affair.
            let _ = gateway.handle(now, from, packet);
            self.carry_on(index);
        }
    }

    /// The gateway that an address on the internet belongs to.
    fn leads_to(&mut self, address: Ipv4Addr) -> Option<usize> {
        self.gateways.iter_mut().position(|gateway| {
            let engine = gateway.engine();
            let routed = engine.profile().mapping.is_none() && engine.addresses().inside.contains(address);
            routed || engine.addresses().outside.contains(&address)
        })
    }

    /// Takes what a gateway sends.
    fn carry_on(&mut self, index: usize) {
        while let Some(sent) = self.gateways.get_mut(index).and_then(Gateway::poll_transmit) {
            let segment = (sent.to == Side::Inside).then_some(index);
            self.carry(segment, sent.packet);
        }
    }

    /// The gateway that has something to say next, and when.
    fn due(&self) -> Option<(Duration, usize)> {
        let due = |(index, gateway): (usize, &Gateway)| Some((gateway.poll_timeout()?, index));
        self.gateways.iter().enumerate().filter_map(due).min()
    }
}

impl Net for Memory {
    fn now(&self) -> Duration {
        self.now
    }

    fn send(&mut self, from: Seat, packet: Vec<u8>) -> Result<(), Trouble> {
        let chair =
            self.seats.get(from).ok_or_else(|| Trouble::lab(format!("there is no station {from}")))?;
        let segment = chair.behind;
        self.carry(segment, packet);
        Ok(())
    }

    fn receive(&mut self, until: Duration) -> Result<Option<Arrival>, Trouble> {
        loop {
            if let Some(arrival) = self.arrivals.pop_front() {
                return Ok(Some(arrival));
            }
            match self.due().filter(|(at, _)| *at <= until) {
                Some((at, index)) => {
                    self.now = self.now.max(at);
                    let now = self.now;
                    if let Some(gateway) = self.gateways.get_mut(index) {
                        gateway.handle_timeout(now);
                    }
                    self.carry_on(index);
                }
                None => {
                    self.now = self.now.max(until);
                    return Ok(None);
                }
            }
        }
    }
}

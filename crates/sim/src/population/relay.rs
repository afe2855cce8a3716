//! A relay of a population: a public node that is bootstrap node and coordinator as well.

use std::{sync::Arc, time::Duration};

use omerta_mesh_core::{Config, Node, Service};
use rand::Rng;

use super::{
    Tally,
    plan::{self, Plan},
};
use crate::{
    node::Pump,
    program::{Datagram, Io, Program},
};

/// A relay.
pub struct Relay {
    number: u32,
    plan: Arc<Plan>,
    sessions: usize,
    pump: Option<Box<Pump>>,
    pub(super) received: Tally,
    /// The most sessions that were open at once.
    pub(super) most_sessions: usize,
}

impl Relay {
    pub(super) fn new(number: u32, plan: Arc<Plan>, sessions: usize) -> Self {
        Relay { number, plan, sessions, pump: None, received: Tally::default(), most_sessions: 0 }
    }

    /// Its node, once it has started.
    pub(super) fn as_node(&self) -> Option<&Node> {
        self.pump.as_ref().map(|pump| pump.as_node())
    }

    fn drain(&mut self, io: &mut Io<'_>) {
        if let Some(pump) = &mut self.pump {
            pump.drain(io, |_, _, _| ());
            self.most_sessions = self.most_sessions.max(pump.as_node().sessions());
        }
    }
}

impl Program for Relay {
    fn start(&mut self, io: &mut Io<'_>) {
        let name = plan::relay_name(self.number);
        let identity = plan::identity(self.plan.seed, &name);
        let mut random = plan::random(self.plan.seed, &format!("life of {name}"));
        let mut config = Config::new(random.random(), io.calendar_us());
        config.port = plan::PORT;
        config.peer_contact = self.plan.gossip.peer_contact;
        if self.plan.gossip.peer_contact {
            // Relays make one mesh of all members: each is told of one that was there before, as a tree has it, and says where it is.
            config.host_addresses = vec![plan::relay_address(self.number).into()];
            let before = self.number.checked_sub(1).map(|last| last / 2);
            config.bootstrap = before.and_then(|number| self.plan.bootstrap(number)).into_iter().collect();
            config.relays = 0;
        }
        config.service = Service::Relay { sessions: self.sessions };
        let crypto = self.plan.crypto(identity.id(), &random.random());
        self.pump = Some(Box::new(Pump::start(io, identity, config, crypto)));
        self.drain(io);
    }

    fn handle_datagram(&mut self, io: &mut Io<'_>, datagram: Datagram<'_>) {
        if let Some(pump) = &mut self.pump {
            self.received.count(datagram.payload);
            pump.handle_datagram(io, datagram);
            self.drain(io);
        }
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) {
        if let Some(pump) = &mut self.pump {
            pump.handle_timeout(io);
            self.drain(io);
        }
    }

    fn poll_timeout(&mut self) -> Option<Duration> {
        self.pump.as_mut()?.poll_timeout()
    }
}

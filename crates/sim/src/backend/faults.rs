//! What is done to links, nodes and machines while a scenario runs.

use std::net::Ipv4Addr;

use natrig_capture::Direction;
use natrig_lab::{Trouble, node::BROADCAST, talk::Conversation};
use natrig_netmodel::Conditions;
use natrig_scenario::{Action, Errand, Link, Machine, MachineFault, NodeFault, Segment, Shift};

use super::stage::{Stage, on};

impl Stage<'_> {
    /// Does to a link or a machine what a fault says.
    pub fn apply(&mut self, action: &Action) -> Result<(), Trouble> {
        match action {
            Action::Cut(link) => {
                let port = self.port(*link)?;
                self.world.cut(port, true);
                self.cut.insert(*link);
            }
            Action::Heal(link) => {
                let port = self.port(*link)?;
                self.world.cut(port, false);
                self.cut.remove(link);
            }
            Action::Flap(link, times, every) => {
                for _ in 0..*times {
                    self.apply(&Action::Cut(*link))?;
                    self.pass(*every)?;
                    self.apply(&Action::Heal(*link))?;
                    self.pass(*every)?;
                }
            }
            Action::Impair(impairments) => self.condition(impairments)?,
            Action::Mend(link) => {
                let port = self.port(*link)?;
                for direction in [Direction::Inbound, Direction::Outbound] {
                    self.world.condition(port, direction, Conditions::default());
                }
                let first: Vec<_> = self.links.iter().filter(|one| one.link == *link).copied().collect();
                self.condition(&first)?;
            }
            Action::Partition(partition) => {
                for [from, to] in partition.blocked() {
                    let (a, b) = (self.port(from)?, self.port(to)?);
                    self.world.block(a, b);
                    self.parted.push([from, to]);
                }
            }
            Action::Rejoin(segment) => {
                for [from, to] in self.rejoined(*segment) {
                    let (a, b) = (self.port(from)?, self.port(to)?);
                    self.world.unblock(a, b);
                }
            }
            Action::Node(name, fault) => self.befall_node(*name, *fault)?,
            Action::Machine(name, fault) => self.befall_machine(*name, *fault)?,
            Action::Roam(name, site) => {
                let machine = self.machine(*name)?;
                let (segment, address, hop) = self.topology.roamed(*name, *site);
                let segment = on(&self.segments, segment)?;
                let routes = vec![(Ipv4Addr::UNSPECIFIED, 0, hop)];
                self.world.replug(machine, 0, segment, vec![address], routes);
            }
            Action::Clock(name, Shift { by, back }) => {
                let machine = self.machine(*name)?;
                let by = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
                self.world.shift_clock(machine, if *back { -by } else { by });
            }
            Action::Connect(from, to) => {
                let peer = self.node(*to)?.id;
                self.with_node(*from, |node, world| node.connect(world, peer))?;
            }
            Action::Ask(name, errand) => self.ask(*name, *errand)?,
            Action::Gateway(..) | Action::Expect(_) | Action::Idle(_) => {
                return Err(Trouble::lab(format!(
                    "to {action} is nothing that is done to a link or a machine"
                )));
            }
        }
        Ok(())
    }

    fn ask(&mut self, name: Machine, errand: Errand) -> Result<(), Trouble> {
        match errand {
            Errand::Find(whom) => {
                let peer = self.node(whom)?.id;
                self.with_node(name, |node, world| node.find(world, peer))
            }
            Errand::WhoHasRecent(whom) => {
                let peer = self.node(whom)?.id;
                self.with_node(name, |node, world| node.who_has_recent(world, peer))
            }
            Errand::Broadcast => self.with_node(name, |node, world| node.broadcast(world, BROADCAST)),
        }
    }

    /// What a partition kept apart on a segment, and does no more.
    fn rejoined(&mut self, segment: Segment) -> Vec<[Link; 2]> {
        let there: Vec<Link> =
            self.topology.links().filter(|(_, on)| *on == segment).map(|(link, _)| link).collect();
        self.parted.extract_if(.., |[from, _]| there.contains(from)).collect()
    }

    fn befall_node(&mut self, name: Machine, fault: NodeFault) -> Result<(), Trouble> {
        match fault {
            NodeFault::Kill => self.with_node(name, |node, world| node.end(world, false))?,
            NodeFault::Stop => self.with_node(name, |node, world| node.end(world, true))?,
            // A host has no other program that would go on.
            NodeFault::Pause => self.hold(name, true)?,
            NodeFault::Resume => self.hold(name, false)?,
            NodeFault::Limit(_) => return Err(Trouble::lab("no memory is limited in the simulator")),
            NodeFault::Restart => self.with_node(name, |node, world| {
                if node.runs {
                    node.end(world, false)?;
                }
                node.begin_anew(world)
            })?,
        }
        if matches!(fault, NodeFault::Kill | NodeFault::Stop | NodeFault::Restart) {
            self.forgets(name);
        }
        if fault == NodeFault::Restart { self.call_again(name) } else { Ok(()) }
    }

    fn befall_machine(&mut self, name: Machine, fault: MachineFault) -> Result<(), Trouble> {
        let machine = self.machine(name)?;
        match fault {
            MachineFault::PowerOff => {
                self.world.switch(machine, false);
                self.with_node(name, |node, _| {
                    node.runs = false;
                    Ok(())
                })?;
                self.forgets(name);
            }
            MachineFault::PowerOn => {
                self.world.switch(machine, true);
                self.with_node(name, |node, world| node.begin_anew(world))?;
                self.call_again(name)?;
            }
            MachineFault::Freeze => self.hold(name, true)?,
            MachineFault::Thaw => self.hold(name, false)?,
        }
        Ok(())
    }

    /// Stops a machine for a while, or lets it go on.
    fn hold(&mut self, name: Machine, held: bool) -> Result<(), Trouble> {
        let machine = self.machine(name)?;
        match held {
            true => self.held.insert(name),
            false => self.held.remove(&name),
        };
        self.world.hold(machine, held);
        Ok(())
    }

    /// A node that was started anew connects to those whom it talks to, as its application would have it do.
    fn call_again(&mut self, name: Machine) -> Result<(), Trouble> {
        let partners: Vec<Machine> =
            self.conversations.iter().filter(|one| one.from() == name).map(Conversation::to).collect();
        for partner in partners {
            self.apply(&Action::Connect(name, partner))?;
        }
        Ok(())
    }

    /// A node has lost all that it knew.
    fn forgets(&mut self, name: Machine) {
        self.conversations.iter_mut().for_each(|one| one.forgets(name));
    }
}

//! The state of a world that has been stopped, to be looked at.

use std::time::Duration;

use serde_json::{Map as Object, Value, json};

use crate::{agenda::What, machine::Role, shard::Shard, world::World};

impl World {
    /// All machines, cables and packets under way, as JSON.
    pub fn snapshot(&mut self) -> Value {
        let now = self.now();
        let cables = self.cables();
        let under_way: Vec<Value> = self.shards().iter().flat_map(under_way).collect();
        let (_, shards) = self.shards_mut();
        let machines: Object<String, Value> = shards
            .iter_mut()
            .flat_map(|shard| &mut shard.machines)
            .map(|machine| {
                let elapsed = machine.clock.elapsed(now);
                let role = match &mut machine.role {
                    Role::Host(host) => {
                        let programs = host.programs().map(|program| program.snapshot(elapsed));
                        json!({ "programs": programs.collect::<Vec<_>>() })
                    }
                    Role::Gateway(gateway) => {
                        let engine = gateway.engine();
                        json!({
                            "profile": engine.profile().name,
                            "outside": engine.addresses().outside,
                            "flows": engine.table(now),
                        })
                    }
                    Role::Station(arrivals) => json!({ "arrivals": arrivals.len() }),
                };
                let interfaces: Vec<_> = machine.interfaces.iter().map(|one| &one.addresses).collect();
                let state = json!({
                    "off": machine.off,
                    "clock_ms": millis(elapsed),
                    "addresses": interfaces,
                    "wakes_ms": machine.wakes.map(|at| millis(Duration::from_nanos(at))),
                    "role": role,
                });
                (machine.name.to_string(), state)
            })
            .collect();
        json!({ "at_ms": millis(now), "machines": machines, "links": cables, "under_way": under_way })
    }

    fn cables(&self) -> Object<String, Value> {
        let map = self.map();
        let cables = self.shards().iter().flat_map(|shard| &shard.cables);
        cables
            .map(|cable| {
                let plug = map.plugs.get(cable.port.index());
                let segment = plug.and_then(|plug| map.segments.get(plug.segment.0 as usize));
                let state = json!({
                    "segment": segment.map(|segment| &segment.name),
                    "cut": cable.cut,
                    "away": cable.inbound.conditions(),
                    "towards": cable.outbound.conditions(),
                });
                (cable.name.to_string(), state)
            })
            .collect()
    }
}

fn under_way(shard: &Shard) -> Vec<Value> {
    let mut packets: Vec<_> = shard
        .agenda
        .iter()
        .filter_map(|(when, what)| match what {
            What::Wake(_) => None,
            What::Forwarded(to, passing) | What::Arrived(to, passing) => Some((when, to, passing)),
        })
        .collect();
    packets.sort_by_key(|(when, ..)| *when);
    let packet = |(when, to, passing): (crate::agenda::When, &crate::PortId, &crate::agenda::Passing)| {
        let at = millis(Duration::from_nanos(when.at));
        json!({ "at_ms": at, "frame": passing.frame, "to_port": to.index(), "bytes": passing.packet.len() })
    };
    packets.into_iter().map(packet).collect()
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

//! A full table: stations open flows through a gateway until another one is refused.

use std::{net::SocketAddrV4, time::Duration};

use natrig_capture::Transport;

use crate::{
    Place, Stand, Trouble,
    station::{Net, Seat, packet},
};

/// The first port of flows that fill a table, and how many there are.
const FIRST: u16 = 10_000;
const PORTS: usize = 50_000;

/// The port they go to.
const SINK: u16 = 9;

/// Packets between two looks at the table.
const BURST: usize = 256;

/// How long a station may wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for what may not come.
const SOON: Duration = Duration::from_secs(1);

/// A table with more room than this is not filled: emulated machines would take longer than flows live. Its ceiling is
/// lowered to what is in it.
const LARGE: usize = 4096;

/// Flows that are in such a table beside others.
const SOME: usize = 256;

/// After so long an answered flow is a lasting one, which a kernel does not throw out for a newer one.
const LASTING: Duration = Duration::from_millis(2_200);

/// What can be done with the table of a gateway.
pub trait Table {
    /// How much is in it.
    fn count(&mut self) -> Result<usize, Trouble>;

    /// Lowers its ceiling to what is in it; gives how much that is.
    fn close(&mut self) -> Result<usize, Trouble>;
}

/// Fills a gateway's table until it refuses a flow, which the stations at its [stands](crate::Topology::stands) see; says
/// what was read.
pub fn fill(net: &mut (impl Net + Table), stands: &[Stand; 2], place: &Place) -> Result<String, Trouble> {
    let mut filler = Filler { net, stands };
    let limits = place.gateway.profile.limits;
    let room = limits.flows.min(limits.mappings) as usize;
    let count = if room > LARGE { filler.lower_ceiling()? } else { filler.open_until(room)? };
    filler.see_refusal()?;
    Ok(format!("{count} flows are in its table, and another one was refused"))
}

struct Filler<'a, N> {
    net: &'a mut N,
    stands: &'a [Stand; 2],
}

const BEHIND: Seat = 0;
const BEFORE: Seat = 1;

impl<N: Net + Table> Filler<'_, N> {
    /// The station's end of the n-th flow.
    fn inside(&self, number: usize) -> SocketAddrV4 {
        self.stands[BEHIND].endpoint(number / PORTS, FIRST + (number % PORTS) as u16)
    }

    fn outside(&self) -> SocketAddrV4 {
        self.stands[BEFORE].endpoint(0, SINK)
    }

    /// Opens flows until so many are there.
    fn open_until(&mut self, room: usize) -> Result<usize, Trouble> {
        let mut opened = 0;
        loop {
            let count = self.net.count()?;
            if count >= room {
                return Ok(count);
            }
            if opened >= 2 * PORTS || opened > 2 * room + 4 * BURST {
                return Err(Trouble::lab(format!(
                    "its table has room for {room} flows, and {count} are in it after {opened} were opened"
                ))
                .hint("it has another limit, ends flows sooner than they are opened, or passes no UDP"));
            }
            for number in opened..opened + BURST {
                self.send(number, b"fill")?;
            }
            opened += BURST;
            // All pass as long as there is room; some may not, since others open flows as well.
            self.see(BEFORE, b"fill", BURST.min(room - count), SOON)?;
        }
    }

    fn send(&mut self, number: usize, payload: &[u8]) -> Result<(), Trouble> {
        self.net.send(BEHIND, packet::udp(self.inside(number), self.outside(), payload))
    }

    /// Takes what has come, and waits until so many with a payload are at a station; gives who sent them.
    fn see(
        &mut self,
        at: Seat,
        payload: &[u8],
        least: usize,
        patience: Duration,
    ) -> Result<Vec<SocketAddrV4>, Trouble> {
        let until = self.net.now() + patience;
        let mut seen = Vec::new();
        loop {
            let wait = if seen.len() < least { until } else { self.net.now() };
            let Some(arrival) = self.net.receive(wait)? else { break };
            let Some(ip) = arrival.ipv4().filter(|_| arrival.at == at) else { continue };
            if let Transport::Udp(udp) = ip.transport
                && udp.payload == payload
            {
                seen.push(udp.source);
            }
        }
        Ok(seen)
    }

    /// Opens lasting flows and lowers the ceiling to what is in the table.
    fn lower_ceiling(&mut self) -> Result<usize, Trouble> {
        for number in 0..SOME {
            self.send(number, b"open")?;
        }
        for from in self.see(BEFORE, b"open", SOME, PATIENCE)? {
            self.net.send(BEFORE, packet::udp(self.outside(), from, b"answer"))?;
        }
        self.see(BEHIND, b"answer", SOME, PATIENCE)?;
        let lasting = self.net.now() + LASTING;
        while self.net.receive(lasting)?.is_some() {}
        for number in 0..SOME {
            self.send(number, b"last")?;
        }
        let lasting = self.see(BEFORE, b"last", SOME, PATIENCE)?.len();
        if lasting < SOME {
            return Err(Trouble::lab(format!("{SOME} flows were opened, and {lasting} last")));
        }
        self.net.close()
    }

    /// Sends what must be refused, and after it what must pass and shows that the other did not.
    fn see_refusal(&mut self) -> Result<(), Trouble> {
        let fresh = self.stands[BEHIND].endpoint(1, FIRST - 1);
        self.net.send(BEHIND, packet::udp(fresh, self.outside(), b"one more"))?;
        self.send(0, b"known")?;
        let until = self.net.now() + PATIENCE;
        while let Some(arrival) = self.net.receive(until)? {
            let Some(ip) = arrival.ipv4().filter(|_| arrival.at == BEFORE) else { continue };
            match ip.transport {
                Transport::Udp(udp) if udp.payload == b"one more" => {
                    return Err(Trouble::lab("its table is full, and it lets another flow in"));
                }
                Transport::Udp(udp) if udp.payload == b"known" => return Ok(()),
                _ => {}
            }
        }
        let count = self.net.count()?;
        Err(Trouble::lab(format!("its table is full with {count} flows, and none of them passes any more")))
    }
}

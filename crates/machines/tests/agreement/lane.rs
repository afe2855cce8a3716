//! One gateway under a trace, with stations on both sides: what is sent, and what is seen of it.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use natrig_capture::{Icmp, Ipv4, Transport, decode_ipv4};
use natrig_lab::station::{Arrival, Net, Seat, packet};

use crate::{
    bytes::{Parts, sound, word},
    step::{Flow, Kind, Shape, Step},
};

/// How long a fence may take, and how often it is sent.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 10;

/// The identification of fences; no step has it.
const FENCE: u16 = u16::MAX;

/// A gateway between an inside and an outside station.
pub struct Lane<N> {
    net: N,
    made: Instant,
    inside: Seat,
    outside: Seat,
    gateway: Vec<Ipv4Addr>,
    fence: Flow,
    fences: u64,
    parts: Parts,
    /// The outside endpoint of each flow, and the last packets of it.
    ends: HashMap<Flow, SocketAddrV4>,
    last: HashMap<(Flow, Kind), Vec<u8>>,
}

/// What was seen of the steps of a batch, by the steps' numbers.
pub type Seen = BTreeMap<u16, Vec<String>>;

impl<N: Net> Lane<N> {
    /// A gateway with these outside addresses; the fence is a flow that nothing else uses.
    pub fn new(net: N, [inside, outside]: [Seat; 2], gateway: Vec<Ipv4Addr>, fence: Flow) -> Self {
        Lane {
            net,
            made: Instant::now(),
            inside,
            outside,
            gateway,
            fence,
            fences: 0,
            parts: Parts::default(),
            ends: HashMap::new(),
            last: HashMap::new(),
        }
    }

    /// The outside endpoint of a flow.
    pub fn end(&self, flow: &Flow) -> Option<SocketAddrV4> {
        self.ends.get(flow).copied()
    }

    /// Has the gateway learn all hardware addresses, so that no packet waits for one and is overtaken.
    pub fn warm(mut self, flows: impl IntoIterator<Item = Flow>) -> Self {
        let fence = self.fence;
        for flow in flows {
            self.fence = flow;
            let mut nothing = Seen::new();
            for kind in [Kind::Out, Kind::In] {
                self.fence(kind, &[], &mut nothing);
            }
            self.ends.remove(&flow);
        }
        self.fence = fence;
        self
    }

    /// Forgets the outside endpoint of a flow, and the last packets of its inside endpoint.
    pub fn forget(&mut self, flow: &Flow) {
        self.ends.remove(flow);
        self.last.retain(|(other, _), _| (other.proto, other.inside) != (flow.proto, flow.inside));
    }

    /// Sends a batch of steps, one way, and tells what came of them; there and back a fence follows them.
    pub fn play(&mut self, batch: &[Step]) -> Seen {
        // What is virtual takes the time that passes.
        while let Some(late) = self.net.receive(self.made.elapsed()).unwrap() {
            assert!(refuses_a_call(&late), "this came after its fences: {:?}", late.ipv4());
        }
        for step in batch {
            let from = if step.kind == Kind::Out { self.inside } else { self.outside };
            for packet in self.packets(step) {
                self.net.send(from, packet).unwrap();
            }
        }
        let mut seen = Seen::new();
        let first = batch.first().map_or(Kind::Out, |step| step.kind);
        // What the kernel holds back a moment, to merge it with what follows, is overtaken by one datagram, not by a second
        // that was sent after the first had passed.
        for kind in [first, first, first.other()] {
            self.fence(kind, batch, &mut seen);
        }
        for lines in seen.values_mut() {
            lines.sort();
        }
        seen
    }

    fn fence(&mut self, kind: Kind, batch: &[Step], seen: &mut Seen) {
        self.fences += 1;
        let payload = self.fences.to_be_bytes();
        for _ in 0..TRIES {
            let (seat, from, to) = match kind {
                Kind::Out => (self.inside, self.fence.inside, self.fence.remote),
                // The first fence goes out, and tells where the next one comes in.
                Kind::In => match self.end(&self.fence) {
                    Some(end) => (self.outside, self.fence.remote, end),
                    None => return,
                },
            };
            let fence = packet::with_identification(&packet::udp(from, to, &payload), FENCE);
            self.net.send(seat, fence).unwrap();
            let until = self.net.now() + PATIENCE;
            while let Some(arrival) = self.net.receive(until).unwrap() {
                let Some(whole) = self.parts.whole(arrival.at, arrival.packet) else { continue };
                let Some(ipv4) = decode_ipv4(&whole) else { continue };
                if ipv4.identification == FENCE {
                    let Transport::Udp(udp) = ipv4.transport else { continue };
                    if arrival.at == self.outside {
                        self.ends.insert(self.fence, udp.source);
                    }
                    if udp.payload == payload {
                        return;
                    }
                } else if let Some(step) = self.cause(batch, arrival.at, &ipv4, &whole) {
                    let line = self.view(step, arrival.at, &ipv4, &whole);
                    seen.entry(step.number).or_default().push(line);
                }
            }
        }
        panic!("a fence {kind:?} did not arrive");
    }

    /// The step that a packet comes from. One that comes back to who sent the batch is the gateway's own; if it is an
    /// error, it quotes the step.
    fn cause<'b>(&self, batch: &'b [Step], at: Seat, ipv4: &Ipv4<'_>, bytes: &[u8]) -> Option<&'b Step> {
        let sender = |step: &Step| if step.kind == Kind::Out { self.inside } else { self.outside };
        let back = batch.first().is_some_and(|step| sender(step) == at);
        let number = match ipv4.transport {
            Transport::Icmp(Icmp::Error(_)) if back => quoted_identification(bytes)?,
            _ => ipv4.identification,
        };
        batch.iter().find(|step| step.number == number)
    }

    fn packets(&self, step: &Step) -> Vec<Vec<u8>> {
        let flow = step.flow;
        let end = |flow: &Flow| self.end(flow).unwrap_or(SocketAddrV4::new(self.gateway[0], 9));
        let (from, to) = match step.kind {
            Kind::Out => (flow.inside, step.remote),
            Kind::In => (step.remote, end(&flow)),
        };
        let whole = match step.shape {
            Shape::Udp { length } => packet::udp(from, to, &vec![step.number as u8; length]),
            Shape::Tcp { flags, numbers, length } => {
                packet::tcp(from, to, flags, numbers, &vec![step.number as u8; length])
            }
            Shape::Echo { reply } => {
                let identifier = if step.kind == Kind::Out { from.port() } else { to.port() };
                packet::echo(*from.ip(), *to.ip(), reply, [identifier, step.number], b"ping")
            }
            Shape::Error { code } => {
                // About what this side got last of the flow, from whom it did.
                let Some(about) = self.last.get(&(flow, step.kind.other())) else { return Vec::new() };
                let Some(quoted) = decode_ipv4(about) else { return Vec::new() };
                let reporter = if step.kind == Kind::Out { quoted.destination } else { *step.remote.ip() };
                packet::icmp_error(reporter, quoted.source, code, about)
            }
            Shape::Hairpin(to) => packet::udp(from, end(&to), b"to a neighbour"),
        };
        let whole = packet::with_ttl(&packet::with_identification(&whole, step.number), step.ttl);
        match step.cut {
            None => vec![whole],
            Some(reversed) => {
                let mut parts = packet::fragments(&whole, 24, step.number).unwrap().to_vec();
                if reversed {
                    parts.reverse();
                }
                parts
            }
        }
    }

    /// What a packet is, with the gateway's ports in words: what they are is the gateway's own choice, and how they are
    /// like each other is not.
    fn view(&mut self, step: &Step, at: Seat, ipv4: &Ipv4<'_>, bytes: &[u8]) -> String {
        let place = if at == self.outside { "outside" } else { "inside" };
        let end = |end: SocketAddrV4| match self.gateway.contains(end.ip()) {
            true => "gateway".to_owned(),
            false => end.to_string(),
        };
        let ip = |port| (SocketAddrV4::new(ipv4.source, port), SocketAddrV4::new(ipv4.destination, port));
        let (source, destination, text) = match ipv4.transport {
            Transport::Udp(udp) => (
                udp.source,
                udp.destination,
                format!("udp of {} bytes {:?}", udp.payload.len(), udp.payload.first()),
            ),
            Transport::Tcp(tcp) => {
                let flags = [(tcp.syn, 'S'), (tcp.ack, 'A'), (tcp.fin, 'F'), (tcp.rst, 'R')];
                let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
                (
                    tcp.source,
                    tcp.destination,
                    format!("tcp {flags} {} of {} bytes", tcp.sequence, tcp.payload.len()),
                )
            }
            Transport::Icmp(Icmp::Echo { reply, identifier, sequence, .. }) => {
                // The identifier stands for the port of the inside, or of the gateway for it.
                let (source, destination) = match at == self.outside {
                    true => (ip(identifier).0, ip(0).1),
                    false => (ip(0).0, ip(identifier).1),
                };
                (source, destination, format!("echo reply {reply} {sequence}"))
            }
            Transport::Icmp(Icmp::Error(error)) => {
                let (source, destination) = ip(0);
                let quoted = error.quoted.map(|quoted| {
                    let ports = quoted.ports.unwrap_or_else(|| quoted_identifier(bytes));
                    let side = |address: Ipv4Addr, port: u16| match self.gateway.contains(&address) {
                        true => {
                            let own = self.end(&step.flow).map(|end| end.port());
                            format!("gateway, its own port: {}", own == Some(port))
                        }
                        // A ping has an identifier and no other port.
                        false if quoted.protocol == 1 && address != *step.flow.inside.ip() => {
                            address.to_string()
                        }
                        false => format!("{address}:{port}"),
                    };
                    let [from, to] = [side(quoted.source, ports.0), side(quoted.destination, ports.1)];
                    format!("protocol {} from {from} to {to}", quoted.protocol)
                });
                (source, destination, format!("error {} {} about {quoted:?}", error.kind, error.code))
            }
            other => {
                let (source, destination) = ip(0);
                (source, destination, format!("{other:?}"))
            }
        };
        let mut line =
            format!("{place}: {text} from {} to {} ttl {}", end(source), end(destination), ipv4.ttl);
        if !sound(bytes) {
            line += " WRONG CHECKSUM";
        }
        let error = matches!(ipv4.transport, Transport::Icmp(Icmp::Error(_)));
        if at == self.outside && step.kind == Kind::Out && !error {
            line += &self.likeness(step, source);
        }
        if !error {
            let went = if at == self.outside { Kind::Out } else { Kind::In };
            self.last.insert((step.flow, went), bytes.to_vec());
        }
        line
    }

    /// Which endpoints of other flows an outside endpoint is: two gateways do the same if these are the same.
    fn likeness(&mut self, step: &Step, end: SocketAddrV4) -> String {
        let flow = Flow { remote: step.remote, ..step.flow };
        let before = match self.ends.insert(flow, end) {
            None => "new",
            Some(before) if before == end => "as before",
            Some(_) => "MOVED",
        };
        let mut same = Vec::new();
        let mut shared = Vec::new();
        let alike = |(other, its): &(&Flow, &SocketAddrV4)| {
            other.proto == flow.proto && **other != flow && **its == end && **other != self.fence
        };
        for (other, _) in self.ends.iter().filter(alike) {
            if other.inside == flow.inside {
                same.push(other.remote);
            } else {
                shared.push((other.inside, other.remote));
            }
        }
        same.sort();
        shared.sort();
        let kept = end.port() == flow.inside.port();
        format!("; {before}, kept {kept}, same for {same:?}, shared with {shared:?}")
    }
}

/// Whether a packet refuses a TCP call from outside, which waits for the inside's own for seconds before (RFC 5382 REQ-4).
fn refuses_a_call(arrival: &Arrival) -> bool {
    let transport = arrival.ipv4().map(|ipv4| ipv4.transport);
    matches!(transport, Some(Transport::Icmp(Icmp::Error(error))) if error.quoted.is_some_and(|it| it.protocol == 6))
}

/// The identification of the packet that an ICMP error quotes.
fn quoted_identification(bytes: &[u8]) -> Option<u16> {
    word(bytes, 20 + 8 + 4)
}

/// The identifier of a ping that an ICMP error quotes, for both its ports.
fn quoted_identifier(bytes: &[u8]) -> (u16, u16) {
    let identifier = word(bytes, 20 + 8 + 20 + 4).unwrap_or(0);
    (identifier, identifier)
}

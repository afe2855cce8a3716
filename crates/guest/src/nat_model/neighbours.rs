//! Who is where on an Ethernet: routes and ARP (RFC 826), without sockets.
//!
//! The kernel answers for the machine's own addresses; this asks for those of others.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    time::Duration,
};

use natrig_nat::{bytes::control::Interface, engine::Prefix};

/// A hardware address.
pub type Mac = [u8; 6];

/// How long an answer may take, and how often is asked.
const PATIENCE: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;

/// A neighbour that was heard of so long ago is asked for again; what is known serves until it answers.
const STALE: Duration = Duration::from_secs(30);

/// Packets that wait for one neighbour's address; the oldest makes room.
const WAITING: usize = 256;

/// Neighbours that are remembered.
const KNOWN: usize = 4096;

/// The neighbours on one interface.
#[derive(Debug)]
pub struct Neighbours {
    networks: Vec<Prefix>,
    routes: Vec<(Prefix, Ipv4Addr)>,
    all: BTreeMap<Ipv4Addr, Neighbour>,
}

#[derive(Debug, Default)]
struct Neighbour {
    mac: Option<Mac>,
    heard: Duration,
    asked: Option<Duration>,
    tries: u32,
    waiting: VecDeque<Vec<u8>>,
}

/// What to do with a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes to this neighbour; `ask` says that it is time to ask for it again.
    Send { mac: Mac, packet: Vec<u8>, ask: Option<Ipv4Addr> },
    /// It waits; this neighbour is to be asked for, unless that was done just now.
    Wait { ask: Option<Ipv4Addr> },
    /// No route leads there.
    NoRoute,
}

impl Neighbours {
    pub fn new(interface: &Interface) -> Self {
        let mut routes = interface.routes.clone();
        routes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.length()));
        Neighbours { networks: interface.networks.clone(), routes, all: BTreeMap::new() }
    }

    /// The neighbour that a packet goes to.
    fn hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.networks.iter().any(|network| network.contains(destination)) {
            return Some(destination);
        }
        self.routes.iter().find(|(network, _)| network.contains(destination)).map(|(_, via)| *via)
    }

    /// Takes a packet that is to be sent.
    pub fn send(&mut self, now: Duration, destination: Ipv4Addr, packet: Vec<u8>) -> Next {
        let Some(hop) = self.hop(destination) else {
            return Next::NoRoute;
        };
        if self.all.len() >= KNOWN && !self.all.contains_key(&hop) {
            self.forget_oldest();
        }
        let neighbour = self.all.entry(hop).or_default();
        match neighbour.mac {
            Some(mac) => {
                let stale = now.saturating_sub(neighbour.heard) >= STALE;
                Next::Send { mac, packet, ask: (stale && neighbour.may_ask(now)).then_some(hop) }
            }
            None => {
                if neighbour.waiting.len() >= WAITING {
                    neighbour.waiting.pop_front();
                }
                neighbour.waiting.push_back(packet);
                Next::Wait { ask: neighbour.may_ask(now).then_some(hop) }
            }
        }
    }

    /// Learns where a neighbour is, if it is one that was asked for; gives what waited for it.
    pub fn learn(&mut self, now: Duration, address: Ipv4Addr, mac: Mac) -> VecDeque<Vec<u8>> {
        let Some(neighbour) = self.all.get_mut(&address) else {
            return VecDeque::new();
        };
        let waiting = std::mem::take(&mut neighbour.waiting);
        *neighbour = Neighbour { mac: Some(mac), heard: now, ..Neighbour::default() };
        waiting
    }

    /// Whom to ask for again; those who never answer are given up, with what waited for them.
    pub fn handle_timeout(&mut self, now: Duration) -> Vec<Ipv4Addr> {
        let late = |neighbour: &Neighbour| {
            neighbour.mac.is_none() && neighbour.asked.is_some_and(|at| now.saturating_sub(at) >= PATIENCE)
        };
        self.all.retain(|_, neighbour| !(late(neighbour) && neighbour.tries >= TRIES));
        self.all
            .iter_mut()
            .filter(|(_, neighbour)| late(neighbour))
            .filter_map(|(address, neighbour)| neighbour.may_ask(now).then_some(*address))
            .collect()
    }

    /// When to call [`Neighbours::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Duration> {
        let waiting = self.all.values().filter(|neighbour| neighbour.mac.is_none());
        waiting.filter_map(|neighbour| neighbour.asked).min().map(|at| at + PATIENCE)
    }

    fn forget_oldest(&mut self) {
        let oldest =
            self.all.iter().min_by_key(|(_, neighbour)| neighbour.heard).map(|(address, _)| *address);
        if let Some(oldest) = oldest {
            self.all.remove(&oldest);
        }
    }
}

impl Neighbour {
    fn may_ask(&mut self, now: Duration) -> bool {
        let may = self.asked.is_none_or(|at| now.saturating_sub(at) >= PATIENCE);
        if may {
            self.asked = Some(now);
            self.tries += 1;
        }
        may
    }
}

const REQUEST: u16 = 1;

/// An ARP request.
pub fn request(own: Mac, from: Ipv4Addr, wanted: Ipv4Addr) -> [u8; 28] {
    let mut bytes = [0; 28];
    // Ethernet, IPv4, and how long their addresses are.
    bytes[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, REQUEST as u8]);
    bytes[8..14].copy_from_slice(&own);
    bytes[14..18].copy_from_slice(&from.octets());
    bytes[24..28].copy_from_slice(&wanted.octets());
    bytes
}

/// Who says in an ARP packet where it is.
pub fn sender(bytes: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    if bytes.get(..6)? != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let mac: Mac = bytes.get(8..14)?.try_into().ok()?;
    let address: [u8; 4] = bytes.get(14..18)?.try_into().ok()?;
    Some((address.into(), mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn neighbours() -> Neighbours {
        Neighbours::new(&Interface {
            name: "wan".to_owned(),
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            routes: vec![("10.0.0.0/8".parse().unwrap(), ROUTER), ("10.7.0.0/16".parse().unwrap(), HOST)],
        })
    }

    #[test]
    fn packets_wait_for_an_answer_and_go_in_order() {
        let mut wan = neighbours();
        assert_eq!(wan.send(seconds(0), HOST, vec![1]), Next::Wait { ask: Some(HOST) });
        assert_eq!(wan.send(seconds(0), HOST, vec![2]), Next::Wait { ask: None });
        assert_eq!(wan.learn(seconds(0), HOST, MAC), [vec![1], vec![2]]);
        assert_eq!(wan.send(seconds(1), HOST, vec![3]), Next::Send { mac: MAC, packet: vec![3], ask: None });
        assert_eq!(wan.poll_timeout(), None);
    }

    #[test]
    fn a_silent_neighbour_is_asked_for_three_times() {
        let mut wan = neighbours();
        wan.send(seconds(0), HOST, vec![1]);
        assert_eq!(wan.poll_timeout(), Some(seconds(1)));
        assert_eq!(wan.handle_timeout(seconds(1)), [HOST]);
        assert_eq!(wan.handle_timeout(seconds(2)), [HOST]);
        assert_eq!(wan.handle_timeout(seconds(3)), [HOST; 0]);
        assert_eq!(wan.poll_timeout(), None);
        // What waited is gone, and whoever comes next is asked for anew.
        assert_eq!(wan.send(seconds(9), HOST, vec![2]), Next::Wait { ask: Some(HOST) });
        assert_eq!(wan.learn(seconds(9), HOST, MAC), [vec![2]]);
    }

    #[test]
    fn an_old_neighbour_serves_while_it_is_asked_for_again() {
        let mut wan = neighbours();
        wan.send(seconds(0), HOST, vec![]);
        wan.learn(seconds(0), HOST, MAC);
        let send = |ask| Next::Send { mac: MAC, packet: vec![], ask };
        assert_eq!(wan.send(seconds(29), HOST, vec![]), send(None));
        assert_eq!(wan.send(seconds(30), HOST, vec![]), send(Some(HOST)));
        assert_eq!(wan.send(seconds(30), HOST, vec![]), send(None));
    }

    #[test]
    fn the_narrowest_route_leads() {
        let mut wan = neighbours();
        assert_eq!(wan.send(seconds(0), [10, 1, 1, 1].into(), vec![]), Next::Wait { ask: Some(ROUTER) });
        assert_eq!(wan.send(seconds(0), [10, 7, 1, 1].into(), vec![]), Next::Wait { ask: Some(HOST) });
        assert_eq!(wan.send(seconds(0), [11, 1, 1, 1].into(), vec![]), Next::NoRoute);
    }

    #[test]
    fn strangers_are_not_learned_and_requests_are_read_back() {
        let mut wan = neighbours();
        assert!(wan.learn(seconds(0), HOST, MAC).is_empty());
        assert_eq!(wan.send(seconds(0), HOST, vec![]), Next::Wait { ask: Some(HOST) });
        assert_eq!(sender(&request(MAC, ROUTER, HOST)), Some((ROUTER, MAC)));
        assert_eq!(sender(&[0; 28]), None);
        assert_eq!(sender(&request(MAC, ROUTER, HOST)[..17]), None);
    }
}

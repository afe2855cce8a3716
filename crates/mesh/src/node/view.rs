//! What a node's owner may see of it.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::config::Bootstrap;
use crate::detect::Detection;
use crate::event::PathKind;
use crate::identity::PeerId;

use super::Node;

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerView {
    /// Who.
    pub peer: PeerId,
    /// The way that packets to it go.
    pub path: PathKind,
    /// Its address, where packets go directly.
    pub address: Option<SocketAddr>,
    /// The relay that carries them, where one does.
    pub relay: Option<PeerId>,
    /// The smoothed round trip time, in microseconds when serialized.
    #[serde(rename = "roundTrip", serialize_with = "microseconds")]
    pub round_trip: Duration,
    /// Whether it is one of the nodes that we began with.
    pub bootstrap: bool,
    /// Whether the owners are connected, and not the nodes alone.
    pub contact: bool,
}

fn microseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_micros() as u64)
}

impl Node {
    /// What is known of our NAT.
    pub fn detection(&self) -> Option<Detection> {
        self.detection
    }

    /// A connected peer.
    pub fn peer_view(&self, id: &PeerId) -> Option<PeerView> {
        let peer = self.peers.get(id)?;
        let round_trip = self.quic.rtt(id)?;
        let path = peer.carrying?;
        let is_direct = path == PathKind::Direct;
        Some(PeerView {
            peer: *id,
            path,
            address: peer.direct.filter(|_| is_direct).map(|path| path.remote),
            relay: peer.sessions.first().filter(|_| !is_direct).map(|session| session.relay),
            round_trip,
            bootstrap: self.entrance_of(id).is_some(),
            contact: peer.contact.as_ref().is_some_and(|contact| contact.connected),
        })
    }

    /// Nodes that anybody can reach, those first that were heard of last. For [`crate::Config::known`] of a later start.
    pub fn reachable_peers(&self) -> Vec<Bootstrap> {
        let heard = self.directory.iter().filter_map(|(&id, entry)| Some((entry.heard, id, entry.address?)));
        let mut heard: Vec<_> = heard.collect();
        heard.sort_by_key(|&(heard, id, _)| (Reverse(heard), id));
        heard.into_iter().map(|(_, id, address)| Bootstrap { id, address }).collect()
    }

    /// How long ago a node said what we know of it; none if we know nothing.
    pub fn age_of_word(&self, now: Instant, id: &PeerId) -> Option<Duration> {
        self.kept(now, id).map(|entry| entry.age(now))
    }

    /// A number for what a node says of how it is reached, as far as we know: equal for equal words, also of different age.
    pub fn word_of(&self, now: Instant, id: &PeerId) -> Option<u64> {
        match *id == self.id() {
            true => self.own_word(),
            false => self.kept(now, id).map(|entry| entry.content),
        }
    }

    /// All connected peers, in the order of their IDs.
    pub fn peer_views(&self) -> Vec<PeerView> {
        let mut views: Vec<PeerView> = self.peers.iter().filter_map(|(id, _)| self.peer_view(id)).collect();
        views.sort_by_key(|view| view.peer);
        views
    }
}

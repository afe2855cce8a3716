//! What a public node does for others: STUN, announcements, lookups, coordination, relay sessions.

use std::time::{Duration, Instant};

use natrig_stun::{Class, Message};
use rand::Rng;

use crate::control::{Notice, Reply, Request};
use crate::event::Event;
use crate::identity::PeerId;
use crate::net::{Path, Transmit};
use crate::quic::StreamRef;
use crate::relay::{RelayError, Session, SessionId};

use super::{Node, Pending};

impl Node {
    /// Answers a plain Binding request, if we serve others.
    pub(super) fn answer_stun(&mut self, path: Path, request: Message) {
        let plain = request.unknown.is_empty()
            && request.change_request.is_none_or(|change| !change.ip && !change.port);
        if self.config.service.coordinates() && plain {
            let mut answer = Message::new(Class::Success, request.transaction);
            answer.mapped_address = Some(self.told(path.remote));
            self.transmits.push_back(Transmit { path, payload: answer.encode() });
        }
    }

    /// Answers a request; `None` where the answer follows later.
    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        from: PeerId,
        stream: StreamRef,
        request: Option<Request>,
    ) -> Option<Reply> {
        match request {
            Some(Request::Announce { signed }) => Some(self.take_announcement(now, from, signed)),
            Some(Request::Lookup { peer }) => Some(self.look_up(now, peer)),
            Some(Request::OpenSession { peer }) => self.open_session(now, from, stream, peer),
            Some(Request::Offer { session, peer }) => Some(self.take_offer(now, from, session, peer)),
            Some(Request::Compare { sums, horizon, room }) => {
                Some(self.answer_compare(now, from, sums, horizon, room))
            }
            Some(Request::WhoHasRecent { peer, max_age, hops }) => {
                let question = (peer, Duration::from_secs(max_age), hops);
                self.answer_recent(now, from, stream, question)
            }
            Some(Request::Want { peers }) => Some(self.answer_want(now, from, peers)),
            Some(Request::Acquainted { peer }) => Some(self.acquainted(&from, &peer)),
            Some(Request::Ping) => Some(Reply::Pong),
            None => Some(refused("not understood")),
        }
    }

    fn take_announcement(&mut self, now: Instant, from: PeerId, signed: Vec<u8>) -> Reply {
        if !self.config.service.coordinates() && !self.config.peer_contact {
            return refused("this node keeps no announcements");
        }
        if self.gossip.is_muted(now, &from) {
            return refused("too much of what you said was wrong");
        }
        match self.hear_announcement(now, from, signed) {
            Ok(()) => Reply::Announced {
                peers: self.directory.len().saturating_sub(1) as u64,
                relays: self.sessions.is_served(),
                load: Some(self.sessions.load()),
            },
            Err(error) => refused(&error.to_string()),
        }
    }

    fn look_up(&self, now: Instant, peer: PeerId) -> Reply {
        match self.directory.find(now, &peer) {
            Some(entry) => Reply::Found {
                signed: entry.signed.to_vec(),
                observed: self.observed(&peer).map(|path| self.told(path.remote)),
            },
            None => Reply::NotFound,
        }
    }

    /// The proven path of a connected node.
    pub(super) fn observed(&self, peer: &PeerId) -> Option<Path> {
        self.quic.is_connected(peer).then(|| self.peers.get(peer)?.direct)?
    }

    fn open_session(
        &mut self,
        now: Instant,
        requester: PeerId,
        stream: StreamRef,
        peer: PeerId,
    ) -> Option<Reply> {
        if peer == requester || self.observed(&peer).is_none() {
            return Some(refused("that peer is not connected here"));
        }
        let fresh = SessionId(self.rng.random());
        match self.sessions.open(now, requester, peer, fresh) {
            Ok(session) => {
                let offer = Request::Offer { session, peer: requester };
                let pending = Pending::Offer { session, requester, stream };
                self.ask(now, peer, &offer, pending);
                None
            }
            Err(error) => {
                let reason = error.to_string();
                self.events.push_back(Event::SessionRefused { requester, peer, reason: reason.clone() });
                Some(match error {
                    RelayError::Full | RelayError::Quota => Reply::Full { reason },
                    RelayError::NotServed => Reply::Refused { reason },
                })
            }
        }
    }

    /// What to tell the requester now that the other member has answered.
    pub(super) fn conclude_offer(&mut self, session: SessionId, reply: Reply) -> Reply {
        match reply {
            Reply::Accepted => {
                if let Some([requester, peer]) = self.sessions.join(session) {
                    let sessions = self.sessions.len() as u64;
                    self.events.push_back(Event::SessionOpened { requester, peer, sessions });
                }
                Reply::Session { session, load: Some(self.sessions.load()) }
            }
            _ => {
                const WHY: &str = "the peer does not want the session";
                if let Some(ended) = self.sessions.close(session) {
                    self.tell_ended(&ended, WHY);
                }
                refused(WHY)
            }
        }
    }

    /// A relay offers a session with `peer`.
    fn take_offer(&mut self, now: Instant, relay: PeerId, session: SessionId, peer: PeerId) -> Reply {
        if self.entrance_of(&relay).is_none() || peer == self.id() || peer == relay {
            return refused("not from a relay of ours");
        }
        self.join_session(now, relay, peer, session);
        Reply::Accepted
    }

    pub(super) fn end_idle_sessions(&mut self, now: Instant) {
        let ended = self.sessions.close_idle(now);
        self.tell_members(now, ended, "nobody used it");
    }

    pub(super) fn end_sessions_of(&mut self, now: Instant, member: &PeerId) {
        let ended = self.sessions.close_all_of(member);
        self.tell_members(now, ended, "a member is gone");
    }

    /// A member does not need a session any more.
    pub(super) fn leave_session(&mut self, now: Instant, member: PeerId, session: SessionId) {
        if let Some((other, ended)) = self.sessions.leave(session, &member) {
            self.tell_ended(&ended, "a member does not need it any more");
            self.notify(now, &other, &Notice::SessionClosed { session });
        }
    }

    fn tell_ended(&mut self, ended: &Session, reason: &str) {
        let &Session { members: [requester, peer], frames, bytes, is_joined, .. } = ended;
        if is_joined {
            let (reason, sessions) = (reason.to_owned(), self.sessions.len() as u64);
            let event = Event::SessionEnded { requester, peer, reason, frames, bytes, sessions };
            self.events.push_back(event);
        }
    }

    fn tell_members(&mut self, now: Instant, ended: Vec<(SessionId, Session)>, reason: &str) {
        for (id, session) in ended {
            self.tell_ended(&session, reason);
            for member in session.members {
                self.notify(now, &member, &Notice::SessionClosed { session: id });
            }
        }
    }
}

fn refused(reason: &str) -> Reply {
    Reply::Refused { reason: reason.to_owned() }
}

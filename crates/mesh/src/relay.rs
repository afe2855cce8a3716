//! Relay sessions: two members, one unguessable ID, a lean frame.
//!
//! ```text
//! byte 0   kind 8
//! 1..9     session ID
//! 9..      a QUIC packet, which the relay cannot read
//! ```
//!
//! A frame counts only if it comes over the proven path of a member; the node sees to that. So a session moves with its
//! member's path, which moves by a probe and its echo alone.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use minicbor::{Decode, Encode};

use crate::identity::PeerId;
use crate::wire::Kind;

/// A session without frames for this long ends.
const IDLE: Duration = Duration::from_secs(300);
/// Sessions that one requester may hold.
const QUOTA: usize = 16;
const HEADER: usize = 9;

/// Names a session; drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct SessionId(#[n(0)] pub u64);

/// A data frame around `packet`.
pub(crate) fn frame(session: SessionId, packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + packet.len());
    frame.push(Kind::RelayData as u8);
    frame.extend_from_slice(&session.0.to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}

/// The session and the packet of a data frame.
pub(crate) fn unframe(frame: &[u8]) -> Option<(SessionId, &[u8])> {
    let (header, packet) = frame.split_at_checked(HEADER)?;
    let id = header.get(1..)?.try_into().ok()?;
    Some((SessionId(u64::from_be_bytes(id)), packet))
}

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("this node does not relay")]
    NotServed,
    #[error("this relay is full; another may have room")]
    Full,
    #[error("you hold as many sessions here as one node may")]
    Quota,
}

/// One session, as the relay holds it.
#[derive(Debug)]
pub(crate) struct Session {
    /// The requester first.
    pub members: [PeerId; 2],
    pub frames: u64,
    pub bytes: u64,
    /// Whether both members are in it.
    pub is_joined: bool,
    used: Instant,
}

impl Session {
    /// The member that is not `member`, if that is one.
    pub fn other(&self, member: &PeerId) -> Option<PeerId> {
        match self.members {
            [a, b] if a == *member => Some(b),
            [a, b] if b == *member => Some(a),
            _ => None,
        }
    }
}

/// All sessions of a relay.
pub(crate) struct Sessions {
    capacity: usize,
    open: IndexMap<SessionId, Session>,
    /// No session ends for idleness before this. Frames move the ends of sessions and not this.
    look_at: Option<Instant>,
}

impl Sessions {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, open: IndexMap::new(), look_at: None }
    }

    /// Whether this node relays at all.
    pub fn is_served(&self) -> bool {
        self.capacity > 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// How many there are, in per cent of how many there may be.
    pub fn load(&self) -> u8 {
        (100 * self.open.len() / self.capacity.max(1)).min(100) as u8
    }

    /// The session of these two: the one that is open, or a new one under the ID `fresh`.
    pub fn open(
        &mut self,
        now: Instant,
        requester: PeerId,
        peer: PeerId,
        fresh: SessionId,
    ) -> Result<SessionId, RelayError> {
        if !self.is_served() {
            return Err(RelayError::NotServed);
        }
        let between = |session: &Session| session.other(&requester) == Some(peer);
        if let Some((&id, session)) = self.open.iter_mut().find(|(_, session)| between(session)) {
            session.used = now;
            return Ok(id);
        }
        if self.open.len() >= self.capacity {
            return Err(RelayError::Full);
        }
        let held = self.open.values().filter(|session| session.members[0] == requester).count();
        if held >= QUOTA {
            return Err(RelayError::Quota);
        }
        self.open.insert(
            fresh,
            Session { members: [requester, peer], frames: 0, bytes: 0, is_joined: false, used: now },
        );
        self.look_at.get_or_insert(now + IDLE);
        Ok(fresh)
    }

    /// The second member is in it; the members, if it was not before.
    pub fn join(&mut self, id: SessionId) -> Option<[PeerId; 2]> {
        let session = self.open.get_mut(&id).filter(|session| !session.is_joined)?;
        session.is_joined = true;
        Some(session.members)
    }

    /// To whom a frame of `length` bytes from `member` goes, if it may.
    pub fn forward(&mut self, now: Instant, id: SessionId, member: &PeerId, length: usize) -> Option<PeerId> {
        let session = self.open.get_mut(&id)?;
        let to = session.other(member)?;
        session.used = now;
        session.frames += 1;
        session.bytes += length as u64;
        Some(to)
    }

    /// All open sessions.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.open.iter()
    }

    /// Ends a session that a member does not need any more; the other member, and the session.
    pub fn leave(&mut self, id: SessionId, member: &PeerId) -> Option<(PeerId, Session)> {
        let other = self.open.get(&id)?.other(member)?;
        self.close(id).map(|session| (other, session))
    }

    /// Ends one session.
    pub fn close(&mut self, id: SessionId) -> Option<Session> {
        self.open.shift_remove(&id)
    }

    /// Ends the sessions of a node that is gone.
    pub fn close_all_of(&mut self, member: &PeerId) -> Vec<(SessionId, Session)> {
        self.close_where(|session| session.members.contains(member))
    }

    /// Ends the sessions that nobody uses.
    pub fn close_idle(&mut self, now: Instant) -> Vec<(SessionId, Session)> {
        if self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let ended = self.close_where(|session| session.used + IDLE <= now);
        self.look_at = self.open.values().map(|session| session.used + IDLE).min();
        ended
    }

    /// When the next session may have to end.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    fn close_where(&mut self, ends: impl Fn(&Session) -> bool) -> Vec<(SessionId, Session)> {
        let ids: Vec<_> = self.open.iter().filter(|(_, session)| ends(session)).map(|(&id, _)| id).collect();
        ids.into_iter().filter_map(|id| Some((id, self.close(id)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn frames_go_between_the_members_and_nobody_else() {
        let (now, mut sessions) = (Instant::now(), Sessions::new(5));
        let id = sessions.open(now, peer(1), peer(2), SessionId(9)).expect("room");
        assert_eq!(sessions.forward(now, id, &peer(1), 10), Some(peer(2)));
        assert_eq!(sessions.forward(now, id, &peer(2), 10), Some(peer(1)));
        assert_eq!(sessions.forward(now, id, &peer(3), 10), None);
        assert_eq!(sessions.forward(now, SessionId(8), &peer(1), 10), None);
        let session = sessions.close(id).expect("open");
        assert_eq!((session.frames, session.bytes), (2, 20));
    }

    #[test]
    fn a_pair_has_one_session_whoever_asks() {
        let (now, mut sessions) = (Instant::now(), Sessions::new(1));
        let id = sessions.open(now, peer(1), peer(2), SessionId(9));
        assert_eq!(sessions.open(now, peer(2), peer(1), SessionId(8)), id);
    }

    #[test]
    fn capacity_and_quota_are_kept_kindly() {
        let (now, mut sessions) = (Instant::now(), Sessions::new(QUOTA + 1));
        for n in 0..QUOTA as u8 {
            let opened = sessions.open(now, peer(1), peer(10 + n), SessionId(n.into()));
            assert!(opened.is_ok());
        }
        assert_eq!(sessions.open(now, peer(1), peer(9), SessionId(90)), Err(RelayError::Quota));
        assert!(sessions.open(now, peer(2), peer(9), SessionId(91)).is_ok());
        assert_eq!(sessions.open(now, peer(3), peer(9), SessionId(92)), Err(RelayError::Full));
        assert_eq!(Sessions::new(0).open(now, peer(1), peer(2), SessionId(1)), Err(RelayError::NotServed));
    }

    #[test]
    fn idle_sessions_end() {
        let (now, mut sessions) = (Instant::now(), Sessions::new(5));
        let id = sessions.open(now, peer(1), peer(2), SessionId(9)).expect("room");
        let later = now + Duration::from_secs(200);
        sessions.forward(later, id, &peer(1), 1);
        assert!(sessions.close_idle(now + IDLE).is_empty());
        assert_eq!(sessions.close_idle(later + IDLE).len(), 1);
        assert_eq!(sessions.poll_timeout(), None);
    }

    proptest! {
        #[test]
        fn a_frame_unwraps_to_what_was_wrapped(id: u64, packet: Vec<u8>) {
            let framed = frame(SessionId(id), &packet);
            prop_assert_eq!(unframe(&framed), Some((SessionId(id), &packet[..])));
        }

        #[test]
        fn arbitrary_frames_never_panic(bytes: Vec<u8>) {
            prop_assert_eq!(unframe(&bytes).is_some(), bytes.len() >= HEADER);
        }
    }
}

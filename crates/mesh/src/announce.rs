//! What a node tells the mesh of itself, signed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::crypto::QuicCrypto;
use crate::identity::{Identity, PeerId};
use crate::nat::NatClass;

/// How long an announcement holds.
pub(crate) const TTL: Duration = Duration::from_secs(3600);
/// How often it is repeated.
pub(crate) const REPEAT: Duration = Duration::from_secs(300);

/// How often an announcement is repeated that holds for so long.
pub(crate) fn repeat(ttl: Duration) -> Duration {
    ttl * REPEAT.as_secs() as u32 / TTL.as_secs() as u32
}
const MAX_ENDPOINTS: usize = 8;
const MAX_VIA: usize = 8;
/// Longest signed announcement, in bytes.
pub(crate) const MAX_LENGTH: usize = 1024;

/// A node's word about itself.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Announcement {
    #[n(0)]
    pub id: PeerId,
    /// Larger in each newer announcement.
    #[n(1)]
    pub sequence: u64,
    /// Seconds that it holds.
    #[n(2)]
    pub ttl: u64,
    #[n(3)]
    pub class: NatClass,
    /// Whether it takes relay sessions.
    #[n(4)]
    pub relays: bool,
    /// Where anybody can reach it; empty behind most NATs. Only a claim, until a probe confirms it.
    #[n(5)]
    pub endpoints: Vec<SocketAddr>,
    /// The relays that it holds, by which a node without endpoints is reached.
    #[n(6)]
    pub via: Vec<RelayPath>,
}

/// A relay that a node holds, and where that relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub(crate) struct RelayPath {
    #[n(0)]
    pub relay: PeerId,
    #[n(1)]
    pub address: SocketAddr,
}

#[derive(Encode, Decode)]
struct Signed<'a> {
    #[cbor(b(0), with = "minicbor::bytes")]
    announcement: &'a [u8],
    #[cbor(n(1), with = "minicbor::bytes")]
    signature: [u8; 64],
}

/// An announcement as it came, of which nobody has seen yet whether its sender signed it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unverified {
    pub announcement: Announcement,
    pub signed: Box<[u8]>,
}

/// An announcement as it is passed on: nobody needs the time of day for it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Passed {
    /// Seconds since it was made, as far as the one who passes it on knows.
    #[n(0)]
    pub age: u64,
    /// Nodes that it has come through.
    #[n(1)]
    pub hops: u8,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signed: Vec<u8>,
}

/// Why an announcement was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnnouncementError {
    #[error("it is malformed")]
    Malformed,
    #[error("it is too long")]
    Long,
    #[error("its signature is not its sender's")]
    Signature,
    #[error("it is dated ahead: it would hold longer than any may")]
    Ahead,
    #[error("it has expired")]
    Expired,
    #[error("it names an endpoint, though its NAT lets nobody in")]
    Unreachable,
    #[error("it names itself as its relay")]
    OwnRelay,
    #[error("it speaks of another node")]
    Other,
    #[error("one of its endpoints can be nobody's")]
    Endpoint,
}

impl Announcement {
    /// The announcement in its signed form.
    pub fn sign(&self, identity: &Identity) -> Vec<u8> {
        let announcement = encoded(self);
        let signature = identity.sign(&announcement);
        encoded(&Signed { announcement: &announcement, signature })
    }

    /// Reads a signed announcement; the signature is checked over the bytes as they came.
    pub fn verify(signed: &[u8], crypto: &dyn QuicCrypto) -> Result<Self, AnnouncementError> {
        let unverified = Unverified::read(signed)?;
        unverified.check(crypto)?;
        Ok(unverified.announcement)
    }

    /// Whether it says how the node is reached.
    pub fn leads_to_it(&self) -> bool {
        !self.endpoints.is_empty() || !self.via.is_empty()
    }

    /// A number that two announcements have in common if they say the same of the same node.
    pub fn content(&self) -> u64 {
        let timeless = Self { sequence: 0, ttl: 0, ..self.clone() };
        let mut number = [0; 8];
        let hash = blake3::hash(&encoded(&timeless));
        number.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_be_bytes(number)
    }

    /// Whether a node may say this of itself.
    fn check(&self) -> Result<(), AnnouncementError> {
        if self.endpoints.len() > MAX_ENDPOINTS || self.via.len() > MAX_VIA {
            return Err(AnnouncementError::Long);
        }
        if self.ttl > TTL.as_secs() {
            return Err(AnnouncementError::Ahead);
        }
        if self.ttl == 0 {
            return Err(AnnouncementError::Expired);
        }
        if !self.endpoints.is_empty() && !self.class.is_reachable() {
            return Err(AnnouncementError::Unreachable);
        }
        if self.via.iter().any(|path| path.relay == self.id) {
            return Err(AnnouncementError::OwnRelay);
        }
        let mut addresses = self.endpoints.iter().chain(self.via.iter().map(|path| &path.address));
        match addresses.all(is_possible) {
            true => Ok(()),
            false => Err(AnnouncementError::Endpoint),
        }
    }
}

impl Unverified {
    /// Reads without looking at the signature.
    pub fn read(signed: &[u8]) -> Result<Self, AnnouncementError> {
        if signed.len() > MAX_LENGTH {
            return Err(AnnouncementError::Long);
        }
        let parts: Signed<'_> = minicbor::decode(signed).map_err(|_| AnnouncementError::Malformed)?;
        let announcement = minicbor::decode(parts.announcement).map_err(|_| AnnouncementError::Malformed)?;
        Ok(Self { announcement, signed: signed.into() })
    }

    /// Whether the node that it is of has said this, and may.
    pub fn check(&self, crypto: &dyn QuicCrypto) -> Result<(), AnnouncementError> {
        let parts: Signed<'_> = minicbor::decode(&self.signed).map_err(|_| AnnouncementError::Malformed)?;
        if !crypto.verifies(&self.announcement.id, parts.announcement, &parts.signature) {
            return Err(AnnouncementError::Signature);
        }
        self.announcement.check()
    }

    /// The same, of an announcement that is `age` old.
    pub fn check_aged(&self, age: Duration, crypto: &dyn QuicCrypto) -> Result<(), AnnouncementError> {
        match age.as_secs() >= self.announcement.ttl {
            true => Err(AnnouncementError::Expired),
            false => self.check(crypto),
        }
    }
}

/// Whether a datagram to `endpoint` can arrive at another host.
pub(crate) fn is_possible(endpoint: &SocketAddr) -> bool {
    let somebodys = match endpoint.ip() {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.octets()[0] >= 240
                || ip.octets()[0] == 0)
        }
        IpAddr::V6(ip) => {
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_unicast_link_local())
        }
    };
    somebodys && endpoint.port() != 0
}

/// `value` in CBOR. Writing to memory cannot fail.
pub(crate) fn encoded<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::RustlsCrypto;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity::from_seed(&[4; 32])
    }

    fn crypto() -> RustlsCrypto {
        RustlsCrypto::new(&identity()).expect("TLS is set up")
    }

    fn announcement() -> Announcement {
        Announcement {
            id: identity().id(),
            sequence: 7,
            ttl: 3600,
            class: NatClass::FullCone,
            relays: false,
            endpoints: vec!["192.168.1.2:4400".parse().expect("an address")],
            via: vec![via(6)],
        }
    }

    fn via(relay: u8) -> RelayPath {
        let relay = Identity::from_seed(&[relay; 32]).id();
        RelayPath { relay, address: "203.0.113.1:4400".parse().expect("an address") }
    }

    #[test]
    fn a_signed_announcement_reads_back() {
        let signed = announcement().sign(&identity());
        assert_eq!(Announcement::verify(&signed, &crypto()), Ok(announcement()));
    }

    #[test]
    fn what_is_too_old_has_expired_and_repeats_have_the_same_content() {
        let (first, mut second) = (announcement(), announcement());
        second.sequence += 1;
        let signed = second.sign(&identity());
        let read = Unverified::read(&signed).expect("well-formed");
        assert_eq!(read.check_aged(Duration::from_secs(3599), &crypto()), Ok(()));
        assert_eq!(read.check_aged(Duration::from_secs(3600), &crypto()), Err(AnnouncementError::Expired));
        assert_eq!(first.content(), second.content());
        second.relays = true;
        assert_ne!(first.content(), second.content());
    }

    #[test]
    fn the_signer_must_be_who_it_speaks_of() {
        let signed = announcement().sign(&Identity::from_seed(&[5; 32]));
        assert_eq!(Announcement::verify(&signed, &crypto()), Err(AnnouncementError::Signature));
    }

    #[test]
    fn impossible_content_is_refused_though_signed() {
        let refused = |change: fn(&mut Announcement)| {
            let mut bad = announcement();
            change(&mut bad);
            Announcement::verify(&bad.sign(&identity()), &crypto()).expect_err("refused")
        };
        assert_eq!(refused(|a| a.ttl = 3601), AnnouncementError::Ahead);
        assert_eq!(refused(|a| a.ttl = 0), AnnouncementError::Expired);
        assert_eq!(refused(|a| a.endpoints = vec![a.endpoints[0]; 9]), AnnouncementError::Long);
        assert_eq!(refused(|a| a.via = vec![via(6); 9]), AnnouncementError::Long);
        assert_eq!(refused(|a| a.class = NatClass::PortRestrict), AnnouncementError::Unreachable);
        assert_eq!(refused(|a| a.via = vec![via(4)]), AnnouncementError::OwnRelay);
        assert_eq!(refused(|a| a.via[0].address.set_port(0)), AnnouncementError::Endpoint);
        for nobody in [
            "0.0.0.0:1",
            "127.0.0.1:1",
            "169.254.0.1:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "240.0.0.1:1",
            "[::1]:1",
            "[ff02::1]:1",
            "[fe80::1]:1",
            "9.9.9.9:0",
        ] {
            let mut bad = announcement();
            bad.endpoints = vec![nobody.parse().expect("an address")];
            assert_eq!(
                Announcement::verify(&bad.sign(&identity()), &crypto()),
                Err(AnnouncementError::Endpoint),
                "{nobody}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(at in 0usize..400, flip in 1u8..) {
            let mut signed = announcement().sign(&identity());
            let at = at % signed.len();
            signed[at] ^= flip;
            // A change that leaves content and signature alone (a CBOR length in another form) may pass.
            if let Ok(read) = Announcement::verify(&signed, &crypto()) {
                prop_assert_eq!(read, announcement());
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Announcement::verify(&bytes, &crypto()).is_err());
        }
    }
}

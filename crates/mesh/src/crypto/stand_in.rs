//! A declared stand-in for QUIC's cryptography, for simulations. **It protects nothing.**
//!
//! Same as with [`RustlsCrypto`](super::RustlsCrypto): the round trips, which message goes at which encryption level, the
//! length of every message and so of every datagram, the 16 bytes after each packet and the 16 that the protection of
//! its header is taken from, when keys change, how long a key may be used, and that a connection ends, with the same
//! alert, when the server is not the one that was sought. A damaged packet and one under other keys are dropped as there.
//!
//! Not the same: a payload is in the clear, what follows it is a checksum whose key anybody can compute from the
//! handshake, and an ID is believed, not proven. In return nothing here costs more than a hash, and everything is
//! repeatable from the node's seed, which rustls cannot be. Signatures of announcements are checked as ever; nodes of one simulation may
//! share what they have found out ([`RememberedSignatures`]).
//!
//! A node with this and a node with rustls never come to a connection: neither can read the other's first packet.

use std::any::Any;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quinn_proto::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::CertificateError;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::{QuicCrypto, named_peer};
use crate::identity::PeerId;

mod keys;
mod remembered;

use keys::{Limits, Secrets};
pub use remembered::RememberedSignatures;

/// Begins a first message, so that no other handshake is taken for this one.
const MAGIC: [u8; 16] = *b"protects nothing";
const HEAD: usize = 4;
/// Alerts of TLS.
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_CERTIFICATE: u8 = 42;
const DECODE_ERROR: u8 = 50;
const DECRYPT_ERROR: u8 = 51;

/// A [`QuicCrypto`] that protects nothing, for simulations.
pub struct StandInCrypto {
    endpoint: Arc<Endpoint>,
    signatures: Option<Arc<RememberedSignatures>>,
}

/// What the sessions of one node share.
struct Endpoint {
    id: PeerId,
    seed: u64,
    /// Sessions begun: each has other random values.
    sessions: AtomicU64,
}

impl StandInCrypto {
    /// For the node with this ID; everything random comes from `seed`.
    pub fn new(id: PeerId, seed: &[u8; 32]) -> Self {
        let seed = xxh3_64_with_seed(seed, 0);
        Self { endpoint: Arc::new(Endpoint { id, seed, sessions: AtomicU64::new(0) }), signatures: None }
    }

    /// Has it look up signatures that it, or another with the same memory, has checked before.
    pub fn remembering(self, signatures: Arc<RememberedSignatures>) -> Self {
        Self { signatures: Some(signatures), ..self }
    }
}

impl QuicCrypto for StandInCrypto {
    fn client(&self) -> Arc<dyn crypto::ClientConfig> {
        self.endpoint.clone()
    }

    fn server(&self) -> Arc<dyn crypto::ServerConfig> {
        self.endpoint.clone()
    }

    fn peer(&self, session: &dyn crypto::Session) -> Option<PeerId> {
        session.peer_identity()?.downcast().ok().map(|id| *id)
    }

    fn verifies(&self, signer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        match &self.signatures {
            Some(remembered) => remembered.verifies(signer, message, signature),
            None => signer.verifies(message, signature),
        }
    }
}

impl crypto::ClientConfig for Endpoint {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        if !is_supported(version) {
            return Err(ConnectError::UnsupportedVersion);
        }
        let mut session = Session::new(&self, Side::Client, named_peer(server_name), params);
        session.say_hello(Message::ClientHello);
        Ok(Box::new(session))
    }
}

impl crypto::ServerConfig for Endpoint {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        match is_supported(version) {
            true => Ok(keys::initial(dst_cid, Side::Server)),
            false => Err(UnsupportedVersion),
        }
    }

    fn retry_tag(&self, _: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        retry_tag(orig_dst_cid, &[packet])
    }

    fn start_session(self: Arc<Self>, _: u32, params: &TransportParameters) -> Box<dyn crypto::Session> {
        Box::new(Session::new(&self, Side::Server, None, params))
    }
}

/// The versions that rustls speaks.
fn is_supported(version: u32) -> bool {
    matches!(version, 1 | 0xff00_001d..=0xff00_0022)
}

fn retry_tag(orig_dst_cid: &ConnectionId, packet: &[&[u8]]) -> [u8; 16] {
    let start = xxh3_64_with_seed(orig_dst_cid, 0);
    let packet = packet.concat();
    xxh3_128_with_seed(&packet, start).to_be_bytes()
}

/// The messages of a TLS 1.3 handshake in which both sides show a raw Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Message {
    ClientHello = 1,
    ServerHello = 2,
    EncryptedExtensions = 8,
    Certificate = 11,
    CertificateRequest = 13,
    CertificateVerify = 15,
    Finished = 20,
}

impl Message {
    const TO_CLIENT: &[Self] = &[
        Self::ServerHello,
        Self::EncryptedExtensions,
        Self::CertificateRequest,
        Self::Certificate,
        Self::CertificateVerify,
        Self::Finished,
    ];
    const TO_SERVER: &[Self] =
        &[Self::ClientHello, Self::Certificate, Self::CertificateVerify, Self::Finished];

    /// How long rustls makes it; where transport parameters are in it, without them.
    const fn length(self) -> usize {
        match self {
            Self::ClientHello => 177,
            Self::ServerHello => 90,
            Self::EncryptedExtensions => 40,
            Self::CertificateRequest => 15,
            Self::Certificate => 57,
            Self::CertificateVerify => 72,
            Self::Finished => 36,
        }
    }
}

/// One side of a handshake, and what it leads to.
struct Session {
    side: Side,
    id: PeerId,
    /// Whom a client seeks.
    sought: Option<PeerId>,
    random: [u8; 16],
    /// Ours, until they are said.
    params: Vec<u8>,
    peer_params: Option<Vec<u8>>,
    /// Who the other side says it is, and whether it has said so to the end.
    peer: Option<PeerId>,
    /// What has still to come.
    expected: &'static [Message],
    /// Bytes of a message that is not whole yet.
    inbox: Vec<u8>,
    /// A hash over all messages so far.
    transcript: u64,
    /// To be said before the keys of the handshake are used, and after.
    hello: Vec<u8>,
    flight: Vec<u8>,
    /// Not handed over yet.
    handshake_keys: Option<Secrets>,
    data_keys: Option<Secrets>,
    /// The present keys for data, from which the next ones come.
    traffic: Option<Secrets>,
}

impl Session {
    fn new(endpoint: &Endpoint, side: Side, sought: Option<PeerId>, params: &TransportParameters) -> Self {
        let count = endpoint.sessions.fetch_add(1, Ordering::Relaxed);
        let random = xxh3_128_with_seed(endpoint.id.as_bytes(), endpoint.seed.wrapping_add(count));
        let mut encoded = Vec::new();
        params.write(&mut encoded);
        Self {
            side,
            id: endpoint.id,
            sought,
            random: random.to_be_bytes(),
            params: encoded,
            peer_params: None,
            peer: None,
            expected: if side.is_client() { Message::TO_CLIENT } else { Message::TO_SERVER },
            inbox: Vec::new(),
            transcript: 0,
            hello: Vec::new(),
            flight: Vec::new(),
            handshake_keys: None,
            data_keys: None,
            traffic: None,
        }
    }

    fn absorb(&mut self, message: &[u8]) {
        self.transcript = xxh3_64_with_seed(message, self.transcript);
    }

    /// A message with these parts at its beginning.
    fn make(&mut self, message: Message, parts: &[&[u8]]) -> Vec<u8> {
        let params = match message {
            Message::ClientHello | Message::EncryptedExtensions => mem::take(&mut self.params),
            _ => Vec::new(),
        };
        let length = message.length() + params.len();
        let mut made = Vec::with_capacity(length);
        made.extend_from_slice(&((message as u32) << 24 | (length - HEAD) as u32).to_be_bytes());
        parts.iter().for_each(|part| made.extend_from_slice(part));
        made.resize(message.length(), 0);
        made.extend_from_slice(&params);
        self.absorb(&made);
        made
    }

    fn say_hello(&mut self, message: Message) {
        let random = self.random;
        self.hello = self.make(message, &[&MAGIC, &random]);
    }

    fn say(&mut self, message: Message, part: &[u8]) {
        let made = self.make(message, &[part]);
        self.flight.extend_from_slice(&made);
    }

    /// Certificate, CertificateVerify and Finished.
    fn say_who(&mut self) {
        let id = self.id;
        self.say(Message::Certificate, id.as_bytes());
        self.say(Message::CertificateVerify, &self.signature(&id));
        self.say(Message::Finished, &self.transcript.to_be_bytes());
    }

    /// What stands where TLS has a signature.
    fn signature(&self, signer: &PeerId) -> [u8; 8] {
        xxh3_64_with_seed(signer.as_bytes(), self.transcript).to_be_bytes()
    }

    /// Takes a whole message.
    fn hear(&mut self, message: &[u8]) -> Result<(), TransportError> {
        let (kind, body) = match (self.expected.split_first(), message.split_at_checked(HEAD)) {
            (Some((&kind, left)), Some(([code, ..], body))) if *code == kind as u8 => {
                self.expected = left;
                (kind, body)
            }
            _ => return Err(alert(UNEXPECTED_MESSAGE, "received unexpected handshake message")),
        };
        if message.len() < kind.length() {
            return Err(alert(DECODE_ERROR, "a message is cut short"));
        }
        match kind {
            Message::ClientHello | Message::ServerHello if !body.starts_with(&MAGIC) => {
                return Err(alert(DECODE_ERROR, "not a stand-in's handshake"));
            }
            Message::Certificate => {
                self.peer = body.first_chunk().map(|id| PeerId::from_bytes(*id));
            }
            Message::CertificateVerify => {
                let peer = self.peer.unwrap_or(self.id);
                if self.side.is_client() && self.sought != Some(peer) {
                    let error = rustls::Error::from(CertificateError::NotValidForName);
                    return Err(alert(BAD_CERTIFICATE, &error.to_string()));
                }
                if !body.starts_with(&self.signature(&peer)) {
                    return Err(alert(DECRYPT_ERROR, "a signature is of something else"));
                }
            }
            Message::Finished if !body.starts_with(&self.transcript.to_be_bytes()) => {
                return Err(alert(DECRYPT_ERROR, "the sides did not hear the same"));
            }
            _ => {}
        }
        if matches!(kind, Message::ClientHello | Message::EncryptedExtensions) {
            self.peer_params = message.get(kind.length()..).map(<[u8]>::to_vec);
        }
        self.absorb(message);
        match (self.side, kind) {
            (Side::Server, Message::ClientHello) => {
                self.say_hello(Message::ServerHello);
                self.handshake_keys = Some(Secrets::new(self.transcript));
                self.say(Message::EncryptedExtensions, &[]);
                self.say(Message::CertificateRequest, &[]);
                self.say_who();
                self.data_keys = Some(Secrets::new(self.transcript));
            }
            (Side::Client, Message::ServerHello) => {
                self.handshake_keys = Some(Secrets::new(self.transcript));
            }
            (Side::Client, Message::Finished) => {
                self.data_keys = Some(Secrets::new(self.transcript));
                self.say_who();
            }
            _ => {}
        }
        Ok(())
    }
}

fn alert(code: u8, reason: &str) -> TransportError {
    TransportError { code: TransportErrorCode::crypto(code), frame: None, reason: reason.to_owned() }
}

impl crypto::Session for Session {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        keys::initial(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.peer_params.as_ref().map(|_| Box::new(()) as Box<dyn Any>)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.peer.map(|id| Box::new(id) as Box<dyn Any>)
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.side.is_client().then_some(false)
    }

    fn is_handshaking(&self) -> bool {
        !self.expected.is_empty()
    }

    fn read_handshake(&mut self, data: &[u8]) -> Result<bool, TransportError> {
        let knew = self.peer_params.is_some();
        self.inbox.extend_from_slice(data);
        let inbox = mem::take(&mut self.inbox);
        let mut left = &inbox[..];
        while let Some(&[_, a, b, c]) = left.first_chunk() {
            let length = HEAD + u32::from_be_bytes([0, a, b, c]) as usize;
            let Some((message, rest)) = left.split_at_checked(length) else {
                break;
            };
            self.hear(message)?;
            left = rest;
        }
        self.inbox = left.to_vec();
        Ok(!knew && self.peer_params.is_some())
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(mut params) = self.peer_params.as_deref() else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(self.side, &mut params)?))
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        out.append(&mut self.hello);
        if let Some(secrets) = self.handshake_keys.take() {
            return Some(secrets.keys(self.side));
        }
        out.append(&mut self.flight);
        let secrets = self.data_keys.take()?;
        self.traffic = Some(secrets);
        Some(secrets.keys(self.side))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let next = self.traffic?.next();
        self.traffic = Some(next);
        Some(next.packet_keys(self.side, Limits::DATA))
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        let Some((payload, tag)) = payload.split_last_chunk() else {
            return false;
        };
        retry_tag(orig_dst_cid, &[header, payload]) == *tag
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        let secrets = self.traffic.ok_or(ExportKeyingMaterialError)?;
        let asked = xxh3_64_with_seed(context, xxh3_64_with_seed(label, 0));
        for (at, chunk) in output.chunks_mut(8).enumerate() {
            let bytes = xxh3_64_with_seed(&secrets.to_bytes(), asked.wrapping_add(at as u64)).to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

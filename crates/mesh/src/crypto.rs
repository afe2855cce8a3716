//! The cryptography of QUIC connections, pluggable.
//!
//! The daemon and the tests use rustls with the nodes' Ed25519 keys as raw public keys (RFC 7250): no certificates, and
//! the peer ID is what the handshake proves. A simulator plugs in [`stand_in`], which is compiled under the feature
//! `stand-in` only and protects nothing.

#[cfg(feature = "stand-in")]
pub mod stand_in;

use std::sync::Arc;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::crypto::{self, AeadKey, CryptoError, HandshakeTokenKey, HmacKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, KeyLog, NoKeyLog, SignatureScheme, server,
    sign,
};

use crate::identity::{Identity, PeerId};
use crate::network::NetworkKey;

/// Spoken over QUIC connections between nodes, with the name of the network after it where it is a private one.
const ALPN: &[u8] = b"omerta-mesh/1";

/// Makes sessions for the QUIC connections of one node.
pub trait QuicCrypto: Send + Sync {
    /// For connections that we begin.
    fn client(&self) -> Arc<dyn crypto::ClientConfig>;

    /// For connections that others begin.
    fn server(&self) -> Arc<dyn crypto::ServerConfig>;

    /// The name by which a client tells its session whom it expects.
    fn server_name(&self, peer: &PeerId) -> String {
        // One label of a name holds 63 characters, the ID has 64.
        let id = peer.to_string();
        let (head, tail) = id.split_at(32);
        format!("{head}.{tail}.omerta")
    }

    /// Who the other side of a finished handshake has proven to be.
    fn peer(&self, session: &dyn crypto::Session) -> Option<PeerId>;

    /// Whether a signature is this peer's over a message. A simulation may remember what it has found out once.
    fn verifies(&self, signer: &PeerId, message: &[u8], signature: &[u8; 64]) -> bool {
        signer.verifies(message, signature)
    }
}

/// Whom a [`QuicCrypto::server_name`] names.
fn named_peer(server_name: &str) -> Option<PeerId> {
    server_name.strip_suffix(".omerta")?.replace('.', "").parse().ok()
}

/// TLS 1.3 by rustls with raw public keys.
pub struct RustlsCrypto {
    client: Arc<QuicClientConfig>,
    server: Arc<QuicServerConfig>,
}

/// TLS could not be set up; the cryptographic provider lacks something.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct CryptoSetupError(String);

impl RustlsCrypto {
    /// For the node with this identity, in the open network.
    pub fn new(identity: &Identity) -> Result<Self, CryptoSetupError> {
        Self::in_network(identity, None)
    }

    /// For the node with this identity. Nodes of different networks do not come to terms.
    pub fn in_network(identity: &Identity, network: Option<&NetworkKey>) -> Result<Self, CryptoSetupError> {
        Self::logging(identity, network, Arc::new(NoKeyLog))
    }

    /// The same, with somebody who learns the secrets of all sessions. Whoever has them reads what was said.
    pub fn logging(
        identity: &Identity,
        network: Option<&NetworkKey>,
        key_log: Arc<dyn KeyLog>,
    ) -> Result<Self, CryptoSetupError> {
        let spoken = match network {
            Some(key) => [ALPN, b" ", key.tag().to_string().as_bytes()].concat(),
            None => ALPN.to_vec(),
        };
        let setup = |error: rustls::Error| CryptoSetupError(error.to_string());
        let provider = Arc::new(provider());
        let key = Arc::new(certified_key(identity).map_err(setup)?);
        let verifier = Arc::new(RawKeyVerifier { provider: provider.clone() });

        let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(
                key.clone(),
            )));
        client.alpn_protocols = vec![spoken.clone()];
        client.enable_sni = false;
        client.key_log = key_log.clone();
        client.resumption = rustls::client::Resumption::disabled();

        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(server::AlwaysResolvesServerRawPublicKeys::new(key)));
        server.alpn_protocols = vec![spoken];
        server.session_storage = Arc::new(server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.key_log = key_log;

        let no_suite =
            |error: quinn_proto::crypto::rustls::NoInitialCipherSuite| CryptoSetupError(error.to_string());
        Ok(Self {
            client: Arc::new(QuicClientConfig::try_from(client).map_err(no_suite)?),
            server: Arc::new(QuicServerConfig::try_from(server).map_err(no_suite)?),
        })
    }
}

impl QuicCrypto for RustlsCrypto {
    fn client(&self) -> Arc<dyn crypto::ClientConfig> {
        self.client.clone()
    }

    fn server(&self) -> Arc<dyn crypto::ServerConfig> {
        self.server.clone()
    }

    fn peer(&self, session: &dyn crypto::Session) -> Option<PeerId> {
        let chain = session.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        peer_of_spki(chain.first()?)
    }
}

/// ring, with the one key exchange we need and the cipher that is quick without special instructions first.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::X25519);
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    provider
}

/// What stands before the 32 key bytes in the DER forms of an Ed25519 key (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

fn certified_key(identity: &Identity) -> Result<CertifiedKey, rustls::Error> {
    let secret = [&PKCS8_PREFIX[..], &identity.seed()].concat();
    let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(secret))?;
    let spki = [&SPKI_PREFIX[..], identity.id().as_bytes()].concat();
    Ok(sign::CertifiedKey::new(vec![CertificateDer::from(spki)], key))
}

fn peer_of_spki(spki: &[u8]) -> Option<PeerId> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    Some(PeerId::from_bytes(key.try_into().ok()?))
}

/// Accepts an Ed25519 raw public key that signs the handshake: the expected one as a client, any as a server (there the
/// connection checks it against the path's peer).
#[derive(Debug)]
struct RawKeyVerifier {
    provider: Arc<CryptoProvider>,
}

impl RawKeyVerifier {
    fn verify_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key.as_ref()),
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }
}

fn no_tls12() -> rustls::Error {
    rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls13RequiredForQuic)
}

impl ServerCertVerifier for RawKeyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let expected = match server_name {
            ServerName::DnsName(name) => named_peer(name.as_ref()),
            _ => None,
        };
        match peer_of_spki(end_entity) {
            None => Err(CertificateError::BadEncoding.into()),
            found if found == expected => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        match peer_of_spki(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Keys for stateless resets and for tokens, from the node's seed and not from the system.
pub(crate) struct SeededKey([u8; 32]);

impl SeededKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }
}

impl HmacKey for SeededKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        blake3::Hasher::new_keyed(&self.0).update(data).finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let Ok(signature) = <[u8; 32]>::try_from(signature) else {
            return Err(CryptoError);
        };
        // blake3's hashes compare in constant time.
        match blake3::keyed_hash(&self.0, data) == signature {
            true => Ok(()),
            false => Err(CryptoError),
        }
    }
}

impl HandshakeTokenKey for SeededKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn AeadKey> {
        let key = blake3::keyed_hash(&self.0, random_bytes);
        Box::new(TokenKey(ChaCha20Poly1305::new(key.as_bytes().into())))
    }
}

/// Seals one token; each token has a key of its own, so the nonce may be fixed.
struct TokenKey(ChaCha20Poly1305);

impl AeadKey for TokenKey {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), CryptoError> {
        self.0.encrypt_in_place(&Nonce::default(), additional_data, data).map_err(|_| CryptoError)
    }

    fn open<'a>(&self, data: &'a mut [u8], additional_data: &[u8]) -> Result<&'a mut [u8], CryptoError> {
        let at = data.len().checked_sub(16).ok_or(CryptoError)?;
        let (text, tag) = data.split_at_mut(at);
        self.0
            .decrypt_in_place_detached(&Nonce::default(), additional_data, text, Tag::from_slice(tag))
            .map_err(|_| CryptoError)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_with_its_key_and_context_only() {
        let key = SeededKey::new([1; 32]);
        let mut sealed = b"token".to_vec();
        key.aead_from_hkdf(b"a").seal(&mut sealed, b"ctx").expect("seals");
        let open = |random: &[u8], context: &[u8]| {
            let mut copy = sealed.clone();
            let aead = key.aead_from_hkdf(random);
            aead.open(&mut copy, context).map(|text| text.to_vec()).ok()
        };
        assert_eq!(open(b"a", b"ctx"), Some(b"token".to_vec()));
        assert_eq!(open(b"b", b"ctx"), None);
        assert_eq!(open(b"a", b"other"), None);
        assert!(key.aead_from_hkdf(b"a").open(&mut [0; 3], b"").is_err());
    }

    #[test]
    fn a_spki_holds_the_id_and_nothing_else_is_one() {
        let id = Identity::from_seed(&[3; 32]).id();
        let spki = [&SPKI_PREFIX[..], id.as_bytes()].concat();
        assert_eq!(peer_of_spki(&spki), Some(id));
        assert_eq!(peer_of_spki(&spki[..43]), None);
        assert_eq!(peer_of_spki(b""), None);
    }
}

//! Binding messages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The fixed value in every message (RFC 8489 section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_a442;

/// Ties an answer to its request.
pub type TransactionId = [u8; 12];

const HEADER: usize = 20;
const BINDING: u16 = 0x001;

mod attribute {
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const CHANGE_REQUEST: u16 = 0x0003;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PADDING: u16 = 0x0026;
    pub const RESPONSE_PORT: u16 = 0x0027;
    pub const SOFTWARE: u16 = 0x8022;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const RESPONSE_ORIGIN: u16 = 0x802b;
    pub const OTHER_ADDRESS: u16 = 0x802c;
}

/// The class of a message (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks for an answer.
    Request,
    /// Wants none.
    Indication,
    /// Answers a request.
    Success,
    /// Refuses a request.
    Error,
}

/// From where the answer shall come (RFC 5780 section 7.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeRequest {
    /// From the server's other address.
    pub ip: bool,
    /// From the server's other port.
    pub port: bool,
}

/// A Binding message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Request, answer or error.
    pub class: Class,
    /// Ties an answer to its request.
    pub transaction: TransactionId,
    /// In an answer: the sender of the request as the server saw it (XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS).
    pub mapped_address: Option<SocketAddr>,
    /// In an answer: the server's other address and port (RFC 5780 section 7.4).
    pub other_address: Option<SocketAddr>,
    /// In an answer: where the server sent it from (RFC 5780 section 7.3).
    pub response_origin: Option<SocketAddr>,
    /// In a request: from where to answer.
    pub change_request: Option<ChangeRequest>,
    /// In a request: to which port of its sender's address to answer (RFC 5780 section 7.5).
    pub response_port: Option<u16>,
    /// In an error: its code, 300 to 699.
    pub error_code: Option<u16>,
    /// In a request: attributes that must be understood and are not (RFC 8489 section 14), at most 8.
    pub unknown: Vec<u16>,
}

/// Why bytes are no Binding message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Shorter than a header, or the first bits or the cookie are not STUN's.
    #[error("not a STUN message")]
    NotStun,
    /// The length field disagrees with the datagram.
    #[error("the length field says {said}, the datagram has {has} bytes after its header")]
    Length {
        /// What the field says.
        said: usize,
        /// What came.
        has: usize,
    },
    /// A method other than Binding.
    #[error("method {0:#05x} is not Binding")]
    Method(u16),
    /// An attribute is cut off or has a wrong size or family.
    #[error("attribute {0:#06x} is malformed")]
    Attribute(u16),
}

/// Whether a datagram looks like STUN, for demultiplexing (RFC 7983).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE.to_be_bytes()
}

impl Message {
    /// A message of a class without attributes.
    pub fn new(class: Class, transaction: TransactionId) -> Self {
        Message {
            class,
            transaction,
            mapped_address: None,
            other_address: None,
            response_origin: None,
            change_request: None,
            response_port: None,
            error_code: None,
            unknown: Vec::new(),
        }
    }

    /// A plain Binding request.
    pub fn binding_request(transaction: TransactionId) -> Self {
        Message::new(Class::Request, transaction)
    }

    /// The same request, asking for an answer from elsewhere.
    pub fn with_change_request(mut self, change: ChangeRequest) -> Self {
        self.change_request = Some(change);
        self
    }

    /// The same request, asking for an answer to another port of its sender's address.
    pub fn with_response_port(mut self, port: u16) -> Self {
        self.response_port = Some(port);
        self
    }

    /// The message as a datagram.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        out.extend(message_type(self.class).to_be_bytes());
        out.extend([0, 0]);
        out.extend(MAGIC_COOKIE.to_be_bytes());
        out.extend(self.transaction);
        if let Some(address) = self.mapped_address {
            let address = xor(address, &self.transaction);
            put(&mut out, attribute::XOR_MAPPED_ADDRESS, &encode_address(address));
        }
        if let Some(address) = self.response_origin {
            put(&mut out, attribute::RESPONSE_ORIGIN, &encode_address(address));
        }
        if let Some(address) = self.other_address {
            put(&mut out, attribute::OTHER_ADDRESS, &encode_address(address));
        }
        if let Some(change) = self.change_request {
            let bits = u32::from(change.ip) << 2 | u32::from(change.port) << 1;
            put(&mut out, attribute::CHANGE_REQUEST, &bits.to_be_bytes());
        }
        if let Some(port) = self.response_port {
            put(&mut out, attribute::RESPONSE_PORT, &port.to_be_bytes());
        }
        if let Some(code) = self.error_code {
            put(&mut out, attribute::ERROR_CODE, &[0, 0, (code / 100) as u8, (code % 100) as u8]);
        }
        if self.class == Class::Error && !self.unknown.is_empty() {
            let list: Vec<u8> = self.unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
            put(&mut out, attribute::UNKNOWN_ATTRIBUTES, &list);
        }
        let length = (out.len() - HEADER) as u16;
        out[2..4].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// Reads a datagram. Never panics; unknown attributes are passed over, those that must be understood are listed.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        if !is_stun(datagram) {
            return Err(DecodeError::NotStun);
        }
        let kind = u16::from_be_bytes([datagram[0], datagram[1]]);
        let said = u16::from_be_bytes([datagram[2], datagram[3]]) as usize;
        let mut rest = &datagram[HEADER..];
        if said != rest.len() || !said.is_multiple_of(4) {
            return Err(DecodeError::Length { said, has: rest.len() });
        }
        let method = (kind & 0x000f) | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2;
        if method != BINDING {
            return Err(DecodeError::Method(method));
        }
        let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        };
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&datagram[8..HEADER]);
        let mut message = Message::new(class, transaction);
        let mut plain = None;
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let length = u16::from_be_bytes([head[2], head[3]]) as usize;
            let (Some(value), Some(next)) = (after.get(..length), after.get(length.next_multiple_of(4)..))
            else {
                return Err(DecodeError::Attribute(kind));
            };
            rest = next;
            let address = || decode_address(value).ok_or(DecodeError::Attribute(kind));
            match kind {
                attribute::MAPPED_ADDRESS => plain = Some(address()?),
                attribute::XOR_MAPPED_ADDRESS => {
                    message.mapped_address = Some(xor(address()?, &transaction));
                }
                attribute::RESPONSE_ORIGIN => message.response_origin = Some(address()?),
                attribute::OTHER_ADDRESS => message.other_address = Some(address()?),
                attribute::CHANGE_REQUEST => {
                    let bits: [u8; 4] = value.try_into().map_err(|_| DecodeError::Attribute(kind))?;
                    message.change_request =
                        Some(ChangeRequest { ip: bits[3] & 4 != 0, port: bits[3] & 2 != 0 });
                }
                attribute::RESPONSE_PORT => {
                    // Some count the two bytes of padding, some do not.
                    let (port, _) = value.split_first_chunk().ok_or(DecodeError::Attribute(kind))?;
                    message.response_port = Some(u16::from_be_bytes(*port));
                }
                attribute::ERROR_CODE => {
                    let [_, _, hundreds, rest, ..] = value else {
                        return Err(DecodeError::Attribute(kind));
                    };
                    message.error_code = Some(u16::from(hundreds & 7) * 100 + u16::from(*rest));
                }
                attribute::SOFTWARE
                | attribute::FINGERPRINT
                | attribute::PADDING
                | attribute::UNKNOWN_ATTRIBUTES => {}
                required if required < 0x8000 && message.unknown.len() < 8 => {
                    message.unknown.push(required);
                }
                _ => {}
            }
        }
        message.mapped_address = message.mapped_address.or(plain);
        Ok(message)
    }
}

/// The class bits spread through the method (RFC 8489 figure 3); the method is always Binding.
fn message_type(class: Class) -> u16 {
    BINDING
        | match class {
            Class::Request => 0,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        }
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(kind.to_be_bytes());
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn encode_address(address: SocketAddr) -> Vec<u8> {
    let mut out = vec![0, if address.is_ipv4() { 1 } else { 2 }];
    out.extend(address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    out
}

fn decode_address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        2 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
}

/// Masks or unmasks an address (RFC 8489 section 14.2).
fn xor(address: SocketAddr, transaction: &TransactionId) -> SocketAddr {
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip) ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut mask = [0; 16];
            mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            mask[4..].copy_from_slice(transaction);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) ^ u128::from_be_bytes(mask)))
        }
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample IPv4 answer of RFC 5769 section 2.2, without its two integrity attributes.
    const SAMPLE: &str = "0101001c2112a442b7e7a701bc34d686fa87dfae\
        8022000b7465737420766563746f7220\
        002000080001a147e112a643";

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_rfc_5769_sample_reads_as_it_says() {
        let message = Message::decode(&bytes(SAMPLE)).unwrap();
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped_address, Some("192.0.2.1:32853".parse().unwrap()));
    }

    #[test]
    fn every_field_survives_a_round_trip() {
        let mut message = Message::new(Class::Success, *b"abcdefghijkl");
        message.mapped_address = Some("192.168.100.1:40000".parse().unwrap());
        message.other_address = Some("[2001:db8::4]:3479".parse().unwrap());
        message.response_origin = Some("192.168.100.3:3478".parse().unwrap());
        assert_eq!(Message::decode(&message.encode()), Ok(message));
        let request =
            Message::binding_request([7; 12]).with_change_request(ChangeRequest { ip: true, port: false });
        let request = request.with_response_port(40_000);
        assert_eq!(Message::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn a_response_port_may_count_its_padding() {
        let mut datagram = Message::binding_request([7; 12]).with_response_port(40_000).encode();
        datagram[HEADER + 3] = 4;
        assert_eq!(Message::decode(&datagram).unwrap().response_port, Some(40_000));
        datagram[HEADER + 3] = 1;
        assert_eq!(Message::decode(&datagram), Err(DecodeError::Attribute(attribute::RESPONSE_PORT)));
    }

    #[test]
    fn a_wrong_length_is_told() {
        let mut datagram = Message::binding_request([0; 12]).encode();
        datagram[3] = 4;
        assert_eq!(Message::decode(&datagram), Err(DecodeError::Length { said: 4, has: 0 }));
    }

    proptest::proptest! {
        #[test]
        fn no_datagram_panics(mut datagram: Vec<u8>, force: bool) {
            if force && datagram.len() >= HEADER {
                let said = ((datagram.len() - HEADER) as u16).to_be_bytes();
                datagram[..4].copy_from_slice(&[1, 1, said[0], said[1]]);
                datagram[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
            }
            if let Ok(message) = Message::decode(&datagram) {
                let again = Message::decode(&message.encode());
                proptest::prop_assert!(again.is_ok());
            }
        }
    }
}

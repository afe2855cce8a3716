//! PCP (RFC 6887): its MAP operation, for TCP and UDP over IPv4.

use std::net::Ipv4Addr;

use crate::{DecodeError, Transport, reader::Reader};

const VERSION: u8 = 2;
const MAP: u8 = 1;
/// The bit that makes an operation an answer.
const ANSWER: u8 = 128;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// The longest message (section 7).
const LONGEST: usize = 1100;

/// What a host asks: a port, or its renewal, or with no lifetime its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// How long the mapping shall live, in seconds.
    pub lifetime: u32,
    /// The host's own address, which tells a server whether a NAT stands between them.
    pub client: Ipv4Addr,
    /// What is asked for.
    pub mapping: Mapping,
}

/// A port of the gateway that leads to one of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Ties renewals and answers to the first request.
    pub nonce: [u8; 12],
    /// What it is for.
    pub transport: Transport,
    /// The host's port.
    pub inside: u16,
    /// The gateway's port; in a request the wanted one, 0 for any.
    pub outside: u16,
    /// The gateway's address; in a request the wanted one, 0.0.0.0 for any.
    pub address: Ipv4Addr,
}

/// What a host is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// 0, or why it failed (section 7.4).
    pub code: u8,
    /// How long the mapping lives, or how long not to ask again, in seconds.
    pub lifetime: u32,
    /// Seconds since the server lost its mappings.
    pub epoch: u32,
    /// What was granted; where it failed, what was asked.
    pub mapping: Mapping,
}

impl Request {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, MAP, 0, 0];
        bytes.extend(self.lifetime.to_be_bytes());
        bytes.extend(self.client.to_ipv6_mapped().octets());
        self.mapping.encode(&mut bytes);
        bytes
    }

    /// From bytes; options are passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, MAP)?;
        reader.short()?;
        let lifetime = reader.long()?;
        let client = reader.mapped()?;
        let mapping = Mapping::decode(&mut reader)?;
        options(reader)?;
        Ok(Request { lifetime, client, mapping })
    }
}

impl Response {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, MAP | ANSWER, 0, self.code];
        bytes.extend(self.lifetime.to_be_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        bytes.extend([0; 12]);
        self.mapping.encode(&mut bytes);
        bytes
    }

    /// From bytes; options are passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, MAP | ANSWER)?;
        reader.byte()?;
        let code = reader.byte()?;
        let (lifetime, epoch) = (reader.long()?, reader.long()?);
        reader.take::<12>()?;
        let mapping = Mapping::decode(&mut reader)?;
        options(reader)?;
        Ok(Response { code, lifetime, epoch, mapping })
    }
}

impl Mapping {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.nonce);
        let protocol = match self.transport {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        };
        bytes.extend([protocol, 0, 0, 0]);
        bytes.extend(self.inside.to_be_bytes());
        bytes.extend(self.outside.to_be_bytes());
        bytes.extend(self.address.to_ipv6_mapped().octets());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let nonce = reader.take()?;
        let transport = match reader.byte()? {
            TCP => Transport::Tcp,
            UDP => Transport::Udp,
            _ => return Err(DecodeError::Foreign),
        };
        reader.take::<3>()?;
        let (inside, outside, address) = (reader.short()?, reader.short()?, reader.mapped()?);
        Ok(Mapping { nonce, transport, inside, outside, address })
    }
}

/// The front of a message, up to its operation.
fn open(bytes: &[u8], wanted: u8) -> Result<Reader<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let operation = reader.byte()?;
    if operation != wanted {
        return Err(DecodeError::Operation(operation));
    }
    if bytes.len() > LONGEST || !bytes.len().is_multiple_of(4) {
        return Err(DecodeError::Length(bytes.len()));
    }
    Ok(reader)
}

/// Looks that what follows is made of whole options: a code, a byte for later, a length, and that many bytes, filled up
/// to a multiple of four.
fn options(mut reader: Reader<'_>) -> Result<(), DecodeError> {
    while !reader.is_empty() {
        reader.short()?;
        for _ in 0..reader.short()?.div_ceil(4) {
            reader.long()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_mapping() -> impl Strategy<Value = Mapping> {
        let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
        (any::<[u8; 12]>(), transport, any::<u16>(), any::<u16>(), any::<u32>()).prop_map(
            |(nonce, transport, inside, outside, address)| Mapping {
                nonce,
                transport,
                inside,
                outside,
                address: address.into(),
            },
        )
    }

    proptest! {
        #[test]
        fn a_request_survives_the_wire(mapping in any_mapping(), lifetime: u32, client: u32) {
            let request = Request { lifetime, client: client.into(), mapping };
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn a_response_survives_the_wire(mapping in any_mapping(), code: u8, lifetime: u32, epoch: u32) {
            let response = Response { code, lifetime, epoch, mapping };
            prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
        }

        #[test]
        fn options_are_passed_over_if_they_are_whole(
            mapping in any_mapping(), option: u8, payload in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let response = Response { code: 0, lifetime: 1, epoch: 2, mapping };
            let mut bytes = response.encode();
            bytes.extend([option, 0, 0, payload.len() as u8]);
            bytes.extend(&payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            prop_assert_eq!(Response::decode(&bytes), Ok(response));
            bytes.truncate(bytes.len() - 4);
            let whole = Response::decode(&bytes).is_ok();
            prop_assert_eq!(whole, payload.is_empty());
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Request::decode(bytes);
            let _ = Response::decode(bytes);
        });
        // Most arbitrary bytes end at the version.
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Request::decode(&[&[VERSION, MAP, 0, 0], bytes].concat());
            let _ = Response::decode(&[&[VERSION, MAP | ANSWER, 0, 0], bytes].concat());
        });
    }

    /// What miniupnpd 2.3.1 says: 18001 for 8001 for ten minutes.
    #[test]
    fn a_real_gateways_answer_is_understood() {
        let mut bytes = vec![2, 129, 0, 0, 0, 0, 2, 88, 0, 0, 0, 22];
        bytes.extend([0; 24]);
        bytes.extend([17, 0, 0, 0, 0x1f, 0x41, 0x46, 0x51]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 168, 100, 1]);
        let response = Response::decode(&bytes).unwrap();
        assert_eq!((response.code, response.lifetime, response.epoch), (0, 600, 22));
        let Mapping { inside, outside, address, .. } = response.mapping;
        assert_eq!((inside, outside, address), (8001, 18001, Ipv4Addr::new(192, 168, 100, 1)));
    }

    #[test]
    fn what_is_not_about_tcp_or_udp_over_ipv4_is_foreign() {
        let mapping = Mapping {
            nonce: [0; 12],
            transport: Transport::Udp,
            inside: 1,
            outside: 2,
            address: Ipv4Addr::UNSPECIFIED,
        };
        let request = Request { lifetime: 1, client: Ipv4Addr::LOCALHOST, mapping };
        for (at, what) in [(8, "its address is IPv6"), (36, "its protocol is unknown")] {
            let mut bytes = request.encode();
            bytes[at] = 0x77;
            assert_eq!(Request::decode(&bytes), Err(DecodeError::Foreign), "{what}");
        }
        assert_eq!(Request::decode(&request.encode()[1..]), Err(DecodeError::Version(MAP)));
        assert_eq!(Request::decode(&[2, 1, 0]), Err(DecodeError::Length(3)));
    }
}

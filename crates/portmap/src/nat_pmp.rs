//! NAT-PMP (RFC 6886).

use std::net::Ipv4Addr;

use crate::{DecodeError, Transport, reader::Reader};

const VERSION: u8 = 0;
const ADDRESS: u8 = 0;
const UDP: u8 = 1;
const TCP: u8 = 2;
/// Added to the operation of what is answered.
const ANSWER: u8 = 128;

/// What a host asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// The gateway's address outside.
    Address,
    /// A port, or its renewal, or with no lifetime its end.
    Map(Mapping),
}

/// A port of the gateway that leads to one of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// What it is for.
    pub transport: Transport,
    /// The host's port.
    pub inside: u16,
    /// The gateway's port; in a request the wanted one, 0 for any.
    pub outside: u16,
    /// How long it lives, in seconds.
    pub lifetime: u32,
}

/// What a host is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Seconds since the gateway lost its mappings.
    pub epoch: u32,
    /// What came of it.
    pub result: Result<Answer, u16>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The gateway's address outside.
    Address(Ipv4Addr),
    /// What was granted.
    Map(Mapping),
}

impl Request {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Address => vec![VERSION, ADDRESS],
            Request::Map(mapping) => {
                let mut bytes = vec![VERSION, mapping.operation(), 0, 0];
                mapping.encode(&mut bytes);
                bytes
            }
        }
    }

    /// From bytes; what follows a whole message is passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let operation = reader.byte()?;
        if operation == ADDRESS {
            return Ok(Request::Address);
        }
        let transport = transport(operation).ok_or(DecodeError::Operation(operation))?;
        reader.short()?;
        Ok(Request::Map(Mapping::decode(transport, &mut reader)?))
    }
}

impl Response {
    /// As bytes; of what failed only the head.
    pub fn encode(&self, request: &Request) -> Vec<u8> {
        let operation = match request {
            Request::Address => ADDRESS,
            Request::Map(mapping) => mapping.operation(),
        };
        let mut bytes = vec![VERSION, ANSWER + operation];
        bytes.extend(self.result.err().unwrap_or(0).to_be_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        match &self.result {
            Ok(Answer::Address(address)) => bytes.extend(address.octets()),
            Ok(Answer::Map(mapping)) => mapping.encode(&mut bytes),
            Err(_) => {}
        }
        bytes
    }

    /// From bytes; what follows a whole message is passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let operation = reader.byte()?;
        let asked = operation.checked_sub(ANSWER).ok_or(DecodeError::Operation(operation))?;
        let code = reader.short()?;
        let epoch = reader.long()?;
        let result = match (code, asked) {
            (0, ADDRESS) => Ok(Answer::Address(reader.take::<4>()?.into())),
            (0, _) => {
                let transport = transport(asked).ok_or(DecodeError::Operation(operation))?;
                Ok(Answer::Map(Mapping::decode(transport, &mut reader)?))
            }
            (code, _) => Err(code),
        };
        Ok(Response { epoch, result })
    }
}

impl Mapping {
    fn operation(&self) -> u8 {
        match self.transport {
            Transport::Udp => UDP,
            Transport::Tcp => TCP,
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.inside.to_be_bytes());
        bytes.extend(self.outside.to_be_bytes());
        bytes.extend(self.lifetime.to_be_bytes());
    }

    fn decode(transport: Transport, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (inside, outside, lifetime) = (reader.short()?, reader.short()?, reader.long()?);
        Ok(Mapping { transport, inside, outside, lifetime })
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.byte()? {
        VERSION => Ok(()),
        other => Err(DecodeError::Version(other)),
    }
}

fn transport(operation: u8) -> Option<Transport> {
    match operation {
        UDP => Some(Transport::Udp),
        TCP => Some(Transport::Tcp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_mapping() -> impl Strategy<Value = Mapping> {
        let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
        (transport, any::<u16>(), any::<u16>(), any::<u32>()).prop_map(
            |(transport, inside, outside, lifetime)| Mapping { transport, inside, outside, lifetime },
        )
    }

    fn any_request() -> impl Strategy<Value = Request> {
        prop_oneof![Just(Request::Address), any_mapping().prop_map(Request::Map)]
    }

    proptest! {
        #[test]
        fn a_request_survives_the_wire(request in any_request()) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn a_response_survives_the_wire(
            request in any_request(), epoch: u32, code in proptest::option::of(1u16..), address: u32,
        ) {
            let answer = match request {
                Request::Address => Answer::Address(address.into()),
                Request::Map(mapping) => Answer::Map(mapping),
            };
            let response = Response { epoch, result: code.map_or(Ok(answer), Err) };
            prop_assert_eq!(Response::decode(&response.encode(&request)), Ok(response));
        }

        #[test]
        fn what_is_cut_off_is_no_message(request in any_request(), cut in 0usize..12) {
            let bytes = request.encode();
            if let Some(front) = bytes.get(..cut).filter(|front| front.len() < bytes.len()) {
                prop_assert_eq!(Request::decode(front), Err(DecodeError::Short(cut)));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Request::decode(bytes);
            let _ = Response::decode(bytes);
        });
    }

    /// What miniupnpd 2.3.1 says: its address, and 18000 for 8000 for ten minutes.
    #[test]
    fn a_real_gateways_answers_are_understood() {
        let address = [0, 128, 0, 0, 0, 0, 0, 22, 192, 168, 100, 1];
        let answer = Answer::Address(Ipv4Addr::new(192, 168, 100, 1));
        assert_eq!(Response::decode(&address), Ok(Response { epoch: 22, result: Ok(answer) }));
        let mapped = [0, 129, 0, 0, 0, 0, 0, 22, 0x1f, 0x40, 0x46, 0x50, 0, 0, 2, 0x58];
        let mapping = Mapping { transport: Transport::Udp, inside: 8000, outside: 18000, lifetime: 600 };
        assert_eq!(Response::decode(&mapped), Ok(Response { epoch: 22, result: Ok(Answer::Map(mapping)) }));
    }

    #[test]
    fn another_version_is_told_apart() {
        assert_eq!(Response::decode(&[2, 129, 0, 0]), Err(DecodeError::Version(2)));
        assert_eq!(Request::decode(&[0, 129]), Err(DecodeError::Operation(129)));
        assert_eq!(Response::decode(&[0, 1, 0, 0, 0, 0, 0, 0]), Err(DecodeError::Operation(1)));
    }
}

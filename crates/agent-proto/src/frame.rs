//! Length-delimited frames.

use serde::{Serialize, de::DeserializeOwned};

/// The largest body of a frame, in bytes; a longer one is an error on either side.
pub const MAX_FRAME: usize = 8 << 20;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length field says more than [`MAX_FRAME`].
    #[error("a frame of {0} bytes, where {MAX_FRAME} are the most")]
    TooLong(usize),
    /// The body is no message of this protocol.
    #[error("a frame that is no message: {0}")]
    Malformed(#[from] postcard::Error),
}

/// A message as a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = postcard::to_extend(message, vec![0; 4])?;
    let length = body.len() - 4;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length));
    }
    let mut frame = body;
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// Puts bytes together to messages. After an error it must be thrown away.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes come.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = postcard::from_bytes(body)?;
        self.start += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Request, ToGuest};

    fn ping(id: u64) -> ToGuest {
        ToGuest::Request { id, body: Request::Ping }
    }

    #[test]
    fn messages_survive_any_split() {
        let mut bytes = encode(&ping(1)).unwrap();
        bytes.extend(encode(&ping(300)).unwrap());
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(message) = decoder.next_message::<ToGuest>().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [ping(1), ping(300)]);
        }
    }

    #[test]
    fn an_endless_frame_is_refused_before_it_is_stored() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff; 4]);
        assert!(matches!(decoder.next_message::<ToGuest>(), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn garbage_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 3, 9, 9, 9]);
        assert!(decoder.next_message::<ToGuest>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            chunks in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), 0..8),
            short in 0u8..80,
        ) {
            // A length that is short enough lets the bytes behind it be read as a message.
            let mut decoder = Decoder::default();
            decoder.push(&[0, 0, 0, short]);
            for chunk in chunks {
                decoder.push(&chunk);
                while let Ok(Some(_)) = decoder.next_message::<ToGuest>() {}
            }
        }
    }
}

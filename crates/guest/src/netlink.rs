//! Questions and orders to the kernel as plain netlink, where no library has the messages.

use std::{io, os::fd::OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// The lengths of a message's header and of what an error has before it.
const HEADER: usize = 16;

const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The header of every message to the packet filter: family, version, and who is meant by a batch.
type Generic = [u8; 4];

/// Conversations with one part of the kernel.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

/// A message: its kind and what follows the header.
type Message = (u16, Vec<u8>);

impl Netlink {
    /// With interfaces and routes.
    pub(crate) fn route() -> io::Result<Self> {
        // Protocol 0 of this family.
        Self::open(None)
    }

    /// With the packet filter.
    pub(crate) fn filter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?))
    }

    /// All there is of a kind.
    pub(crate) fn list(&self, kind: u16, body: &[u8]) -> io::Result<Vec<Message>> {
        send(&self.0, &message(kind, NLM_F_REQUEST | NLM_F_DUMP, body), SendFlags::empty())?;
        let mut found = Vec::new();
        loop {
            for (kind, body) in self.receive()? {
                match kind {
                    // Also a list that breaks off ends so.
                    DONE | ERROR => return refusal(&body).map(|()| found),
                    _ => found.push((kind, body)),
                }
            }
        }
    }

    /// Does something.
    pub(crate) fn order(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.send_for_answers(&message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body), 1)
    }

    /// Sends what `answers` of its messages ask an answer for, and waits for them.
    fn send_for_answers(&self, bytes: &[u8], answers: usize) -> io::Result<()> {
        send(&self.0, bytes, SendFlags::empty())?;
        let mut seen = 0;
        while seen < answers {
            for (_, body) in self.receive()?.iter().filter(|(kind, _)| *kind == ERROR) {
                refusal(body)?;
                seen += 1;
            }
        }
        Ok(())
    }

    fn receive(&self) -> io::Result<Vec<Message>> {
        let mut buffer = vec![0; 32 << 10];
        let (count, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
        Ok(messages(buffer.get(..count).unwrap_or_default()))
    }
}

/// The parts of the packet filter.
const CONNECTIONS: u16 = 1 << 8;
const EXPECTATIONS: u16 = 2 << 8;
const TABLES: u16 = 10 << 8;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const DELETE: u16 = 2;

/// Removes all rules of the packet filter, and shows that they are gone.
pub(crate) fn remove_rules(filter: &Netlink) -> io::Result<()> {
    // What a batch is for stands in its ends, in network order.
    let tables: Generic = [0, 0, 0, 10];
    let batch = [
        message(BATCH_BEGIN, NLM_F_REQUEST, &tables),
        message(TABLES | DELETE_TABLE, NLM_F_REQUEST | NLM_F_ACK, &Generic::default()),
        message(BATCH_END, NLM_F_REQUEST, &tables),
    ];
    filter.send_for_answers(&batch.concat(), 1)?;
    match filter.list(TABLES | GET_TABLE, &Generic::default())?.len() {
        0 => Ok(()),
        left => Err(io::Error::other(format!("{left} tables are left"))),
    }
}

/// Forgets all connections, and those that were expected.
pub(crate) fn forget_connections(filter: &Netlink) -> io::Result<()> {
    filter.order(EXPECTATIONS | DELETE, 0, &Generic::default())?;
    filter.order(CONNECTIONS | DELETE, 0, &Generic::default())
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Sequence and sender: one question at a time is asked, of the kernel.
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Takes a datagram apart.
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let Some((head, _)) = bytes.split_first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, ..] = *head;
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some(body) = bytes.get(HEADER..length) else { break };
        found.push((u16::from_ne_bytes([e, f]), body.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// What an acknowledgement says: nothing, or why not.
fn refusal(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::other("an answer without a code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_padded_and_read_again() {
        let bytes = [message(7, 1, b"abc"), message(DONE, 0, b"")].concat();
        assert_eq!(bytes.len(), 20 + 16);
        assert_eq!(messages(&bytes), [(7, b"abc".to_vec()), (DONE, Vec::new())]);
    }

    #[test]
    fn a_refusal_is_the_systems_own() {
        assert_eq!(refusal(&(-1i32).to_ne_bytes()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert!(refusal(&0i32.to_ne_bytes()).is_ok());
        assert!(refusal(&[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            for (_, body) in messages(&bytes) {
                let _ = refusal(&body);
            }
        }
    }
}

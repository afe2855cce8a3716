//! An interface as a packet socket sees it: every packet that comes, whatever the kernel does with it, and sent as it is.

use std::{
    fs, io, mem,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::neighbours::{Mac, request, sender};
use crate::ethtool::set_receive_offload;

const BROADCAST: Mac = [0xff; 6];

/// As much as one packet can have.
const LARGEST: usize = 65_535;

/// Both kinds of packets on an interface.
#[derive(Debug)]
pub struct Cable {
    index: i32,
    mac: Mac,
    packets: OwnedFd,
    arp: OwnedFd,
    buffer: Vec<u8>,
}

impl Cable {
    /// Opens an interface that is up.
    pub fn open(name: &str) -> io::Result<Self> {
        // Through the files: a name may not lead elsewhere.
        if name.contains('/') || name.starts_with('.') {
            return Err(io::Error::other("that is no interface's name"));
        }
        let file = |what: &str| fs::read_to_string(format!("/sys/class/net/{name}/{what}"));
        let index = file("ifindex")?.trim().parse().map_err(io::Error::other)?;
        let mac = mac(&file("address")?).ok_or_else(|| io::Error::other("it is no Ethernet"))?;
        let packets = open(index, libc::ETH_P_IP)?;
        // Segments that the kernel puts together on their way in would be too long to be sent on.
        set_receive_offload(name, false)?;
        Ok(Cable { index, mac, packets, arp: open(index, libc::ETH_P_ARP)?, buffer: vec![0; LARGEST] })
    }

    /// What becomes readable when a packet comes, and when ARP does.
    pub fn sources(&self) -> [BorrowedFd<'_>; 2] {
        [self.packets.as_fd(), self.arp.as_fd()]
    }

    /// The next IPv4 packet that was sent to this machine.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let (length, kind) = receive(&self.packets, &mut self.buffer)?;
            // Broadcasts, multicasts and others' packets are not for a gateway to pass on.
            if kind == libc::PACKET_HOST {
                return self.buffer.get(..length).map(<[u8]>::to_vec);
            }
        }
    }

    /// The next neighbour that says where it is.
    pub fn heard(&mut self) -> Option<(Ipv4Addr, Mac)> {
        loop {
            let (length, kind) = receive(&self.arp, &mut self.buffer)?;
            let said = self.buffer.get(..length).and_then(sender);
            if kind != libc::PACKET_OUTGOING && said.is_some() {
                return said;
            }
        }
    }

    /// Sends an IPv4 packet to a neighbour, as it is.
    pub fn send(&self, to: Mac, packet: &[u8]) -> io::Result<()> {
        send(&self.packets, self.index, libc::ETH_P_IP, to, packet)
    }

    /// Asks all on the cable who has an address.
    pub fn ask(&self, from: Ipv4Addr, wanted: Ipv4Addr) -> io::Result<()> {
        send(&self.arp, self.index, libc::ETH_P_ARP, BROADCAST, &request(self.mac, from, wanted))
    }
}

fn mac(text: &str) -> Option<Mac> {
    let mut octets = text.trim().split(':').map(|octet| u8::from_str_radix(octet, 16).ok());
    let mut mac = [0; 6];
    for octet in &mut mac {
        *octet = octets.next()??;
    }
    octets.next().is_none().then_some(mac)
}

fn address(index: i32, protocol: i32, mac: Mac) -> libc::sockaddr_ll {
    let mut octets = [0; 8];
    octets[..6].copy_from_slice(&mac);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (protocol as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: octets,
    }
}

const ADDRESS_LENGTH: libc::socklen_t = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// A socket for one protocol on one interface, without Ethernet headers.
fn open(index: i32, protocol: i32) -> io::Result<OwnedFd> {
    // Without a protocol at first: nothing comes from other interfaces before it is bound.
    // SAFETY: no pointers are passed; the descriptor is fresh and nobody else's.
    let socket = unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        match libc::socket(libc::AF_PACKET, kind, 0) {
            -1 => return Err(io::Error::last_os_error()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    // Room for what comes while an emulated machine does something else.
    let room: libc::c_int = 4 << 20;
    let address = address(index, protocol, [0; 6]);
    // SAFETY: both pointers are to values of the lengths that are given, and live during the calls.
    let bound = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const room).cast(),
            mem::size_of_val(&room) as libc::socklen_t,
        );
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), ADDRESS_LENGTH)
    };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// The next packet's length and to whom it was sent; nothing if there is none, or an error that the next call forgets.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, u8)> {
    let mut from = address(0, 0, [0; 6]);
    let mut length = ADDRESS_LENGTH;
    // SAFETY: the buffer and the address are as long as is said, and live during the call.
    let count = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut from).cast(),
            &raw mut length,
        )
    };
    Some((usize::try_from(count).ok()?, from.sll_pkttype))
}

fn send(socket: &OwnedFd, index: i32, protocol: i32, to: Mac, bytes: &[u8]) -> io::Result<()> {
    let address = address(index, protocol, to);
    // SAFETY: the bytes and the address are as long as is said, and live during the call.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const address).cast(),
            ADDRESS_LENGTH,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(mac("02:4e:52:00:01:ff\n"), Some([2, 0x4e, 0x52, 0, 1, 255]));
        assert_eq!(mac("02:4e:52:00:01"), None);
        assert_eq!(mac("02:4e:52:00:01:ff:00"), None);
        assert_eq!(mac(""), None);
    }
}

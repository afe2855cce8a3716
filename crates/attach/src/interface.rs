//! Interfaces of this host, as the kernel is asked for them.

use std::{
    io, mem,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// The longest name, in bytes.
pub(crate) const LONGEST_NAME: usize = libc::IFNAMSIZ - 1;

const ETHTOOL_GDRVINFO: u32 = 3;

/// From linux/sockios.h.
const SIOCBRADDIF: libc::Ioctl = 0x89a2;

/// What an interface is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A TAP device.
    Tap,
    /// A bridge.
    Bridge,
    /// Something else.
    Other,
}

/// What an interface of this name is; none if there is none.
pub(crate) fn kind(name: &str) -> io::Result<Option<Kind>> {
    /// `struct ethtool_drvinfo` of linux/ethtool.h.
    #[repr(C)]
    struct Info {
        command: u32,
        driver: [u8; 32],
        versions: [[u8; 32]; 2],
        bus: [u8; 32],
        rest: [u8; 64],
    }
    let mut info = Info {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        versions: [[0; 32]; 2],
        bus: [0; 32],
        rest: [0; 64],
    };
    let mut request = request(name);
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    match ask(libc::SIOCETHTOOL, &mut request) {
        Ok(()) => Ok(Some(match (until_zero(&info.driver), until_zero(&info.bus)) {
            (b"tun", b"tap") => Kind::Tap,
            (b"bridge", _) => Kind::Bridge,
            _ => Kind::Other,
        })),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        // Its driver has no name to tell.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Some(Kind::Other)),
        Err(error) => Err(error),
    }
}

/// Whether it is up.
pub(crate) fn is_up(name: &str) -> io::Result<bool> {
    flags(name).map(|flags| flags & libc::IFF_UP != 0)
}

/// Sets it up: `ip link set NAME up`.
pub(crate) fn set_up(name: &str) -> io::Result<()> {
    let flags = flags(name)? | libc::IFF_UP;
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    ask(libc::SIOCSIFFLAGS, &mut request)
}

/// Makes it a port of a bridge: `ip link set NAME master BRIDGE`.
pub(crate) fn put_into(bridge: &str, name: &str) -> io::Result<()> {
    let mut port = request(name);
    ask(libc::SIOCGIFINDEX, &mut port)?;
    let mut bridge = request(bridge);
    // SAFETY: the kernel has just filled in the index.
    bridge.ifr_ifru.ifru_ifindex = unsafe { port.ifr_ifru.ifru_ifindex };
    ask(SIOCBRADDIF, &mut bridge)
}

fn flags(name: &str) -> io::Result<libc::c_int> {
    let mut request = request(name);
    ask(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just filled in the flags.
    Ok(unsafe { request.ifr_ifru.ifru_flags }.into())
}

/// A request about an interface of this name, which is not longer than one may be.
pub(crate) fn request(name: &str) -> libc::ifreq {
    // SAFETY: all bytes of an `ifreq` may be 0.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().take(LONGEST_NAME).zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request
}

fn ask(what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket: OwnedFd = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: the request is what these commands take, and whatever it points to lives during the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut *request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interface_is_is_known_without_leave() {
        assert_eq!(kind("lo").unwrap(), Some(Kind::Other));
        assert_eq!(kind("natrig-none").unwrap(), None);
    }
}

//! Settings of an interface beside those that netlink has.

use std::{
    io, mem,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const GET_RECEIVE_OFFLOAD: u32 = 0x2b;
const SET_RECEIVE_OFFLOAD: u32 = 0x2c;

/// Whether the kernel joins received packets, as `ethtool -k` tells it under `generic-receive-offload`.
pub(crate) fn receive_offload(name: &str) -> io::Result<bool> {
    Ok(ask(name, GET_RECEIVE_OFFLOAD, 0)? != 0)
}

/// Has the kernel join received packets or not: `ethtool -K NAME gro on|off`.
pub(crate) fn set_receive_offload(name: &str, on: bool) -> io::Result<()> {
    ask(name, SET_RECEIVE_OFFLOAD, on.into()).map(drop)
}

fn ask(name: &str, command: u32, data: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let socket: OwnedFd = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut value = Value { command, data };
    // SAFETY: all bytes of an `ifreq` may be 0.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names an interface and points to the value that these commands take; both live during the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(value.data),
        _ => Err(io::Error::last_os_error()),
    }
}

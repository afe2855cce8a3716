//! TAP devices, opened by name.

use std::{
    ffi::CStr,
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

use crate::interface::{self, Kind, LONGEST_NAME};

const CLONE: &str = "/dev/net/tun";

/// What the kernel names a device that is made for a bridge; it puts a number for `%d`.
const PORT_OF_BRIDGE: &str = "natrig%d";

/// A TAP device that is up: each frame that the host sends to it is read, and what is written comes to the host from it.
#[derive(Debug)]
pub struct Tap {
    pub(crate) device: File,
    name: String,
}

/// Why a device cannot be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// No interface can be called so.
    #[error(
        "no device can be called `{name}`\nhint: a name has 1 to {LONGEST_NAME} characters, without spaces, `/`, `:` and `%`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// It is neither a TAP device nor a bridge.
    #[error(
        "`{name}` is neither a TAP device nor a bridge\nhint: put it into a bridge, and name that: ip link set {name} master br0"
    )]
    Kind {
        /// The device.
        name: String,
    },
    /// Something that takes leave is not allowed.
    #[error(
        "{what} of `{name}` is not allowed: {source}\nhint: have it made for you: \
         sudo ip tuntap add {name} mode tap user $USER; sudo ip link set {name} up"
    )]
    NotAllowed {
        /// What.
        what: &'static str,
        /// The device.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// Another program has it.
    #[error("another program has `{name}`\nhint: a TAP device is for one program; give this lab another one")]
    Busy {
        /// The device.
        name: String,
    },
    /// It is down, and this program may not change that.
    #[error("`{name}` is down: {source}\nhint: sudo ip link set {name} up")]
    Down {
        /// The device.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
    #[error("{what} of `{name}` failed: {source}")]
    System {
        /// What.
        what: &'static str,
        /// The device.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Tap {
    /// Opens a TAP device that is there, makes one where there is none, or makes one that is a port of a bridge.
    pub fn open(name: &str) -> Result<Self, AttachError> {
        let unfit = |one: char| one.is_whitespace() || one.is_control() || "/:%".contains(one);
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains(unfit) || [".", ".."].contains(&name)
        {
            return Err(AttachError::Name { name: name.to_owned() });
        }
        let wrong = |what| move |source| failed(what, name, source);
        match interface::kind(name).map_err(wrong("looking for the kind"))? {
            Some(Kind::Other) => Err(AttachError::Kind { name: name.to_owned() }),
            Some(Kind::Bridge) => {
                let tap = Tap::take(PORT_OF_BRIDGE).map_err(wrong("making a port"))?;
                interface::put_into(name, &tap.name).map_err(wrong("joining a port"))?;
                tap.set_up()
            }
            Some(Kind::Tap) => Tap::take(name).map_err(wrong("opening"))?.set_up(),
            None => Tap::take(name).map_err(wrong("making"))?.set_up(),
        }
    }

    /// What the host calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn take(name: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let device = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(CLONE)?;
        let mut request = interface::request(name);
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the request is what this command takes; the kernel writes the device's name into it.
        if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw mut request) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let bytes = request.ifr_name.map(|character| character as u8);
        let name = CStr::from_bytes_until_nul(&bytes).map_err(io::Error::other)?;
        Ok(Tap { device, name: name.to_string_lossy().into_owned() })
    }

    fn set_up(self) -> Result<Self, AttachError> {
        let down = |source| AttachError::Down { name: self.name.clone(), source };
        if !interface::is_up(&self.name).map_err(down)? {
            interface::set_up(&self.name).map_err(down)?;
        }
        Ok(self)
    }
}

fn failed(what: &'static str, name: &str, source: io::Error) -> AttachError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => AttachError::NotAllowed { what, name, source },
        Some(libc::EBUSY) => AttachError::Busy { name },
        _ => AttachError::System { what, name, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_device_is_refused_with_what_to_do() {
        for name in ["", "a name", "x/y", "natrig%d", "..", "sixteen-letters-"] {
            let error = Tap::open(name).unwrap_err();
            assert!(matches!(error, AttachError::Name { .. }), "{name}: {error}");
        }
        let error = Tap::open("lo").unwrap_err().to_string();
        assert!(error.contains("`lo` is neither") && error.contains("hint: put it into a bridge"), "{error}");
    }

    #[test]
    fn each_refusal_has_its_remedy() {
        let of = |errno| failed("opening", "tap0", io::Error::from_raw_os_error(errno)).to_string();
        assert!(
            of(libc::EPERM).contains("sudo ip tuntap add tap0 mode tap user $USER"),
            "{}",
            of(libc::EPERM)
        );
        assert!(of(libc::EACCES).contains("not allowed"));
        assert!(of(libc::EBUSY).contains("another program has `tap0`"));
        assert!(of(libc::ENOENT).starts_with("opening of `tap0` failed"));
    }
}
